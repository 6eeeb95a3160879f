//! Lists of images in YAML, as `skopeo sync --src yaml` reads them (skopeo-sync(1), *YAML file
//! content*), with keys of our own: `exclude`, `newest` and `newer-than`.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use dhow_config::Secret;
use dhow_model::{Digest, Tag};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{SelectError, SemverConstraint, Since, TagFilter, TagRegex};

/// The largest file that is read, in bytes.
const MAX_SIZE: usize = 4 * 1024 * 1024;

/// What a file lists.
#[derive(Clone, Debug)]
pub struct YamlSource {
    /// The registries, in the order of the file.
    pub registries: Vec<YamlRegistry>,
}

/// What a file lists of a registry.
#[derive(Clone, Debug)]
pub struct YamlRegistry {
    /// Host and optional port; a path may follow.
    pub name: String,
    /// The repositories, in the order of the file.
    pub repositories: Vec<YamlRepository>,
    /// The user name, where the file has one.
    pub username: Option<String>,
    /// The password, likewise.
    pub password: Option<Secret>,
    /// Whether certificates are verified, where the file says it.
    pub tls_verify: Option<bool>,
    /// The directory of certificates, likewise.
    pub cert_dir: Option<PathBuf>,
    /// What cannot be used of it, in words. The rest can.
    pub problems: Vec<String>,
}

/// What a file lists of a repository.
#[derive(Clone, Debug)]
pub struct YamlRepository {
    /// Its path in the registry.
    pub path: String,
    /// Which of its images.
    pub wants: YamlWants,
}

/// Which images of a repository.
#[derive(Clone, Debug)]
pub enum YamlWants {
    /// All.
    All,
    /// Those with these tags and digests.
    Listed(Vec<String>),
    /// Those that the filter lets through.
    Filter(TagFilter),
}

impl YamlSource {
    /// Parses a file. An entry that makes no sense is a problem of its registry; a value of the wrong
    /// type is an error.
    pub fn parse(text: &str) -> Result<Self, SelectError> {
        if text.len() > MAX_SIZE {
            return Err(SelectError::new(format!(
                "it has more than {MAX_SIZE} bytes"
            )));
        }
        if text.trim().is_empty() {
            return Ok(Self {
                registries: Vec::new(),
            });
        }
        // An excerpt of the file could show a password that stands near the mistake.
        let options = serde_saphyr::options! { with_snippet: false };
        let document: Ordered<Option<RegistryText>> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| {
                SelectError::new("it is not a YAML file of registries")
                    .with_hint(
                        "write `REGISTRY:`, below it `images:`, below that `REPOSITORY: [TAG, …]`",
                    )
                    .caused_by(error)
            })?;
        let registries = document
            .0
            .into_iter()
            .map(|(name, text)| text.unwrap_or_default().read(name));
        Ok(Self {
            registries: registries.collect(),
        })
    }
}

/// A map in the order of the file.
struct Ordered<T>(Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Ordered<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// A registry as it is written.
#[derive(Default)]
struct RegistryText {
    images: Ordered<Option<Vec<String>>>,
    by_regex: Ordered<String>,
    by_semver: Ordered<String>,
    credentials: CredentialsText,
    tls_verify: Option<bool>,
    cert_dir: Option<PathBuf>,
    exclude: Vec<String>,
    newest: Option<usize>,
    newer_than: Option<String>,
    unknown: Vec<String>,
}

#[derive(Default, Deserialize)]
struct CredentialsText {
    username: Option<String>,
    password: Option<String>,
}

impl<'de> Deserialize<'de> for RegistryText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = RegistryText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a registry's images and settings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut text = RegistryText::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "images" => {
                            text.images = map.next_value::<Option<_>>()?.unwrap_or_default();
                        }
                        "images-by-tag-regex" => {
                            text.by_regex = map.next_value::<Option<_>>()?.unwrap_or_default();
                        }
                        "images-by-semver" => {
                            text.by_semver = map.next_value::<Option<_>>()?.unwrap_or_default();
                        }
                        "credentials" => {
                            text.credentials = map.next_value::<Option<_>>()?.unwrap_or_default();
                        }
                        "tls-verify" => text.tls_verify = map.next_value()?,
                        "cert-dir" => text.cert_dir = map.next_value()?,
                        "exclude" => {
                            text.exclude = map.next_value::<Option<_>>()?.unwrap_or_default();
                        }
                        "newest" => text.newest = map.next_value()?,
                        "newer-than" => text.newer_than = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            text.unknown.push(key);
                        }
                    }
                }
                Ok(text)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl RegistryText {
    fn read(self, name: String) -> YamlRegistry {
        for key in &self.unknown {
            tracing::warn!(
                registry = name,
                key,
                "unknown key in the YAML file is ignored"
            );
        }
        let mut problems = Vec::new();
        let base = self.base(&mut problems);
        // What is to be left out is not known, and must not be copied by mistake.
        let complete = problems.is_empty();
        let mut repositories = Vec::new();
        if complete {
            for (path, tags) in self.images.0 {
                let wants = listed(&path, tags.unwrap_or_default(), &base, &mut problems);
                repositories.extend(wants.map(|wants| YamlRepository { path, wants }));
            }
            for (path, text) in self.by_regex.0 {
                let regex = TagRegex::parse(&text)
                    .map_err(|error| problems.push(problem("images-by-tag-regex", &path, &error)));
                repositories.extend(regex.ok().map(|regex| YamlRepository {
                    path,
                    wants: YamlWants::Filter(TagFilter {
                        regex: Some(regex),
                        ..base.clone()
                    }),
                }));
            }
            for (path, text) in self.by_semver.0 {
                let range = SemverConstraint::parse(&text)
                    .map_err(|error| problems.push(problem("images-by-semver", &path, &error)));
                repositories.extend(range.ok().map(|range| YamlRepository {
                    path,
                    wants: YamlWants::Filter(TagFilter {
                        semver: Some(range),
                        ..base.clone()
                    }),
                }));
            }
        }
        YamlRegistry {
            name,
            repositories,
            username: self.credentials.username,
            password: self.credentials.password.map(Secret::new),
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir,
            problems,
        }
    }

    /// Returns what applies to all repositories.
    fn base(&self, problems: &mut Vec<String>) -> TagFilter {
        let mut exclude = Vec::new();
        for text in &self.exclude {
            match TagRegex::parse(text) {
                Ok(regex) => exclude.push(regex),
                Err(error) => problems.push(problem("exclude", text, &error)),
            }
        }
        let newer_than = self.newer_than.as_deref().map(Since::parse);
        let newer_than = newer_than.transpose().unwrap_or_else(|error| {
            problems.push(format!("newer-than: {error}"));
            None
        });
        TagFilter {
            exclude,
            newest: self.newest,
            newer_than,
            ..TagFilter::default()
        }
    }
}

fn listed(
    path: &str,
    tags: Vec<String>,
    base: &TagFilter,
    problems: &mut Vec<String>,
) -> Option<YamlWants> {
    if tags.is_empty() {
        return Some(if base.is_everything() {
            YamlWants::All
        } else {
            YamlWants::Filter(base.clone())
        });
    }
    let mut fine = Vec::new();
    for tag in tags {
        if Digest::parse(&tag).is_ok() || Tag::parse(&tag).is_ok() {
            fine.push(tag);
        } else {
            problems.push(format!(
                "images of `{path}`: `{tag}` is neither a tag nor a digest"
            ));
        }
    }
    (!fine.is_empty()).then_some(YamlWants::Listed(fine))
}

fn problem(section: &str, of: &str, error: &SelectError) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| {
        // The expression is shown again below the message; its last line says what is wrong.
        let text = cause.to_string();
        format!(": {}", text.lines().last().unwrap_or_default().trim())
    });
    format!("{section} of `{of}`: {error}{cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
registry.example.com:5000:
  images:
    busybox: []
    redis:
      - \"1.0\"
      - 2.10
      - sha256:0000000000000000000000000000000011111111111111111111111111111111
    all/of/it:
  images-by-tag-regex:
    nginx: ^1\\.13\\.[12]-alpine-perl$
  images-by-semver:
    alpine: \">= 3.12.0\"
  credentials:
    username: john
    password: this is a s3cret
  tls-verify: true
  cert-dir: /home/john/certs
quay.io:
  tls-verify: false
  strange: {a: b}
  images:
    coreos/etcd:
      - latest
      - not/a/tag
  images-by-tag-regex:
    bad: (
    good: x
  images-by-semver:
    worse: abc
";

    #[test]
    fn files_are_read_in_their_order() {
        let source = YamlSource::parse(FILE).unwrap();
        assert!(!format!("{source:?}").contains("s3cret"));
        let [first, second] = source.registries.as_slice() else {
            panic!("{source:?}");
        };
        let paths = |registry: &YamlRegistry| {
            let paths = registry.repositories.iter().map(|one| one.path.clone());
            paths.collect::<Vec<_>>()
        };
        assert_eq!(
            paths(first),
            ["busybox", "redis", "all/of/it", "nginx", "alpine"]
        );
        assert!(matches!(first.repositories[0].wants, YamlWants::All));
        assert!(matches!(first.repositories[2].wants, YamlWants::All));
        let YamlWants::Listed(tags) = &first.repositories[1].wants else {
            panic!("{first:?}");
        };
        assert_eq!(&tags[..2], ["1.0", "2.10"]);
        assert_eq!(tags.len(), 3);
        assert_eq!(first.username.as_deref(), Some("john"));
        assert_eq!(
            (first.tls_verify, second.tls_verify),
            (Some(true), Some(false))
        );
        assert_eq!(
            first.cert_dir.as_deref(),
            Some(std::path::Path::new("/home/john/certs"))
        );
        assert!(first.problems.is_empty(), "{:?}", first.problems);
        assert_eq!(paths(second), ["coreos/etcd", "good"]);
        assert_eq!(second.problems.len(), 3, "{:?}", second.problems);
    }

    #[test]
    fn what_is_left_out_is_left_out_everywhere() {
        let text = "r.io: {exclude: [rc], newest: 3, images: {a: [], b: [rc1]}}";
        let source = YamlSource::parse(text).unwrap();
        let [all, listed] = source.registries[0].repositories.as_slice() else {
            panic!("{source:?}");
        };
        let YamlWants::Filter(filter) = &all.wants else {
            panic!("{all:?}");
        };
        assert!(!filter.admits("rc1") && filter.newest == Some(3));
        assert!(matches!(&listed.wants, YamlWants::Listed(tags) if tags == &["rc1"]));
        let dated = YamlSource::parse("r.io: {newer-than: 72h, images: {a: []}}").unwrap();
        let YamlWants::Filter(filter) = &dated.registries[0].repositories[0].wants else {
            panic!("{dated:?}");
        };
        assert_eq!(filter.newer_than, Since::parse("72h").ok());
        for text in ["exclude: ['(']", "newer-than: long ago"] {
            let text = format!("r.io: {{{text}, images: {{a: []}}}}");
            let broken = YamlSource::parse(&text).unwrap();
            assert!(broken.registries[0].repositories.is_empty());
            assert_eq!(broken.registries[0].problems.len(), 1);
        }
    }

    #[test]
    fn mistakes_are_located_without_showing_passwords() {
        let text = "r.io:\n  credentials: {username: u, password: s3cret}\n  tls-verify: maybe\n";
        let error = YamlSource::parse(text).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(!format!("{error:?} {cause}").contains("s3cret"), "{cause}");
        assert!(cause.contains("line 3"), "{cause}");
    }

    #[test]
    fn wrong_types_are_refused() {
        for text in [
            "r.io: {tls-verify: maybe}",
            "r.io: {images: [a]}",
            "r.io: {images: {a: {b: c}}}",
            "[a, b]",
            "r.io: {images: {a: [}",
        ] {
            assert!(YamlSource::parse(text).is_err(), "{text}");
        }
        assert!(YamlSource::parse("").unwrap().registries.is_empty());
        assert!(
            YamlSource::parse("r.io:").unwrap().registries[0]
                .repositories
                .is_empty()
        );
        assert!(YamlSource::parse(&"#".repeat(MAX_SIZE + 1)).is_err());
    }
}
