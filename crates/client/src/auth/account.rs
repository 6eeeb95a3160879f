//! The tokens that one set of credentials was given, kept for the session.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dhow_config::Credentials;

use super::token::Token;

/// Credentials and the tokens they were exchanged for.
pub(crate) struct Account {
    pub(crate) credentials: Credentials,
    slots: Mutex<HashMap<TokenSlot, Arc<tokio::sync::Mutex<Vec<Token>>>>>,
}

/// What tokens are kept by. The registry is part of it: a token is never shown to another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenSlot {
    pub(crate) registry: String,
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    pub(crate) repository: String,
}

impl Account {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            slots: Mutex::default(),
        }
    }

    /// Returns the tokens of a slot. Whoever fetches a token holds the lock meanwhile, so that the
    /// others wait for it instead of fetching their own.
    pub(crate) fn tokens(&self, slot: TokenSlot) -> Arc<tokio::sync::Mutex<Vec<Token>>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.entry(slot).or_default().clone()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

/// Returns a token that is good for all these scopes and does not end soon.
pub(crate) fn usable<'a>(tokens: &'a [Token], scopes: &BTreeSet<String>) -> Option<&'a Token> {
    tokens
        .iter()
        .find(|token| token.scopes.is_superset(scopes) && !token.ends_soon())
}
