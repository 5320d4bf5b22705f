//! Lists: which fields, which rows, in which order, and which page of fifty.

use std::cmp::Ordering;

use super::Answer;
use crate::php::{Array, Key, Value};

/// Rows of a page (REST API, lists).
const PAGE: usize = 50;

/// A row with all of its fields.
pub(super) type Row = Vec<(&'static str, Value<'static>)>;

/// The rows that a call asks for, by SELECT, FILTER, ORDER and `start`.
///
/// What a call names and no row has is passed over.
pub(super) fn page(
    mut rows: Vec<Row>,
    params: &Array<'_>,
    select: &[&str],
    order: (&str, bool),
) -> Answer {
    if let Some(filter) = params.get_ignoring_case("FILTER").and_then(Value::as_array) {
        rows.retain(|row| filter.iter().all(|(key, wanted)| matches(row, &key.to_bytes(), wanted)));
    }
    let given = params.get_ignoring_case("ORDER").and_then(Value::as_array);
    let mut orders: Vec<(String, bool)> = Vec::new();
    for (field, direction) in given.into_iter().flat_map(Array::iter) {
        let descending = direction.as_bytes().is_some_and(|it| it.eq_ignore_ascii_case(b"desc"));
        orders.push((String::from_utf8_lossy(&field.to_bytes()).to_uppercase(), descending));
    }
    if orders.is_empty() {
        orders.push((order.0.to_owned(), order.1));
    }
    rows.sort_by(|a, b| {
        let by = orders.iter().map(|(field, descending)| {
            let ordering = compare(&written(value(a, field)), &written(value(b, field)));
            if *descending { ordering.reverse() } else { ordering }
        });
        by.fold(Ordering::Equal, Ordering::then)
    });
    let start = params.get_ignoring_case("start").and_then(Value::to_bytes);
    let start = start.and_then(|start| std::str::from_utf8(&start).ok()?.parse::<i64>().ok());
    let start = usize::try_from(start.unwrap_or(0)).unwrap_or(0);
    let total = rows.len();
    let wanted = selected(params, select);
    let mut list = Array::new();
    for row in rows.into_iter().skip(start).take(PAGE) {
        let mut shown = Array::new();
        for (name, value) in row.into_iter().filter(|(name, _)| wanted.iter().any(|it| it == name))
        {
            shown.insert(Key::from_bytes(name.as_bytes().into()), value);
        }
        list.push(Value::Array(shown));
    }
    let next = Some(start + PAGE).filter(|next| *next < total);
    Answer { value: Value::Array(list), next, total: Some(total) }
}

fn selected(params: &Array<'_>, default: &[&str]) -> Vec<String> {
    let given = params.get_ignoring_case("SELECT").and_then(Value::as_array);
    let names = given.into_iter().flat_map(Array::iter).filter_map(|(_, name)| name.as_bytes());
    let names: Vec<String> =
        names.map(|name| String::from_utf8_lossy(name).to_uppercase()).collect();
    if names.is_empty() { default.iter().map(|name| (*name).to_owned()).collect() } else { names }
}

fn value<'a>(row: &'a Row, field: &str) -> &'a Value<'static> {
    row.iter().find(|(name, _)| *name == field).map_or(&Value::Null, |(_, value)| value)
}

fn written(value: &Value<'_>) -> String {
    String::from_utf8_lossy(&value.to_bytes().unwrap_or_default()).into_owned()
}

/// Numbers by their value, everything else as text; times of one zone sort as text, too.
fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

/// `{"<FIELD": value}`; a list of values fits if one of them does.
fn matches(row: &Row, key: &[u8], wanted: &Value<'_>) -> bool {
    let key = String::from_utf8_lossy(key).to_uppercase();
    let field = key.trim_start_matches(['=', '!', '<', '>']);
    let sign = &key[..key.len() - field.len()];
    let Some((_, value)) = row.iter().find(|(name, _)| *name == field) else { return true };
    let found = written(value);
    let fits = |wanted: &Value<'_>| {
        let ordering = compare(&found, &written(wanted));
        match sign {
            "!" | "!=" => ordering != Ordering::Equal,
            "<" => ordering == Ordering::Less,
            "<=" => ordering != Ordering::Greater,
            ">" => ordering == Ordering::Greater,
            ">=" => ordering != Ordering::Less,
            _ => ordering == Ordering::Equal,
        }
    };
    match wanted {
        Value::Array(any) => any.iter().any(|(_, wanted)| fits(wanted)),
        wanted => fits(wanted),
    }
}
