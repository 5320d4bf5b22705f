use super::*;

fn parse(file: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::parse(file.parse().unwrap(), variables.collect())
}

const DATABASE: (&str, &str) = ("BIZPROC_DATABASE_URL", "host=/run/postgresql user=a");

#[test]
fn nothing_but_the_database_is_needed() {
    let settings = parse("", &[DATABASE, ("BIZPROC_RELAY_LISTEN", " ")]).unwrap();
    assert_eq!(settings.listen, Some(LISTEN));
    assert!(settings.access.is_none() && settings.json);
    assert_eq!(settings.stop_timeout, Duration::from_secs(25));
}

#[test]
fn a_file_has_all_settings_and_variables_override_it() {
    let file = r#"
        listen = "0.0.0.0:80"
        max_age = "2d"
        stop_timeout = "10s"
        log = "debug"
        log_format = "text"
        [database]
        url = "host=/run/postgresql user=a"
        schema = "app"
        [webhooks]
        north = "https://north.example/rest/1/s3cret/"
        [delivery]
        linger = "500ms"
        quota = "enterprise"
        pending_lines = 1000
    "#;
    let settings = parse(
        file,
        &[
            ("BIZPROC_RELAY_LISTEN", "off"),
            ("BIZPROC_LINGER", "700ms"),
            ("BITRIX24_WEBHOOK_URL", "https://b24.example/rest/1/s3cret/"),
            // A setting of another program.
            ("BIZPROC_REQUIRE_POSTGRES", "1"),
        ],
    )
    .unwrap();
    assert_eq!((settings.listen, settings.json, settings.log), (None, false, LevelFilter::DEBUG));
    assert_eq!(settings.max_age, Duration::from_secs(2 * 86_400));
    let options: Vec<_> = settings.delivery.options().collect();
    assert!(options.contains(&("linger", "700ms".to_owned())), "{options:?}");
    assert!(options.iter().any(|(name, _)| *name == "quota"), "{options:?}");
    let Some(Access::Webhooks { default, portals }) = &settings.access else { panic!() };
    assert!(default.is_some() && portals.len() == 1);
    assert!(!format!("{settings:?}").contains("s3cret"));
}

/// A file, variables, and a part of the error's text.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn errors_name_the_setting_and_its_value_unless_it_is_a_secret() {
    let cases: &[Case] = &[
        ("", &[], "BIZPROC_DATABASE_URL"),
        ("", &[("BIZPROC_DATABASE_URL", "host=db password='s3cret")], "BIZPROC_DATABASE_URL: "),
        ("[database]\nurl = 7", &[], "database.url: expected a text"),
        ("", &[DATABASE, ("BIZPROC_DATABASE_SCHEMA", "No")], "BIZPROC_DATABASE_SCHEMA is \"No\""),
        ("listen = \"9464\"", &[DATABASE], "listen is \"9464\": expected an address"),
        ("", &[DATABASE, ("BIZPROC_RELAY_MAX_AGE", "1y")], "BIZPROC_RELAY_MAX_AGE is \"1y\""),
        ("stop_timeout = \"1s\"", &[DATABASE], "stop_timeout is below 5s"),
        ("max_age = \"0s\"", &[DATABASE], "max_age is zero"),
        ("log = \"loud\"", &[DATABASE], "log is \"loud\""),
        ("log_format = \"xml\"", &[DATABASE], "log_format is \"xml\""),
        ("lisen = \"off\"", &[DATABASE], "no setting `lisen`"),
        ("[database]\nuser = \"a\"", &[DATABASE], "no setting `database.user`"),
        ("", &[DATABASE, ("BIZPROC_RELAY_LISTN", "off")], "BIZPROC_RELAY_LISTN"),
        ("webhook = \"http://s3cret.example/rest/1/s3cret/\"", &[DATABASE], "webhook: "),
        ("[webhooks]\nnorth = \"s3cret\"", &[DATABASE], "webhooks.north: "),
        ("[oauth]\nclient_id = \"app\"", &[DATABASE], "BITRIX24_CLIENT_SECRET"),
        ("[oauth]\nclient_secret = \"s3cret\"", &[DATABASE], "client id is not set"),
        ("[oauth]\nserver = \"https://a.example\"", &[DATABASE], "oauth.server has no effect"),
        (
            "[oauth]\nclient_id = \"a\"\nclient_secret = \"s3cret\"\n[webhooks]\na = \"https://a.b/rest/1/s3cret/\"",
            &[DATABASE],
            "exclude each other",
        ),
        ("[delivery]\nlevel = \"debug\"", &[DATABASE], "level has no effect in a relay"),
        ("[delivery]\nmax_age = \"1h\"", &[DATABASE], "relay's own max_age"),
        ("[delivery]\nlinger = \"soon\"", &[DATABASE], "linger is \"soon\""),
        ("[delivery.spool]\ndir = \"/tmp\"", &[DATABASE], "spool.dir"),
        ("", &[DATABASE, ("BIZPROC_SPOOL_DIR", "/tmp")], "spool.dir"),
        ("", &[DATABASE, ("BIZPROC_DATABASE_PASSWORD_FILE", "/nowhere/x")], "/nowhere/x"),
    ];
    for (file, variables, hint) in cases {
        let why = parse(file, variables).unwrap_err();
        assert!(why.contains(hint), "{file} {variables:?}: {why}");
        assert!(!why.contains("s3cret"), "{file}: {why}");
    }
}

#[test]
fn times_have_a_unit() {
    let secs = |secs| Ok(Duration::from_secs(secs));
    assert_eq!(duration("90s"), secs(90));
    assert_eq!(duration("5 min"), secs(300));
    assert_eq!(duration("1h"), secs(3_600));
    assert_eq!(duration("7d"), secs(7 * 86_400));
    assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    for text in ["", "5", "s", "-1s", "1.5s", "5m", "1y", "99999999999999999999d", "400d"] {
        assert!(duration(text).is_err(), "{text}");
    }
}
