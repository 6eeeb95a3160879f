//! skopeo's voice: its version, its fatal line (logrus), its report lines.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dhow_model::MediaType;
use dhow_ops::{Event, PlanSummary, Progress};
use dhow_transport::Slot;

use super::streams;

/// The version that dhow stands in for.
pub(crate) const VERSION: &str = "version 1.22.2";

/// The user agent of that version.
pub(crate) const USER_AGENT: &str = "skopeo/1.22.2";

/// Writes a fatal line.
pub(crate) fn fatal(message: &str, start: Instant) {
    streams::eprint(&format!("{}\n", line("fatal", message, &[], start)));
}

/// Returns a line of the log: short on a terminal, with time and level elsewhere.
pub(crate) fn line(
    level: &str,
    message: &str,
    fields: &[(String, String)],
    start: Instant,
) -> String {
    let mut line = if std::io::stderr().is_terminal() {
        let level = level.get(..4).unwrap_or(level).to_ascii_uppercase();
        format!("{level}[{:04}] {message}", start.elapsed().as_secs())
    } else {
        let time = jiff::Zoned::now()
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string();
        let time = time
            .strip_suffix("+00:00")
            .map_or_else(|| time.clone(), |utc| format!("{utc}Z"));
        format!("time=\"{time}\" level={level} msg={}", quoted(message))
    };
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort();
    for (name, value) in fields {
        let _infallible = write!(line, " {name}={}", quoted(value));
    }
    line
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
    several: AtomicBool,
}

impl Report {
    /// Says what skopeo says when it knows what is to be copied.
    fn planned(&self, plan: &PlanSummary) {
        let kinds = plan.manifests.iter().map(|manifest| &manifest.media_type);
        let kinds = kinds.filter_map(MediaType::manifest_kind);
        let indexes = kinds.filter(|kind| kind.is_index()).count();
        if indexes == 0 {
            streams::eprint("Getting image source signatures\n");
            return;
        }
        self.several.store(true, Ordering::Relaxed);
        let images = plan.manifests.len() - indexes;
        streams::eprint(&format!(
            "Getting image list signatures\nCopying {images} images in list\n"
        ));
    }
}

impl Progress for Report {
    fn event(&self, event: &Event) {
        let line = match event {
            Event::Planned(plan) => return self.planned(plan),
            Event::ImageStarted { digest, number, of } if self.several.load(Ordering::Relaxed) => {
                format!("Copying image {digest} ({number}/{of})\nGetting image source signatures\n")
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
                "Writing manifest list to image destination\nStoring list signatures\n".to_owned()
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
