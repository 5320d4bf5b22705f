//! A property of an activity, converted to the type that it should have, with an explanation if that
//! fails.

use super::date::{DateFormat, SiteDate};
use crate::error::PropertyError;
use crate::request::Property;

/// A property of an activity by its name: [`VerifiedActivity::input`](super::VerifiedActivity::input).
///
/// A portal converts properties with the settings of its site, and sends texts: numbers are digits,
/// users are `user_5`, files are ids, dates are in the site's format; null is an empty text, and an
/// empty array is not sent at all (server behaviour). So a missing property, an empty text and an empty
/// array are treated in the same way: not set.
///
/// Errors name the property and what was expected. They do not contain the value.
///
/// ```
/// # use tracing_bizproc::app::VerifiedActivity;
/// # use tracing_bizproc::error::PropertyError;
/// fn read(activity: &VerifiedActivity) -> Result<(), PropertyError> {
///     let order = activity.input("Order").text()?;
///     let amount = activity.input("Amount").number()?;
///     let parcels = activity.input("Parcels").optional().map_or(Ok(1), |parcels| parcels.integer())?;
///     for user in activity.input("Informed").users()? {
///         println!("{order}: {amount} in {parcels} parcels, tell user {user}");
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    name: &'a str,
    value: Option<&'a Property>,
}

impl<'a> Input<'a> {
    pub(super) fn new(name: &'a str, value: Option<&'a Property>) -> Self {
        Input { name, value }
    }

    /// Whether it has a value.
    pub fn is_set(&self) -> bool {
        self.value.is_some_and(|value| !is_nothing(value))
    }

    /// `None` if it is not set.
    pub fn optional(self) -> Option<Self> {
        self.is_set().then_some(self)
    }

    /// A text. A list with one value counts as that value.
    ///
    /// # Errors
    /// When it is not set, or has another type.
    pub fn text(&self) -> Result<&'a str, PropertyError> {
        self.single("text")
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is not set, or has another type.
    pub fn integer(&self) -> Result<i64, PropertyError> {
        let expected = "a whole number";
        self.single(expected)?.trim().parse().map_err(|_| self.wrong(expected))
    }

    /// A number.
    ///
    /// # Errors
    /// When it is not set, or has another type.
    pub fn number(&self) -> Result<f64, PropertyError> {
        let expected = "a number";
        let number =
            self.single(expected)?.trim().parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| self.wrong(expected))
    }

    /// Yes or no: `Y` and `N`, or `1` and `0`.
    ///
    /// # Errors
    /// When it is not set, or has another type.
    pub fn boolean(&self) -> Result<bool, PropertyError> {
        let expected = "yes or no";
        match self.single(expected)?.trim() {
            "Y" | "y" | "1" | "true" => Ok(true),
            "N" | "n" | "0" | "false" => Ok(false),
            _ => Err(self.wrong(expected)),
        }
    }

    /// A user's id, of `user_5` or of a number.
    ///
    /// # Errors
    /// When it is not set, or has another type: a group, or several.
    pub fn user(&self) -> Result<u64, PropertyError> {
        let expected = "a user";
        user(self.single(expected)?).ok_or_else(|| self.wrong(expected))
    }

    /// Ids of users; empty if it is not set.
    ///
    /// # Errors
    /// When the list has another value, for example a group.
    pub fn users(&self) -> Result<Vec<u64>, PropertyError> {
        let expected = "users";
        self.each(expected, user)
    }

    /// Ids of files on the portal; empty if it is not set. Get the files with `disk.file.get`, or with the
    /// methods of the document.
    ///
    /// # Errors
    /// When the list has another value.
    pub fn files(&self) -> Result<Vec<u64>, PropertyError> {
        self.each("files' ids", |text| text.trim().parse().ok())
    }

    /// The texts in their order, with any keys (a list may have gaps). Empty if it is not set. A single
    /// text counts as a list with one value.
    ///
    /// # Errors
    /// When there are lists within the list.
    pub fn texts(&self) -> Result<Vec<&'a str>, PropertyError> {
        self.each("texts", Some)
    }

    /// A day, or a moment, in the format of the site: see [`DateFormat`].
    ///
    /// # Errors
    /// When it is not set, or is not in this format.
    pub fn date(&self, format: &DateFormat) -> Result<SiteDate, PropertyError> {
        let expected = "a date in the site's format";
        format.read(self.single(expected)?).ok_or_else(|| self.wrong(expected))
    }

    fn single(&self, expected: &'static str) -> Result<&'a str, PropertyError> {
        match self.value {
            Some(Property::Text(text)) if !text.is_empty() => Ok(text),
            Some(value) if !is_nothing(value) => match value.values().as_slice() {
                [Property::Text(text)] if !text.is_empty() => Ok(text),
                _ => Err(self.wrong(expected)),
            },
            _ => Err(PropertyError::NotSet { name: self.name.to_owned() }),
        }
    }

    fn each<T>(
        &self,
        expected: &'static str,
        read: impl Fn(&'a str) -> Option<T>,
    ) -> Result<Vec<T>, PropertyError> {
        let values = self.value.map(Property::values).unwrap_or_default();
        let set = values.into_iter().filter(|value| !is_nothing(value));
        set.map(|value| value.as_str().and_then(&read).ok_or_else(|| self.wrong(expected)))
            .collect()
    }

    fn wrong(&self, expected: &'static str) -> PropertyError {
        PropertyError::Kind { name: self.name.to_owned(), expected }
    }
}

/// An empty text, or an array of nothing else.
fn is_nothing(value: &Property) -> bool {
    match value {
        Property::Text(text) => text.is_empty(),
        Property::List(_) | Property::Map(_) => value.values().into_iter().all(is_nothing),
    }
}

fn user(text: &str) -> Option<u64> {
    let text = text.trim();
    text.strip_prefix("user_").unwrap_or(text).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::{Node, read};

    /// The property `p` of a form.
    fn property(form: &str) -> Option<Property> {
        read(None, form.as_bytes()).unwrap().take("p").map(Property::from)
    }

    fn input(value: &Option<Property>) -> Input<'_> {
        Input::new("p", value.as_ref())
    }

    fn us() -> DateFormat {
        DateFormat::parse("MM/DD/YYYY H:MI:SS T").unwrap()
    }

    #[test]
    fn properties_of_every_kind_are_read_as_the_portal_sends_them() {
        let read = property;
        assert_eq!(input(&read("p=A1")).text(), Ok("A1"));
        assert_eq!(input(&read("p=42")).integer(), Ok(42));
        assert_eq!(input(&read("p=-1.5")).number(), Ok(-1.5));
        for (form, expected) in [("p=Y", true), ("p=N", false), ("p=1", true), ("p=0", false)] {
            assert_eq!(input(&read(form)).boolean(), Ok(expected));
        }
        assert_eq!(input(&read("p=user_5")).user(), Ok(5));
        assert_eq!(input(&read("p[0]=user_5")).user(), Ok(5));
        assert_eq!(input(&read("p[0]=user_5&p[1]=7")).users(), Ok(vec![5, 7]));
        assert_eq!(input(&read("p[0]=101&p[1]=102")).files(), Ok(vec![101, 102]));
        // With gaps, and with names as keys.
        assert_eq!(input(&read("p[3]=a&p[7]=b")).texts(), Ok(vec!["a", "b"]));
        assert_eq!(input(&read("p[x]=a&p[y]=&p[z]=b")).texts(), Ok(vec!["a", "b"]));
        assert_eq!(input(&read("p=a")).texts(), Ok(vec!["a"]));
        let german = DateFormat::parse("DD.MM.YYYY HH:MI:SS").unwrap();
        let date = input(&read("p=27.11.2026+14:10:05")).date(&german).unwrap();
        assert_eq!((date.year, date.month, date.day, date.hour), (2026, 11, 27, 14));
    }

    #[test]
    fn missing_and_empty_properties_are_not_set() {
        for form in ["", "p=", "p[0]=", "p[0]=&p[1]="] {
            let value = property(form);
            let input = input(&value);
            assert!(!input.is_set() && input.optional().is_none(), "{form}");
            assert_eq!(input.texts(), Ok(vec![]), "{form}");
            assert_eq!(input.users(), Ok(vec![]), "{form}");
            let error = input.text().unwrap_err();
            assert!(matches!(&error, PropertyError::NotSet { name } if name == "p"), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_property_and_the_type_and_not_the_value() {
        let (secret, group) = (property("p=s3cret"), property("p[0]=user_1&p[1]=group_s3cret"));
        let (many, deep) = (property("p[0]=s3cret&p[1]=b"), property("p[0][0]=s3cret"));
        for (error, part) in [
            (input(&secret).integer().unwrap_err(), "a whole number"),
            (input(&secret).number().unwrap_err(), "a number"),
            (input(&secret).boolean().unwrap_err(), "yes or no"),
            (input(&secret).user().unwrap_err(), "a user"),
            (input(&secret).date(&us()).unwrap_err(), "site's format"),
            (input(&group).users().unwrap_err(), "users"),
            (input(&many).text().unwrap_err(), "text"),
            (input(&deep).texts().unwrap_err(), "texts"),
        ] {
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(part) && shown.contains('p'), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        let infinite = property("p=inf");
        assert!(input(&infinite).number().is_err());
    }

    proptest! {
        #[test]
        fn any_property_is_read_or_refused(form in "[pq\\[\\]0-9a-z_=&+%.]{0,40}") {
            let Ok(mut fields) = read(None, form.as_bytes()) else { return Ok(()) };
            let value = fields.take("p").map(Property::from);
            let input = input(&value);
            let _ = (input.text(), input.integer(), input.number(), input.boolean(), input.user());
            let _ = (input.users(), input.files(), input.texts(), input.date(&us()));
            prop_assert_eq!(input.is_set(), input.optional().is_some());
        }

        #[test]
        fn numbers_and_users_come_back(number in any::<i64>(), id in any::<u64>()) {
            let value = Some(Property::from(Node::Text(number.to_string())));
            prop_assert_eq!(input(&value).integer(), Ok(number));
            let value = Some(Property::from(Node::Text(format!("user_{id}"))));
            prop_assert_eq!(input(&value).user(), Ok(id));
        }
    }
}
