//! Options from outside of the code, and an app without a portal.

use std::time::Duration;

use bizproc_portal::Portal;
use tracing::{error, info, info_span, warn};
use tracing_bizproc::auth::{MemoryStore, OAuth, Webhook};
use tracing_bizproc::config::Config;
use tracing_bizproc::error::{CallError, OAuthError};
use tracing_bizproc::{BizprocLayer, Completion, EventToken};
use tracing_subscriber::Registry;
use tracing_subscriber::prelude::*;

use crate::app::{AppStage, wait};
use crate::stage::{PATIENCE, Stage, in_child, is_child, lines};

#[test]
fn options_from_a_config_are_in_effect() {
    let mut config = Config::new();
    for (name, value) in [
        ("level", "warn"),
        ("wording", "ru"),
        ("line_time", "none"),
        ("line_prefix", "Магазин: "),
        ("format", "message-only"),
        ("linger", "20ms"),
        ("self_hosted", "true"),
    ] {
        config.set(name, value).unwrap();
    }
    let stage = Stage::with(Portal::builder(), |builder| builder.config(&config));
    let (workflow, _, event_token) = stage.activity();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| {
        info!("below the level");
        warn!(sku = "LAMP-7", "Заканчивается лампа");
    });
    stage.flushed();
    assert_eq!(lines(&workflow), ["• Магазин: ВНИМАНИЕ: Заканчивается лампа"]);
}

#[test]
fn build_refuses_options_out_of_bounds() {
    let mut config = Config::new();
    config.set("entry_bytes", "5").unwrap();
    let webhook = Webhook::new("https://b24.example/rest/1/secret/").unwrap();
    let built = tracing_bizproc::builder(webhook).config(&config).build::<Registry>();
    assert!(built.err().unwrap().to_string().contains("entry_bytes"));
}

#[test]
fn options_and_credentials_are_read_from_the_environment() {
    if !is_child() {
        return in_child(
            "config::options_and_credentials_are_read_from_the_environment",
            &[
                ("BIZPROC_SHUTDOWN_TIMEOUT", "2s"),
                ("BIZPROC_DISABLED", "true"),
                ("BITRIX24_CLIENT_ID", "local.5e4a77"),
                ("BITRIX24_CLIENT_SECRET", "s3cr3t"),
                ("BITRIX24_OAUTH_URL", "http://oauth.example/"),
            ],
        );
    }
    let config = Config::from_env().unwrap();
    let given: Vec<_> = config.options().map(|(name, text)| format!("{name}={text}")).collect();
    assert_eq!(given, ["disabled=true", "shutdown_timeout=2s"]);
    let refused = OAuth::from_env(MemoryStore::new()).unwrap_err();
    assert_eq!(refused, OAuthError::Insecure);
}

#[test]
fn oauth_from_an_empty_environment_names_what_is_missing() {
    if !is_child() {
        return in_child(
            "config::oauth_from_an_empty_environment_names_what_is_missing",
            &[("BITRIX24_CLIENT_ID", "local.5e4a77"), ("BITRIX24_CLIENT_SECRET", " ")],
        );
    }
    let error = OAuth::from_env(MemoryStore::new()).unwrap_err();
    let named = matches!(error, OAuthError::NotSet { variable: "BITRIX24_CLIENT_SECRET", .. });
    assert!(named);
    assert!(error.to_string().contains("BITRIX24_CLIENT_SECRET"), "{error}");
}

#[test]
fn a_disabled_layer_accepts_nothing_and_everything_works() {
    let (layer, guard) = tracing_bizproc::disabled().build().unwrap();
    let layer: BizprocLayer<Registry> = layer;
    let bizproc = guard.handle();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    let event_token = EventToken::parse("5e.1|A|1.ff").unwrap();
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| error!("said"));
    assert!(bizproc.flush_blocking(PATIENCE).unwrap().is_complete());
    let ended = wait(bizproc.complete(&event_token, Completion::new().value("status", "paid")));
    assert!(ended.unwrap().is_complete());
    assert_eq!(bizproc.stats().to_string(), "accepted=0 acknowledged=0 lost=0");
    // The result of a call of the app is not known.
    let called = wait(bizproc.call(None, "crm.deal.list", ""));
    assert!(matches!(called, Err(CallError::UnknownPortal { .. })), "{called:?}");
    assert!(guard.shutdown_blocking(Duration::from_secs(5)).is_complete());
}

#[test]
fn an_activity_can_be_completed_if_the_layer_is_disabled() {
    let stage = AppStage::new(1);
    let (workflow, activity, verified) = stage.open(0);
    let (layer, guard) = tracing_bizproc::disabled().build().unwrap();
    let _subscriber = tracing_subscriber::registry().with(layer).set_default();
    let handled = guard.handle().activity(verified).first().expect("it is the first");
    handled.span().in_scope(|| info!("said"));
    assert!(wait(handled.complete(Completion::new())).is_ok());
    assert!(workflow.texts().is_empty() && activity.is_open(), "the portal heard of nothing");
}
