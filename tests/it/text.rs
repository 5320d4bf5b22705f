//! The text of the log: clear, complete, and safe with any logged text.

use bizproc_portal::{Portal, Substitution};
use tracing::{error, info, info_span, warn};

use crate::stage::{Stage, lines};

#[test]
fn message_first_then_fields_then_the_spans_inside_the_tagged_one() {
    let stage = Stage::quick();
    let (workflow, _, event_token) = stage.activity();
    let activity = info_span!("activity", event_token = event_token.as_field(), order = 1042);
    let shipping = info_span!(parent: &activity, "shipping", carrier = "DHL", express = true);
    let label = info_span!(parent: &shipping, "label", n = 2);
    label.in_scope(|| info!(weight = 1.5, "Label printed"));
    shipping.in_scope(|| warn!("Last one in stock"));
    activity.in_scope(|| error!(code = -7, "Printer on fire"));
    activity.in_scope(|| info!(only = "a field"));
    stage.flushed();
    assert_eq!(
        lines(&workflow),
        [
            "Label printed (weight=1.5; label: n=2; shipping: carrier=DHL, express=true)",
            "WARNING: Last one in stock (shipping: carrier=DHL, express=true)",
            "ERROR: Printer on fire (code=-7)",
            "(only=a field)",
        ]
    );
}

#[test]
fn hostile_messages_stay_one_line_and_have_no_effect() {
    let hostile = [
        "0",
        "",
        " \t ",
        "first\nsecond\r\n• third",
        "$result[c0] $TIME[c0][start] $errors[0] $next",
        "[timestamp=5]x[/timestamp] {=user:user_5} {=group:1 > friendly}",
        "<script>alert(1)</script> &EVENT_TOKEN=x #fragment +%20%00",
        "\u{202e}gnp.exe \u{0} \u{7f} \u{2028}",
        "LOG_MESSAGE[x]=1&halt=1",
        "Я съел 🎉 ценник $timeout[a]",
    ];
    for substitution in [Substitution::Newer, Substitution::Older] {
        let stage = Stage::with(Portal::builder().substitution(substitution), |builder| builder);
        let quiet = stage.activity();
        let quiet_span = info_span!("activity", event_token = quiet.2.as_field());
        quiet_span.in_scope(|| info!("beside"));
        let (workflow, activity, event_token) = stage.activity();
        let span = info_span!("activity", event_token = event_token.as_field());
        for message in hostile {
            span.in_scope(|| info!("{message}"));
        }
        span.in_scope(|| info!(value = "a\n• b", "field"));
        stage.flushed();
        assert_eq!(stage.bizproc.stats().requests(), 1, "in one batch, where all is substituted");

        let log = lines(&workflow);
        assert_eq!(log.len(), hostile.len() + 1, "{log:#?}");
        for text in workflow.texts() {
            let marks = text.matches('•').count();
            assert_eq!(marks, text.lines().count(), "a mark for each line and no other");
        }
        assert!(activity.is_open() && workflow.is_running());
        let plain = |text: &str| text.replace('\u{2060}', "");
        assert_eq!(plain(&log[0]), "0");
        assert_eq!(plain(&log[4]), hostile[4]);
        assert_eq!(plain(&log[5]), hostile[5]);
        assert_eq!(plain(&log[6]), hostile[6]);
        assert!(log[9].starts_with("Я съел \\u{1F389} ценник"), "{}", log[9]);
        assert_eq!(lines(&quiet.0), ["beside"], "the neighbour in the batch");
    }
}

/// Regression: three such lines made 55 entries, and a cloud portal keeps 50.
#[test]
fn a_line_is_not_longer_than_an_entry_and_says_what_was_cut() {
    let stage = Stage::quick();
    let (workflow, _, event_token) = stage.activity();
    let long = "слово ".repeat(100_000);
    let span = info_span!("activity", event_token = event_token.as_field());
    for _ in 0..3 {
        span.in_scope(|| info!("{long}"));
    }
    span.in_scope(|| info!("the end"));
    stage.flushed();
    let log = lines(&workflow);
    assert_eq!((log.len(), log[3].as_str()), (4, "the end"));
    assert!(log[..3].iter().all(|line| line.ends_with(" bytes more)")));
    assert!(workflow.texts().len() <= 4);
}

#[test]
fn a_long_line_continues_in_the_next_entry_with_a_larger_limit() {
    let stage = Stage::with(Portal::builder(), |builder| builder.line_bytes(1 << 20));
    let (workflow, _, event_token) = stage.activity();
    let long: String = (0..30_000).map(|n| format!("слово{n} ")).collect();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("{long}"));
    stage.flushed();
    let texts = workflow.texts();
    assert!(texts.len() > 5);
    assert!(texts.iter().all(|text| text.len() <= 60_000));
    let joined: String = texts
        .iter()
        .enumerate()
        .map(|(n, text)| {
            let text = if n == 0 { crate::stage::without_time(text) } else { text };
            text.trim_start_matches("• … ").trim_end_matches(" …")
        })
        .collect();
    let words = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(words(&joined), words(&long));
    assert_eq!(stage.bizproc.stats().to_string(), "accepted=1 acknowledged=1 lost=0");
}
