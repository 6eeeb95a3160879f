//! The command line from outside: flags, messages, exit codes, templates, files. No network.

mod command;
mod copy;
mod flags;
mod inspect;
mod process;
mod skopeo;
