//! Names of images in a store.

use std::fmt;
use std::path::PathBuf;

use dhow_model::{Digest, Reference};
use dhow_storage::{ImageName, Store};
use dhow_transport::{Error, Kind, ParseError, Result};

use super::store_error;

/// Which store is meant; what is not given comes from storage.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Specifier {
    pub(super) driver: Option<String>,
    pub(super) graph_root: Option<PathBuf>,
    pub(super) run_root: Option<PathBuf>,
    pub(super) options: Vec<String>,
}

/// What an image is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The name with its registry, if it is one.
    reference: Option<Reference>,
    /// What was given, if it could be an ID or the start of one.
    maybe_id: Option<String>,
    /// What stands behind the last `@`, as an ID.
    id: Option<String>,
}

/// Parses what stands behind `containers-storage:`. COMPAT(skopeo): its grammar
/// (image/storage/storage_transport.go).
pub(super) fn parse(text: &str) -> Result<(Specifier, Name), ParseError> {
    let shown = text.escape_debug();
    let wrong = |why: &str| {
        let error = ParseError::new(format!("containers-storage: reference `{shown}`: {why}"));
        error
            .hint("write `containers-storage:[DRIVER@GRAPHROOT+RUNROOT]NAME:TAG`, or just the NAME")
    };
    let (specifier, rest) = match text.strip_prefix('[') {
        None => (Specifier::default(), text),
        Some(rest) => {
            let (inside, rest) = rest
                .split_once(']')
                .ok_or_else(|| wrong("`]` is missing"))?;
            (specifier(inside).map_err(wrong)?, rest)
        }
    };
    let (rest, id) = match rest.rsplit_once('@') {
        Some((before, behind)) if is_id(behind) => (before, Some(behind.to_owned())),
        _ => (rest, None),
    };
    if rest.is_empty() {
        if id.is_none() {
            return Err(wrong("it names no image"));
        }
        let name = Name {
            reference: None,
            maybe_id: None,
            id,
        };
        return Ok((specifier, name));
    }
    let maybe_id = (id.is_none() && is_id(rest)).then(|| rest.to_owned());
    let reference = match Reference::parse(rest) {
        Ok(reference) => Some(reference.with_default_tag()),
        Err(_) if maybe_id.is_some() => None,
        Err(error) => return Err(wrong(&error.to_string())),
    };
    let name = Name {
        reference,
        maybe_id,
        id,
    };
    Ok((specifier, name))
}

/// Parses what stands in the brackets: `DRIVER@GRAPHROOT+RUNROOT:OPTION,OPTION`, or just the root.
fn specifier(text: &str) -> Result<Specifier, &'static str> {
    let (driver, rest) = match text.split_once('@') {
        Some((driver, rest)) => (Some(driver), rest),
        None => (None, text),
    };
    let (roots, options) = match rest.split_once(':') {
        Some((roots, options)) => (roots, Some(options)),
        None => (rest, None),
    };
    let (graph_root, run_root) = match roots.split_once('+') {
        Some((graph_root, run_root)) => (graph_root, Some(run_root)),
        None => (roots, None),
    };
    let root = |text: Option<&str>| -> Result<Option<PathBuf>, &'static str> {
        match text {
            None | Some("") => Ok(None),
            Some(text) if text.starts_with('/') => Ok(Some(PathBuf::from(text))),
            Some(_) => Err("the path of a store is absolute"),
        }
    };
    let options = options.unwrap_or_default().split(',');
    Ok(Specifier {
        driver: driver
            .filter(|driver| !driver.is_empty())
            .map(str::to_owned),
        graph_root: root(Some(graph_root))?,
        run_root: root(run_root)?,
        options: options
            .filter(|option| !option.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// Returns whether a text can be an ID, or the start of one.
fn is_id(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (3..=64).contains(&text.len()) && text.bytes().all(hex)
}

impl Name {
    pub(super) const fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref()
    }

    /// Returns the digest that the name has.
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.reference.as_ref()?.digest.as_ref()
    }

    /// Returns what a store is asked for. What could be an ID is one if the store has it. Blocks.
    pub(super) fn in_store(&self, store: &Store) -> Result<ImageName> {
        if let Some(id) = &self.maybe_id {
            let name = ImageName {
                id: Some(id.clone()),
                ..ImageName::default()
            };
            let found = store.find(&name).map_err(store_error)?;
            if found.is_some() || self.reference.is_none() {
                return Ok(name);
            }
        }
        let reference = self.reference.as_ref();
        let digested = reference.and_then(|reference| {
            let digest = reference.digest?;
            Some((reference.repository.to_string(), digest.to_string()))
        });
        Ok(ImageName {
            tagged: if digested.is_none() {
                self.tagged()
            } else {
                None
            },
            digested,
            id: self.id.clone(),
        })
    }

    /// Returns the name that an image gets which is written; `None`: it is named by an ID alone.
    pub(super) fn tagged(&self) -> Option<String> {
        self.reference.as_ref().map(ToString::to_string)
    }

    /// Returns the ID that an image must have which is written.
    pub(super) fn wanted_id(&self) -> Result<Option<String>> {
        let given = self.id.as_ref();
        let given = given.or(self.maybe_id.as_ref().filter(|_| self.reference.is_none()));
        match given {
            Some(id) if id.len() != 64 => {
                let message = format!("`{id}` is no image ID: it has 64 hex digits");
                Err(Error::new(Kind::Invalid, message).hint("write the whole ID, or a name"))
            }
            other => Ok(other.cloned()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reference, &self.maybe_id) {
            (Some(reference), _) => reference.fmt(f)?,
            (None, Some(id)) => f.write_str(id)?,
            (None, None) => {}
        }
        match &self.id {
            Some(id) => write!(f, "@{id}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_store_a_tag_a_digest_and_an_id() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let id = "2".repeat(64);
        for (text, shown) in [
            (
                "busybox".to_owned(),
                "docker.io/library/busybox:latest".to_owned(),
            ),
            ("[]quay.io/a/b:1".to_owned(), "quay.io/a/b:1".to_owned()),
            (
                format!("[/root]a@{digest}"),
                format!("docker.io/library/a@{digest}"),
            ),
            (format!("@{id}"), format!("@{id}")),
            (format!("a:1@{id}"), format!("docker.io/library/a:1@{id}")),
            (id.clone(), id.clone()),
        ] {
            let (_, name) = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(name.to_string(), shown, "{text}");
        }
        for text in ["", "[", "[x", "[]", "a b", "UPPER", "[relative]a", "@"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_store_is_told_by_its_parts() {
        let (specifier, _) =
            parse("[vfs@/graph+/run:vfs.ignore_chown_errors=true,x=y]a").expect("a good name");
        let expected = Specifier {
            driver: Some("vfs".into()),
            graph_root: Some("/graph".into()),
            run_root: Some("/run".into()),
            options: vec!["vfs.ignore_chown_errors=true".into(), "x=y".into()],
        };
        assert_eq!(specifier, expected);
    }
}
