//! Sets of numbers, as PostgreSQL writes its multiranges: `{[1,4),[7,8)}`.

use std::fmt::Write;

use tracing_bizproc::journal::Number;

/// Ranges of numbers in ascending order, each with its first and its last number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers(Vec<(Number, Number)>);

impl Numbers {
    /// Numbers in ascending order.
    pub(crate) fn of(numbers: impl IntoIterator<Item = Number>) -> Self {
        let mut ranges: Vec<(Number, Number)> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        Numbers(ranges)
    }

    /// Reads a multirange that PostgreSQL wrote. `None`: the text is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix('{')?.strip_suffix('}')?;
        let mut ranges = Vec::new();
        let mut rest = inner;
        while !rest.is_empty() {
            let (range, after) = rest.strip_prefix('[')?.split_once(')')?;
            let (from, end) = range.split_once(',')?;
            let (from, end): (Number, Number) = (from.parse().ok()?, end.parse().ok()?);
            ranges.push((from, end.checked_sub(1).filter(|last| *last >= from)?));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        Some(Numbers(ranges))
    }

    /// The text that PostgreSQL reads.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from("{");
        for (n, (from, last)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}[{from},{last}]");
        }
        text.push('}');
        text
    }

    pub(crate) fn contains(&self, number: Number) -> bool {
        self.0.iter().any(|(from, last)| (*from..=*last).contains(&number))
    }

    /// How many numbers are here and not in `others`.
    pub(crate) fn count_without(&self, others: &Numbers) -> u64 {
        let numbers = self.0.iter().flat_map(|(from, last)| *from..=*last);
        numbers.filter(|number| !others.contains(*number)).count() as u64
    }

    /// The smallest and the largest number.
    pub(crate) fn ends(&self) -> Option<(Number, Number)> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_range() {
        assert_eq!(Numbers::of([1, 2, 3, 7, 9, 10]).to_text(), "{[1,3],[7,7],[9,10]}");
        assert_eq!(Numbers::of([]).to_text(), "{}");
        assert_eq!(Numbers::of([u64::MAX]).ends(), Some((u64::MAX, u64::MAX)));
    }

    #[test]
    fn what_the_server_writes_is_read() {
        let numbers = Numbers::parse("{[1,4),[7,8)}").unwrap();
        assert_eq!(numbers, Numbers::of([1, 2, 3, 7]));
        assert!(numbers.contains(3) && !numbers.contains(4) && numbers.contains(7));
        assert_eq!(
            (numbers.ends(), Numbers::parse("{}")),
            (Some((1, 7)), Some(Numbers::default()))
        );
        for text in
            ["", "{", "[1,2)", "{[1,2]}", "{[2,2)}", "{[a,b)}", "{[1,)}", "{[0,0)}", "{(,1)}"]
        {
            assert_eq!(Numbers::parse(text), None, "{text}");
        }
    }
}
