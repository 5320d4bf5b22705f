//! The key-values of a record: its event token, and what others are shown of it.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::kv::{self, Key, Source, ToValue, Value, VisitSource, VisitValue};

use crate::line::{EventToken, InvalidEventToken, PortalId};

/// The key that makes a record a line of a business process's log.
pub(super) const EVENT_TOKEN: &str = "event_token";
/// The key beside it that says which portal the token is of.
pub(super) const PORTAL: &str = "portal";

/// The token that a record names itself.
#[derive(Default)]
pub(super) struct Found {
    pub(super) event_token: Option<Result<EventToken, InvalidEventToken>>,
    pub(super) portal: Option<PortalId>,
}

impl Found {
    pub(super) fn of(pairs: &dyn Source) -> Found {
        let Some(value) = pairs.get(Key::from_str(EVENT_TOKEN)) else { return Found::default() };
        // It is user code that makes text of a value.
        let found = catch_unwind(AssertUnwindSafe(|| Found {
            event_token: Some(parsed(&value)),
            portal: pairs
                .get(Key::from_str(PORTAL))
                .map(|portal| portal.to_string())
                .filter(|portal| !portal.is_empty())
                .map(PortalId::from),
        }));
        let unusable = Some(Err(InvalidEventToken::Empty));
        found.unwrap_or(Found { event_token: unusable, portal: None })
    }
}

fn parsed(value: &Value<'_>) -> Result<EventToken, InvalidEventToken> {
    let mut typed = Typed(None);
    // Whatever else it may be, it has a text.
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
        self.0 = error.downcast_ref().cloned();
        Ok(())
    }

    fn visit_borrowed_error(&mut self, error: &'v (dyn Error + 'static)) -> Result<(), kv::Error> {
        self.visit_error(error)
    }
}

impl ToValue for EventToken {
    /// Other loggers print the redaction.
    fn to_value(&self) -> Value<'_> {
        Value::from_dyn_error(self.tag())
    }
}

/// Key-values with the redaction in place of the event token.
pub(super) struct Shown<'a>(pub(super) &'a dyn Source);

impl Source for Shown<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        self.0.visit(&mut Redacting(visitor))
    }
}

struct Redacting<'a, 'kvs>(&'a mut dyn VisitSource<'kvs>);

impl<'kvs> VisitSource<'kvs> for Redacting<'_, 'kvs> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        if key.as_str() != EVENT_TOKEN {
            return self.0.visit_pair(key, value);
        }
        self.0.visit_pair(key, Value::from("…"))
    }
}
