//! Which events are written, and which of their fields: by names and by a marker.

use bizproc_portal::Portal;
use tracing::field::Empty;
use tracing::{Level, debug, error, info, info_span, trace};
use tracing_bizproc::Builder;
use tracing_bizproc::error::BuildError;
use tracing_bizproc::fields::Fields;
use tracing_subscriber::Registry;

use crate::app::{AppStage, wait};
use crate::stage::{Stage, lines, quick};

fn stage(fields: Fields) -> Stage {
    Stage::with(Portal::builder(), |builder| builder.fields(fields))
}

#[test]
fn the_token_may_be_in_a_field_of_another_name() {
    let stage = stage(Fields::new().event_token("b24_token"));
    let (workflow, _, event_token) = stage.activity();
    let (other, _, other_token) = stage.activity();
    info_span!("activity", b24_token = event_token.as_field(), order = 1).in_scope(|| {
        info!(step = 1, "by the span");
        // The usual name has no meaning now, but is still treated as a secret.
        info_span!("inner", event_token = "5e.1|A|1.secret").in_scope(|| info!("inside"));
        info!(b24_token = other_token.as_field(), "by the event");
    });
    let late = info_span!("late", b24_token = Empty);
    late.record("b24_token", event_token.as_field());
    late.in_scope(|| info!("recorded"));
    stage.flushed();
    assert_eq!(lines(&workflow), ["by the span (step=1)", "inside", "recorded"]);
    assert_eq!(lines(&other), ["by the event"]);
}

#[test]
fn spans_of_activities_work_with_other_names_of_fields() {
    let fields = Fields::new().event_token("b24_token").portal("tenant");
    let stage = AppStage::with(2, |oauth| oauth, |builder| builder.fields(fields));
    let (first, _, verified) = stage.open(0);
    verified.span().in_scope(|| info!("through its own span"));
    let activity = stage.bizproc.activity(verified);
    let (second, _, verified) = stage.open(1);
    let token = verified.event_token().clone();
    let span =
        info_span!("mine", b24_token = token.as_field(), tenant = verified.portal().as_str());
    let _other = stage.bizproc.activity(verified);
    span.in_scope(|| info!("through a span of mine"));
    wait(stage.bizproc.flush(crate::stage::PATIENCE)).unwrap();
    drop(activity);
    assert_eq!(lines(&first), ["through its own span"]);
    assert_eq!(lines(&second), ["through a span of mine"]);
}

#[test]
fn private_fields_are_never_written() {
    let stage = stage(Fields::new().private(["password", "card.*"]));
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        let span = info_span!("login", user = "anna", password = "hunter2", pin = Empty);
        span.record("pin", 4242);
        span.in_scope(|| {
            info!(password = "hunter2", password_set = true, "by name");
            info!(card.number = 4242, card.owner = %"anna", cards = 2, "by their beginning");
            info!(private.note = ?"hunter2", "by the marker");
            let error = std::io::Error::other("hunter2");
            info!(private.error = &error as &dyn std::error::Error, "of every type");
            info!(private.a = 1, private.b = 1.5, private.c = true, private.d = 1_u128, "all");
        });
        span.record("password", "hunter3");
        span.in_scope(|| info!("after"));
    });
    stage.flushed();
    let login = "login: user=anna, pin=4242";
    assert_eq!(
        lines(&workflow),
        [
            format!("by name (password_set=true; {login})"),
            format!("by their beginning (cards=2; {login})"),
            format!("by the marker ({login})"),
            format!("of every type ({login})"),
            format!("all ({login})"),
            format!("after ({login})"),
        ]
    );
}

#[test]
fn long_values_are_cut_and_the_message_is_not() {
    let stage = stage(Fields::new().shorten("body", 5).longest(8).longest_in_spans(4));
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info_span!("request", agent = "Mozilla/5.0", body = "0123456789").in_scope(|| {
            info!(body = %"Договор", text = ?"0123456789", n = 1234567890, "A message is whole");
        });
    });
    stage.flushed();
    assert_eq!(
        lines(&workflow),
        ["A message is whole (body=До… (10 bytes more), text=\"0123456… (3 bytes more), \
          n=1234567890; request: agent=Mozi… (7 bytes more), body=01234… (5 bytes more))"]
    );
}

#[test]
fn a_long_field_of_a_span_is_shortened_by_default() {
    let stage = Stage::quick();
    let (workflow, _, event_token) = stage.activity();
    let text = "x".repeat(3_000);
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info_span!("request", text).in_scope(|| info!(text, "said"));
    });
    stage.flushed();
    let log = lines(&workflow);
    assert!(log[0].ends_with("x… (1976 bytes more))") && log[0].len() > 3_000 + 1_024, "{log:?}");
}

#[test]
fn a_marked_event_is_excluded_or_selected() {
    let stage = stage(Fields::new().marked_from(Level::DEBUG));
    let (workflow, _, event_token) = stage.activity();
    let never = false;
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info!("as ever");
        info!(bizproc = false, "kept out");
        error!(bizproc = never, "kept out at any level");
        info!(bizproc = true, n = 1, "marked, and shown anyway");
        debug!(bizproc = true, n = 2, "let in");
        debug!(bizproc = false, "below");
        debug!("below and not marked");
        trace!(bizproc = true, "further below");
        debug!(bizproc = "yes", "only a bool counts");
        info!(bizproc = "yes", "only a bool counts");
        info_span!("inner", bizproc = false).in_scope(|| info!("of a span it is a field"));
    });
    stage.flushed();
    assert_eq!(
        lines(&workflow),
        [
            "as ever",
            "marked, and shown anyway (n=1)",
            "let in (n=2)",
            "only a bool counts (bizproc=yes)",
            "of a span it is a field (inner: bizproc=false)",
        ]
    );
    let stats = stage.bizproc.stats();
    assert_eq!((stats.accepted(), stats.refused()), (5, 0));
}

#[test]
fn the_marker_may_have_another_name_and_selects_nothing_by_default() {
    let stage = stage(Fields::new().marker("customer"));
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        debug!(customer = true, "below");
        info!(customer = false, "kept out");
        info!(bizproc = false, "a field like others");
    });
    stage.flushed();
    assert_eq!(lines(&workflow), ["a field like others (bizproc=false)"]);
}

/// Regression: the first one counted, so the environment could not change what the code says.
#[test]
fn the_last_length_of_a_field_counts() {
    let stage = stage(Fields::new().shorten("body", 8).shorten("body", 5));
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field())
        .in_scope(|| info!(body = "0123456789", "long"));
    stage.flushed();
    assert_eq!(lines(&workflow), ["long (body=01234… (5 bytes more))"]);
}

#[test]
fn invalid_names_of_fields_are_refused() {
    let portal = Portal::builder().start().unwrap();
    for fields in [
        Fields::new().event_token(""),
        Fields::new().event_token("portal"),
        Fields::new().portal("message"),
        Fields::new().marker("event_token"),
        Fields::new().private([" "]),
        Fields::new().private(["event_token"]),
        Fields::new().shorten("", 5),
        // These would have no effect: a star stands for a group only at the end, after a dot.
        Fields::new().private(["card*"]),
        Fields::new().private(["*"]),
        Fields::new().private(["*.number"]),
        Fields::new().private([".*"]),
        Fields::new().shorten("card.*", 5),
        Fields::new().shorten("event_token", 5),
        Fields::new().marker("event_token "),
    ] {
        let builder: Builder = quick(&portal).fields(fields.clone());
        let error = builder.build::<Registry>().err().unwrap();
        assert!(matches!(error, BuildError::Option { option: "fields", .. }), "{fields:?}");
    }
}
