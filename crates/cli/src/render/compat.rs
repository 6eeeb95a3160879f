//! skopeo's voice: its version, its fatal line (logrus), its report lines.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dhow_ops::{Event, Progress};
use dhow_transport::Slot;

use super::streams;

/// The version that dhow stands in for.
pub(crate) const VERSION: &str = "version 1.22.2";

/// The user agent of that version.
pub(crate) const USER_AGENT: &str = "skopeo/1.22.2";

/// Writes a fatal line: short on a terminal, with time and level elsewhere.
pub(crate) fn fatal(message: &str, start: Instant) {
    if std::io::stderr().is_terminal() {
        let seconds = start.elapsed().as_secs();
        streams::eprint(&format!("FATA[{seconds:04}] {message}\n"));
        return;
    }
    let time = jiff::Zoned::now()
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string();
    let time = time
        .strip_suffix("+00:00")
        .map_or_else(|| time.clone(), |utc| format!("{utc}Z"));
    streams::eprint(&format!(
        "time=\"{time}\" level=fatal msg={}\n",
        quoted(message)
    ));
}

/// Quotes as logrus does: not at all where every character is harmless, else as Go's `%q`.
fn quoted(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _infallible = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes skopeo's report lines. On stderr: stdout is data.
#[derive(Debug, Default)]
pub(crate) struct Report {
    begun: AtomicBool,
}

impl Report {
    fn begin(&self) {
        if !self.begun.swap(true, Ordering::Relaxed) {
            streams::eprint("Getting image source signatures\n");
        }
    }
}

impl Progress for Report {
    fn event(&self, event: &Event) {
        let line = match event {
            Event::Planned(_) => {
                self.begin();
                return;
            }
            Event::ImageStarted { digest, number, of } => {
                format!("Copying image {digest} ({number}/{of})\n")
            }
            Event::BlobStarted {
                digest,
                slot: Slot::Config,
                ..
            } => {
                format!("Copying config {digest}\n")
            }
            Event::BlobStarted { digest, .. } => format!("Copying blob {digest}\n"),
            Event::ManifestWriting { index: true, .. } => {
                "Writing manifest list to image destination\n".to_owned()
            }
            Event::ManifestWriting { .. } => "Writing manifest to image destination\n".to_owned(),
            Event::Retrying {
                why,
                wait,
                attempt,
                of,
                ..
            } => {
                format!(
                    "Failed, retrying in {wait:?} ... ({}/{}). Error: {why}\n",
                    attempt - 1,
                    of - 1
                )
            }
            _ => return,
        };
        streams::eprint(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_as_logrus_does() {
        assert_eq!(quoted("multi/arch"), "multi/arch");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("127.0.0.1:5991"), "\"127.0.0.1:5991\"");
        assert_eq!(quoted("say \"x\"\n"), "\"say \\\"x\\\"\\n\"");
        assert_eq!(quoted(""), "");
    }
}
