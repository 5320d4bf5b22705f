//! The inbound webhook: an address that is a secret.

use std::env::{self, VarError};
use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use super::is_loopback;
use crate::error::WebhookError;
use crate::line::PortalId;
use crate::protocol::Method;

/// An inbound webhook of one portal: an address that is a secret. It needs the scope `bizproc`.
///
/// It serves spans without the field `portal`. If your spans have this field, as the span of a
/// [`Handle::activity`](crate::Handle::activity) always does, name the portal of the webhook with
/// [`for_portal`](Webhook::for_portal).
///
/// Debug and Display show the host and the user, never the code.
///
/// ```
/// # fn main() -> Result<(), tracing_bizproc::error::WebhookError> {
/// use tracing_bizproc::auth::Webhook;
///
/// let webhook = Webhook::new("https://acme.bitrix24.com/rest/1/c0de/")?;
/// assert!(!format!("{webhook} {webhook:?}").contains("c0de"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `scheme://host[:port]/rest/user/code/`, with the slash.
    base: Url,
    user: String,
    /// The portal that spans may name.
    portal: Option<PortalId>,
}

impl Webhook {
    /// The environment variable that [`from_env`](Webhook::from_env) reads.
    pub const VARIABLE: &'static str = "BITRIX24_WEBHOOK_URL";

    /// The webhook at this URL, `https://HOST/rest/USER/CODE/`, with or without the last slash. Plain
    /// http is accepted for loopback hosts only.
    ///
    /// # Errors
    /// When it is not such a URL. The error does not contain it.
    pub fn new(url: impl AsRef<str>) -> Result<Self, WebhookError> {
        let webhook = Webhook::parse(url.as_ref())?;
        if webhook.base.scheme() == "https" || is_loopback(&webhook.base) {
            Ok(webhook)
        } else {
            Err(WebhookError::Insecure)
        }
    }

    /// As [`new`](Webhook::new), but also accepts plain http to any host. Then everybody between the app and
    /// the portal can read the code and use it.
    ///
    /// # Errors
    /// As [`new`](Webhook::new).
    pub fn allow_http(url: impl AsRef<str>) -> Result<Self, WebhookError> {
        Webhook::parse(url.as_ref())
    }

    /// The webhook whose URL is in `BITRIX24_WEBHOOK_URL`.
    ///
    /// # Errors
    /// When the variable is not set, is empty, or is not the URL of a webhook.
    pub fn from_env() -> Result<Self, WebhookError> {
        let variable = Webhook::VARIABLE;
        match env::var(variable) {
            Ok(url) if url.trim().is_empty() => Err(WebhookError::NotSet { variable }),
            Ok(url) => Webhook::new(url),
            Err(VarError::NotPresent) => Err(WebhookError::NotSet { variable }),
            Err(VarError::NotUnicode(_)) => Err(WebhookError::NotUnicode { variable }),
        }
    }

    /// Sets the `member_id` of the webhook's portal. The webhook then serves spans that name this
    /// portal, and spans that name none. Lines of spans that name another portal are never sent, because
    /// this portal must not see their event tokens.
    ///
    /// Name the portal in all spans, or in none of them. The rate limit of this crate is separate for the two
    /// kinds, but the portal counts the requests of both together.
    ///
    /// ```
    /// use tracing_bizproc::auth::Webhook;
    ///
    /// # fn main() -> Result<(), tracing_bizproc::error::WebhookError> {
    /// let webhook = Webhook::new("https://b24.example/rest/1/secret/")?
    ///     .for_portal("a223c6b3710f85df22e9377d6c4f7553");
    /// # drop(webhook);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn for_portal(mut self, portal: impl Into<PortalId>) -> Self {
        self.portal = Some(portal.into());
        self
    }

    /// The portal that it is bound to.
    pub(crate) fn portal(&self) -> Option<&PortalId> {
        self.portal.as_ref()
    }

    /// Whether it may be called for a span that names this portal, or none.
    pub(in crate::transport) fn serves(&self, portal: Option<&PortalId>) -> bool {
        portal.is_none() || portal == self.portal.as_ref()
    }

    /// The portal's host, without port.
    pub fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    fn parse(url: &str) -> Result<Self, WebhookError> {
        let shape = |problem| WebhookError::Shape { problem };
        let url = url.trim();
        // The URL parser would drop line breaks and tabs silently.
        if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(shape("has a space or a line break"));
        }
        let mut base = Url::parse(url).map_err(|error| WebhookError::NotAUrl(error.into()))?;
        if !matches!(base.scheme(), "https" | "http") {
            return Err(shape("is neither https nor http"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(shape("has a user name or a password before its host"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(shape("has a query or a fragment"));
        }
        let path = base.path().strip_suffix('/').unwrap_or(base.path()).to_owned();
        let mut parts = path.split('/');
        let (user, code) = match [(); 5].map(|()| parts.next()) {
            [Some(""), Some("rest"), Some(user), Some(code), None] => (user, code),
            [Some(""), Some("rest"), Some(_), Some(_), Some(_)] => {
                return Err(shape("has text after the code (remove the name of the method)"));
            }
            _ => return Err(shape("does not have the path /rest/USER/CODE/")),
        };
        if user.is_empty() || !user.bytes().all(|b| b.is_ascii_digit()) {
            return Err(shape("needs the number of a user after /rest/"));
        }
        let in_code = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if code.is_empty() || !code.bytes().all(in_code) {
            return Err(shape("needs a code of letters, digits, - and _"));
        }
        let user = user.to_owned();
        base.set_path(&format!("{path}/"));
        Ok(Webhook { base, user, portal: None })
    }

    /// The address of a method.
    pub(in crate::transport) fn method(&self, method: &Method) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base.path(), method.name()));
        url
    }
}

impl FromStr for Webhook {
    type Err = WebhookError;

    /// As [`Webhook::new`].
    fn from_str(url: &str) -> Result<Self, WebhookError> {
        Webhook::new(url)
    }
}

impl TryFrom<&str> for Webhook {
    type Error = WebhookError;

    /// As [`Webhook::new`].
    fn try_from(url: &str) -> Result<Self, WebhookError> {
        Webhook::new(url)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({self})")
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.base.scheme(), self.host())?;
        if let Some(port) = self.base.port() {
            write!(f, ":{port}")?;
        }
        write!(f, "/rest/{}/[redacted]/", self.user)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    const CODE: &str = "s3cr3tc0de";

    #[test]
    fn a_webhook_is_accepted_with_and_without_its_last_slash() {
        for (given, batch) in [
            (
                "https://a.bitrix24.com/rest/1/s3cr3tc0de/",
                "https://a.bitrix24.com/rest/1/s3cr3tc0de/batch",
            ),
            (
                " https://a.bitrix24.com/rest/1/s3cr3tc0de\n",
                "https://a.bitrix24.com/rest/1/s3cr3tc0de/batch",
            ),
            (
                "http://127.0.0.1:8080/rest/7/s3cr3tc0de",
                "http://127.0.0.1:8080/rest/7/s3cr3tc0de/batch",
            ),
            ("http://[::1]:80/rest/7/s3cr3tc0de", "http://[::1]/rest/7/s3cr3tc0de/batch"),
            ("http://localhost/rest/7/s3cr3tc0de", "http://localhost/rest/7/s3cr3tc0de/batch"),
        ] {
            let webhook = Webhook::new(given).unwrap();
            assert_eq!(webhook.method(&Method::Batch).as_str(), batch);
            assert_eq!(given.parse::<Webhook>().unwrap(), webhook);
            for shown in [format!("{webhook}"), format!("{webhook:?}")] {
                assert!(!shown.contains(CODE), "{shown}");
                assert!(shown.contains(webhook.host()), "{shown}");
            }
        }
    }

    #[test]
    fn other_urls_are_refused_and_not_shown() {
        for given in [
            "",
            "s3cr3tc0de",
            "/rest/1/s3cr3tc0de/",
            "ftp://a.bitrix24.com/rest/1/s3cr3tc0de/",
            "http://a.bitrix24.com/rest/1/s3cr3tc0de/",
            "http://127.0.0.1.evil.example/rest/1/s3cr3tc0de/",
            "https://s3cr3tc0de@a.bitrix24.com/rest/1/s3cr3tc0de/",
            "https://a.bitrix24.com/rest/1/s3cr3tc0de/?auth=s3cr3tc0de",
            "https://a.bitrix24.com/rest/1/s3cr3tc0de/#s3cr3tc0de",
            "https://a.bitrix24.com/rest/1/s3cr3tc0de/profile.json",
            "https://a.bitrix24.com/rest/1/s3cr3tc0de//",
            "https://a.bitrix24.com/rest/s3cr3tc0de/",
            "https://a.bitrix24.com/rest/me/s3cr3tc0de/",
            "https://a.bitrix24.com/rest/1/s3cr3t%2Fc0de/",
            "https://a.bitrix24.com/rest//s3cr3tc0de/",
            "https://a.bitrix24.com/s3cr3tc0de",
            "https://a.bitrix24.com/rest/1/s3cr3t\nc0de/",
            "https://[s3cr3tc0de]/rest/1/s3cr3tc0de/",
            "https://a:s3cr3tc0de/rest/1/s3cr3tc0de/",
        ] {
            let error = Webhook::new(given).unwrap_err();
            let mut said = format!("{error} {error:?}");
            let mut source = error.source();
            while let Some(error) = source {
                said += &format!(" {error} {error:?}");
                source = error.source();
            }
            assert!(!said.contains(CODE), "{given}: {said}");
        }
        let plain = "http://portal.local/rest/1/s3cr3tc0de/";
        assert!(matches!(Webhook::new(plain), Err(WebhookError::Insecure)));
        assert_eq!(Webhook::allow_http(plain).unwrap().host(), "portal.local");
    }
}
