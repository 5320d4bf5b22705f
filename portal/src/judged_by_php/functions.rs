//! PHP's functions one by one.

use super::hostile;
use super::oracle::{MANY, Oracle, cases, dump, shown};
use crate::php::{
    Array, Value, json_decode, json_encode, parse_str, parse_url, trim, url_decode, urlencode,
};
use crate::rest::substitute;
use crate::settings::Substitution;

/// After `c0` was done and `c1` has failed, with more kinds of values than a portal gives.
const SECTIONS: &str = r#"{
    "result": {"c0": true, "c2": "text", "0": {"ID": 7, "list": [1.5, null, false, "x"]}},
    "next": {"c0": 50, "0": 1e25},
    "total": {"c0": 0.1},
    "time": {"c0": {"start": 1700000000.254321, "duration": 1.2e-5, "date_start": "2026-11-21"}},
    "error": {"c1": {"error": "ACCESS_DENIED", "error_description": "Access denied!"}},
    "error_description": {"c1": "Access denied!"}
}"#;

fn text(bytes: impl AsRef<[u8]>) -> Value<'static> {
    Value::Text(bytes.as_ref().to_vec().into())
}

fn list(values: impl IntoIterator<Item = Value<'static>>) -> Value<'static> {
    let mut list = Array::new();
    values.into_iter().for_each(|value| list.push(value));
    Value::Array(list)
}

#[test]
fn parse_url_is_that_of_php() {
    let Some(mut php) = Oracle::start() else { return };
    let mut judge = |url: &[u8]| {
        let ours = parse_url(url).map_or(Value::Bool(false), |url| {
            let part = |part: Option<_>| part.map_or(Value::Null, text);
            list([part(url.path), part(url.query)])
        });
        assert_eq!(dump(&ours), php.ask("parse_url", &[url]), "{}", shown(url));
    };
    hostile::COMMANDS.iter().for_each(|url| judge(url.as_bytes()));
    cases(MANY, |random| judge(&hostile::bytes(random)));
    cases(MANY, |random| judge(hostile::command(random).as_bytes()));
}

#[test]
fn parse_str_is_that_of_php() {
    let Some(mut php) = Oracle::start() else { return };
    let mut judge = |query: &[u8]| {
        let ours = dump(&Value::Array(parse_str(query)));
        assert_eq!(ours, php.ask("parse_str", &[query]), "{}", shown(query));
    };
    for command in hostile::COMMANDS {
        judge(command.as_bytes());
        judge(command.split_once('?').map_or("", |(_, query)| query).as_bytes());
    }
    for fields in [999, 1000, 1001, 1100] {
        let query: Vec<String> = (0..fields).map(|field| format!("f{field}=1")).collect();
        judge(query.join("&").as_bytes());
        judge(query.join("&&").as_bytes());
    }
    for depth in [1, 62, 63, 64, 65, 66, 100] {
        judge(format!("a{}=1&b=2", "[x]".repeat(depth)).as_bytes());
        judge(format!("a{}=1&b=2", "[]".repeat(depth)).as_bytes());
    }
    cases(MANY, |random| judge(&hostile::bytes(random)));
    // Names above all.
    cases(MANY, |random| {
        judge(format!("{}=1&{}", hostile::text(random), hostile::text(random)).as_bytes())
    });
}

#[test]
fn texts_are_trimmed_and_encoded_as_by_php() {
    let Some(mut php) = Oracle::start() else { return };
    cases(MANY, |random| {
        let bytes = hostile::bytes(random);
        assert_eq!(dump(&text(trim(&bytes))), php.ask("trim", &[&bytes]), "{}", shown(&bytes));
        let decoded = dump(&text(url_decode(&bytes)));
        assert_eq!(decoded, php.ask("urldecode", &[&bytes]), "{}", shown(&bytes));
        let readable = hostile::text(random);
        let encoded = dump(&text(urlencode(&readable)));
        assert_eq!(encoded, php.ask("urlencode", &[readable.as_bytes()]), "{readable}");
    });
}

#[test]
fn json_is_read_written_and_weighed_as_by_php() {
    let Some(mut php) = Oracle::start() else { return };
    cases(MANY, |random| {
        let json = hostile::json(random, 3);
        let ours = json_decode(json.as_bytes());
        let read =
            ours.as_ref().map_or_else(|| "[]".to_owned(), |ours| format!("[i0;{}]", dump(ours)));
        assert_eq!(read, php.ask("json_decode", &[json.as_bytes()]), "{json}");
        let Some(value) = ours else { return };
        let written = dump(&text(json_encode(&value)));
        assert_eq!(written, php.ask("json_encode", &[json.as_bytes()]), "{json}");
        let empty = Value::Bool(value.is_empty());
        assert_eq!(
            dump(&list([empty.clone(), empty])),
            php.ask("empty", &[json.as_bytes()]),
            "{json}"
        );
    });
}

#[test]
fn floats_are_written_as_by_php() {
    let Some(mut php) = Oracle::start() else { return };
    let mut judge = |float: f64| {
        let value = Value::Float(float);
        let ours = list([text(value.to_bytes().unwrap()), text(json_encode(&value))]);
        let theirs = php.ask("float", &[&float.to_be_bytes()]);
        assert_eq!(dump(&ours), theirs, "{float:e}");
    };
    for float in [0.0, -0.0, 1.0, 0.1, 0.1 + 0.2, 1e14, 1e15, 1e17, 1e18, 1e-4, 1e-5, 1e100, 1e-100]
    {
        judge(float);
        judge(-float);
    }
    cases(MANY, |random| {
        // Times above all.
        judge(1_700_000_000.0 + random.below(1_000_000_000) as f64 / 1e6);
        judge(random.below(1_000_000) as f64 / 1e9);
        let any = f64::from_bits(random.next());
        if any.is_finite() {
            judge(any);
        }
    });
}

#[test]
fn names_of_parameters_are_matched_in_any_case_as_by_php() {
    let Some(mut php) = Oracle::start() else { return };
    cases(MANY, |random| {
        let json = hostile::json_object(random, 0);
        let Some(Value::Array(params)) = json_decode(json.as_bytes()) else { return };
        for name in ["CMD", "A"] {
            let ours = params.get_ignoring_case(name).map_or_else(|| "n".to_owned(), dump);
            let theirs = php.ask("field", &[json.as_bytes(), name.as_bytes()]);
            assert_eq!(ours, theirs, "{name} in {json}");
        }
    });
}

#[test]
fn commands_and_their_references_are_read_as_by_php() {
    let Some(mut php) = Oracle::start() else { return };
    let Some(Value::Array(sections)) = json_decode(SECTIONS.as_bytes()) else {
        panic!("the sections are an object");
    };
    let mut judge = |line: &[u8]| {
        for (variant, name) in [(Substitution::Newer, "newer"), (Substitution::Older, "older")] {
            let url = parse_url(line).unwrap_or_default();
            let query = url.query.unwrap_or_default();
            let ours = match substitute(parse_str(&query), &sections, variant) {
                Ok(params) => {
                    let method = text(url.path.unwrap_or_default().to_ascii_lowercase());
                    format!("[i0;{}i1;{}]", dump(&method), dump(&Value::Array(params)))
                }
                Err(_) => dump(&text("TypeError")),
            };
            let args = [line, SECTIONS.as_bytes(), name.as_bytes()];
            assert_eq!(ours, php.ask("command", &args), "{name}: {}", shown(line));
        }
    };
    hostile::COMMANDS.iter().for_each(|line| judge(line.as_bytes()));
    for reference in hostile::REFERENCES {
        judge(format!("m?LOG_MESSAGE={reference}").as_bytes());
        judge(format!("m?LOG_MESSAGE={}", urlencode(reference)).as_bytes());
        judge(format!("m?LOG_MESSAGE[x][]={}", urlencode(reference)).as_bytes());
    }
    cases(MANY, |random| judge(hostile::command(random).as_bytes()));
    cases(MANY, |random| judge(format!("m?a={}", urlencode(&hostile::text(random))).as_bytes()));
    cases(MANY, |random| judge(&hostile::bytes(random)));
}
