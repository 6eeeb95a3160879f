//! Log lines of `--debug`, and warnings, on stderr.

use std::io;

use tracing_subscriber::filter::LevelFilter;

use crate::app::Voice;

/// Starts logging. Without `--debug`, warnings only.
pub(crate) fn start(debug: bool, _voice: Voice) {
    let level = if debug {
        LevelFilter::DEBUG
    } else {
        LevelFilter::WARN
    };
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(LevelFilter::OFF.into())
        .parse_lossy(DHOW_CRATES.map(|name| format!("{name}={level}")).join(","));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false)
        .without_time()
        .finish();
    // Only a second call could find one set, and there is none.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Other crates log what may hold secrets, such as headers.
const DHOW_CRATES: [&str; 9] = [
    "dhow",
    "dhow_client",
    "dhow_config",
    "dhow_copy",
    "dhow_layout",
    "dhow_ops",
    "dhow_server",
    "dhow_transports",
    "dhow_trust",
];
