//! What a request of the page asks to see, from its query string.

use crate::php;

/// Which part of the workflows or of a log is wanted.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// What to look for, in lower case; empty for everything.
    pub(crate) search: String,
    /// Only what was written after the entry of this number.
    pub(crate) after: Option<u64>,
    /// Only what was written before it.
    pub(crate) before: Option<u64>,
}

impl Wanted {
    pub(crate) fn in_query(query: &str) -> Self {
        let fields = php::parse_str(query.as_bytes());
        let field = |name: &[u8]| {
            let bytes = fields.get(name).and_then(php::Value::as_bytes).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        Self {
            search: field(b"search").trim().to_lowercase(),
            after: field(b"after").parse().ok(),
            before: field(b"before").parse().ok(),
        }
    }

    /// Whether a text has what is looked for. Nothing to look for is in every text.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.search.is_empty() || text.to_lowercase().contains(&self.search)
    }

    /// Whether the number of an entry is among the wanted ones.
    pub(crate) fn covers(&self, sequence: u64) -> bool {
        self.after.is_none_or(|after| sequence > after)
            && self.before.is_none_or(|before| sequence < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_compared_without_regard_to_case() {
        let wanted = Wanted::in_query("search=%D0%97%D0%B0%D0%9A%D0%B0%D0%B7+&after=7&before=x");
        assert_eq!((wanted.after, wanted.before), (Some(7), None));
        assert!(wanted.is_in("Новый ЗАКАЗ 1042"));
        assert!(!wanted.is_in("order"));
        assert!(wanted.covers(8) && !wanted.covers(7));
        assert!(Wanted::in_query("").is_in("") && Wanted::in_query("").covers(0));
    }
}
