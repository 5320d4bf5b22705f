//! A handler's request: what a portal posts to the app when an activity of the app is reached.
//!
//! Parsed, it is inert: anybody can post anything to a handler's address. Only what has been
//! [verified](ActivityRequest::verify) has a span, tokens and an event token.

mod date;
mod input;
mod request;
mod verified;

pub use self::date::{DateFormat, SiteDate};
pub use self::input::Input;
pub use self::request::ActivityRequest;
pub use self::verified::VerifiedActivity;

#[cfg(test)]
mod tests;
