//! One storage.conf: TOML to what it says, and to the options that the driver gets.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::ConfigError;

/// What a file says. What it does not say is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    pub(super) storage: Table,
}

/// The table `[storage]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Table {
    pub(super) driver: String,
    pub(super) graphroot: String,
    pub(super) runroot: String,
    pub(super) rootless_storage_path: String,
    pub(super) imagestore: String,
    pub(super) transient_store: bool,
    pub(super) options: Options,
}

/// The table `[storage.options]`, and the tables in it for one driver each, where `overlay` and `vfs`
/// mean nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Options {
    additionalimagestores: Vec<String>,
    #[serde(rename = "pull_options")]
    pub(super) pull: BTreeMap<String, Plain>,
    ignore_chown_errors: Plain,
    mount_program: Plain,
    mountopt: Plain,
    size: Plain,
    inodes: Plain,
    skip_mount_home: Plain,
    force_mask: Plain,
    use_composefs: Plain,
    overlay: Option<Box<Options>>,
    vfs: Option<Box<Options>>,
}

/// A value that is text, or a truth value that is written as one or as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plain(pub(super) String);

/// Parses a file. `path` is for messages.
pub(super) fn parse(text: &str, path: &Path) -> Result<Document, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        invalid(path, format!("line {line}: {}", error.message().trim()))
    })
}

pub(super) fn invalid(path: &Path, why: impl Into<String>) -> ConfigError {
    ConfigError::invalid(path, "storage configuration", why)
}

impl Options {
    /// Returns the options for a driver, each as `DRIVER.KEY=VALUE`.
    ///
    /// COMPAT(skopeo): the order, the keys, and that only `overlay` has more than one of its own.
    pub(super) fn for_driver(&self, driver: &str) -> Vec<String> {
        let stores = self.additionalimagestores.iter();
        let mut options: Vec<String> = stores
            .map(|store| format!("{driver}.imagestore={store}"))
            .collect();
        let own = match driver {
            "overlay" => &self.overlay,
            "vfs" => &self.vfs,
            _ => return options,
        };
        let tables = || own.as_deref().into_iter().chain([self]);
        for (key, of) in KEYS {
            let mut values = tables().map(|table| of(table).0.as_str());
            if let Some(value) = values.find(|value| !value.is_empty())
                && (driver == "overlay" || key == "ignore_chown_errors")
            {
                options.push(format!("{driver}.{key}={value}"));
            }
        }
        options
    }
}

/// Finds one value in a table.
type Field = fn(&Options) -> &Plain;

const KEYS: [(&str, Field); 8] = [
    ("ignore_chown_errors", |of| &of.ignore_chown_errors),
    ("mount_program", |of| &of.mount_program),
    ("mountopt", |of| &of.mountopt),
    ("size", |of| &of.size),
    ("inodes", |of| &of.inodes),
    ("skip_mount_home", |of| &of.skip_mount_home),
    ("force_mask", |of| &of.force_mask),
    ("use_composefs", |of| &of.use_composefs),
];

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PlainVisitor)
    }
}

struct PlainVisitor;

impl Visitor<'_> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes, true or false")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Plain, E> {
        Ok(Plain(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Plain, E> {
        Ok(Plain(flag.to_string()))
    }
}
