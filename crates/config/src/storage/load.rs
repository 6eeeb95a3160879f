//! Which storage.conf counts, and what is made of it.

use std::io;
use std::path::{Path, PathBuf};

use super::StorageSettings;
use super::document::{self, Document, Plain, Table, invalid};
use super::options::understand;
use super::roots;
use crate::file::read_if_present;
use crate::{ConfigError, EnvSnapshot};

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The file that the environment names. It has to be there, and no other one counts.
    named: Option<PathBuf>,
    /// The user's file.
    user: Option<PathBuf>,
    /// The system's files; the first that is there counts.
    system: Vec<PathBuf>,
    /// Whose storage it is.
    user_id: u32,
}

/// The file that counts.
struct Chosen {
    path: PathBuf,
    document: Document,
    /// Whether the file speaks about this user's storage, and not about root's.
    own: bool,
}

impl Places {
    pub(super) fn new(environment: &EnvSnapshot, user_id: u32) -> Self {
        // COMPAT(podman): root has a file of the own only where the variable says so.
        let folder = match user_id {
            0 => environment.variable("XDG_CONFIG_HOME").map(PathBuf::from),
            _ => environment.config_home(),
        };
        let user = folder.map(|folder| folder.join(FILE));
        Self {
            named: environment
                .variable("CONTAINERS_STORAGE_CONF")
                .map(PathBuf::from),
            user,
            system: SYSTEM.map(|folder| Path::new(folder).join(FILE)).into(),
            user_id,
        }
    }

    pub(super) fn load(&self, environment: &EnvSnapshot) -> Result<StorageSettings, ConfigError> {
        let chosen = self.choose()?;
        let table = &chosen.document.storage;
        let (graph_root, run_root) = self.roots(&chosen, environment)?;
        let driver = driver(&chosen, environment);
        let options = options(&chosen, driver.as_deref(), environment);
        let understood = understand(&options, driver.as_deref()).map_err(|why| {
            if environment.variables.contains_key(OPTIONS) {
                ConfigError::Environment {
                    variable: OPTIONS,
                    why,
                    hint: "correct STORAGE_OPTS, or unset it",
                }
            } else {
                invalid(&chosen.path, format!("it {why}"))
            }
        })?;
        let image_store = Some(table.imagestore.as_str())
            .filter(|store| chosen.own && !store.is_empty())
            .map(|store| self.root("imagestore", store, &chosen, environment))
            .transpose()?;
        let pull_options = table.options.pull.iter();
        Ok(StorageSettings {
            driver,
            graph_root,
            run_root,
            additional_image_stores: understood.additional_image_stores,
            pull_options: pull_options
                .map(|(key, Plain(value))| (key.clone(), value.clone()))
                .collect(),
            ignore_chown_errors: understood.ignore_chown_errors,
            force_mask: understood.force_mask,
            mount_program: understood.mount_program,
            options,
            image_store,
            transient_store: chosen.own && table.transient_store,
        })
    }

    /// COMPAT(podman): files are not laid over each other. Who has one, has nothing of the others.
    fn choose(&self) -> Result<Chosen, ConfigError> {
        if let Some(path) = &self.named {
            return chosen(path, true)?.ok_or_else(|| ConfigError::Read {
                path: path.clone(),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        if let Some(path) = &self.user
            && let Some(chosen) = chosen(path, true)?
        {
            return Ok(chosen);
        }
        for path in &self.system {
            if let Some(chosen) = chosen(path, self.user_id == 0)? {
                return Ok(chosen);
            }
        }
        Ok(Chosen {
            path: PathBuf::new(),
            document: Document::default(),
            own: true,
        })
    }

    fn roots(
        &self,
        chosen: &Chosen,
        environment: &EnvSnapshot,
    ) -> Result<(PathBuf, PathBuf), ConfigError> {
        let Table {
            graphroot,
            runroot,
            rootless_storage_path,
            ..
        } = &chosen.document.storage;
        let root = |name, text: &str| self.root(name, text, chosen, environment);
        let rootless = self.user_id != 0;
        let graph = if chosen.own && !graphroot.is_empty() {
            root("graphroot", graphroot)?
        } else if rootless && !rootless_storage_path.is_empty() {
            root("rootless_storage_path", rootless_storage_path)?
        } else if rootless {
            roots::graph_root(environment)?
        } else {
            PathBuf::from(roots::SYSTEM_GRAPH_ROOT)
        };
        let run = if chosen.own && !runroot.is_empty() {
            root("runroot", runroot)?
        } else if rootless {
            roots::run_root(environment, self.user_id)
        } else {
            PathBuf::from(roots::SYSTEM_RUN_ROOT)
        };
        Ok((graph, run))
    }

    fn root(
        &self,
        name: &str,
        text: &str,
        chosen: &Chosen,
        environment: &EnvSnapshot,
    ) -> Result<PathBuf, ConfigError> {
        let path = roots::expanded(text, environment, self.user_id);
        if path.is_absolute() {
            return Ok(path);
        }
        let why = format!("`{name}` is `{text}`, which is no absolute path");
        Err(invalid(&chosen.path, why))
    }
}

fn chosen(path: &Path, own: bool) -> Result<Option<Chosen>, ConfigError> {
    let Some(text) = read_if_present(path)? else {
        return Ok(None);
    };
    Ok(Some(Chosen {
        path: path.to_owned(),
        document: document::parse(&text, path)?,
        own,
    }))
}

fn driver(chosen: &Chosen, environment: &EnvSnapshot) -> Option<String> {
    let said = chosen.document.storage.driver.as_str();
    let fits = |driver: &&str| !driver.is_empty() && (chosen.own || ROOTLESS.contains(driver));
    let named = environment
        .variable("STORAGE_DRIVER")
        .or_else(|| Some(said).filter(fits))?;
    // `overlay2` is what Docker calls it.
    let driver = if named == "overlay2" {
        "overlay"
    } else {
        named
    };
    Some(driver.to_owned())
}

/// COMPAT(podman): `STORAGE_OPTS`, even when empty, stands in place of all options of the file; and
/// of root's file a user gets one option only.
fn options(chosen: &Chosen, driver: Option<&str>, environment: &EnvSnapshot) -> Vec<String> {
    if let Some(options) = environment.variables.get(OPTIONS) {
        let options = options.split(',').filter(|option| !option.is_empty());
        return options.map(ToOwned::to_owned).collect();
    }
    let driver = driver.unwrap_or("overlay");
    let mut options = chosen.document.storage.options.for_driver(driver);
    if !chosen.own {
        options.retain(|option| option.starts_with("overlay.ignore_chown_errors="));
    }
    options
}

const FILE: &str = "containers/storage.conf";
const SYSTEM: [&str; 2] = ["/etc", "/usr/share"];
const OPTIONS: &str = "STORAGE_OPTS";
/// The drivers that users can have, too.
const ROOTLESS: [&str; 5] = ["overlay", "overlay2", "fuse-overlayfs", "vfs", "btrfs"];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Files below a folder, and the variables of a user whose home is there, too.
    struct Setting {
        place: tempfile::TempDir,
        environment: EnvSnapshot,
    }

    impl Setting {
        fn new(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
            let place = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::write(place.path().join(name), text).unwrap();
            }
            let mut environment = EnvSnapshot::default();
            let usual = [("HOME", "/nowhere/u"), ("XDG_RUNTIME_DIR", "/nowhere/run")];
            for (name, value) in usual.iter().chain(variables) {
                let value = value.replace("PLACE", place.path().to_str().unwrap());
                environment.variables.insert((*name).to_owned(), value);
            }
            Self { place, environment }
        }

        fn load(&self, user_id: u32) -> Result<StorageSettings, ConfigError> {
            let at = |name: &str| self.place.path().join(name);
            let places = Places {
                named: Places::new(&self.environment, user_id).named,
                user: (user_id != 0).then(|| at("user")),
                system: vec![at("etc"), at("usr")],
                user_id,
            };
            places.load(&self.environment)
        }
    }

    #[test]
    fn root_has_a_file_of_the_own_only_when_a_variable_says_so() {
        let home = ("HOME", "/u");
        let config = ("XDG_CONFIG_HOME", "/c");
        for (user_id, variables, expected) in [
            (7, &[home][..], Some("/u/.config/containers/storage.conf")),
            (7, &[home, config], Some("/c/containers/storage.conf")),
            (0, &[home], None),
            (0, &[home, config], Some("/c/containers/storage.conf")),
        ] {
            let environment = Setting::new(&[], variables).environment;
            let places = Places::new(&environment, user_id);
            assert_eq!(places.user.as_deref(), expected.map(Path::new));
        }
    }

    const ROOTS: &str = "[storage]\ndriver='vfs'\ngraphroot='/nowhere/g'\nrunroot='/nowhere/r'\n";
    const HOME_ROOTS: [&str; 2] = [
        "/nowhere/u/.local/share/containers/storage",
        "/nowhere/run/containers",
    ];
    const ROOT_ROOTS: [&str; 2] = [roots::SYSTEM_GRAPH_ROOT, roots::SYSTEM_RUN_ROOT];

    /// Files, variables, the user; then the driver and the roots.
    type Row<'a> = (
        &'a [(&'a str, &'a str)],
        &'a [(&'a str, &'a str)],
        u32,
        Option<&'a str>,
        [&'a str; 2],
    );

    #[test]
    fn one_file_says_where_the_store_is() {
        let path = "[storage]\nrootless_storage_path='/nowhere/$UID/$HOME'\n";
        let own = "[storage]\ndriver='overlay2'\n";
        let named = &[("CONTAINERS_STORAGE_CONF", "PLACE/x")][..];
        let rows: [Row<'_>; 12] = [
            (&[], &[], 0, None, ROOT_ROOTS),
            (&[], &[], 7, None, HOME_ROOTS),
            (
                &[("etc", ROOTS)],
                &[],
                0,
                Some("vfs"),
                ["/nowhere/g", "/nowhere/r"],
            ),
            (
                &[("usr", ROOTS)],
                &[],
                0,
                Some("vfs"),
                ["/nowhere/g", "/nowhere/r"],
            ),
            // One file stands in place of the other.
            (
                &[("etc", own), ("usr", ROOTS)],
                &[],
                0,
                Some("overlay"),
                ROOT_ROOTS,
            ),
            // Root's places are not the user's.
            (&[("etc", ROOTS)], &[], 7, Some("vfs"), HOME_ROOTS),
            (
                &[("etc", "[storage]\ndriver='zfs'\n")],
                &[],
                7,
                None,
                HOME_ROOTS,
            ),
            (
                &[("etc", path)],
                &[],
                7,
                None,
                ["/nowhere/7/nowhere/u", HOME_ROOTS[1]],
            ),
            (
                &[("user", own), ("etc", path)],
                &[],
                7,
                Some("overlay"),
                HOME_ROOTS,
            ),
            (
                &[("user", ROOTS)],
                &[],
                7,
                Some("vfs"),
                ["/nowhere/g", "/nowhere/r"],
            ),
            (
                &[("user", own), ("x", ROOTS)],
                named,
                7,
                Some("vfs"),
                ["/nowhere/g", "/nowhere/r"],
            ),
            (
                &[("etc", ROOTS)],
                &[("STORAGE_DRIVER", "overlay")],
                0,
                Some("overlay"),
                ["/nowhere/g", "/nowhere/r"],
            ),
        ];
        for (files, variables, user_id, driver, [graph, run]) in rows {
            let loaded = Setting::new(files, variables).load(user_id).unwrap();
            let shown = format!("{files:?} {variables:?}");
            assert_eq!(loaded.driver.as_deref(), driver, "{shown}");
            assert_eq!(loaded.graph_root, Path::new(graph), "{shown}");
            assert_eq!(loaded.run_root, Path::new(run), "{shown}");
        }
    }

    const OPTIONS_OF_ALL: &str = "[storage]\ndriver='overlay'\nimagestore='/nowhere/i'\n\
        transient_store=true\n[storage.options]\nadditionalimagestores=['/nowhere/a']\n\
        ignore_chown_errors='true'\npull_options={enable_partial_images='true',use_hard_links=false}\n\
        mount_program='/bin/general'\nsize=''\n[storage.options.overlay]\nmountopt='nodev'\n\
        mount_program='/bin/fuse'\nforce_mask='private'\n[storage.options.vfs]\nsize='1'\n";

    #[test]
    fn options_are_for_the_driver_that_is_named() {
        let setting = Setting::new(&[("user", OPTIONS_OF_ALL)], &[]);
        let loaded = setting.load(7).unwrap();
        let expected = [
            "overlay.imagestore=/nowhere/a",
            "overlay.ignore_chown_errors=true",
            "overlay.mount_program=/bin/fuse",
            "overlay.mountopt=nodev",
            "overlay.force_mask=private",
        ];
        assert_eq!(loaded.options, expected);
        assert_eq!(loaded.additional_image_stores, [Path::new("/nowhere/a")]);
        assert_eq!(
            loaded.mount_program.as_deref(),
            Some(Path::new("/bin/fuse"))
        );
        assert_eq!(loaded.image_store.as_deref(), Some(Path::new("/nowhere/i")));
        assert_eq!(loaded.force_mask, Some(0o700));
        assert!(loaded.ignore_chown_errors && loaded.transient_store);
        assert_eq!(loaded.pull_options["enable_partial_images"], "true");
        assert_eq!(loaded.pull_options["use_hard_links"], "false");
        let vfs = Setting::new(&[("user", OPTIONS_OF_ALL)], &[("STORAGE_DRIVER", "vfs")]);
        let expected = ["vfs.imagestore=/nowhere/a", "vfs.ignore_chown_errors=true"];
        assert_eq!(vfs.load(7).unwrap().options, expected);
    }

    #[test]
    fn of_the_systems_options_a_user_gets_one() {
        let loaded = Setting::new(&[("etc", OPTIONS_OF_ALL)], &[])
            .load(7)
            .unwrap();
        assert_eq!(loaded.options, ["overlay.ignore_chown_errors=true"]);
        assert_eq!((loaded.image_store, loaded.force_mask), (None, None));
        assert!(loaded.ignore_chown_errors && !loaded.transient_store);
        assert!(loaded.additional_image_stores.is_empty());
    }

    #[test]
    fn options_of_the_environment_replace_those_of_the_file() {
        for (value, options, stores) in [
            (
                "overlay.imagestore=/nowhere/b,size=1",
                2,
                &["/nowhere/b"][..],
            ),
            ("", 0, &[]),
        ] {
            let variables = [("STORAGE_OPTS", value)];
            let loaded = Setting::new(&[("etc", OPTIONS_OF_ALL)], &variables).load(0);
            let loaded = loaded.unwrap();
            assert_eq!(loaded.options.len(), options);
            let stores: Vec<_> = stores.iter().map(PathBuf::from).collect();
            assert_eq!(loaded.additional_image_stores, stores);
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place() {
        let named = [("CONTAINERS_STORAGE_CONF", "PLACE/missing")];
        let options = [("STORAGE_OPTS", "force_mask=rwx")];
        for (text, variables, parts) in [
            (
                "[storage]\ndriver = 5\n",
                &[][..],
                ["etc", "line 2: invalid type"],
            ),
            ("[storage]\n\n[x\n", &[], ["etc", "line 3"]),
            (
                "[storage.options]\n\nsize = []\n",
                &[],
                ["line 3", "a text in quotes, true or false"],
            ),
            (
                "[storage]\ngraphroot='g'\n",
                &[],
                ["etc", "`graphroot` is `g`"],
            ),
            (
                "[storage.options.overlay]\nforce_mask='rwx'\n",
                &[],
                ["etc", "`rwx` for `force_mask`"],
            ),
            ("", &named, ["missing", "cannot read"]),
            ("", &options, ["`STORAGE_OPTS`", "`rwx`"]),
        ] {
            let error = Setting::new(&[("etc", text)], variables).load(0);
            let error = error.unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
        let homeless = Places::new(&EnvSnapshot::default(), 7).load(&EnvSnapshot::default());
        // Only where the machine's own files do not name a place for users.
        if let Err(error) = homeless {
            assert!(error.hint().is_some_and(|hint| hint.contains("HOME")));
        }
    }
}
