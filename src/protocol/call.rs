//! A REST call of the app: its request, and its answer.

use serde_json::{Map, Value};

use super::reply::{self, Refusal, Verdict};
use super::{Cause, Method, Reply};

/// Builds a call: the name of the method, and the parameters as a JSON object.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn request(method: &str, params: &str) -> Result<(Method, Vec<u8>), &'static str> {
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_');
    let dots = method.starts_with('.') || method.ends_with('.') || method.contains("..");
    if method.is_empty() || dots || method.len() > LONGEST_NAME || !method.bytes().all(in_name) {
        return Err("method must be a name such as crm.deal.list");
    }
    let text = params.trim();
    let params = match text {
        "" => Map::new(),
        params => match serde_json::from_str(params) {
            Ok(Value::Object(params)) => params,
            // PHP and many clients write an empty object as an empty array.
            Ok(Value::Array(params)) if params.is_empty() => Map::new(),
            _ => return Err("params must be a JSON object"),
        },
    };
    // A portal looks for the access token under several names. It would find these before ours.
    if RESERVED.iter().any(|name| params.contains_key(*name)) {
        return Err(
            "params must not have `auth` or `access_token`: the crate adds the access token",
        );
    }
    // As it was written: for PHP the order of keys has a meaning, for example in `order` and in the commands of a
    // batch, and a map of `serde_json` sorts them.
    let body = if params.is_empty() { "{}" } else { text };
    Ok((Method::Named(method.into()), body.as_bytes().to_vec()))
}

/// Names by which a portal reads an access token ("how to make a request", server behaviour).
const RESERVED: [&str; 2] = ["auth", "access_token"];
/// Real names have up to 50 characters.
const LONGEST_NAME: usize = 128;

/// The result of a call.
#[derive(Debug)]
pub(crate) enum Called {
    /// It has a result.
    Done(Answer),
    /// It was refused. Only the caller gets the portal's description.
    Refused(Refusal, String),
    /// It is not known whether it was executed.
    Unknown(Cause),
}

/// A result.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) result: Value,
    pub(crate) next: Option<u64>,
    pub(crate) total: Option<u64>,
}

/// Reads the answer to a call. Total: any bytes are read.
pub(crate) fn read(reply: &Reply) -> Called {
    let (verdict, answer) = reply::read_answer(reply);
    match (verdict, answer) {
        (None, Some(mut answer)) => {
            let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let number = |name| answer.get(name).and_then(number);
            let (next, total) = (number("next"), number("total"));
            let result = answer.remove("result").unwrap_or(Value::Null);
            Called::Done(Answer { result, next, total })
        }
        (Some(Verdict::Refused(refusal)), answer) => {
            let description = answer.as_ref().and_then(|answer| answer.get("error_description"));
            let description = description.and_then(Value::as_str).unwrap_or_default();
            Called::Refused(refusal, description.to_owned())
        }
        (Some(Verdict::Unknown(trouble)), _) => Called::Unknown(trouble),
        (Some(Verdict::Ran { .. }) | None, _) => {
            Called::Unknown(Cause("the answer has neither `result` nor `error`".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::protocol::command::authorize;
    use crate::protocol::reply::Code;

    fn answer(status: u16, body: impl ToString) -> Called {
        read(&Reply::Http { status, body: body.to_string().into_bytes() })
    }

    #[test]
    fn a_call_needs_a_name_and_an_object() {
        for (params, expected) in [
            ("", json!({"auth": "t"})),
            ("[]", json!({"auth": "t"})),
            (" {} \n", json!({"auth": "t"})),
            (r#"{"a":[1,"ж"],"b":null}"#, json!({"a": [1, "ж"], "b": null, "auth": "t"})),
        ] {
            let (method, mut body) = request("crm.deal.list", params).unwrap();
            assert_eq!(method.name(), "crm.deal.list");
            authorize(&mut body, "t");
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
        }
        for method in ["", "..", "a/b", "a?b", "a b", ".a", "a.", "a..b", "ж", &"x".repeat(200)] {
            assert!(request(method, "{}").is_err(), "{method}");
        }
        for params in ["7", "\"x\"", "[1]", "{", "null", "{} {}", r#"{"auth":"x"}"#] {
            assert!(request("a.b", params).is_err(), "{params}");
        }
    }

    /// Regression: the keys were sorted. The commands of a batch ran in another order, and lists came in another one.
    #[test]
    fn the_order_of_parameters_is_kept() {
        let params = r#" {"order": {"STAGE_ID": "ASC", "DATE_CREATE": "DESC"}, "cmd": {"b": "x", "a": "y"} }
            "#;
        let (_, mut body) = request("crm.deal.list", params).unwrap();
        authorize(&mut body, "t");
        let body = String::from_utf8(body).unwrap();
        let kept = params.trim().strip_suffix('}').unwrap();
        assert_eq!(body, format!(r#"{kept},"auth":"t"}}"#));
        let (_, body) = request("a.b", "{ }").unwrap();
        assert_eq!(body, b"{}");
    }

    #[test]
    fn a_result_is_read_whatever_it_is() {
        for result in [json!(null), json!(false), json!([]), json!({"a": 1}), json!(7)] {
            let body = json!({"result": result, "next": 50, "total": "120", "time": {}});
            let Called::Done(read) = answer(200, body) else { panic!("{result}") };
            assert_eq!(read, Answer { result, next: Some(50), total: Some(120) });
        }
    }

    #[test]
    fn a_refusal_is_classified_by_the_same_table() {
        let refused = |status, code: &str| {
            let body = json!({"error": code, "error_description": "in words"});
            let Called::Refused(refusal, said) = answer(status, body) else { panic!("{code}") };
            assert_eq!(said, "in words");
            refusal
        };
        let code = |code: &str| Code(code.to_owned());
        assert_eq!(refused(503, "QUERY_LIMIT_EXCEEDED"), Refusal::RateLimit);
        assert_eq!(refused(429, "OPERATION_TIME_LIMIT"), Refusal::OperatingLimit);
        assert_eq!(refused(401, "expired_token"), Refusal::Grant(code("expired_token")));
        assert_eq!(
            refused(400, "ERROR_ACTIVITY_NOT_FOUND"),
            Refusal::Command(code("ERROR_ACTIVITY_NOT_FOUND"))
        );
        assert_eq!(
            refused(404, "ERROR_METHOD_NOT_FOUND"),
            Refusal::Portal(code("ERROR_METHOD_NOT_FOUND"))
        );
    }

    #[test]
    fn an_answer_that_proves_nothing_is_unknown() {
        for (status, body) in [
            (200, "{}"),
            (200, "<html>"),
            (200, ""),
            (502, "<html>"),
            (500, r#"{"error":"INTERNAL_SERVER_ERROR"}"#),
            (500, r#"{"error":"something_new"}"#),
            (500, r#"{"result":true}"#),
        ] {
            assert!(matches!(answer(status, body), Called::Unknown(_)), "{status} {body}");
        }
        let lost = Reply::Unanswered(Cause("reset".to_owned()));
        assert!(matches!(read(&lost), Called::Unknown(_)));
        let unsent = Reply::NotSent(Cause("refused".to_owned()));
        assert!(matches!(read(&unsent), Called::Refused(Refusal::Unreachable(_), _)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(status: u16, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&Reply::Http { status, body });
        }

        #[test]
        fn any_call_is_built_or_refused(method in "[a-z./_ ]{0,12}", params in "[{}\\[\\]\":a,1 ]{0,16}") {
            if let Ok((_, mut body)) = request(&method, &params) {
                authorize(&mut body, "t");
                let body: Value = serde_json::from_slice(&body).unwrap();
                prop_assert_eq!(&body["auth"], "t");
            }
        }
    }
}
