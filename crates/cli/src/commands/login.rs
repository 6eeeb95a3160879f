//! `dhow login`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;

use dhow_config::{Credentials, FoundCredentials, LoginKey, Secret, Stored, Target};
use dhow_ops::{Account, LoginOptions};

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::options::parse_bool;
use crate::render::streams;

/// The longest password that is read from stdin, in bytes. Tokens have a few thousand.
const MAX_PASSWORD: u64 = 256 * 1024;

/// The arguments of `login`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow login quay.io
  dhow login --username me --password-stdin quay.io/team < token
  dhow login --get-login quay.io")]
pub(crate) struct Args {
    /// The registry, or a part of its repositories: quay.io, quay.io/team, quay.io/team/app
    #[arg(value_name = "REGISTRY")]
    registries: Vec<String>,
    /// User name
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,
    /// Password; other users of this machine can see it, so that --password-stdin is better
    #[arg(long, short, value_name = "PASSWORD", value_parser = secret)]
    password: Option<Secret>,
    /// Read the password from stdin
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    password_stdin: bool,
    /// Print the user who is logged in
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    get_login: bool,
    /// Say where the credentials are kept
    #[arg(long, short = 'v', num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    verbose: bool,
    #[command(flatten)]
    files: FileArgs,
    /// Directory with *.crt, *.cert and *.key files for the registry
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Verify the certificate of the registry [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    tls_verify: Option<bool>,
}

/// Which file is changed.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FileArgs {
    /// Credential file [default: $REGISTRY_AUTH_FILE, else that of this login session]
    #[arg(long, value_name = "PATH")]
    pub(super) authfile: Option<PathBuf>,
    /// Use this config.json of Docker instead
    #[arg(long, value_name = "PATH")]
    compat_auth_file: Option<PathBuf>,
}

impl FileArgs {
    pub(super) fn target(&self) -> Result<Target, Failure> {
        match (&self.authfile, &self.compat_auth_file) {
            (Some(_), Some(_)) => Err(Failure::usage(
                "options for paths to the credential file and to the Docker-compatible credential \
                 file can not be set simultaneously",
            )),
            (_, Some(path)) => Ok(Target::Docker(path.clone())),
            (_, None) => Ok(Target::Own),
        }
    }

    pub(super) fn account(&self, registry: &str) -> Result<Account, Failure> {
        Ok(Account {
            key: LoginKey::parse(registry)
                .map_err(|why| Failure::usage(why).hint("name a registry, such as quay.io"))?,
            authfile: self.authfile.clone(),
            target: self.target()?,
        })
    }
}

impl Args {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let registry = match self.registries.as_slice() {
            [registry] => registry,
            [] => return Err(Failure::usage("please provide a registry to log in to")),
            _ => {
                return Err(Failure::usage(
                    "login accepts only one registry to log in to",
                ));
            }
        };
        let account = self.files.account(registry)?;
        let key = account.key.to_string();
        let session = app.session()?;
        let known = dhow_ops::known_login(&session, &account).await?;
        if self.get_login {
            return get_login(&known, &key);
        }
        let options = LoginOptions {
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.clone(),
        };
        let check = async |credentials| {
            dhow_ops::check_login(&session, &account, credentials, &options).await
        };
        if matches!(known.credentials, Credentials::IdentityToken(_)) {
            return Err(Failure::new(
                Exit::General,
                "currently logged in, auth file contains an Identity token",
            )
            .hint(format!("log out with `dhow logout {key}` first")));
        }
        let asks = self.username.is_none() && self.password.is_none() && !self.password_stdin;
        if asks && matches!(known.credentials, Credentials::Basic { .. }) {
            say(&format!(
                "Authenticating with existing credentials for {key}"
            ))?;
            if check(known.credentials.clone()).await.is_ok() {
                return say(&format!(
                    "Existing credentials are valid. Already logged in to {key}"
                ));
            }
            say("Existing credentials are invalid, please enter valid username and password")?;
        }
        let (username, password) = self.credentials(known.user())?;
        let credentials = Credentials::Basic {
            username: username.clone(),
            password: password.clone(),
        };
        check(credentials).await?;
        let stored = dhow_ops::store_login(&session, &account, username, password).await?;
        if self.verbose {
            let place = match stored {
                Stored::File(path) => path.display().to_string(),
                Stored::Helper(program) => program,
            };
            say(&format!("Used:  {place}"))?;
        }
        say("Login Succeeded!")
    }

    /// Takes user name and password from the flags, or asks for them.
    fn credentials(&self, known: Option<&str>) -> Result<(String, Secret), Failure> {
        if self.password_stdin {
            if self.password.is_some() {
                return Err(Failure::usage(
                    "can't specify both --password-stdin and --password",
                ));
            }
            let Some(username) = self.username.clone() else {
                return Err(Failure::usage(
                    "must provide --username with --password-stdin",
                ));
            };
            return Ok((username, password_from_stdin()?));
        }
        let username = match &self.username {
            Some(username) => username.clone(),
            None => ask_username(known)?,
        };
        if username.is_empty() {
            return Err(Failure::usage("the user name is empty"));
        }
        let password = match &self.password {
            Some(password) => password.clone(),
            None => ask_password()?,
        };
        Ok((username, password))
    }
}

fn get_login(known: &FoundCredentials, key: &str) -> Result<(), Failure> {
    match &known.credentials {
        Credentials::Basic { username, .. } => say(username),
        _ => Err(
            Failure::new(Exit::General, format!("not logged into {key}"))
                .hint(format!("log in with `dhow login {key}`")),
        ),
    }
}

fn ask_username(known: Option<&str>) -> Result<String, Failure> {
    let prompt = match known {
        Some(known) => format!("Username ({known}): "),
        None => "Username: ".to_owned(),
    };
    streams::write(prompt.as_bytes())?;
    let mut line = String::new();
    io::stdin()
        .lock()
        .take(MAX_PASSWORD)
        .read_line(&mut line)
        .map_err(|error| Failure::new(Exit::Local, "cannot read stdin").caused_by(&error))?;
    let entered = line.trim();
    Ok(match known {
        Some(known) if entered.is_empty() => known.to_owned(),
        _ => entered.to_owned(),
    })
}

fn ask_password() -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("there is no terminal to ask for the password at")
                .hint("pass --password-stdin, and the password on stdin"),
        );
    }
    let entered = rpassword::prompt_password("Password: ");
    entered
        .map(Secret::new)
        .map_err(|error| Failure::new(Exit::Local, "cannot ask for the password").caused_by(&error))
}

/// COMPAT(skopeo): all lines, without the ends of the lines.
fn password_from_stdin() -> Result<Secret, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(MAX_PASSWORD)
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(Exit::Local, "cannot read stdin").caused_by(&error))?;
    Ok(Secret::new(text.lines().collect::<String>()))
}

#[expect(clippy::unnecessary_wraps, reason = "clap's parsers give a result")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

pub(super) fn say(line: &str) -> Result<(), Failure> {
    streams::write(format!("{line}\n").as_bytes())
}
