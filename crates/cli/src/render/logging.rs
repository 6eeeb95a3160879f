//! Log lines of `--debug`, and warnings, on stderr.

use std::fmt;
use std::io;
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use super::compat;
use crate::app::Voice;
use crate::options::GlobalOptions;

/// Starts logging. Without `--debug`, warnings only; with `--quiet`, not even these.
pub(crate) fn start(global: &GlobalOptions, voice: Voice, start: Instant) {
    let level = match (global.debug, global.quiet) {
        (true, _) => LevelFilter::DEBUG,
        (false, true) => LevelFilter::ERROR,
        (false, false) => LevelFilter::WARN,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .event_format(Lines { voice, start });
    let subscriber = tracing_subscriber::registry().with(lines).with(ours(level));
    // Only a second call could find one set, and there is none.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Returns what lets the lines of dhow's crates pass: other crates log what may hold secrets, such as
/// headers.
fn ours(level: LevelFilter) -> Targets {
    Targets::new().with_target("dhow", level)
}

/// `debug: message name=value` in dhow's voice, logrus' lines in skopeo's.
struct Lines {
    voice: Voice,
    start: Instant,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut parts = Parts::default();
        event.record(&mut parts);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            _ => "debug",
        };
        match self.voice {
            Voice::Skopeo => {
                let line = compat::line(level, &parts.message, &parts.fields, self.start);
                writeln!(writer, "{line}")
            }
            Voice::Dhow => {
                write!(writer, "{level}: {}", parts.message)?;
                for (name, value) in &parts.fields {
                    write!(writer, " {name}={value}")?;
                }
                writeln!(writer)
            }
        }
    }
}

/// The message and the fields of an event.
#[derive(Default)]
struct Parts {
    message: String,
    fields: Vec<(String, String)>,
}

impl Parts {
    fn take(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.fields.push((field.name().to_owned(), text));
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_dhow_is_heard_and_no_other() {
        let filter = ours(LevelFilter::WARN);
        for (target, level, passes) in [
            ("dhow", Level::WARN, true),
            ("dhow::commands::copy", Level::ERROR, true),
            ("dhow_storage::delete", Level::WARN, true),
            ("dhow_client", Level::DEBUG, false),
            ("hyper", Level::ERROR, false),
            ("rustls::client", Level::ERROR, false),
        ] {
            assert_eq!(filter.would_enable(target, &level), passes, "{target}");
        }
    }
}
