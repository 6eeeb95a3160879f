//! The two streams. stdout is data that another program may read; stderr is for people.

use std::io::{self, Write as _};

use crate::failure::{Exit, Failure};

/// Writes data to stdout. A reader that has gone away is no failure.
pub(crate) fn write(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Local, "cannot write to stdout").caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// Writes names on stdout, one per line.
pub(crate) fn lines(names: &[String]) -> Result<(), Failure> {
    let mut text = names.join("\n");
    if !names.is_empty() {
        text.push('\n');
    }
    write(text.as_bytes())
}

/// Writes text to stdout where nothing can be done about an error.
pub(crate) fn print(text: &str) {
    drop(write(text.as_bytes()));
}

/// Writes text to stderr. Where that is closed there is nobody to tell.
pub(crate) fn eprint(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
