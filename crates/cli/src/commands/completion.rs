//! `dhow completion`.

use clap_complete::Shell;

use crate::app::{App, Voice, command};
use crate::failure::Failure;
use crate::render::streams;

/// The arguments of `completion`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, app: &App) -> Result<(), Failure> {
        let mut script = Vec::new();
        let name = match app.voice {
            Voice::Dhow => "dhow",
            Voice::Skopeo => "skopeo",
        };
        clap_complete::generate(self.shell, &mut command(app.voice), name, &mut script);
        streams::write(&script)
    }
}
