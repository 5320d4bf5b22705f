//! The key-values of a record: its event token, and the redacted form for other loggers.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::kv::{self, Key, Source, ToValue, Value, VisitSource, VisitValue};

use crate::fields::{EVENT_TOKEN, Fields};
use crate::line::{EventToken, InvalidEventToken, PortalId};

/// The token in the key-values of a record.
#[derive(Default)]
pub(super) struct Found {
    pub(super) event_token: Option<Result<EventToken, InvalidEventToken>>,
    pub(super) portal: Option<PortalId>,
    /// The value of the marker, if there is one.
    pub(super) marked: Option<bool>,
    /// There is a token, or what is likely to be one: the app's own logger must not see it.
    pub(super) has_secret: bool,
}

impl Found {
    pub(super) fn of(pairs: &dyn Source, fields: &Fields) -> Found {
        // Code of the app makes the text of a value.
        let found = catch_unwind(AssertUnwindSafe(|| Found::read(pairs, fields)));
        let unusable = Some(Err(InvalidEventToken::Empty));
        found.unwrap_or(Found { event_token: unusable, has_secret: true, ..Found::default() })
    }

    fn read(pairs: &dyn Source, fields: &Fields) -> Found {
        let mut found = Found::default();
        let names = fields.names();
        if let Some(value) = pairs.get(Key::from_str(&names.event_token)) {
            found.event_token = Some(parsed(&value));
            let portal = pairs.get(Key::from_str(&names.portal)).map(|portal| portal.to_string());
            found.portal = portal.filter(|portal| !portal.is_empty()).map(PortalId::from);
        }
        found.has_secret =
            found.event_token.is_some() || pairs.get(Key::from_str(EVENT_TOKEN)).is_some();
        let marker = pairs.get(Key::from_str(fields.marker_name()));
        found.marked = marker.and_then(|marker| marker.to_bool());
        found
    }
}

fn parsed(value: &Value<'_>) -> Result<EventToken, InvalidEventToken> {
    let mut typed = Typed(None);
    // Every other value has a text.
    let _ = value.visit(&mut typed);
    typed.0.map_or_else(|| EventToken::parse(&value.to_string()), Ok)
}

/// Takes an [`EventToken`] out of a value that is one.
struct Typed(Option<EventToken>);

impl<'v> VisitValue<'v> for Typed {
    fn visit_any(&mut self, _: Value<'_>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_error(&mut self, error: &(dyn Error + 'static)) -> Result<(), kv::Error> {
        self.0 = EventToken::from_field(error);
        Ok(())
    }

    fn visit_borrowed_error(&mut self, error: &'v (dyn Error + 'static)) -> Result<(), kv::Error> {
        self.visit_error(error)
    }
}

impl ToValue for EventToken {
    /// Other loggers print the redacted form.
    fn to_value(&self) -> Value<'_> {
        Value::from_dyn_error(self.as_field())
    }
}

/// Key-values with the redacted form instead of the event token.
pub(super) struct Shown<'a>(pub(super) &'a dyn Source, pub(super) &'a Fields);

impl Source for Shown<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.0.visit(&mut Redacting(visitor, self.1))
    }
}

struct Redacting<'a, 'kvs>(&'a mut dyn VisitSource<'kvs>, &'a Fields);

impl<'kvs> VisitSource<'kvs> for Redacting<'_, 'kvs> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if !self.1.is_token(key.as_str()) {
            return self.0.visit_pair(key, value);
        }
        self.0.visit_pair(key, Value::from("…"))
    }
}
