//! The commands, one file each, and the list of them.

mod cli;
mod completion;
mod copy;
mod deferred;
mod delete;
mod doctor;
mod inspect;
mod list_repositories;
mod list_tags;
mod login;
mod logout;
mod manifest_digest;
mod serve;
mod sync;

pub(crate) use cli::Cli;
