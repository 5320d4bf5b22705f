//! A handler's request: what a portal posts to the app when an activity of the app is reached.
//!
//! A parsed request cannot be used yet, because anybody can post anything to the address of a handler.
//! Only a [verified](ActivityRequest::verify) one has a span, tokens and an event token.

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
