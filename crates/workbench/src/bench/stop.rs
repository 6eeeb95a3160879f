//! Ending early: what Ctrl-C and SIGTERM ask for is noticed between the steps, and while a tool runs,
//! so that everything is taken down on the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Knows whether somebody wants us to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Begins to listen. From now on no signal ends the process by itself.
    pub(super) fn listen() -> Result<Self, String> {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&wanted))
                .map_err(|error| format!("cannot listen for signals: {error}"))?;
        }
        Ok(Self(wanted))
    }

    /// Returns whether somebody does.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails when somebody does.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.is_wanted() {
            return Err("interrupted".to_owned());
        }
        Ok(())
    }
}
