//! Bearer tokens: what is granted, until when, signed with a key that the server made up when it
//! started.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// Who it was made for; empty for nobody in particular.
    pub(crate) user: String,
    /// Until when it holds, in seconds since 1970.
    pub(crate) expires: i64,
    /// Actions by `type:name`.
    pub(crate) access: BTreeMap<String, Vec<String>>,
}

impl Grant {
    pub(crate) fn allows(&self, resource: &str, action: &str) -> bool {
        self.access
            .get(resource)
            .is_some_and(|actions| actions.iter().any(|granted| granted == action))
    }
}

/// Signs and reads tokens.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    pub(crate) fn new() -> Option<Self> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .ok()
            .map(Self)
    }

    pub(crate) fn sign(&self, grant: &Grant) -> String {
        let body = serde_json::to_vec(grant).unwrap_or_default();
        let body = BASE64_URL_SAFE_NO_PAD.encode(body);
        let tag = hmac::sign(&self.0, body.as_bytes());
        format!("{body}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// Returns what the token says if it is genuine and still holds.
    pub(crate) fn read(&self, token: &str, now: i64) -> Option<Grant> {
        let (body, tag) = token.split_once('.')?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.0, body.as_bytes(), &tag).ok()?;
        let body = BASE64_URL_SAFE_NO_PAD.decode(body).ok()?;
        let grant: Grant = serde_json::from_slice(&body).ok()?;
        (grant.expires > now).then_some(grant)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_genuine_tokens_are_read_and_only_in_time() {
        let signer = Signer::new().unwrap();
        let grant = Grant {
            user: "ann".to_owned(),
            expires: 100,
            access: BTreeMap::from([("repository:a".to_owned(), vec!["pull".to_owned()])]),
        };
        let token = signer.sign(&grant);
        let read = signer.read(&token, 99).unwrap();
        assert_eq!(read, grant);
        assert!(read.allows("repository:a", "pull"));
        assert!(!read.allows("repository:a", "push"));
        assert!(!read.allows("repository:b", "pull"));
        assert_eq!(signer.read(&token, 100), None);
        assert_eq!(Signer::new().unwrap().read(&token, 99), None);
        for bad in ["", ".", "a.b", &token[1..], &token[..token.len() - 1]] {
            assert_eq!(signer.read(bad, 99), None, "{bad}");
        }
    }
}
