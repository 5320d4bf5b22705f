//! What the parts of the server share: bodies, sockets, and the course of one exchange.

mod body;
mod exchange;
mod peer;

pub(crate) use body::AnswerBody;
pub(crate) use exchange::{arrived, canned, finish, head, plain, strike};
pub(crate) use peer::Peer;
