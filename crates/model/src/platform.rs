//! Platforms (OCI image-spec, *Image Index*): what an image runs on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The platform of an image in an index.
///
/// Field order is the order in which Go's OCI types write a platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The processor architecture in Go's names: `amd64`, `arm64`, `arm`, …
    #[serde(default)]
    pub architecture: String,
    /// The operating system in Go's names: `linux`, `windows`, …
    #[serde(default)]
    pub os: String,
    /// The operating system's version, used by Windows images.
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    /// Features that the operating system must have.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_features: Option<Vec<String>>,
    /// The variant of the architecture: `v7`, `v8`, `v3`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

/// The platform that somebody wants an image for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformWish {
    /// The operating system in Go's names.
    pub os: String,
    /// The architecture in Go's names.
    pub architecture: String,
    /// The variant, if one is wanted or was detected.
    pub variant: Option<String>,
}
