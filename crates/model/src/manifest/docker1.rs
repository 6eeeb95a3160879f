//! Docker schema 1 manifests. The digest of a signed one is that of its payload,
//! without the JWS signatures (distribution's *Image Manifest Version 2, Schema 1*).
//!
//! The signatures themselves are not verified: their keys are made up by whoever signs. What is
//! verified is that the payload is the document: nothing may stand outside it but `signatures`.

mod document;
mod sign;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fields::Fields;
use crate::{Admitted, Digest, ManifestError, RawManifest, Timestamp};

pub(crate) use document::Docker1Document;
pub use document::docker1_renamed;
pub use sign::docker1_signed;

/// A read-only view of a schema 1 manifest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Docker1Manifest {
    /// The repository it was made for.
    pub name: String,
    /// The tag it was made for.
    pub tag: String,
    /// The architecture in Go's names.
    pub architecture: String,
    /// The layers, base first; one for each entry of the history.
    pub layers: Vec<Digest>,
    /// What made each layer, base first.
    pub history: Vec<Docker1History>,
}

/// What made one layer of a schema 1 image.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Docker1History {
    /// The id of this step.
    pub id: String,
    /// The id of the step before it; empty for the first one.
    pub parent: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Who made it.
    pub author: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// The version of Docker that made it.
    pub docker_version: Option<String>,
    /// The architecture in Go's names.
    pub architecture: Option<String>,
    /// The operating system in Go's names.
    pub os: Option<String>,
    /// Whether the step changed only the config: its layer is empty.
    pub throwaway: bool,
    /// The step as its author wrote it: the JSON of the old image format.
    pub v1_compatibility: String,
}

impl Docker1Manifest {
    /// The largest number of layers that is taken. Docker itself never had more than 127.
    pub const MAX_LAYERS: usize = 1024;

    /// Parses a manifest that policy has let through.
    ///
    /// # Errors
    /// When it is of another kind, is malformed, or its layers and history do not belong
    /// together.
    pub fn parse(raw: &Admitted<RawManifest>) -> Result<Self, ManifestError> {
        let raw = raw.as_inner();
        if !raw.kind().is_docker1() {
            return Err(ManifestError::WrongKind(
                raw.kind().media_type(),
                "a schema 1 manifest",
            ));
        }
        let document: Document = serde_json::from_slice(raw.bytes()).map_err(malformed)?;
        document.check()?;
        let mut history = document
            .history
            .into_iter()
            .map(Docker1History::parse)
            .collect::<Result<Vec<_>, _>>()?;
        history.reverse();
        check_chain(&history)?;
        let layers = document
            .fs_layers
            .iter()
            .rev()
            .map(|layer| layer.blob_sum)
            .collect();
        Ok(Self {
            name: document.name.unwrap_or_default(),
            tag: document.tag.unwrap_or_default(),
            architecture: document.architecture.unwrap_or_default(),
            layers,
            history,
        })
    }
}

impl Docker1History {
    fn parse(entry: HistoryEntry) -> Result<Self, ManifestError> {
        let text = entry.v1_compatibility;
        let read = |fields: &Fields| {
            Ok(Self {
                id: fields.text("id")?.unwrap_or_default(),
                parent: fields.text("parent")?.unwrap_or_default(),
                created: fields.take("created")?,
                author: fields.text("author")?,
                comment: fields.text("comment")?,
                docker_version: fields.text("docker_version")?,
                architecture: fields.text("architecture")?,
                os: fields.text("os")?,
                throwaway: fields.take("throwaway")?.unwrap_or_default(),
                v1_compatibility: String::new(),
            })
        };
        let history = serde_json::from_str::<Fields>(&text)
            .and_then(|fields| read(&fields))
            .map_err(malformed)?;
        Ok(Self {
            v1_compatibility: text,
            ..history
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    name: Option<String>,
    tag: Option<String>,
    architecture: Option<String>,
    fs_layers: Vec<FsLayer>,
    history: Vec<HistoryEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FsLayer {
    blob_sum: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryEntry {
    v1_compatibility: String,
}

impl Document {
    fn check(&self) -> Result<(), ManifestError> {
        let (layers, history) = (self.fs_layers.len(), self.history.len());
        if layers != history {
            return Err(inconsistent(format!(
                "{layers} layers and {history} history entries"
            )));
        }
        if layers == 0 {
            return Err(inconsistent("there are no layers".to_owned()));
        }
        if layers > Docker1Manifest::MAX_LAYERS {
            return Err(inconsistent(format!("{layers} layers are too many")));
        }
        Ok(())
    }
}

/// Checks that each step names the one before it. Some old tools wrote no ids for empty steps.
fn check_chain(history: &[Docker1History]) -> Result<(), ManifestError> {
    for (below, above) in history.iter().zip(history.iter().skip(1)) {
        if above.parent != below.id {
            let shown: String = above
                .parent
                .chars()
                .take(80)
                .flat_map(char::escape_debug)
                .collect();
            return Err(inconsistent(format!(
                "the parent `{shown}` is not the step before"
            )));
        }
    }
    Ok(())
}

/// Returns the digest of the payload of a signed manifest.
///
/// # Errors
/// When the signatures do not say what the payload is, contradict each other, or leave something
/// out of it.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, ManifestError> {
    let payload = payload(bytes)?;
    // What is hashed must be what is read: else a document could show one set of layers and have
    // the digest of another.
    let mut whole: Map<String, Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    whole.shift_remove("signatures");
    let signed: Map<String, Value> = serde_json::from_slice(&payload).map_err(malformed)?;
    if whole != signed {
        return Err(inconsistent(
            "the signatures do not cover the whole document".to_owned(),
        ));
    }
    Ok(Digest::sha256(&payload))
}

/// Returns the bytes that were signed: the first `formatLength` ones, and `formatTail`.
fn payload(bytes: &[u8]) -> Result<Vec<u8>, ManifestError> {
    let signed: Signed = serde_json::from_slice(bytes).map_err(malformed)?;
    if signed.signatures.is_empty() || signed.signatures.len() > MAX_SIGNATURES {
        return Err(inconsistent(format!(
            "it has {} signatures",
            signed.signatures.len()
        )));
    }
    let mut formats = signed
        .signatures
        .iter()
        .map(|signature| Format::parse(&signature.protected));
    let first = formats
        .next()
        .unwrap_or_else(|| Err(inconsistent(String::new())))?;
    for format in formats {
        if format? != first {
            return Err(inconsistent(
                "its signatures contradict each other".to_owned(),
            ));
        }
    }
    let head = usize::try_from(first.length)
        .ok()
        .and_then(|length| bytes.get(..length));
    let Some(head) = head else {
        return Err(inconsistent(
            "the signed length is larger than the document".to_owned(),
        ));
    };
    Ok([head, &first.tail].concat())
}

/// More signatures than this are nobody's honest manifest.
const MAX_SIGNATURES: usize = 64;

#[derive(Deserialize)]
struct Signed {
    signatures: Vec<JsonSignature>,
}

#[derive(Deserialize)]
struct JsonSignature {
    protected: String,
}

/// How the payload is found in the document (the `protected` header of libtrust's JWS).
#[derive(PartialEq, Eq)]
struct Format {
    length: u64,
    tail: Vec<u8>,
}

impl Format {
    fn parse(protected: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Header {
            format_length: u64,
            format_tail: String,
        }
        let header: Header = serde_json::from_slice(&decode(protected)?).map_err(malformed)?;
        Ok(Self {
            length: header.format_length,
            tail: decode(&header.format_tail)?,
        })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, ManifestError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| inconsistent("a signature is not base64".to_owned()))
}

fn malformed(source: serde_json::Error) -> ManifestError {
    ManifestError::Malformed { what: WHAT, source }
}

fn inconsistent(why: String) -> ManifestError {
    ManifestError::Inconsistent { what: WHAT, why }
}

const WHAT: &str = "schema 1 manifest";
