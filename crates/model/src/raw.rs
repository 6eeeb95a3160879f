//! Manifests as bytes: the two guarantees that the rest of the program builds on.
//!
//! A [`RawManifest`] cannot exist with bytes that do not hash to its digest, or whose kind is in
//! doubt. An [`Admitted`] value has been let through by policy; an image manifest can be parsed
//! from nothing else.

use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::manifest::docker1;
use crate::{Digest, ManifestKind, MediaType};

/// The bytes of a manifest or index as received, with their digest and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    bytes: Bytes,
    kind: ManifestKind,
    digest: Digest,
}

impl RawManifest {
    /// The largest manifest that is read from anywhere, in bytes. The distribution spec asks
    /// registries to accept 4 MiB; no tool makes larger ones.
    pub const MAX_SIZE: usize = 4 * 1024 * 1024;

    /// Takes bytes whose digest nobody has promised. `claimed` is the media type under which they
    /// came, if any.
    ///
    /// # Errors
    /// When the bytes are too many, are no manifest of a known kind, could be read both as an
    /// image and as an index, or are of another kind than claimed.
    pub fn new(bytes: Bytes, claimed: Option<&MediaType>) -> Result<Self, ManifestError> {
        if bytes.len() > Self::MAX_SIZE {
            return Err(ManifestError::TooLarge);
        }
        let kind = sniff(&bytes, claimed)?;
        let digest = match kind {
            ManifestKind::Docker1Signed => docker1::digest(&bytes)?,
            _ => Digest::sha256(&bytes),
        };
        Ok(Self {
            bytes,
            kind,
            digest,
        })
    }

    /// Takes bytes that were asked for by digest.
    ///
    /// # Errors
    /// As for [`RawManifest::new`], and when the bytes have another digest.
    pub fn verified(
        bytes: Bytes,
        claimed: Option<&MediaType>,
        expected: &Digest,
    ) -> Result<Self, ManifestError> {
        let mut manifest = Self::new(bytes, claimed)?;
        if manifest.digest != *expected {
            // The digest of a signed schema 1 manifest may also be that of all its bytes.
            if !expected.matches(&manifest.bytes) {
                let actual = Digest::of(expected.algorithm(), &manifest.bytes);
                return Err(ManifestError::Digest {
                    expected: *expected,
                    actual,
                });
            }
            manifest.digest = *expected;
        }
        Ok(manifest)
    }

    /// Returns the bytes as received.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns which kind of manifest this is.
    pub const fn kind(&self) -> ManifestKind {
        self.kind
    }

    /// Returns the media type of the kind.
    pub const fn media_type(&self) -> MediaType {
        self.kind.media_type()
    }

    /// Returns the digest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns type, digest and size.
    pub fn descriptor(&self) -> crate::Descriptor {
        crate::Descriptor::new(self.media_type(), self.digest, self.bytes.len() as u64)
    }
}

/// A value that policy has let through.
#[derive(Clone, Debug)]
pub struct Admitted<T>(T);

impl<T> Admitted<T> {
    /// Marks a value as let through. Only the admission step and commands that policy does not
    /// govern (inspect, delete) have a reason to call this.
    pub const fn by_policy(value: T) -> Self {
        Self(value)
    }

    /// Returns the value.
    pub const fn as_inner(&self) -> &T {
        &self.0
    }
}

/// Why bytes are not a manifest that dhow takes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More than [`RawManifest::MAX_SIZE`] bytes.
    #[error("the manifest is larger than {} bytes", RawManifest::MAX_SIZE)]
    TooLarge,
    /// The bytes do not have the digest they were asked for by.
    #[error("digest mismatch: expected {expected}, got {actual}")]
    Digest {
        /// The digest asked for.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// Not JSON, or JSON of another shape than the kind demands.
    #[error("the {what} is malformed")]
    Malformed {
        /// Which document was being read.
        what: &'static str,
        /// What the parser found.
        #[source]
        source: serde_json::Error,
    },
    /// Both `manifests` and `layers`, `config` or `fsLayers` are there.
    #[error("the manifest could be read both as an image and as an index")]
    Ambiguous,
    /// The kind in the document is not the one it came as.
    #[error("the manifest came as `{claimed}` and is `{actual}`")]
    TypeMismatch {
        /// The media type it came as.
        claimed: MediaType,
        /// The media type it is.
        actual: MediaType,
    },
    /// A kind of document that is none of the known manifests.
    #[error("`{0}` is not a manifest of a known kind")]
    UnknownKind(String),
    /// A kind of manifest in which the wanted view does not exist.
    #[error("a manifest of type `{0}` is not {1}")]
    WrongKind(MediaType, &'static str),
    /// A document that parses and still makes no sense.
    #[error("the {what} is inconsistent: {why}")]
    Inconsistent {
        /// Which document was being read.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// The keys of a manifest document that decide its kind.
#[derive(Debug, Default)]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config_media_type: Option<String>,
    first_entry_type: Option<String>,
    manifests: bool,
    layers: bool,
    config: bool,
    fs_layers: bool,
    signatures: bool,
}

fn sniff(bytes: &[u8], claimed: Option<&MediaType>) -> Result<ManifestKind, ManifestError> {
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|source| ManifestError::Malformed {
            what: "manifest",
            source,
        })?;
    if shape.manifests && (shape.layers || shape.config || shape.fs_layers) {
        return Err(ManifestError::Ambiguous);
    }
    if shape.fs_layers && (shape.layers || shape.config) {
        return Err(ManifestError::Ambiguous);
    }
    let claimed_kind = claimed.and_then(MediaType::manifest_kind);
    let actual = shape.kind(claimed_kind)?;
    match claimed_kind {
        // Registries label the two schema 1 kinds loosely; the bytes tell which one it is.
        Some(kind) if kind != actual && !(kind.is_docker1() && actual.is_docker1()) => {
            Err(ManifestError::TypeMismatch {
                claimed: kind.media_type(),
                actual: actual.media_type(),
            })
        }
        _ => Ok(actual),
    }
}

impl Shape {
    fn kind(&self, claimed: Option<ManifestKind>) -> Result<ManifestKind, ManifestError> {
        if self.schema_version == Some(1) && self.fs_layers {
            return Ok(if self.signatures {
                ManifestKind::Docker1Signed
            } else {
                ManifestKind::Docker1
            });
        }
        if let Some(name) = self.media_type.as_deref().filter(|name| !name.is_empty()) {
            let kind = MediaType::new(name)
                .manifest_kind()
                .filter(|kind| !kind.is_docker1())
                .ok_or_else(|| ManifestError::UnknownKind(name.chars().take(200).collect()))?;
            return self.checked(kind);
        }
        match self.schema_version {
            None | Some(2) => {}
            Some(version) => {
                return Err(ManifestError::UnknownKind(format!(
                    "schemaVersion {version}"
                )));
            }
        }
        // OCI documents may leave `mediaType` out: take the word of whoever handed it over when
        // the shape agrees, else the types of what it lists.
        if let Some(kind) = claimed {
            return self.checked(kind);
        }
        if self.manifests {
            let docker =
                self.first_entry_type.as_deref() == Some(MediaType::DOCKER2_MANIFEST.as_str());
            return Ok(if docker {
                ManifestKind::Docker2List
            } else {
                ManifestKind::OciIndex
            });
        }
        if self.config {
            let docker =
                self.config_media_type.as_deref() == Some(MediaType::DOCKER2_CONFIG.as_str());
            return Ok(if docker {
                ManifestKind::Docker2Manifest
            } else {
                ManifestKind::OciManifest
            });
        }
        Err(ManifestError::UnknownKind(
            "a document without `config` and `manifests`".to_owned(),
        ))
    }

    /// Returns `kind` if the document has the keys of one.
    fn checked(&self, kind: ManifestKind) -> Result<ManifestKind, ManifestError> {
        let index = kind.is_index();
        if (index && (self.layers || self.config)) || (!index && self.manifests) {
            return Err(ManifestError::Ambiguous);
        }
        let fits = if kind.is_docker1() {
            self.fs_layers
        } else if index {
            self.manifests
        } else {
            self.config
        };
        if fits {
            Ok(kind)
        } else {
            Err(ManifestError::UnknownKind(format!(
                "a `{}` without its keys",
                kind.media_type()
            )))
        }
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Shape;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a manifest object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
                let mut shape = Shape::default();
                while let Some(key) = map.next_key::<String>()? {
                    shape.take(&key, &mut map)?;
                }
                Ok(shape)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
}

impl Shape {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let twice = |seen: bool| {
            if seen {
                Err(serde::de::Error::custom(format!("`{key}` stands twice")))
            } else {
                Ok(())
            }
        };
        // Go's JSON matches keys without regard to case, so `Manifests` would be read by others.
        match key.to_ascii_lowercase().as_str() {
            "schemaversion" => {
                twice(self.schema_version.is_some())?;
                self.schema_version = map.next_value()?;
            }
            "mediatype" => {
                twice(self.media_type.is_some())?;
                self.media_type = map.next_value()?;
            }
            "config" => {
                twice(self.config)?;
                let config = map.next_value::<Option<Typed>>()?;
                self.config = config.is_some();
                self.config_media_type = config.and_then(|config| config.media_type);
            }
            "manifests" => {
                twice(self.manifests)?;
                let entries = map.next_value::<Option<Vec<Typed>>>()?;
                self.manifests = entries.is_some();
                self.first_entry_type = entries
                    .and_then(|entries| entries.into_iter().next())
                    .and_then(|entry| entry.media_type);
            }
            "layers" => {
                twice(self.layers)?;
                self.layers = map.next_value::<Option<IgnoredAny>>()?.is_some();
            }
            "fslayers" => {
                twice(self.fs_layers)?;
                self.fs_layers = map.next_value::<Option<IgnoredAny>>()?.is_some();
            }
            "signatures" => self.signatures = map.next_value::<Option<IgnoredAny>>()?.is_some(),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
