//! Signing schema 1 manifests. Registries want a signature and take one by any key: it says nothing
//! about who made the image. The form is that of libtrust (*JSON Signature*).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use super::inconsistent;
use crate::{Digest, ManifestError, MediaType, RawManifest};

/// Signs a payload, compact JSON that ends in `}`, with a key made for it. `time` is when, in
/// RFC 3339.
///
/// # Errors
/// When the payload is no manifest, or no key can be made.
pub fn docker1_signed(payload: &[u8], time: &str) -> Result<RawManifest, ManifestError> {
    let Some((b'}', head)) = payload.split_last() else {
        return Err(inconsistent("it does not end in a brace".to_owned()));
    };
    let failed = |_| inconsistent("it cannot be signed".to_owned());
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let point = key.public_key().as_ref();
    // An uncompressed point: a mark, x and y (SEC 1, section 2.3.3).
    let (Some(x), Some(y)) = (point.get(1..33), point.get(33..65)) else {
        return Err(inconsistent("it cannot be signed".to_owned()));
    };
    let protected = json!({
        "formatLength": head.len(),
        "formatTail": encode(b"}"),
        "time": time,
    });
    let protected = encode(protected.to_string().as_bytes());
    let signed = format!("{protected}.{}", encode(payload));
    let signature = key
        .sign(&SystemRandom::new(), signed.as_bytes())
        .map_err(failed)?;
    let signatures = json!([{
        "header": {
            "jwk": {
                "crv": "P-256",
                "kid": key_id(point),
                "kty": "EC",
                "x": encode(x),
                "y": encode(y),
            },
            "alg": "ES256",
        },
        "signature": encode(signature.as_ref()),
        "protected": protected,
    }]);
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(b",\"signatures\":");
    bytes.extend_from_slice(signatures.to_string().as_bytes());
    bytes.push(b'}');
    RawManifest::new(bytes.into(), Some(&MediaType::DOCKER1_SIGNED))
}

/// Returns libtrust's fingerprint of a key: 240 bits of the digest of its DER form, in base 32, in
/// groups of four.
fn key_id(point: &[u8]) -> String {
    let der = [&P256_PREFIX, point].concat();
    let hex = Digest::sha256(&der).hex();
    let mut bits = String::with_capacity(240);
    for digit in hex.chars().take(60).filter_map(|digit| digit.to_digit(16)) {
        bits.extend(
            (0..4)
                .rev()
                .map(|bit| if digit >> bit & 1 == 1 { '1' } else { '0' }),
        );
    }
    let mut id = String::new();
    for start in (0..bits.len()).step_by(5) {
        let five = bits.get(start..start + 5).unwrap_or_default();
        let value = usize::from_str_radix(five, 2).unwrap_or_default();
        if start > 0 && start % 20 == 0 {
            id.push(':');
        }
        id.push(char::from(BASE32[value % BASE32.len()]));
    }
    id
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What stands before the point of a P-256 key in DER (RFC 5480, *SubjectPublicKeyInfo*).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_manifest_has_the_digest_of_its_payload() {
        let layer = Digest::sha256(b"layer");
        let payload = format!(
            r#"{{"name":"a","tag":"b","architecture":"amd64","fsLayers":[{{"blobSum":"{layer}"}}],"history":[{{"v1Compatibility":"{{\"id\":\"x\"}}"}}],"schemaVersion":1}}"#
        );
        let signed = docker1_signed(payload.as_bytes(), "2026-01-02T03:04:05Z").unwrap();
        assert_eq!(signed.kind(), crate::ManifestKind::Docker1Signed);
        assert_eq!(signed.digest(), Digest::sha256(payload.as_bytes()));
    }

    #[test]
    fn a_key_has_twelve_groups_of_four_letters() {
        let id = key_id(&[4; 65]);
        assert_eq!(id.split(':').count(), 12);
        assert!(id.split(':').all(|group| group.len() == 4));
    }
}
