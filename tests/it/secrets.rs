//! Secrets stay secret: in everything that can be printed.

use std::error::Error;
use std::fmt::{Debug, Display};

use proptest::prelude::*;
use tracing_bizproc::{Completion, EventToken, Webhook};
use tracing_subscriber::Registry;

/// What a value shows, with all the errors behind it.
fn shown(value: &(impl Debug + Display)) -> String {
    format!("{value} {value:?} {value:#?}")
}

fn chain(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(" {error} {error:?}");
        source = error.source();
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_public_type_shows_a_webhooks_code(code in "[a-z0-9]{12,24}", user in 1_u32..999) {
        let url = format!("https://portal.example/rest/{user}/{code}/");
        let webhook = Webhook::new(&url).unwrap();
        prop_assert!(!shown(&webhook).contains(&code));
        let builder = tracing_bizproc::builder(webhook);
        let shown = format!("{builder:?} {builder:#?}");
        prop_assert!(!shown.contains(&code));
    }

    #[test]
    fn no_error_repeats_the_url_that_it_is_about(code in "[a-z0-9]{12,24}") {
        for url in [
            format!("http://portal.example/rest/1/{code}/"),
            format!("https://portal.example/rest/x/{code}/"),
            format!("https://portal.example/rest/1/{code}/method/"),
            format!("https://portal.example/{code}"),
            format!("https://portal.example:99999/rest/1/{code}/"),
            format!("ftp://{code}@portal.example/rest/1/{code}/"),
            format!("{code} {code}"),
        ] {
            let error = Webhook::new(&url).unwrap_err();
            prop_assert!(!chain(&error).contains(&code), "{}", chain(&error));
        }
    }

    #[test]
    fn no_public_type_shows_an_event_token(secret in "[a-f0-9]{64}", bad in "[\0-\x1f]") {
        let text = format!("55c1dc1c3f0d75.78875596|A51601|x.{secret}");
        let event_token = EventToken::parse(&text).unwrap();
        prop_assert!(!shown(&event_token).contains(&secret[..8]));
        prop_assert!(!shown(&event_token.tag().to_string()).contains(&secret[..8]));
        let error = EventToken::parse(&format!("{text}{bad}")).unwrap_err();
        prop_assert!(!chain(&error).contains(&secret[..8]));
    }
}

#[test]
fn the_live_types_show_counters_and_nothing_else() {
    let code = "s3cr3tc0des3cr3t";
    let webhook = Webhook::new(format!("http://127.0.0.1:9/rest/1/{code}/")).unwrap();
    let (layer, guard) = tracing_bizproc::builder(webhook).build::<Registry>().unwrap();
    let completion = Completion::new().value("status", code).message(code);
    let shown = format!("{layer:?} {guard:?} {:?} {completion:?}", guard.handle());
    assert!(!shown.contains(code), "{shown}");
}
