//! Who asks: challenges, credentials and tokens.

mod account;
mod challenge;
mod token;

pub(crate) use account::{Account, TokenSlot};
pub(crate) use challenge::{Bearer, Challenge, challenges};
pub(crate) use token::{TokenRequest, basic, bearer, fetch};
