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

impl Platform {
    /// Parses `os/architecture[/variant]`: `linux/arm64/v8`. Names that the kernel uses for an
    /// architecture (`x86_64`, `aarch64`, …) are turned into Go's.
    ///
    /// # Errors
    /// When there are not two or three parts, or one is not made of letters, digits, `.`, `_`
    /// and `-`.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let invalid = || PlatformError {
            text: text
                .chars()
                .take(100)
                .flat_map(char::escape_debug)
                .collect(),
        };
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
        };
        if !parts.iter().all(word) {
            return Err(invalid());
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(*variant)),
            _ => return Err(invalid()),
        };
        let (architecture, implied) = go_architecture(architecture);
        Ok(Self {
            architecture: architecture.to_ascii_lowercase(),
            os: os.to_ascii_lowercase(),
            variant: variant.or(implied).map(str::to_ascii_lowercase),
            ..Self::default()
        })
    }

    /// Returns whether this platform is one of those that `wanted` names: same operating system
    /// and architecture; variant, version and features only as far as `wanted` has them. arm64
    /// without a variant is `v8`.
    pub fn matches(&self, wanted: &Self) -> bool {
        let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let variant = |platform: &Self| match text(&platform.variant) {
            None if platform.architecture == "arm64" => Some("v8".to_owned()),
            variant => variant,
        };
        let features = self.os_features.as_deref().unwrap_or_default();
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (text(&wanted.variant).is_none() || variant(self) == variant(wanted))
            && (text(&wanted.os_version).is_none() || self.os_version == wanted.os_version)
            && wanted
                .os_features
                .iter()
                .flatten()
                .all(|feature| features.contains(feature))
    }
}

/// Returns Go's name of an architecture, and the variant that the name implies.
fn go_architecture(name: &str) -> (&str, Option<&'static str>) {
    match name {
        "x86_64" | "x86-64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "armhf" | "armv7l" => ("arm", Some("v7")),
        "armel" | "armv6l" => ("arm", Some("v6")),
        "i386" | "i686" => ("386", None),
        name => (name, None),
    }
}

impl std::str::FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
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

impl PlatformWish {
    /// Returns a wish; an empty variant is none.
    pub fn new(
        os: impl Into<String>,
        architecture: impl Into<String>,
        variant: Option<String>,
    ) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.filter(|variant| !variant.is_empty()),
        }
    }

    /// Returns the wish for `platform`.
    pub fn of(platform: &Platform) -> Self {
        Self::new(
            &platform.os,
            &platform.architecture,
            platform.variant.clone(),
        )
    }
}

impl fmt::Display for PlatformWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// A string that does not name a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a platform of the form `os/architecture[/variant]`")]
pub struct PlatformError {
    text: String,
}
