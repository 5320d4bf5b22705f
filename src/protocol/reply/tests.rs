use proptest::prelude::*;
use serde_json::json;

use super::*;

fn http(status: u16, body: impl ToString) -> Reply {
    Reply::Http { status, body: body.to_string().into_bytes() }
}

fn code(code: &str) -> Code {
    Code(code.to_owned())
}

fn single(status: u16, body: impl ToString) -> Verdict {
    read(&http(status, body), Sent::Single)
}

fn batch(status: u16, body: impl ToString) -> Verdict {
    read(&http(status, body), Sent::Batch(1))
}

fn ran(outcome: Outcome) -> Verdict {
    Verdict::Ran { outcomes: vec![outcome], time: ServerTime::default() }
}

/// The expected result of a code in a direct call, for a whole batch, and in a batch.
enum Expected {
    /// The same refusal everywhere.
    Everywhere(fn(Code) -> Refusal),
    /// A refusal of the command; on top of a batch, of the batch.
    Command(fn(Code) -> Refusal),
    /// On top: it may have been executed. In a batch: refused.
    Stumble,
}
use Expected::{Command, Everywhere, Stumble};

/// Every row of the portal's error codes, with each status that documentation or servers give.
#[test]
fn every_code_is_classified_independently_of_the_status() {
    let rows: &[(&str, &[u16], Expected)] = &[
        ("QUERY_LIMIT_EXCEEDED", &[503], Everywhere(|_| Refusal::RateLimit)),
        ("OPERATION_TIME_LIMIT", &[429], Everywhere(|_| Refusal::OperatingLimit)),
        ("OVERLOAD_LIMIT", &[503, 401], Everywhere(Refusal::Credential)),
        ("expired_token", &[401], Everywhere(Refusal::Grant)),
        ("invalid_token", &[401], Everywhere(Refusal::Grant)),
        ("NO_AUTH_FOUND", &[401], Everywhere(Refusal::Credential)),
        ("INVALID_CREDENTIALS", &[403, 401], Everywhere(Refusal::Credential)),
        ("insufficient_scope", &[403, 401], Everywhere(Refusal::Credential)),
        ("user_access_error", &[403, 401], Everywhere(Refusal::Credential)),
        ("INVALID_REQUEST", &[400, 401], Everywhere(Refusal::Credential)),
        ("authorization_error", &[401], Everywhere(Refusal::Credential)),
        ("APPLICATION_NOT_FOUND", &[401], Everywhere(Refusal::Credential)),
        ("PAYMENT_REQUIRED", &[401], Everywhere(Refusal::Credential)),
        ("METHOD_CONFIRM_WAITING", &[401], Everywhere(Refusal::Credential)),
        ("WRONG_AUTH_TYPE", &[403], Everywhere(Refusal::Credential)),
        ("METHOD_CONFIRM_DENIED", &[403], Everywhere(Refusal::Credential)),
        ("CONNECTION_ERROR", &[401], Everywhere(Refusal::Server)),
        ("PORTAL_DELETED", &[500, 403, 410], Everywhere(Refusal::Portal)),
        ("ERROR_METHOD_NOT_FOUND", &[404], Everywhere(Refusal::Portal)),
        ("INTERNAL_SERVER_ERROR", &[500], Stumble),
        ("ERROR_UNEXPECTED_ANSWER", &[500], Stumble),
        ("ERROR_CORE", &[400, 500], Command(Refusal::Command)),
        ("ERROR_ARGUMENT", &[400], Command(Refusal::Command)),
        ("ERROR_BATCH_METHOD_NOT_ALLOWED", &[405], Command(Refusal::Command)),
        ("ERROR_EMPTY_LOG_MESSAGE", &[400], Command(Refusal::Command)),
        ("404", &[400], Command(Refusal::WorkflowGone)),
        ("423", &[400], Command(Refusal::Locked)),
        ("499", &[400], Command(Refusal::Command)),
        ("0", &[400], Command(Refusal::Command)),
        ("", &[400], Command(Refusal::Command)),
        ("SOMETHING_NEW", &[400, 404], Command(Refusal::Command)),
        ("WRONG_ENCODING", &[], Command(Refusal::Command)),
    ];
    for (name, statuses, expected) in rows {
        // 200 as well: some error bodies come with it (server behaviour).
        for &status in statuses.iter().chain(&[200]) {
            let mut spellings = vec![json!(name), json!(name.to_lowercase())];
            spellings.push(json!(name.to_uppercase()));
            spellings.extend(name.parse().map(|number: u32| json!(number)));
            for error in spellings {
                let stated = Code::of(&error);
                let top = json!({"error": error, "error_description": "Localised text"});
                let (alone, whole, inside) = match expected {
                    Everywhere(refusal) => (
                        Verdict::Refused(refusal(stated.clone())),
                        Verdict::Refused(refusal(stated.clone())),
                        refusal(stated),
                    ),
                    Command(refusal) => (
                        ran(Outcome::Refused(refusal(stated.clone()))),
                        Verdict::Refused(refusal(stated.clone())),
                        refusal(stated),
                    ),
                    Stumble => {
                        let trouble = Cause(format!("HTTP {status}, {stated}"));
                        (
                            Verdict::Unknown(trouble.clone()),
                            Verdict::Unknown(trouble),
                            Refusal::Server(stated),
                        )
                    }
                };
                assert_eq!(single(status, &top), alone, "alone, {status}, {top}");
                assert_eq!(batch(status, &top), whole, "batch, {status}, {top}");
                let sections = json!({"result": {
                    "result": [], "result_error": {"c0": top}, "result_time": [],
                }});
                let inside = ran(Outcome::Refused(inside));
                assert_eq!(batch(200, &sections), inside, "inside, {top}");
            }
        }
    }
}

#[test]
fn access_denied_means_the_plan_or_the_event_token() {
    let token = json!({"error": "ACCESS_DENIED", "error_description": "Access denied!"});
    let plan = json!({
        "error": "ACCESS_DENIED",
        "error_description": "REST is available only on commercial plans",
    });
    let inside = |error| json!({"result": {"result": [], "result_error": {"c0": error}}});
    let denied = Refusal::TokenDenied(code("ACCESS_DENIED"));
    let blocked = Refusal::Credential(code("ACCESS_DENIED"));
    for status in [403, 200] {
        assert_eq!(single(status, &token), ran(Outcome::Refused(denied.clone())));
    }
    assert_eq!(batch(200, inside(&token)), ran(Outcome::Refused(denied)));
    assert_eq!(batch(200, inside(&plan)), ran(Outcome::Refused(blocked.clone())));
    for status in [401, 403] {
        assert_eq!(single(status, &plan), Verdict::Refused(blocked.clone()));
        assert_eq!(batch(status, &plan), Verdict::Refused(blocked.clone()));
        assert_eq!(batch(status, &token), Verdict::Refused(blocked.clone()));
    }
    assert_eq!(single(401, &token), Verdict::Refused(blocked));
}

#[test]
fn other_answers_are_refusals_only_if_the_status_proves_it() {
    let page = "<html><body>Bad</body></html>";
    let cut = r#"{"result":{"result":{"c0":tr"#;
    for body in [page, "", cut, "true", "[]", "{}", "null", "\u{feff}"] {
        for status in [200, 201, 204, 206, 304, 500, 502, 503, 504, 524, 0, 999] {
            for sent in [Sent::Single, Sent::Batch(3)] {
                let verdict = read(&http(status, body), sent);
                assert!(matches!(verdict, Verdict::Unknown(_)), "{status} {body}: {verdict:?}");
            }
        }
        for (status, refusal) in [
            (302, Refusal::Moved(None)),
            (400, Refusal::Command(code("HTTP 400"))),
            (401, Refusal::Credential(code("HTTP 401"))),
            (403, Refusal::Credential(code("HTTP 403"))),
            (404, Refusal::Portal(code("HTTP 404"))),
            (408, Refusal::Server(code("HTTP 408"))),
            (413, Refusal::TooLarge),
            (429, Refusal::RateLimit),
        ] {
            assert_eq!(batch(status, body), Verdict::Refused(refusal), "{status} {body}");
        }
    }
}

#[test]
fn unknown_codes_are_classified_by_the_status() {
    let answer = json!({"error": "BRAND_NEW"});
    for status in [401, 403] {
        let blocked = Verdict::Refused(Refusal::Credential(code("BRAND_NEW")));
        assert_eq!(single(status, &answer), blocked);
    }
    assert_eq!(batch(413, &answer), Verdict::Refused(Refusal::TooLarge));
    assert_eq!(batch(429, &answer), Verdict::Refused(Refusal::RateLimit));
    assert!(matches!(batch(503, &answer), Verdict::Unknown(_)));
    let nested = json!({"error": {"code": "EXPIRED_TOKEN", "message": "late"}});
    assert_eq!(single(401, nested), Verdict::Refused(Refusal::Grant(code("EXPIRED_TOKEN"))));
}

#[test]
fn a_batch_is_read_key_by_key() {
    let answer = json!({
        "result": {
            "result": {"c0": true, "c3": true, "c5": null},
            "result_error": {
                "c1": {"error": "ACCESS_DENIED", "error_description": "Access denied!"},
                "c2": {"error": 404, "error_description": "gone"},
                "c6": {"error": "insufficient_scope", "error_description": ""},
                "c7": {"error": "ERROR_BATCH_LENGTH_EXCEEDED"},
            },
            "result_total": [], "result_next": [],
            "result_time": {"c0": {"duration": 0.03, "operating": 1.5,
                "operating_reset_at": 1_700_000_600, "finish": 1_700_000_000.5}},
        },
        "time": {"duration": 0.2, "finish": "1700000001.25"},
    });
    let first = ServerTime {
        duration: Some(0.03),
        operating: Some(1.5),
        operating_reset_at: Some(1_700_000_600),
        finish: Some(1_700_000_000.5),
    };
    let outcomes = vec![
        Outcome::Done(first),
        Outcome::Refused(Refusal::TokenDenied(code("ACCESS_DENIED"))),
        Outcome::Refused(Refusal::WorkflowGone(code("404"))),
        Outcome::Done(ServerTime::default()),
        Outcome::NotExecuted,
        Outcome::Refused(Refusal::Server(code("null"))),
        Outcome::Refused(Refusal::Credential(code("insufficient_scope"))),
        Outcome::NotExecuted,
    ];
    let time =
        ServerTime { duration: Some(0.2), finish: Some(1_700_000_001.25), ..ServerTime::default() };
    let verdict = read(&http(200, answer), Sent::Batch(8));
    assert_eq!(verdict, Verdict::Ran { outcomes, time });
}

#[test]
fn sections_come_as_objects_lists_or_not_at_all() {
    let done = || Outcome::Done(ServerTime::default());
    for (result, expected) in [
        (json!({"result": {"c0": true}, "result_error": []}), Some(done())),
        (json!({"result": [true], "result_error": []}), Some(done())),
        (json!({"result": {"c0": true}}), Some(done())),
        (json!({"result": [], "result_error": []}), Some(Outcome::NotExecuted)),
        (json!({"result": []}), Some(Outcome::NotExecuted)),
        (json!({"result_error": {}}), Some(Outcome::NotExecuted)),
        (json!({"result": 7, "result_error": "x"}), Some(Outcome::NotExecuted)),
        (json!({}), None),
        (json!([]), None),
        (json!(true), None),
        (json!(null), None),
    ] {
        let verdict = batch(200, json!({"result": result}));
        match expected {
            Some(outcome) => assert_eq!(verdict, ran(outcome), "{result}"),
            None => assert!(matches!(verdict, Verdict::Unknown(_)), "{result}: {verdict:?}"),
        }
    }
}

#[test]
fn a_call_is_done_only_when_the_portal_says_so() {
    assert_eq!(single(200, r#"{"result":true}"#), ran(Outcome::Done(ServerTime::default())));
    assert_eq!(single(200, "\u{feff}{\"result\":true}"), ran(Outcome::Done(ServerTime::default())));
    let both = r#"{"result":true,"error":"","error_description":""}"#;
    assert_eq!(single(200, both), ran(Outcome::Done(ServerTime::default())));
    let no = ran(Outcome::Refused(Refusal::Command(code("false"))));
    assert_eq!(single(200, r#"{"result":false}"#), no);
    for (status, body) in
        [(200, r#"{"result":null}"#), (200, r#"{"time":{}}"#), (500, r#"{"result":true}"#)]
    {
        assert!(matches!(single(status, body), Verdict::Unknown(_)), "{status} {body}");
    }
}

#[test]
fn invalid_time_fields_are_ignored() {
    let time = json!({"duration": -1, "operating": "NaN", "operating_reset_at": 1e300,
        "finish": {"a": 1}});
    let answer = json!({"result": true, "time": time});
    assert_eq!(single(200, answer), ran(Outcome::Done(ServerTime::default())));
}

#[test]
fn a_code_never_contains_a_description() {
    for error in ["see https://portal/rest/1/s3cret/", "a b", &"x".repeat(65), "ключ"] {
        let Verdict::Ran { outcomes, .. } = single(400, json!({"error": error})) else {
            panic!("not an outcome: {error}");
        };
        assert_eq!(outcomes, [Outcome::Refused(Refusal::Command(code("unreadable")))]);
    }
}

#[test]
fn failures_below_http_differ_for_sent_and_unsent_requests() {
    let trouble = Cause("refused".to_owned());
    assert_eq!(
        read(&Reply::NotSent(trouble.clone()), Sent::Single),
        Verdict::Refused(Refusal::Unreachable(trouble.clone()))
    );
    assert_eq!(
        read(&Reply::Unanswered(trouble.clone()), Sent::Batch(2)),
        Verdict::Unknown(trouble)
    );
    let host = Some("new.example".to_owned());
    assert_eq!(
        read(&Reply::Moved { host: host.clone() }, Sent::Batch(2)),
        Verdict::Refused(Refusal::Moved(host))
    );
}

/// JSON in the shape of an answer, with anything in its places.
fn answers() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!(false)),
        Just(json!(null)),
        Just(json!([])),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        prop::sample::select(vec!["", "0", "404", "ACCESS_DENIED", "expired_token", "x y"])
            .prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let key = prop::sample::select(vec![
            "result",
            "result_error",
            "result_time",
            "error",
            "error_description",
            "time",
            "c0",
            "c1",
            "c2",
            "code",
            "duration",
            "operating_reset_at",
        ]);
        prop_oneof![
            3 => prop::collection::hash_map(key, inner.clone(), 0..6).prop_map(|m| json!(m)),
            1 => prop::collection::vec(inner, 0..4).prop_map(|v| json!(v)),
        ]
    })
    .prop_map(|value| value.to_string())
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![Just(Sent::Single), (0usize..60).prop_map(Sent::Batch)]
}

fn counts(sent: Sent, verdict: &Verdict) -> bool {
    match (verdict, sent) {
        (Verdict::Ran { outcomes, .. }, Sent::Single) => outcomes.len() == 1,
        (Verdict::Ran { outcomes, .. }, Sent::Batch(commands)) => outcomes.len() == commands,
        _ => true,
    }
}

proptest! {
    #[test]
    fn any_bytes_have_a_verdict(
        status: u16, body in prop::collection::vec(any::<u8>(), 0..200), sent in sent(),
    ) {
        let verdict = read(&Reply::Http { status, body }, sent);
        prop_assert!(counts(sent, &verdict), "{verdict:?}");
    }

    #[test]
    fn any_answer_has_an_outcome_for_each_command(
        status in prop_oneof![Just(200), 100u16..600], body in answers(), sent in sent(),
    ) {
        let verdict = read(&http(status, body), sent);
        prop_assert!(counts(sent, &verdict), "{verdict:?}");
    }
}
