//! How registries are reached: the same flags once per side, with the side's prefix.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use dhow_config::Secret;
use dhow_ops::{CredentialsOption, EndpointOptions, ImageName};

use super::parse_bool;
use crate::failure::Failure;

/// A side of a command, for the names of its flags.
pub(crate) trait Side: Clone + std::fmt::Debug {
    /// What stands before the flags: `src-`, `dest-`, or nothing.
    const PREFIX: &'static str;
    /// The side in help texts.
    const NAME: &'static str;
    /// A short name of `--creds` that skopeo knows, hidden.
    const CREDS_ALIAS: Option<&'static str>;
}

macro_rules! sides {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $words:literal, $alias:expr;)*) => {
        $($(#[$doc])* #[derive(Clone, Debug)] pub(crate) struct $name;
        impl Side for $name {
            const PREFIX: &'static str = $prefix;
            const NAME: &'static str = $words;
            const CREDS_ALIAS: Option<&'static str> = $alias;
        })*
    };
}

sides! {
    /// The only side of a command.
    Only = "", "the registry", None;
    /// The side that is read.
    Source = "src-", "the source registry", Some("screds");
    /// The side that is written.
    Destination = "dest-", "the destination registry", Some("dcreds");
}

/// The flags of one side.
#[derive(Clone, Debug)]
pub(crate) struct EndpointArgs<S> {
    creds: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    no_creds: bool,
    registry_token: Option<Secret>,
    tls_verify: Option<bool>,
    cert_dir: Option<PathBuf>,
    authfile: Option<PathBuf>,
    shared_blob_dir: Option<PathBuf>,
    daemon_host: Option<String>,
    side: PhantomData<S>,
}

/// The flags of commands with two sides that hold for both.
#[derive(Args, Clone, Debug)]
pub(crate) struct SharedAuth {
    /// Credential file of both sides [default: $REGISTRY_AUTH_FILE, then the usual places]
    #[arg(long, value_name = "PATH")]
    authfile: Option<PathBuf>,
    /// Verify certificates, on both sides
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    tls_verify: Option<bool>,
}

impl<S: Side> EndpointArgs<S> {
    /// Returns the image with the settings of its side.
    pub(crate) fn image(
        &self,
        name: &str,
        shared: Option<&SharedAuth>,
    ) -> Result<ImageName, Failure> {
        let options = EndpointOptions {
            credentials: self.credentials()?,
            tls_verify: self
                .tls_verify
                .or_else(|| shared.and_then(|shared| shared.tls_verify)),
            cert_dir: self.cert_dir.clone(),
            authfile: self
                .authfile
                .clone()
                .or_else(|| shared.and_then(|shared| shared.authfile.clone())),
            shared_blob_dir: self.shared_blob_dir.clone(),
            daemon_host: self.daemon_host.clone(),
            additional_tags: Vec::new(),
        };
        Ok(ImageName {
            name: name.to_owned(),
            endpoint: options,
        })
    }

    fn credentials(&self) -> Result<CredentialsOption, Failure> {
        let flag = |name: &str| format!("`--{}{name}`", S::PREFIX);
        let conflict = |one: &str, other: &str| {
            Err(Failure::usage(format!(
                "{one} and {other} cannot be specified at the same time"
            )))
        };
        match (&self.creds, &self.username, self.no_creds) {
            (Some(_), _, true) => return conflict("creds", "no-creds"),
            (_, Some(_), true) => return conflict("username", "no-creds"),
            (Some(_), Some(_), _) => return conflict("creds", "username"),
            _ => {}
        }
        if let Some(creds) = &self.creds {
            let creds = creds.expose();
            let (username, password) = creds.split_once(':').unwrap_or((creds, ""));
            if creds.is_empty() {
                return Err(Failure::usage("credentials can't be empty"));
            }
            if username.is_empty() {
                return Err(Failure::usage("username can't be empty"));
            }
            return Ok(basic(username, password, flag("creds")));
        }
        match (&self.username, &self.password) {
            (Some(username), Some(password)) => {
                return Ok(basic(username, password.expose(), flag("username")));
            }
            (Some(_), None) => {
                return Err(Failure::usage(
                    "password must be specified when username is specified",
                ));
            }
            (None, Some(_)) => {
                return Err(Failure::usage(
                    "username must be specified when password is specified",
                ));
            }
            (None, None) => {}
        }
        if let Some(token) = &self.registry_token {
            return Ok(CredentialsOption::RegistryToken {
                token: token.clone(),
                flag: flag("registry-token"),
            });
        }
        Ok(if self.no_creds {
            CredentialsOption::Anonymous
        } else {
            CredentialsOption::FromFiles
        })
    }
}

fn basic(username: &str, password: &str, flag: String) -> CredentialsOption {
    CredentialsOption::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
        flag,
    }
}

/// Returns the name of a flag of a side. Called a few dozen times per process, so that the few
/// bytes it leaves behind do not matter.
fn name<S: Side>(flag: &str) -> &'static str {
    Box::leak(format!("{}{flag}", S::PREFIX).into_boxed_str())
}

impl<S: Side> Args for EndpointArgs<S> {
    fn augment_args(command: Command) -> Command {
        let value = |flag: &str, value: &'static str, help: String| {
            Arg::new(name::<S>(flag))
                .long(name::<S>(flag))
                .value_name(value)
                .help(help)
        };
        let path = |flag: &str, metavariable: &'static str, help: String| {
            value(flag, metavariable, help).value_parser(clap::value_parser!(PathBuf))
        };
        let boolean = |flag: &str, help: String| {
            value(flag, "BOOL", help)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(parse_bool)
                .action(ArgAction::Set)
        };
        let side = S::NAME;
        let creds = value(
            "creds",
            "USER[:PASS]",
            format!("User and password for {side}"),
        );
        let creds = match S::CREDS_ALIAS {
            Some(alias) => creds.alias(alias),
            None => creds,
        };
        let command = command
            .arg(creds)
            .arg(value("username", "USER", format!("User for {side}")))
            .arg(value("password", "PASS", format!("Password for {side}")))
            .arg(boolean(
                "no-creds",
                format!("Show no credentials to {side}"),
            ))
            .arg(value(
                "registry-token",
                "TOKEN",
                format!("Bearer token for {side}, sent as it is"),
            ))
            .arg(path(
                "cert-dir",
                "DIR",
                format!("Directory with *.crt, *.cert and *.key files for {side}"),
            ))
            .arg(path(
                "shared-blob-dir",
                "DIR",
                "Keep the blobs of `oci:` in this directory".to_owned(),
            ))
            .arg(value(
                "daemon-host",
                "URL",
                "Docker engine of `docker-daemon:` [default: $DOCKER_HOST, Docker's context, then /var/run/docker.sock]".to_owned(),
            ))
            .arg(boolean(
                "tls-verify",
                format!("Verify the certificate of {side} [default: true]"),
            ));
        command.arg(path(
            "authfile",
            "PATH",
            format!("Credential file for {side}"),
        ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Side> FromArgMatches for EndpointArgs<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |flag: &str| matches.get_one::<String>(name::<S>(flag)).cloned();
        let secret = |flag: &str| text(flag).map(Secret::new);
        let path = |flag: &str| matches.get_one::<PathBuf>(name::<S>(flag)).cloned();
        let boolean = |flag: &str| matches.get_one::<bool>(name::<S>(flag)).copied();
        Ok(Self {
            creds: secret("creds"),
            username: text("username"),
            password: secret("password"),
            no_creds: boolean("no-creds").unwrap_or_default(),
            registry_token: secret("registry-token"),
            tls_verify: boolean("tls-verify"),
            cert_dir: path("cert-dir"),
            authfile: path("authfile"),
            shared_blob_dir: path("shared-blob-dir"),
            daemon_host: text("daemon-host"),
            side: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(arguments: &str) -> Result<EndpointOptions, Failure> {
        let command = EndpointArgs::<Source>::augment_args(Command::new("dhow"));
        let arguments = ["dhow"].into_iter().chain(arguments.split_terminator(' '));
        let matches = command.try_get_matches_from(arguments).unwrap();
        let flags = EndpointArgs::<Source>::from_arg_matches(&matches).unwrap();
        assert!(!format!("{flags:?}").contains("s3cret"));
        flags
            .image("docker://localhost/a", None)
            .map(|image| image.endpoint)
    }

    #[test]
    fn credentials_are_taken_apart_at_the_first_colon() {
        for (arguments, user, secret) in [
            ("--src-creds=u:s3cret:q", "u", "s3cret:q"),
            ("--screds u", "u", ""),
            ("--src-username u --src-password s3cret", "u", "s3cret"),
        ] {
            match source(arguments).unwrap().credentials {
                CredentialsOption::Basic {
                    username, password, ..
                } => assert_eq!((username.as_str(), password.expose()), (user, secret)),
                other => panic!("{arguments}: {other:?}"),
            }
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for arguments in [
            "--src-creds a:s3cret --src-no-creds",
            "--src-username a --src-no-creds",
            "--src-creds a:s3cret --src-username a",
            "--src-username a",
            "--src-password s3cret",
            "--src-creds=",
            "--src-creds=:s3cret",
        ] {
            assert!(source(arguments).is_err(), "{arguments}");
        }
    }

    #[test]
    fn verification_is_asked_for_refused_or_left_open() {
        for (arguments, verify) in [
            ("", None),
            ("--src-tls-verify", Some(true)),
            ("--src-tls-verify=T", Some(true)),
            ("--src-tls-verify=false", Some(false)),
        ] {
            assert_eq!(source(arguments).unwrap().tls_verify, verify, "{arguments}");
        }
    }
}
