//! The list of commands.

use clap::{Parser, Subcommand};

use super::{
    completion, copy, delete, doctor, inspect, list_repositories, list_tags, login, logout,
    manifest_digest, serve, sync,
};
use crate::app::App;
use crate::failure::Failure;
use crate::options::GlobalOptions;

/// Move container images between registries, OCI layouts and directories
#[derive(Debug, Parser)]
#[command(
    name = "dhow",
    version,
    about,
    max_term_width = 100,
    disable_help_subcommand = false,
    disable_version_flag = true
)]
pub(crate) struct Cli {
    /// Print the version
    #[arg(long, short = 'v', short_alias = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) command: Option<Verb>,
}

/// A command with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Copy(Box<copy::Args>),
    Sync(Box<sync::Args>),
    Inspect(Box<inspect::Args>),
    ListTags(Box<list_tags::Args>),
    ListRepositories(Box<list_repositories::Args>),
    Delete(Box<delete::Args>),
    Login(login::Args),
    Logout(logout::Args),
    Doctor(Box<doctor::Args>),
    ManifestDigest(manifest_digest::Args),
    Serve(serve::Args),
    Completion(completion::Args),
}

impl Verb {
    /// Returns whether a signal is the usual way for this command to end.
    pub(crate) fn ends_by_signal(&self) -> bool {
        match self {
            Self::Serve(_) => true,
            Self::Sync(arguments) => arguments.keeps_running(),
            _ => false,
        }
    }

    /// Runs the command.
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::Copy(arguments) => arguments.run(app).await,
            Self::Sync(arguments) => arguments.run(app).await,
            Self::Inspect(arguments) => arguments.run(app).await,
            Self::ListTags(arguments) => arguments.run(app).await,
            Self::ListRepositories(arguments) => arguments.run(app).await,
            Self::Delete(arguments) => arguments.run(app).await,
            Self::Login(arguments) => arguments.run(app).await,
            Self::Logout(arguments) => arguments.run(app).await,
            Self::Doctor(arguments) => arguments.run(app).await,
            Self::ManifestDigest(arguments) => arguments.run(),
            Self::Serve(arguments) => arguments.run().await,
            Self::Completion(arguments) => arguments.run(app),
        }
    }
}
