//! `dhow logout`.

use std::path::Path;

use dhow_config::{Credentials, Removed};

use super::login::{FileArgs, say};
use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::options::parse_bool;

/// The arguments of `logout`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  dhow logout quay.io
  dhow logout quay.io/team
  dhow logout --all")]
pub(crate) struct Args {
    /// The registry, or a part of its repositories, as it was logged in to
    #[arg(value_name = "REGISTRY")]
    registries: Vec<String>,
    /// Forget all credentials of the file
    #[arg(long, short, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    all: bool,
    #[command(flatten)]
    files: FileArgs,
    /// Accepted for the sake of skopeo's users: no registry is asked
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    tls_verify: Option<bool>,
}

impl Args {
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        let target = self.files.target()?;
        let session = app.session()?;
        if let Some(path) = &self.files.authfile {
            accessible(path)?;
        }
        if self.all {
            if !self.registries.is_empty() {
                return Err(Failure::usage("--all takes no arguments"));
            }
            let authfile = self.files.authfile.clone();
            dhow_ops::logout_all(&session, authfile, target).await?;
            return say("Removed login credentials for all registries");
        }
        let registry = match self.registries.as_slice() {
            [registry] => registry,
            [] => return Err(Failure::usage("please provide a registry to log out from")),
            _ => {
                return Err(Failure::usage(
                    "logout accepts only one registry to log out from",
                ));
            }
        };
        let account = self.files.account(registry)?;
        let key = account.key.to_string();
        if dhow_ops::logout(&session, &account).await? == Removed::Yes {
            return say(&format!("Removed login credentials for {key}"));
        }
        let known = dhow_ops::known_login(&session, &account).await?;
        Err(match known.credentials {
            Credentials::Anonymous => Failure::new(Exit::General, format!("not logged into {key}"))
                .hint("see who is logged in with `dhow doctor`"),
            _ => Failure::new(
                Exit::General,
                format!(
                    "Not logged into {key} with current tool. Existing credentials were \
                     established via docker login. Please use docker logout instead."
                ),
            )
            .hint(format!("the credentials are from {}", known.origin)),
        })
    }
}

/// COMPAT(skopeo): a file that was named has to be there.
fn accessible(path: &Path) -> Result<(), Failure> {
    path.metadata().map(drop).map_err(|error| {
        let shown = path.display();
        let words = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(
            Exit::Local,
            format!("credential file is not accessible: faccessat {shown}: {words}"),
        )
        .hint("name a file that exists with --authfile")
    })
}
