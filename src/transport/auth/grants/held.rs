//! The tokens that are held of one portal: the pair in use, and what is known of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::reply::Code;
use crate::transport::auth::tokens::Tokens;

/// One portal's.
#[derive(Default)]
pub(super) struct Grant {
    pub(super) held: Mutex<Held>,
    /// Locked while the pair is being renewed: one renewal at a time.
    pub(super) renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct Held {
    /// The pair in use; `None`: not loaded yet, or there is none.
    pub(super) tokens: Option<Tokens>,
    /// The access token that the last call was made with.
    pub(super) used: Option<String>,
    /// The tokens in use have arrived, and could not be stored yet.
    pub(super) is_unstored: bool,
    /// A new pair that is not stored yet, and the pair that it replaces. The old refresh token is not valid
    /// any more. The new pair is not used before it is stored.
    pub(super) unstored: Option<(Tokens, Tokens)>,
    /// The tokens in use cannot be renewed.
    pub(super) denied: Option<Code>,
    /// The last tokens that came with a request and were not fresher than those in use. They are used if
    /// those in use cannot be renewed.
    pub(super) spare: Option<Tokens>,
}

impl Held {
    /// Uses `tokens` from now on.
    pub(super) fn adopt(&mut self, tokens: Tokens) {
        self.tokens = Some(tokens);
        self.is_unstored = false;
        self.unstored = None;
        self.denied = None;
        self.spare = None;
    }

    /// These tokens were stored. Others may have arrived in the meantime.
    pub(super) fn is_stored(&mut self, tokens: &Tokens) {
        if self.uses(tokens) {
            self.is_unstored = false;
        }
    }

    /// Whether these tokens are in use.
    pub(super) fn uses(&self, tokens: &Tokens) -> bool {
        self.tokens.as_ref() == Some(tokens)
    }

    /// Whether the pair in use is not the one that was refused.
    pub(super) fn is_unused(&self) -> bool {
        self.tokens.is_some() && self.tokens.as_ref().map(Tokens::access) != self.used.as_deref()
    }
}

impl Grant {
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        // No code panics in the middle of a change, so the value is consistent also if it is poisoned.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
