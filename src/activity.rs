//! A handler's request: what a portal posts to the app when an activity of the app is reached.
//!
//! Parsed, it is inert: anybody can post anything to a handler's address. Only what has been
//! [verified](ActivityRequest::verify) has a span, tokens and an event token.

#[cfg(feature = "axum")]
mod axum;
mod form;
mod json;
mod property;
mod request;
mod verified;

#[cfg(feature = "axum")]
pub use self::axum::Installations;
pub use self::property::Property;
pub use self::request::{ActivityRequest, Installation};
pub use self::verified::VerifiedActivity;

#[cfg(test)]
mod tests;
