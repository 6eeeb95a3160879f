//! The files in which credentials are looked for, in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhow_model::Repository;

use super::document::{Answer, Document, Form};
use super::keys::{HUB, LoginKey};
use super::program::CredentialProgram;
use crate::file::read_if_present;
use crate::{Config, ConfigError, ConfigFile, Credentials, EnvSnapshot, FoundCredentials};

/// The entry of `credential-helpers` in registries.conf that stands for the credential files.
const THE_FILES: &str = "containers-auth.json";

/// Where credentials are looked for: the credential files, and the helpers that registries.conf
/// names.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    pub(super) config: Arc<Config>,
    /// The only file that counts, from `--authfile`.
    pub(super) authfile: Option<PathBuf>,
}

/// A file of the search order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AuthFile {
    pub(super) path: PathBuf,
    pub(super) form: Form,
}

/// What a look at a credential file shows.
#[derive(Debug)]
pub struct SurveyedFile {
    /// The file.
    pub file: ConfigFile,
    /// The helpers that it names; or what is wrong with the file.
    pub helpers: Result<Vec<SurveyedProgram>, ConfigError>,
}

/// A credential helper that a file names.
#[derive(Debug)]
pub struct SurveyedProgram {
    /// The name of the program.
    pub program: String,
    /// Where the program is; or what is wrong with it.
    pub path: Result<PathBuf, ConfigError>,
}

/// A place that is asked for credentials.
enum Place {
    Files,
    Helper(String),
}

impl AuthFiles {
    /// Returns the places for credentials; `authfile` alone, if it is given. Reads nothing.
    pub fn new(config: Arc<Config>, authfile: Option<PathBuf>) -> Self {
        Self { config, authfile }
    }

    /// Returns the configuration that the files belong to.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    /// Returns the credentials for `repository`: the first place that has any, and in each file
    /// the most specific key.
    ///
    /// # Errors
    /// When a file that is there cannot be read or makes no sense, or a helper does not do what it
    /// should: going on without it could show somebody else's credentials to the registry.
    pub fn find(&self, repository: &Repository) -> Result<FoundCredentials, ConfigError> {
        self.find_key(&LoginKey::of(repository))
    }

    /// Returns the credentials for a key.
    ///
    /// # Errors
    /// As [`AuthFiles::find`].
    pub fn find_key(&self, key: &LoginKey) -> Result<FoundCredentials, ConfigError> {
        for place in self.places()? {
            let found = match place {
                Place::Files => self.in_files(key)?,
                Place::Helper(name) => self.in_helper(&name, key.registry())?,
            };
            if let Some(found) = found {
                return Ok(found);
            }
        }
        let looked: Vec<String> = self
            .files()
            .iter()
            .map(|file| {
                let absent = if file.path.exists() {
                    ""
                } else {
                    " (not there)"
                };
                format!("`{}`{absent}", file.path.display())
            })
            .collect();
        Ok(FoundCredentials {
            credentials: Credentials::Anonymous,
            origin: format!("no entry for the registry in {}", looked.join(", ")),
        })
    }

    /// Looks at all files, for people who want to know which there are.
    pub fn survey(&self) -> Vec<SurveyedFile> {
        self.files().iter().map(|file| self.look_at(file)).collect()
    }

    /// Returns the helpers that registries.conf names, each with its program.
    pub fn configured_helpers(&self) -> Result<Vec<SurveyedProgram>, ConfigError> {
        let mut helpers = Vec::new();
        for place in self.places()? {
            if let Place::Helper(name) = place {
                let helper = CredentialProgram::new(&name, Path::new("registries.conf"));
                helpers.push(self.surveyed(&helper));
            }
        }
        Ok(helpers)
    }

    fn look_at(&self, file: &AuthFile) -> SurveyedFile {
        let (found, helpers) = match read_if_present(&file.path) {
            Ok(None) => (false, Ok(Vec::new())),
            Ok(Some(text)) => (true, self.helpers_of(&text, file)),
            Err(error) => (true, Err(error)),
        };
        SurveyedFile {
            file: ConfigFile {
                path: file.path.clone(),
                found,
            },
            helpers,
        }
    }

    fn helpers_of(&self, text: &str, file: &AuthFile) -> Result<Vec<SurveyedProgram>, ConfigError> {
        let document = Document::parse(text, &file.path, file.form)?;
        let mut names: Vec<&str> = document.helpers().map(|(_, name)| name).collect();
        names.extend(document.store());
        names.sort_unstable();
        names.dedup();
        let helpers = names
            .into_iter()
            .map(|name| CredentialProgram::new(name, &file.path));
        Ok(helpers.map(|helper| self.surveyed(&helper)).collect())
    }

    fn surveyed(&self, helper: &CredentialProgram) -> SurveyedProgram {
        SurveyedProgram {
            program: helper.program(),
            path: helper.find(self.environment()),
        }
    }

    fn places(&self) -> Result<Vec<Place>, ConfigError> {
        if self.explicit().is_some() {
            return Ok(vec![Place::Files]);
        }
        let helpers = &self.config.registries()?.credential_helpers;
        if helpers.is_empty() {
            return Ok(vec![Place::Files]);
        }
        let place = |name: &String| match name.as_str() {
            THE_FILES => Place::Files,
            name => Place::Helper(name.to_owned()),
        };
        Ok(helpers.iter().map(place).collect())
    }

    fn in_files(&self, key: &LoginKey) -> Result<Option<FoundCredentials>, ConfigError> {
        for file in self.files() {
            let Some(text) = read_if_present(&file.path)? else {
                continue;
            };
            let document = Document::parse(&text, &file.path, file.form)?;
            let shown = file.path.display();
            let found = match document.answer(key, &file.path)? {
                Some(Answer::Entry(credentials, written)) => Some(FoundCredentials {
                    credentials,
                    origin: format!("`{shown}` (entry `{written}`)"),
                }),
                Some(Answer::Helper { name, key }) => {
                    let helper = CredentialProgram::new(&name, &file.path);
                    // Whoever put a helper there meant it: nobody else is asked.
                    let credentials = helper.get(self.environment(), &key)?;
                    let origin = format!(
                        "helper `{}`, named in `{shown}` for `{key}`",
                        helper.program()
                    );
                    Some(FoundCredentials {
                        credentials: credentials.unwrap_or(Credentials::Anonymous),
                        origin,
                    })
                }
                None => match document.store() {
                    Some(name) => self.in_store(name, &file.path, key.registry())?,
                    None => None,
                },
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Asks the helper that keeps all credentials of a Docker config.
    fn in_store(
        &self,
        name: &str,
        path: &Path,
        registry: &str,
    ) -> Result<Option<FoundCredentials>, ConfigError> {
        let helper = CredentialProgram::new(name, path);
        let servers: &[&str] = match registry {
            "docker.io" => &[HUB, "docker.io"],
            other => &[other],
        };
        for server in servers {
            if let Some(credentials) = helper.get(self.environment(), server)? {
                return Ok(Some(FoundCredentials {
                    credentials,
                    origin: format!(
                        "helper `{}`, named in `{}`",
                        helper.program(),
                        path.display()
                    ),
                }));
            }
        }
        Ok(None)
    }

    fn in_helper(
        &self,
        name: &str,
        registry: &str,
    ) -> Result<Option<FoundCredentials>, ConfigError> {
        let helper = CredentialProgram::new(name, Path::new("registries.conf"));
        let credentials = helper.get(self.environment(), registry)?;
        Ok(credentials.map(|credentials| FoundCredentials {
            credentials,
            origin: format!("helper `{}`, named in registries.conf", helper.program()),
        }))
    }

    pub(super) fn environment(&self) -> &EnvSnapshot {
        self.config.environment()
    }

    /// Returns the only file that counts, if one was named.
    pub(super) fn explicit(&self) -> Option<PathBuf> {
        self.authfile.clone().or_else(|| {
            let named = self.environment().variable("REGISTRY_AUTH_FILE");
            named.map(PathBuf::from)
        })
    }

    /// Returns the file of this login session, which `login` writes.
    pub(super) fn session_file(&self) -> PathBuf {
        let environment = self.environment();
        let runtime = environment.variable("XDG_RUNTIME_DIR").map_or_else(
            || PathBuf::from(format!("/run/containers/{}", environment.user_id)),
            |directory| Path::new(directory).join("containers"),
        );
        runtime.join("auth.json")
    }

    /// Returns the files that count, in order.
    pub(super) fn files(&self) -> Vec<AuthFile> {
        let object = |path| AuthFile {
            path,
            form: Form::Object,
        };
        if let Some(path) = self.explicit() {
            return vec![object(path)];
        }
        let environment = self.environment();
        let mut files = vec![object(self.session_file())];
        if let Some(directory) = environment.config_home() {
            files.push(object(directory.join("containers/auth.json")));
        }
        let docker = environment
            .variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| environment.home().map(|home| home.join(".docker")));
        if let Some(directory) = docker {
            files.push(object(directory.join("config.json")));
        }
        if let Some(home) = environment.home() {
            files.push(AuthFile {
                path: home.join(".dockercfg"),
                form: Form::Bare,
            });
        }
        files
    }
}
