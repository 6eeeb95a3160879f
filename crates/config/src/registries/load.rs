//! Which files make up registries.conf, and how they are laid over each other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Registries;
use super::parse::{Form, Parsed, parse};
use crate::file::read_if_present;
use crate::{ConfigError, ConfigFile, EnvSnapshot};

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The main file; the first that is there counts.
    pub(super) main: Vec<PathBuf>,
    /// One of `main` has to be there.
    pub(super) required: bool,
    /// The folders of drop-ins, each with the main files with which it is not read.
    pub(super) drop_ins: Vec<PathBuf>,
    /// When the first of `main` is there, only the last of `drop_ins` is read.
    pub(super) user_first: bool,
}

impl Places {
    pub(super) fn new(environment: &EnvSnapshot, main: Option<&Path>) -> Self {
        let system = Path::new("/etc/containers");
        let user = environment
            .config_home()
            .map(|home| home.join("containers"));
        let both = |name: &str| {
            [Some(system), user.as_deref()]
                .into_iter()
                .flatten()
                .map(|directory| directory.join(name))
                .collect::<Vec<_>>()
        };
        let mut usual = both("registries.conf");
        usual.reverse();
        Self {
            main: main.map_or(usual, |main| vec![main.to_owned()]),
            required: main.is_some(),
            drop_ins: both("registries.conf.d"),
            user_first: main.is_none() && user.is_some(),
        }
    }

    pub(super) fn load(&self) -> Result<Registries, ConfigError> {
        let mut registries = Registries::default();
        let mut found = None;
        for (at, path) in self.main.iter().enumerate() {
            if let Some(text) = registries.read(path)? {
                registries.lay(parse(&text, path, Form::Main)?);
                found = Some(at);
                break;
            }
        }
        if let (None, true, Some(path)) = (found, self.required, self.main.first()) {
            return Err(ConfigError::Read {
                path: path.clone(),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        // COMPAT(skopeo): who has a main file of their own has nothing of the system's.
        let own = self.user_first && found == Some(0);
        let folders = match self.drop_ins.split_last() {
            Some((last, _)) if own => std::slice::from_ref(last),
            _ => &self.drop_ins[..],
        };
        for folder in folders {
            for path in drop_ins(folder)? {
                if let Some(text) = registries.read(&path)? {
                    registries.lay(parse(&text, &path, Form::DropIn)?);
                }
            }
        }
        Ok(registries)
    }
}

impl Registries {
    fn read(&mut self, path: &Path) -> Result<Option<String>, ConfigError> {
        let text = read_if_present(path)?;
        self.files.push(ConfigFile {
            path: path.to_owned(),
            found: text.is_some(),
        });
        Ok(text)
    }

    /// Lays what a later file says over what the earlier ones say.
    pub(super) fn lay(&mut self, parsed: Parsed) {
        for entry in parsed.entries {
            let same = |known: &super::RegistryEntry| known.prefix == entry.prefix;
            match self.entries.iter().position(same) {
                Some(at) => self.entries[at] = entry,
                None => self.entries.push(entry),
            }
        }
        if let Some(search) = parsed.unqualified_search {
            self.unqualified_search = search;
        }
        if let Some(helpers) = parsed.credential_helpers {
            self.credential_helpers = helpers;
        }
        for (alias, name) in parsed.aliases {
            // An empty value takes an alias back.
            if name.is_empty() {
                self.aliases.remove(&alias);
            } else {
                self.aliases.insert(alias, name);
            }
        }
    }
}

/// Returns the `*.conf` files of a folder, in lexical order; none when it is not there.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let wrap = |source| ConfigError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(wrap(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrap)?.path();
        if path.extension().is_some_and(|ending| ending == "conf") && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn places(root: &Path) -> Places {
        let at = |name: &str| root.join(name);
        Places {
            main: vec![at("user/registries.conf"), at("etc/registries.conf")],
            required: false,
            drop_ins: vec![at("etc/registries.conf.d"), at("user/registries.conf.d")],
            user_first: true,
        }
    }

    fn search(name: &str) -> String {
        format!("unqualified-search-registries = [\"{name}\"]\n")
    }

    #[test]
    fn files_are_laid_over_each_other() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let loaded = || places(root.path()).load().unwrap();
        assert_eq!(loaded().unqualified_search, Vec::<String>::new());
        write(&at("etc/registries.conf"), &search("main.io"));
        assert_eq!(loaded().unqualified_search, ["main.io"]);
        write(&at("etc/registries.conf.d/2.conf"), &search("two.io"));
        write(&at("etc/registries.conf.d/1.conf"), &search("one.io"));
        write(&at("etc/registries.conf.d/3.txt"), &search("three.io"));
        assert_eq!(loaded().unqualified_search, ["two.io"]);
        write(&at("user/registries.conf.d/0.conf"), &search("user.io"));
        assert_eq!(loaded().unqualified_search, ["user.io"]);
        write(
            &at("user/registries.conf.d/0.conf"),
            "[aliases]\na = \"b.io/a\"\n",
        );
        assert_eq!(loaded().unqualified_search, ["two.io"]);
        // With a main file of the user's own, nothing of the system's counts.
        write(&at("user/registries.conf"), "");
        assert_eq!(loaded().unqualified_search, Vec::<String>::new());
        assert_eq!(loaded().aliases["a"], "b.io/a");
    }

    #[test]
    fn a_later_entry_replaces_one_of_the_same_prefix() {
        let root = tempfile::tempdir().unwrap();
        let main =
            "[[registry]]\nlocation=\"a.io\"\ninsecure=true\n[[registry]]\nlocation=\"b.io\"\n";
        write(&root.path().join("etc/registries.conf"), main);
        let drop_in = "[[registry]]\nprefix=\"a.io\"\nlocation=\"c.io\"\n";
        write(&root.path().join("etc/registries.conf.d/x.conf"), drop_in);
        let loaded = places(root.path()).load().unwrap();
        let a = loaded.find("a.io/x").unwrap();
        assert_eq!((a.location.as_deref(), a.insecure), (Some("c.io"), false));
        assert_eq!(loaded.entries.len(), 2);
    }

    #[test]
    fn the_file_that_was_named_must_be_there() {
        let missing = Path::new("/nowhere/registries.conf");
        let environment = EnvSnapshot::default();
        let error = Registries::load(&environment, Some(missing)).unwrap_err();
        assert!(error.to_string().contains("/nowhere/registries.conf"));
    }
}
