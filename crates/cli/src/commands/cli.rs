//! The list of commands.

use clap::{Parser, Subcommand};

use super::deferred::Deferred;
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
    /// Copy an image, or an index with its images, from one place to another
    Copy(Deferred<copy::Args>),
    /// Copy many images: repositories, whole registries, folders, layouts, or what a YAML file lists
    Sync(Deferred<sync::Args>),
    /// Show what an image is, without copying it
    Inspect(Deferred<inspect::Args>),
    /// List the tags of a repository, or the names in a layout
    ListTags(Deferred<list_tags::Args>),
    /// List the repositories of a registry, where it lets itself be listed
    ListRepositories(Deferred<list_repositories::Args>),
    /// Delete an image; in a registry, all tags of its manifest go with it
    Delete(Deferred<delete::Args>),
    /// Check credentials with a registry and keep them
    Login(Deferred<login::Args>),
    /// Forget the credentials of a registry
    Logout(Deferred<logout::Args>),
    /// Say how an image would be reached, and what stands in the way
    Doctor(Deferred<doctor::Args>),
    /// Print the digest of a manifest in a file
    ManifestDigest(Deferred<manifest_digest::Args>),
    /// Serve a layout directory, or memory, as a registry
    Serve(Deferred<serve::Args>),
    /// Print a completion script for a shell
    Completion(Deferred<completion::Args>),
}

impl Verb {
    /// Returns whether a signal is the usual way for this command to end.
    pub(crate) fn ends_by_signal(&self) -> bool {
        match self {
            Self::Serve(_) => true,
            Self::Sync(arguments) => arguments.get().keeps_running(),
            _ => false,
        }
    }

    /// Runs the command.
    pub(crate) async fn run(self, app: &App) -> Result<(), Failure> {
        match self {
            Self::Copy(arguments) => arguments.into_inner().run(app).await,
            Self::Sync(arguments) => arguments.into_inner().run(app).await,
            Self::Inspect(arguments) => arguments.into_inner().run(app).await,
            Self::ListTags(arguments) => arguments.into_inner().run(app).await,
            Self::ListRepositories(arguments) => arguments.into_inner().run(app).await,
            Self::Delete(arguments) => arguments.into_inner().run(app).await,
            Self::Login(arguments) => arguments.into_inner().run(app).await,
            Self::Logout(arguments) => arguments.into_inner().run(app).await,
            Self::Doctor(arguments) => arguments.into_inner().run(app).await,
            Self::ManifestDigest(arguments) => arguments.into_inner().run(),
            Self::Serve(arguments) => arguments.into_inner().run().await,
            Self::Completion(arguments) => arguments.into_inner().run(app),
        }
    }
}
