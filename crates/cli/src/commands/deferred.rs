//! Arguments that are defined only when their command is called: defining all of all commands takes
//! longer than the smallest of them.

use clap::builder::Resettable;
use clap::{ArgMatches, Command, Error, FromArgMatches};

use crate::app::name_boolean;

/// The arguments of a command. What the command is for is said where the commands are listed.
#[derive(Debug)]
pub(crate) struct Deferred<A>(Box<A>);

impl<A> Deferred<A> {
    pub(crate) fn get(&self) -> &A {
        &self.0
    }

    pub(crate) fn into_inner(self) -> A {
        *self.0
    }
}

impl<A: FromArgMatches> FromArgMatches for Deferred<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        A::from_arg_matches(matches).map(|arguments| Self(Box::new(arguments)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<A: clap::Args> clap::Args for Deferred<A> {
    fn augment_args(command: Command) -> Command {
        command.defer(define::<A>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn define<A: clap::Args>(command: Command) -> Command {
    let about = command.get_about().cloned();
    let long_about = command.get_long_about().cloned();
    A::augment_args(command)
        .about(Resettable::from(about))
        .long_about(Resettable::from(long_about))
        // A flag that is given twice counts as it was given last, as in Go.
        .args_override_self(true)
        .mut_args(name_boolean)
}
