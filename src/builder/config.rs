//! Options that were given as text, and presets.

use crate::config::{Config, ReadyFormat};
use crate::fields::Fields;
use crate::format::{Full, Json, MessageOnly, Story};
use crate::worker::rate::Quota;
use crate::worker::schedule::Retention;

use super::Builder;
use super::keeping::SpoolOptions;

impl Builder {
    /// Applies the options that a [`Config`] holds. Other options keep their values. A method that is
    /// called after this one wins.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let builder = tracing_bizproc::disabled();
    /// use tracing_bizproc::config::Config;
    ///
    /// // BIZPROC_LEVEL, BIZPROC_LINGER and so on win over what stands in the code.
    /// let builder = builder.line_prefix("shop: ").config(&Config::from_env()?);
    /// # drop(builder);
    /// # Ok(())
    /// # }
    /// ```
    pub fn config(mut self, config: &Config) -> Self {
        // Listed one by one, so that the compiler finds a missing one.
        let Config {
            disabled,
            self_hosted,
            level,
            linger,
            max_hold,
            retention,
            send_at_once_from,
            entry_bytes,
            line_bytes,
            request_bytes,
            quota,
            operating_limit,
            overflow,
            queue_lines,
            pending_lines,
            pending_bytes,
            portal_share,
            token_share,
            max_age,
            on_unknown_outcome,
            format,
            wording,
            line_time,
            line_prefix,
            keep_supplementary_characters,
            shutdown_timeout,
            fail_open_activities,
            connect_timeout,
            request_timeout,
            extra_roots_file,
            trust_certificate,
            event_token_field,
            portal_field,
            marker_field,
            private_fields,
            shortened_fields,
            longest,
            longest_in_spans,
            marked_from,
            spool_dir,
            spool_fsync,
            spool_bound,
            spool_max_bytes,
            spool_max_age,
        } = config.clone();
        if disabled == Some(true) {
            self.credentials = None;
        }
        if self_hosted == Some(true) {
            self = self.self_hosted();
        }
        self = self
            .given(level, Builder::level)
            .given(linger, Builder::linger)
            .given(max_hold, Builder::max_hold)
            .given(retention, Builder::retention)
            .given(send_at_once_from, Builder::send_at_once_from)
            .given(entry_bytes, Builder::entry_bytes)
            .given(line_bytes, Builder::line_bytes)
            .given(request_bytes, Builder::request_bytes)
            .given(quota, Builder::quota)
            .given(operating_limit, Builder::operating_limit)
            .given(overflow, Builder::overflow)
            .given(queue_lines, Builder::queue_lines)
            .given(pending_lines, Builder::pending_lines)
            .given(pending_bytes, Builder::pending_bytes)
            .given(portal_share, Builder::portal_share)
            .given(token_share, Builder::token_share)
            .given(max_age, Builder::max_age)
            .given(on_unknown_outcome, Builder::on_unknown_outcome)
            .given(format, |builder, format| match format {
                ReadyFormat::Story => builder.format(Story),
                ReadyFormat::MessageOnly => builder.format(MessageOnly),
                ReadyFormat::Full => builder.format(Full),
                ReadyFormat::Json => builder.format(Json),
            })
            .given(wording, Builder::wording)
            .given(line_time, Builder::line_time)
            .given(line_prefix, |builder, prefix| builder.line_prefix(prefix.0))
            .given(keep_supplementary_characters, Builder::supplementary_characters)
            .given(shutdown_timeout, Builder::shutdown_timeout)
            .given(fail_open_activities, Builder::fail_open_activities)
            .given(connect_timeout, Builder::connect_timeout)
            .given(request_timeout, Builder::request_timeout)
            .given(extra_roots_file, |builder, file| builder.extra_roots(file.pem))
            .given(trust_certificate, |mut builder, certificates| {
                builder.http.fingerprints.extend(certificates.0);
                builder
            });
        self = self.spool_options(SpoolOptions {
            dir: spool_dir,
            fsync: spool_fsync,
            bound: spool_bound,
            max_bytes: spool_max_bytes,
            max_age: spool_max_age,
        });
        self.fields = self
            .fields
            .given(event_token_field, Fields::event_token)
            .given(portal_field, Fields::portal)
            .given(marker_field, Fields::marker)
            .given(private_fields, |fields, names| fields.private(names.0))
            .given(shortened_fields, |fields, pairs| {
                pairs
                    .0
                    .into_iter()
                    .fold(fields, |fields, (name, bytes)| fields.shorten(name, bytes))
            })
            .given(longest, Fields::longest)
            .given(longest_in_spans, Fields::longest_in_spans)
            .given(marked_from, Fields::marked_from);
        self
    }

    /// For self-hosted portals, and for tests against the stand-in portal: no limit of requests
    /// ([`Quota::Unlimited`]), and no entry budget ([`Retention::SelfHosted`]), so that lines appear
    /// at their linger.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// let builder = builder.self_hosted();
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn self_hosted(self) -> Self {
        self.quota(Quota::Unlimited).retention(Retention::SelfHosted)
    }
}

/// Applies what was given.
trait Given: Sized {
    fn given<V>(self, value: Option<V>, apply: impl FnOnce(Self, V) -> Self) -> Self {
        match value {
            Some(value) => apply(self, value),
            None => self,
        }
    }
}

impl Given for Builder {}
impl Given for Fields {}
