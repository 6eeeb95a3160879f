//! Where the engine is: the flag, `DOCKER_HOST`, Docker's contexts, the usual sockets; in this order
//! (docker CLI, *Docker contexts* and *Environment variables*).

use std::fmt;
use std::path::{Path, PathBuf};

use dhow_client::TlsFiles;
use dhow_layout::read_bounded;
use dhow_model::Digest;
use dhow_transport::{Error, Kind, Result};
use serde::Deserialize;

use crate::EngineOptions;

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// At a socket in the file system.
    Unix(PathBuf),
    /// At an address, `host:port`.
    Tcp {
        /// The address.
        address: String,
        /// How TLS is spoken there, if it is.
        tls: Option<TlsFiles>,
    },
}

impl Host {
    /// Finds out where the engine is. Blocks.
    pub(super) fn find(options: &EngineOptions) -> Result<Self> {
        let environment = &options.environment;
        if let Some(folder) = &options.cert_dir {
            check_folder(folder)?;
        }
        if let Some(host) = options.host.as_deref().filter(|host| !host.is_empty()) {
            let files = options
                .cert_dir
                .as_deref()
                .map(|folder| files_in(folder, options.tls_verify == Some(false)));
            let files = files.unwrap_or(TlsFiles {
                skip_verify: options.tls_verify == Some(false),
                ..TlsFiles::default()
            });
            // COMPAT(skopeo): `tcp://` in the flag means TLS, `http://` means none.
            return Self::parse(host, "--daemon-host", Some(files));
        }
        if let Some(host) = environment.variable("DOCKER_HOST") {
            let secured = environment.variable("DOCKER_TLS_VERIFY").is_some();
            let named = environment.variable("DOCKER_CERT_PATH").map(PathBuf::from);
            let folder = options.cert_dir.clone().or(named);
            let wanted = secured || options.cert_dir.is_some();
            let folder = folder.or_else(|| docker_folder(options));
            let files = folder.filter(|_| wanted);
            let skip = options.tls_verify == Some(false);
            let files = files.map(|folder| files_in(&folder, skip));
            return Self::parse(host, "DOCKER_HOST", files);
        }
        if let Some(host) = context(options)? {
            return Ok(host);
        }
        let usual = PathBuf::from("/var/run/docker.sock");
        let own = environment
            .variable("XDG_RUNTIME_DIR")
            .map(|folder| Path::new(folder).join("docker.sock"));
        Ok(Self::Unix(match own {
            // An engine without root.
            Some(own) if !usual.exists() && own.exists() => own,
            _ => usual,
        }))
    }

    fn parse(text: &str, origin: &str, tls: Option<TlsFiles>) -> Result<Self> {
        let shown = text.escape_debug();
        let invalid = |why: String| {
            let error = Error::new(Kind::Invalid, format!("{origin} is `{shown}`: {why}"));
            error.hint("write `unix:///PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`")
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(invalid("there is no scheme".to_owned()));
        };
        let address = |port: u16| {
            let host = rest.trim_end_matches('/');
            if host.is_empty() || host.contains(['/', '@', ' ']) {
                return Err(invalid("there is no `HOST:PORT`".to_owned()));
            }
            let has_port = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok() && !port.is_empty());
            Ok(if has_port {
                host.to_owned()
            } else {
                format!("{host}:{port}")
            })
        };
        match scheme {
            "unix" if rest.is_empty() => Err(invalid("there is no path".to_owned())),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "http" => Ok(Self::Tcp {
                address: address(2375)?,
                tls: None,
            }),
            "https" => Ok(Self::Tcp {
                address: address(2376)?,
                tls: Some(tls.unwrap_or_default()),
            }),
            "tcp" => Ok(Self::Tcp {
                address: address(if tls.is_some() { 2376 } else { 2375 })?,
                tls,
            }),
            other => Err(invalid(format!("`{other}://` is not supported"))),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { address, tls } => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{address}")
            }
        }
    }
}

/// Refuses a folder that was asked for and would be passed over.
fn check_folder(folder: &Path) -> Result<()> {
    let wrong = |what: &str| {
        let message = format!("the certificate folder {} {what}", folder.display());
        Err(Error::new(Kind::Invalid, message)
            .hint("give --cert-dir a folder with ca.pem, and with cert.pem and key.pem if the engine asks for them"))
    };
    if !folder.is_dir() {
        return wrong("is not a folder");
    }
    let there = |name: &str| folder.join(name).is_file();
    match (there("cert.pem"), there("key.pem")) {
        (true, false) => wrong("has a cert.pem without its key.pem"),
        (false, true) => wrong("has a key.pem without its cert.pem"),
        _ => Ok(()),
    }
}

/// Returns the files that Docker keeps in a folder for TLS, as far as they are there.
fn files_in(folder: &Path, skip_verify: bool) -> TlsFiles {
    let there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    TlsFiles {
        authority: there("ca.pem"),
        identity: there("cert.pem").zip(there("key.pem")),
        skip_verify,
    }
}

/// Returns the folder with Docker's own files.
fn docker_folder(options: &EngineOptions) -> Option<PathBuf> {
    let named = options.environment.variable("DOCKER_CONFIG");
    let named = named.map(PathBuf::from);
    named.or_else(|| Some(options.environment.home()?.join(".docker")))
}

/// Returns the engine of the context that is in use, unless that is the default one.
fn context(options: &EngineOptions) -> Result<Option<Host>> {
    let Some(folder) = docker_folder(options) else {
        return Ok(None);
    };
    let named = options.environment.variable("DOCKER_CONTEXT");
    let name = match named {
        Some(name) => Some(name.to_owned()),
        None => current_context(&folder.join("config.json")),
    };
    let Some(name) = name.filter(|name| name != "default") else {
        return Ok(None);
    };
    let id = Digest::sha256(name.as_bytes()).hex();
    let path = folder.join("contexts/meta").join(&id).join("meta.json");
    let shown = name.escape_debug();
    let unusable = || {
        Error::new(
            Kind::Invalid,
            format!("Docker's context `{shown}` cannot be used"),
        )
        .hint("choose another with `docker context use`, or set DOCKER_HOST")
    };
    let bytes = read_bounded(&path, MAX_FILE)
        .map_err(|error| unusable().caused_by(Error::file("read", &path, error)))?;
    let meta: Meta = serde_json::from_slice(&bytes).map_err(|error| unusable().caused_by(error))?;
    let endpoint = meta.endpoints.docker;
    let files = folder.join("contexts/tls").join(&id).join("docker");
    let skip = endpoint.skip_tls_verify || options.tls_verify == Some(false);
    let tls = (files.is_dir() || endpoint.skip_tls_verify).then(|| files_in(&files, skip));
    Host::parse(&endpoint.host, &format!("the host of context {shown}"), tls).map(Some)
}

fn current_context(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Settings {
        current_context: Option<String>,
    }
    // Whoever needs credentials from this file says what is wrong with it.
    let bytes = read_bounded(path, MAX_FILE).ok()?;
    let settings: Settings = serde_json::from_slice(&bytes).ok()?;
    settings.current_context.filter(|name| !name.is_empty())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The largest of Docker's files that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Arc;

    use dhow_config::EnvSnapshot;

    use super::*;

    fn options(variables: &[(&str, &str)]) -> EngineOptions {
        let variables: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        EngineOptions {
            environment: Arc::new(EnvSnapshot {
                variables,
                user_id: 0,
            }),
            ..EngineOptions::default()
        }
    }

    #[test]
    fn a_certificate_folder_that_would_be_passed_over_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&[]);
        options.host = Some("tcp://engine".to_owned());
        let found = |options: &EngineOptions| Host::find(options).map_err(|e| e.to_string());
        options.cert_dir = Some(folder.path().join("missing"));
        let told = found(&options).unwrap_err();
        assert!(told.contains("missing is not a folder"), "{told}");
        options.cert_dir = Some(folder.path().to_owned());
        found(&options).unwrap();
        fs::write(folder.path().join("cert.pem"), "").unwrap();
        let told = found(&options).unwrap_err();
        assert!(told.contains("without its key.pem"), "{told}");
        fs::write(folder.path().join("key.pem"), "").unwrap();
        found(&options).unwrap();
    }

    #[test]
    fn the_flag_comes_first_then_the_environment_then_the_socket() {
        let host = |options: &EngineOptions| Host::find(options).unwrap().to_string();
        let mut flagged = options(&[("DOCKER_HOST", "tcp://other:1")]);
        flagged.host = Some("unix:///run/mine.sock".to_owned());
        assert_eq!(host(&flagged), "unix:///run/mine.sock");
        flagged.host = Some("tcp://engine".to_owned());
        assert_eq!(host(&flagged), "https://engine:2376");
        flagged.host = Some("http://engine:99/".to_owned());
        assert_eq!(host(&flagged), "http://engine:99");
        assert_eq!(
            host(&options(&[("DOCKER_HOST", "tcp://other:1")])),
            "http://other:1"
        );
        let secured = [
            ("DOCKER_HOST", "tcp://other"),
            ("DOCKER_TLS_VERIFY", "1"),
            ("HOME", "/h"),
        ];
        assert_eq!(host(&options(&secured)), "https://other:2376");
        assert_eq!(host(&options(&[])), "unix:///var/run/docker.sock");
    }

    #[test]
    fn hosts_that_nobody_can_reach_are_named_with_their_origin() {
        for text in [
            "ssh://me@host",
            "npipe:////./pipe",
            "host:1",
            "tcp://",
            "unix://",
        ] {
            let error = Host::find(&options(&[("DOCKER_HOST", text)])).unwrap_err();
            assert!(error.to_string().contains("DOCKER_HOST"), "{error}");
            assert!(error.hint_text().is_some());
        }
    }

    #[test]
    fn a_context_is_used_when_it_is_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let id = Digest::sha256(b"remote").hex();
        let meta = folder.path().join("contexts/meta").join(&id);
        fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"remote","Endpoints":{"docker":{"Host":"tcp://far:2376","SkipTLSVerify":false}}}"#;
        fs::write(meta.join("meta.json"), text).unwrap();
        let config = folder.path().to_str().unwrap();
        let by_name = options(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "remote")]);
        assert_eq!(Host::find(&by_name).unwrap().to_string(), "http://far:2376");
        let tls = folder.path().join("contexts/tls").join(&id).join("docker");
        fs::create_dir_all(&tls).unwrap();
        fs::write(tls.join("ca.pem"), "").unwrap();
        match Host::find(&by_name).unwrap() {
            Host::Tcp {
                tls: Some(files), ..
            } => assert_eq!(files.authority, Some(tls.join("ca.pem"))),
            other => panic!("{other}"),
        }
        fs::write(
            folder.path().join("config.json"),
            r#"{"currentContext":"remote"}"#,
        )
        .unwrap();
        let current = options(&[("DOCKER_CONFIG", config)]);
        assert_eq!(
            Host::find(&current).unwrap().to_string(),
            "https://far:2376"
        );
        let default = options(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "default")]);
        assert_eq!(
            Host::find(&default).unwrap().to_string(),
            "unix:///var/run/docker.sock"
        );
        let missing = options(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "gone")]);
        assert!(Host::find(&missing).is_err());
    }
}
