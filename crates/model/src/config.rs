//! Image configs: OCI image-spec *Image Configuration*, and what Docker adds to it.
//!
//! This is a view: fields that it does not name are ignored, `null` is as good as absent. Bytes
//! of a config are copied as they are; [`ImageConfig::to_oci_json`] is for the one conversion
//! that rewrites them.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fields::Fields;
use crate::{Digest, ManifestError, Platform, Timestamp, json};

/// The config of a container image.
///
/// It serializes as Go's OCI image type does: same fields, same order, nothing of Docker's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageConfig {
    /// When the image was made.
    pub created: Option<Timestamp>,
    /// Who made it.
    pub author: Option<String>,
    /// The architecture in Go's names; empty if the config does not say.
    pub architecture: String,
    /// The variant of the architecture.
    pub variant: Option<String>,
    /// The operating system in Go's names; empty if the config does not say.
    pub os: String,
    /// The operating system's version.
    pub os_version: Option<String>,
    /// Features that the operating system must have.
    pub os_features: Vec<String>,
    /// The version of Docker that made the image.
    pub docker_version: Option<String>,
    /// How containers of the image are run.
    pub container: Option<ContainerConfig>,
    /// The content of the layers.
    pub rootfs: RootFs,
    /// What made each layer, base first.
    pub history: Vec<History>,
}

impl ImageConfig {
    /// The largest config that is read into memory, in bytes: the limit of other tools too.
    pub const MAX_SIZE: usize = 4 * 1024 * 1024;

    /// Parses a config.
    ///
    /// # Errors
    /// When it is larger than [`Self::MAX_SIZE`], is not a JSON object, or a field has another
    /// type than the specification gives it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        const WHAT: &str = "image config";
        if bytes.len() > Self::MAX_SIZE {
            return Err(ManifestError::Inconsistent {
                what: WHAT,
                why: format!("it is larger than {} bytes", Self::MAX_SIZE),
            });
        }
        serde_json::from_slice::<Fields>(bytes)
            .and_then(|fields| Self::from_fields(&fields))
            .map_err(|source| ManifestError::Malformed { what: WHAT, source })
    }

    fn from_fields(fields: &Fields) -> Result<Self, serde_json::Error> {
        Ok(Self {
            created: fields.take("created")?,
            author: fields.text("author")?,
            architecture: fields.text("architecture")?.unwrap_or_default(),
            variant: fields.text("variant")?,
            os: fields.text("os")?.unwrap_or_default(),
            os_version: fields.text("os.version")?,
            os_features: fields.texts("os.features")?,
            // Docker alone has this one; whatever else stands there is nobody's business.
            docker_version: fields.text("docker_version").unwrap_or_default(),
            container: fields.take("config")?,
            rootfs: fields.take("rootfs")?.unwrap_or_default(),
            history: nullable_items(fields.take("history")?),
        })
    }

    /// Returns the config as an OCI config: exactly the bytes that Go's `json.Marshal` of the OCI
    /// image type gives, which is what skopeo stores when it converts from Docker schema 2.
    pub fn to_oci_json(&self) -> Vec<u8> {
        json::to_vec(self).expect("strings, lists and maps with string keys can be written")
    }

    /// Returns what the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: (!self.os_features.is_empty()).then(|| self.os_features.clone()),
            variant: self.variant.clone(),
        }
    }
}

impl Serialize for ImageConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // SPEC: the order of image-spec 1.1's `specs-go/v1/config.go`, where `Platform` is
        // embedded between `author` and `config`.
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "created", self.created.as_ref())?;
        optional(&mut map, "author", self.author.as_ref())?;
        map.serialize_entry("architecture", &self.architecture)?;
        map.serialize_entry("os", &self.os)?;
        optional(&mut map, "os.version", self.os_version.as_ref())?;
        optional(&mut map, "os.features", filled(&self.os_features))?;
        optional(&mut map, "variant", self.variant.as_ref())?;
        match &self.container {
            Some(container) => map.serialize_entry("config", container)?,
            // A struct in Go is never left out.
            None => map.serialize_entry("config", &BTreeMap::<&str, &str>::new())?,
        }
        map.serialize_entry("rootfs", &self.rootfs)?;
        optional(&mut map, "history", filled(&self.history))?;
        map.end()
    }
}

/// How containers of an image are run (OCI image-spec, *config*).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// The user and group that the process runs as.
    pub user: Option<String>,
    /// Ports to expose: `80/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// Environment: `NAME=value`.
    pub env: Vec<String>,
    /// The command that is always run.
    pub entrypoint: Vec<String>,
    /// Arguments to the entrypoint, or the whole command.
    pub cmd: Vec<String>,
    /// Directories that hold data of one container.
    pub volumes: BTreeSet<String>,
    /// The directory the process starts in.
    pub working_dir: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that ends the process.
    pub stop_signal: Option<String>,
    /// Whether a Windows command is escaped already.
    pub args_escaped: bool,
}

impl<'de> Deserialize<'de> for ContainerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        let read = || {
            let labels: Option<BTreeMap<String, Option<String>>> = fields.take("Labels")?;
            Ok(Self {
                user: fields.text("User")?,
                exposed_ports: keys(fields.take("ExposedPorts")?),
                env: fields.texts("Env")?,
                entrypoint: fields.texts("Entrypoint")?,
                cmd: fields.texts("Cmd")?,
                volumes: keys(fields.take("Volumes")?),
                working_dir: fields.text("WorkingDir")?,
                labels: labels
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (key, value.unwrap_or_default()))
                    .collect(),
                stop_signal: fields.text("StopSignal")?,
                args_escaped: fields.take("ArgsEscaped")?.unwrap_or_default(),
            })
        };
        read().map_err(|error: serde_json::Error| D::Error::custom(error))
    }
}

impl Serialize for ContainerConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "User", self.user.as_ref())?;
        optional(&mut map, "ExposedPorts", set(&self.exposed_ports).as_ref())?;
        optional(&mut map, "Env", filled(&self.env))?;
        optional(&mut map, "Entrypoint", filled(&self.entrypoint))?;
        optional(&mut map, "Cmd", filled(&self.cmd))?;
        optional(&mut map, "Volumes", set(&self.volumes).as_ref())?;
        optional(&mut map, "WorkingDir", self.working_dir.as_ref())?;
        let labels = (!self.labels.is_empty()).then_some(&self.labels);
        optional(&mut map, "Labels", labels)?;
        optional(&mut map, "StopSignal", self.stop_signal.as_ref())?;
        optional(&mut map, "ArgsEscaped", self.args_escaped.then_some(&true))?;
        map.end()
    }
}

/// The content of an image's layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootFs {
    /// `layers`, always.
    pub kind: String,
    /// The digests of the uncompressed layers, base first.
    pub diff_ids: Vec<Digest>,
    /// Go writes an absent list as `null` and an empty one as `[]`.
    absent: bool,
}

impl<'de> Deserialize<'de> for RootFs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        let diff_ids: Option<Vec<Digest>> = fields.take("diff_ids").map_err(D::Error::custom)?;
        Ok(Self {
            kind: fields
                .text("type")
                .map_err(D::Error::custom)?
                .unwrap_or_default(),
            absent: diff_ids.is_none(),
            diff_ids: diff_ids.unwrap_or_default(),
        })
    }
}

impl Serialize for RootFs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", &self.kind)?;
        if self.absent && self.diff_ids.is_empty() {
            map.serialize_entry("diff_ids", &())?;
        } else {
            map.serialize_entry("diff_ids", &self.diff_ids)?;
        }
        map.end()
    }
}

/// What made one layer, or changed only the config.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When.
    pub created: Option<Timestamp>,
    /// By which command.
    pub created_by: Option<String>,
    /// By whom.
    pub author: Option<String>,
    /// A remark.
    pub comment: Option<String>,
    /// Whether there is no layer for this entry.
    pub empty_layer: bool,
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        let read = || {
            Ok(Self {
                created: fields.take("created")?,
                created_by: fields.text("created_by")?,
                author: fields.text("author")?,
                comment: fields.text("comment")?,
                empty_layer: fields.take("empty_layer")?.unwrap_or_default(),
            })
        };
        read().map_err(|error: serde_json::Error| D::Error::custom(error))
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "created", self.created.as_ref())?;
        optional(&mut map, "created_by", self.created_by.as_ref())?;
        optional(&mut map, "author", self.author.as_ref())?;
        optional(&mut map, "comment", self.comment.as_ref())?;
        optional(&mut map, "empty_layer", self.empty_layer.then_some(&true))?;
        map.end()
    }
}

/// The empty object that Go's sets have for values.
#[derive(Deserialize, Serialize)]
struct Member {}

fn keys(set: Option<BTreeMap<String, Option<Member>>>) -> BTreeSet<String> {
    set.unwrap_or_default().into_keys().collect()
}

#[expect(clippy::zero_sized_map_values, reason = "JSON wants the values")]
fn set(keys: &BTreeSet<String>) -> Option<BTreeMap<&str, Member>> {
    (!keys.is_empty()).then(|| keys.iter().map(|key| (key.as_str(), Member {})).collect())
}

fn nullable_items<T: Default + DeserializeOwned>(items: Option<Vec<Option<T>>>) -> Vec<T> {
    items
        .unwrap_or_default()
        .into_iter()
        .map(Option::unwrap_or_default)
        .collect()
}

fn filled<T>(list: &Vec<T>) -> Option<&Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn optional<M: SerializeMap, T: Serialize + ?Sized>(
    map: &mut M,
    key: &'static str,
    value: Option<&T>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(key, value),
        None => Ok(()),
    }
}
