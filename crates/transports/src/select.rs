//! Which image of a layout is meant, in a directory or in an archive: a name, or a place in
//! `index.json`.

use std::fmt;
use std::path::Path;

use dhow_layout::LayoutIndex;
use dhow_model::{Annotations, Descriptor};
use dhow_transport::{Error, Kind, ParseError, Result};

use crate::near;

/// Which image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// The only one.
    Only,
    /// The one with this name.
    Named(String),
    /// The one at this place of `index.json` (0-based).
    At(usize),
}

impl Select {
    pub(crate) fn parse(whole: &str, text: &str) -> Result<Self, ParseError> {
        let whole = whole.escape_debug();
        if text.is_empty() {
            return Ok(Self::Only);
        }
        if let Some(place) = text.strip_prefix('@') {
            return place.parse().map(Self::At).map_err(|_| {
                ParseError::new(format!(
                    "invalid source index `@{}`: not a number from 0",
                    place.escape_debug()
                ))
            });
        }
        if !text.split('/').all(is_name_component) {
            return Err(ParseError::new(format!("invalid image `{whole}`")).hint(
                "a name in a layout has letters and digits, with one of `-._:@+/` between them",
            ));
        }
        Ok(Self::Named(text.to_owned()))
    }

    /// Returns the name, if there is one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Only | Self::At(_) => None,
        }
    }

    /// Refuses what cannot be written to.
    pub(crate) fn check_destination(&self) -> Result<()> {
        match self {
            Self::At(place) => Err(Error::unsupported(format!(
                "destination reference must not contain a manifest index @{place}"
            ))),
            Self::Only | Self::Named(_) => Ok(()),
        }
    }

    /// Returns the entry that is meant; `path` is for messages.
    pub(crate) fn choose(&self, index: &LayoutIndex, path: &Path) -> Result<Descriptor> {
        let entries = index.entries();
        let path = path.display();
        let found = match self {
            Self::At(place) => entries.get(*place).cloned().ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!(
                        "index {place} is too large for `{path}`, only {} entries available",
                        entries.len()
                    ),
                )
            }),
            Self::Only if entries.len() == 1 => Ok(entries[0].clone()),
            Self::Only if entries.is_empty() => Err(Error::new(
                Kind::NotFound,
                format!("`{path}` holds no image"),
            )),
            Self::Only => Err(Error::new(
                Kind::Invalid,
                format!("more than one image in oci layout `{path}`, choose an image"),
            )
            .hint(names_hint(&index.names()))),
            Self::Named(name) => named(&entries, name).cloned().ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("no descriptor found for reference `{name}` in `{path}`"),
                )
                .hint(near_hint(name, &index.names()))
            }),
        }?;
        if !is_supported(&found) {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "`{path}{self}` is of the unsupported media type `{}`",
                    found.media_type
                ),
            ));
        }
        Ok(found)
    }
}

impl fmt::Display for Select {
    /// Writes what stands behind the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => Ok(()),
            Self::Named(name) => write!(f, ":{name}"),
            Self::At(place) => write!(f, ":@{place}"),
        }
    }
}

/// OCI image-spec, *annotations*: `alphanum ((separator) alphanum)*`, where a separator is one of
/// `-._:@+` or `--`.
fn is_name_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .split(alphanumeric)
            .all(|run| matches!(run, "" | "-" | "." | "_" | ":" | "@" | "+" | "--"))
}

/// Returns the entry of that name, rather one that can be read.
fn named<'a>(entries: &'a [Descriptor], name: &str) -> Option<&'a Descriptor> {
    let mut of_name = entries
        .iter()
        .filter(|entry| entry.annotations.value(Annotations::REF_NAME) == Some(name));
    let mut supported = of_name.clone().filter(|entry| is_supported(entry));
    supported.next().or_else(|| of_name.next())
}

fn is_supported(entry: &Descriptor) -> bool {
    let kind = entry.media_type.manifest_kind();
    kind.is_some_and(|kind| !kind.is_docker1())
}

fn near_hint(name: &str, names: &[String]) -> String {
    match near::nearest(name, names.iter().map(String::as_str)).as_slice() {
        [] => names_hint(names),
        near => format!("near names are `{}`", near.join("`, `")),
    }
}

fn names_hint(names: &[String]) -> String {
    const SHOWN: usize = 12;
    if names.is_empty() {
        return "no image there has a name; choose one by its place, as `:@0`".to_owned();
    }
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    format!("name one of: {}{more}", shown.join(", "))
}
