//! The request that renews an OAuth pair, and its answer.

use serde_json::Value;

use super::command::push_encoded;
use super::reply::{Code, Failure};
use super::{Cause, Reply};

/// The form of a refresh request. It is posted: an address would be written to logs on the way.
pub(crate) fn refresh_form(client_id: &str, client_secret: &str, refresh_token: &str) -> Vec<u8> {
    let mut form = b"grant_type=refresh_token".to_vec();
    for (name, value) in [
        ("client_id", client_id),
        ("client_secret", client_secret),
        ("refresh_token", refresh_token),
    ] {
        form.push(b'&');
        form.extend_from_slice(name.as_bytes());
        form.push(b'=');
        push_encoded(&mut form, value);
    }
    form
}

/// What the authorization server answered. It contains secrets, so it cannot be printed.
pub(crate) enum Answer {
    /// A new pair. The old refresh token is not valid any more.
    Granted(Granted),
    /// It gives no new pair until a person fixes something.
    Denied(Code),
    /// It could not answer. Ask again later, with the same refresh token.
    Later(Cause),
}

/// A new pair.
pub(crate) struct Granted {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    /// Unix seconds; 0: not known.
    pub(crate) expires: u64,
    /// Where the portal is now.
    pub(crate) client_endpoint: Option<String>,
    /// The portal to which the pair belongs.
    pub(crate) member_id: Option<String>,
    /// The portal's authorization server.
    pub(crate) server_endpoint: Option<String>,
}

/// Reads the answer to a refresh request.
pub(crate) fn read(reply: &Reply) -> Answer {
    let later = |what: String| Answer::Later(Cause(what));
    let (status, body) = match reply {
        Reply::Http { status, body } => (*status, body),
        // The secret is sent only to the configured host.
        Reply::Moved { host } => {
            let host = host.as_deref().unwrap_or("another host");
            return later(format!(
                "the authorization server redirects to {host}, and the client secret is not sent there: \
                 see `OAuth::authorization_server`"
            ));
        }
        Reply::Redirected(code) => return later(format!("the authorization server: {code}")),
        Reply::NotSent(trouble) | Reply::UnknownPortal(trouble) | Reply::Unanswered(trouble) => {
            return Answer::Later(trouble.clone());
        }
    };
    let Ok(Value::Object(answer)) = serde_json::from_slice(body) else {
        return later(format!("the authorization server answers HTTP {status} without JSON"));
    };
    if let Some(Failure { code, .. }) = Failure::of(&answer) {
        // Also with status 200 (server behaviour).
        let passing = matches!(
            code.0.to_ascii_uppercase().as_str(),
            "QUERY_LIMIT_EXCEEDED" | "INTERNAL_SERVER_ERROR" | "ERROR_UNEXPECTED_ANSWER"
        );
        return if passing || status == 429 || status >= 500 {
            later(format!("the authorization server answers HTTP {status}, {code}"))
        } else {
            Answer::Denied(code)
        };
    }
    let text = |name| answer.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match (text("access_token"), text("refresh_token")) {
        (Some(access_token), Some(refresh_token)) if (200..300).contains(&status) => {
            let expires = answer.get("expires");
            let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
            Answer::Granted(Granted {
                access_token,
                refresh_token,
                expires: expires.and_then(number).unwrap_or(0),
                // `domain` is the authorization server's own here, and no portal's.
                client_endpoint: text("client_endpoint"),
                member_id: text("member_id"),
                server_endpoint: text("server_endpoint"),
            })
        }
        _ => later(format!("the authorization server answers HTTP {status} without tokens")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: impl ToString) -> Answer {
        read(&Reply::Http { status, body: body.to_string().into_bytes() })
    }

    #[test]
    fn the_form_is_encoded_once() {
        let form = refresh_form("app.1", "a&b=c", "r+% ж");
        let read: Vec<_> = form_urlencoded::parse(&form).into_owned().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read,
            [
                pair("grant_type", "refresh_token"),
                pair("client_id", "app.1"),
                pair("client_secret", "a&b=c"),
                pair("refresh_token", "r+% ж"),
            ]
        );
    }

    #[test]
    fn a_new_pair_is_read() {
        let body = json!({
            "access_token": "a", "refresh_token": "r", "expires": 1_700_003_600, "expires_in": 3600,
            "client_endpoint": "https://a.example/rest/", "domain": "oauth.bitrix.info",
            "member_id": "m", "scope": "bizproc", "status": "L", "user_id": 1,
        });
        let Answer::Granted(granted) = answer(200, body) else { panic!("no pair") };
        assert_eq!(granted.access_token, "a");
        assert_eq!(granted.refresh_token, "r");
        assert_eq!(granted.expires, 1_700_003_600);
        assert_eq!(granted.client_endpoint.as_deref(), Some("https://a.example/rest/"));
        assert_eq!(granted.member_id.as_deref(), Some("m"));
        assert_eq!(granted.server_endpoint, None);
    }

    #[test]
    fn permanent_and_temporary_errors_differ() {
        for code in [
            "invalid_request",
            "invalid_client",
            "invalid_grant",
            "insufficient_scope",
            "invalid_scope",
            "PAYMENT_REQUIRED",
            "WRONG_CLIENT",
            "NOT_INSTALLED",
            "something_new",
        ] {
            for status in [200, 400, 401, 403] {
                let Answer::Denied(read) = answer(status, json!({"error": code})) else {
                    panic!("{status} {code}")
                };
                assert_eq!(read.0, code);
            }
        }
        for (status, body) in [
            (500, json!({"error": "invalid_grant"}).to_string()),
            (503, json!({"error": "QUERY_LIMIT_EXCEEDED"}).to_string()),
            (400, json!({"error": "QUERY_LIMIT_EXCEEDED"}).to_string()),
            (200, json!({"error": "INTERNAL_SERVER_ERROR"}).to_string()),
            (502, "<html>".to_owned()),
            (200, "<html>".to_owned()),
            (403, "<html>".to_owned()),
            (200, String::new()),
            (200, json!({"access_token": "a"}).to_string()),
            (200, json!({"access_token": "a", "refresh_token": ""}).to_string()),
            (500, json!({"access_token": "a", "refresh_token": "r"}).to_string()),
        ] {
            assert!(matches!(answer(status, &body), Answer::Later(_)), "{status} {body}");
        }
        let trouble = || Cause("x".to_owned());
        for reply in
            [Reply::Moved { host: None }, Reply::NotSent(trouble()), Reply::Unanswered(trouble())]
        {
            assert!(matches!(read(&reply), Answer::Later(_)), "{reply:?}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_and_a_pair_is_never_empty(
            status in 100..600_u16,
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..6),
        ) {
            let body = format!("{{{}}}", pieces.join(",")).into_bytes();
            if let Answer::Granted(granted) = read(&Reply::Http { status, body }) {
                prop_assert!((200..300).contains(&status));
                prop_assert!(!granted.access_token.is_empty() && !granted.refresh_token.is_empty());
            }
        }

        #[test]
        fn any_bytes_are_no_pair(status: u16, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let is_pair = matches!(read(&Reply::Http { status, body }), Answer::Granted(_));
            prop_assert!(!is_pair);
        }
    }

    /// Parts of answers, right and wrong.
    const PIECES: [&str; 10] = [
        r#""access_token":"a""#,
        r#""access_token":"""#,
        r#""access_token":7"#,
        r#""refresh_token":"r""#,
        r#""refresh_token":null"#,
        r#""expires":"1700003600""#,
        r#""expires":-1"#,
        r#""error":"invalid_grant""#,
        r#""client_endpoint":[]"#,
        "}",
    ];
}
