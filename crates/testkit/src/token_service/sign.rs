//! JSON Web Tokens signed with ES256, with the certificate in the header.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{Certificate, CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::{ISSUER, SERVICE};

/// How long a token lives, in seconds.
const LIFE: u64 = 300;
/// How far a token reaches into the past, in seconds, for clocks that differ.
const SLACK: u64 = 30;

pub(crate) struct Signer {
    key: EcdsaKeyPair,
    certificate: Certificate,
    serial: AtomicU64,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key can be made");
        let certificate = CertificateParams::new(vec![ISSUER.to_owned()])
            .and_then(|parameters| parameters.self_signed(&pair))
            .expect("a certificate can be made");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der())
            .expect("the key is PKCS #8");
        Self {
            key,
            certificate,
            serial: AtomicU64::new(1),
        }
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// Returns a token for a subject with an access list.
    pub(crate) fn token(&self, subject: &str, access: &[Value]) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        let header = json!({
            "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(self.certificate.der())],
        });
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE,
            "iat": now, "nbf": now.saturating_sub(SLACK), "exp": now + LIFE,
            "jti": self.serial.fetch_add(1, Ordering::Relaxed).to_string(),
            "access": access,
        });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .expect("the key signs");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
