//! The commands, one file each, and the list of them.

mod cli;
mod completion;
mod copy;
mod delete;
mod inspect;
mod list_tags;
mod manifest_digest;
mod serve;

pub(crate) use cli::Cli;
