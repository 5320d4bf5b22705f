use super::*;

/// For each option, a text that it accepts and shows again.
const SAMPLES: &[(&str, &[&str])] = &[
    ("disabled", &["true", "false"]),
    ("self_hosted", &["true"]),
    ("level", &["off", "error", "warn", "info", "debug", "trace"]),
    ("linger", &["500ms", "1s", "1h30min", "0s"]),
    ("max_hold", &["10min"]),
    ("retention", &["cloud", "self-hosted", "keep 50 base 1s500ms growth 1.3"]),
    ("send_at_once_from", &["error", "trace"]),
    ("entry_bytes", &["60000"]),
    ("line_bytes", &["59000"]),
    ("request_bytes", &["1000000"]),
    ("quota", &["standard", "enterprise", "unlimited", "1.5/s burst 25"]),
    ("operating_limit", &["7min"]),
    ("overflow", &["drop-newest", "drop-oldest", "block 100ms"]),
    ("queue_lines", &["8192"]),
    ("pending_lines", &["65536"]),
    ("pending_bytes", &["16777216"]),
    ("portal_share", &["0.5", "1"]),
    ("token_share", &["0.75"]),
    ("max_age", &["1h"]),
    ("on_unknown_outcome", &["repeat", "give-up"]),
    ("format", &["story", "message-only", "full", "json"]),
    ("wording", &["en", "ru"]),
    ("line_time", &["viewer", "utc", "none", "+03:00", "-03:30"]),
    ("line_prefix", &["[shop] "]),
    ("keep_supplementary_characters", &["true"]),
    ("shutdown_timeout", &["5s"]),
    ("fail_open_activities", &["The app was stopped, start again"]),
    ("connect_timeout", &["10s"]),
    ("request_timeout", &["1min15s"]),
    ("extra_roots_file", &["Cargo.toml"]),
    (
        "trust_certificate",
        &[
            "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08",
            "0000000000000000000000000000000000000000000000000000000000000001, \
             0000000000000000000000000000000000000000000000000000000000000002",
        ],
    ),
    ("fields.event_token", &["b24_token"]),
    ("fields.portal", &["tenant"]),
    ("fields.marker", &["customer"]),
    ("fields.private", &["password, card.*"]),
    ("fields.shorten", &["body=200, agent=20"]),
    ("fields.longest", &["4096"]),
    ("fields.longest_in_spans", &["512"]),
    ("fields.marked_from", &["debug"]),
    ("spool.dir", &["/var/lib/shop/bizproc"]),
    ("spool.fsync", &["true", "false"]),
    ("spool.bound", &["50ms"]),
    ("spool.max_bytes", &["1073741824"]),
    ("spool.max_age", &["3h"]),
];

#[test]
fn every_option_shows_the_text_that_it_accepts() {
    assert_eq!(SAMPLES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), NAMES);
    for (name, texts) in SAMPLES {
        for text in *texts {
            let mut config = Config::new();
            config.set(name, text).unwrap();
            assert_eq!(config.options().collect::<Vec<_>>(), [(*name, (*text).to_owned())]);
        }
    }
}

#[test]
fn numbers_may_have_units_and_underscores() {
    let mut config = Config::new();
    for (text, bytes) in [("16MiB", 16 << 20), ("1_000", 1_000), (" 2 kib ", 2_048)] {
        config.set("pending_bytes", text).unwrap();
        assert_eq!(config.pending_bytes, Some(bytes));
    }
}

#[test]
fn an_error_names_option_and_value_and_what_was_expected() {
    for (name, value, said) in [
        ("level", "loud", r#"level is "loud": expected off, error, warn, info, debug or trace"#),
        ("level", "", r#"level is "": expected off"#),
        ("level", "3", r#"level is "3": expected off"#),
        ("linger", "10", r#"linger is "10": expected a time such as 500ms"#),
        ("quota", "0/s burst 5", r#"quota is "0/s burst 5": expected standard, "#),
        ("retention", "keep 50", r#"retention is "keep 50": expected cloud, "#),
        ("overflow", "block", r#"overflow is "block": expected drop-newest, "#),
        ("entry_bytes", "-1", r#"entry_bytes is "-1": expected a number"#),
        ("pending_bytes", "99999999999GiB", "pending_bytes is "),
        ("line_time", "Moscow", r#"line_time is "Moscow": expected viewer, "#),
        ("fields.private", "a,,b", r#"fields.private is "a,,b": expected names"#),
        ("fields.shorten", "body", r#"fields.shorten is "body": expected names and bytes"#),
        ("extra_roots_file", "no/such.pem", "extra_roots_file names a file that could not be read"),
        (
            "trust_certificate",
            "9F:86",
            "trust_certificate is \"9F:86\": expected SHA-256 fingerprints",
        ),
        ("levle", "info", "unknown option levle; did you mean level?"),
        ("colour", "red", "unknown option colour"),
    ] {
        let error = Config::new().set(name, value).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn the_environment_gives_options_under_their_names_in_capitals() {
    let config = Config::from_variables([
        ("BIZPROC_LEVEL", "debug"),
        ("BIZPROC_FIELDS_PRIVATE", "password, pin"),
        ("BIZPROC_LINE_PREFIX", "[shop] "),
        ("BIZPROC_WORDING", ""),
        ("BIZPROC_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PATH", "/bin"),
    ]);
    let given: Vec<_> = config.unwrap().options().collect();
    assert_eq!(
        given,
        [
            ("level", "debug".to_owned()),
            ("line_prefix", "[shop] ".to_owned()),
            ("fields.private", "password, pin".to_owned())
        ]
    );
    let error = |name, value| Config::from_variables([(name, value)]).unwrap_err().to_string();
    assert_eq!(error("BIZPROC_WORDING", "de"), r#"BIZPROC_WORDING is "de": expected en or ru"#);
    assert_eq!(
        error("BIZPROC_LEVLE", "debug"),
        "unknown option BIZPROC_LEVLE; did you mean BIZPROC_LEVEL?"
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let value = OsStr::from_bytes(b"\xff");
    let error = Config::from_variables([(OsStr::new("BIZPROC_LEVEL"), value)]).unwrap_err();
    assert_eq!(error.to_string(), "BIZPROC_LEVEL is not UTF-8");
}

#[test]
fn every_option_is_in_the_documentation() {
    let documentation = include_str!("../config.rs");
    let table: String = documentation.lines().filter(|line| line.starts_with("//! | ")).collect();
    for name in NAMES {
        assert!(table.contains(&format!("`{name}`")), "{name}");
    }
}

#[cfg(feature = "serde")]
mod through_serde {
    use super::*;
    use crate::transport::auth::Webhook;

    #[test]
    fn a_written_config_is_read_again() {
        let mut config = Config::new();
        SAMPLES.iter().for_each(|(name, texts)| config.set(name, texts[0]).unwrap());
        let json = serde_json::to_string(&config).unwrap();
        assert!(json.contains(r#""fields":{"event_token":"b24_token""#), "{json}");
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }

    #[test]
    fn values_may_have_the_types_of_the_format() {
        let json = r#"{
            "level": "debug", "queue_lines": 100, "portal_share": 0.25, "self_hosted": true,
            "fields": { "private": ["password", "pin"], "shorten": { "body": 200 }, "longest": 10 }
        }"#;
        let config: Config = serde_json::from_str(json).unwrap();
        let given: Vec<_> = config.options().map(|(name, text)| format!("{name}={text}")).collect();
        assert_eq!(
            given,
            [
                "self_hosted=true",
                "level=debug",
                "queue_lines=100",
                "portal_share=0.25",
                "fields.private=password, pin",
                "fields.shorten=body=200",
                "fields.longest=10",
            ]
        );
    }

    /// Regression: a field with a dot in its name, which TOML reads as a group, was silently ignored.
    #[test]
    fn a_field_to_shorten_may_have_a_dot_in_its_name() {
        let json = r#"{"fields": {"shorten": {"http": {"request": {"body": 200}}, "url": 90}}}"#;
        let config: Config = serde_json::from_str(json).unwrap();
        let given: Vec<_> = config.options().collect();
        assert_eq!(given, [("fields.shorten", "http.request.body=200, url=90".to_owned())]);
    }

    #[test]
    fn invalid_options_are_refused_with_their_names() {
        for (json, said) in [
            (r#"{"levle": "info"}"#, "unknown option levle; did you mean level?"),
            (r#"{"fields": {"privat": []}}"#, "unknown option fields.privat"),
            (r#"{"level": {"root": "info"}}"#, "unknown option level.root"),
            (r#"{"linger": 5}"#, "linger is \"5\": expected a time"),
            (r#""info""#, "expected a table of options"),
            (r#"{"fields": {"private": [{}]}}"#, "expected a list of texts"),
        ] {
            let error = serde_json::from_str::<Config>(json).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_webhook_is_read_and_its_error_does_not_contain_it() {
        let webhook: Webhook =
            serde_json::from_str(r#""https://b24.example/rest/1/s3cr3t/""#).unwrap();
        assert_eq!(webhook.host(), "b24.example");
        let error = serde_json::from_str::<Webhook>(r#""http://b24.example/rest/1/s3cr3t/""#);
        assert!(!error.unwrap_err().to_string().contains("s3cr3t"));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_an_option_panic(
        name in proptest::sample::select(NAMES),
        text in "[-+0-9a-zµ .:/,=\\[\\]]{0,30}",
    ) {
        let mut config = Config::new();
        if config.set(name, &text).is_ok() {
            let (_, shown) = config.options().next().unwrap();
            let mut again = Config::new();
            again.set(name, &shown).unwrap();
            proptest::prop_assert_eq!(again, config);
        }
    }
}
