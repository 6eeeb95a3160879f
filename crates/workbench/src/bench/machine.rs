//! What the figures depend on besides the tools: the machine, its load, the day.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

/// What is known of the machine when a bench begins.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// How many processors we may use.
    pub(super) cores: usize,
    /// What they are called.
    pub(super) processor: String,
    /// The kernel and its release.
    pub(super) kernel: String,
    /// The load average of the last minute.
    pub(super) load: f64,
    /// When the bench began, UTC.
    pub(super) date: String,
}

impl Machine {
    /// Looks at the machine.
    pub(super) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let model = processor
            .lines()
            .find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(':'));
        let load = read("/proc/loadavg");
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            load: parse_load(&load).unwrap_or(0.0),
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
        }
    }
}

fn parse_load(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Returns the line in which a program says its version, or a question mark.
pub(super) fn version(program: &Path, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output();
    let said = said.map(|output| output.stdout).unwrap_or_default();
    telling(&String::from_utf8_lossy(&said)).to_owned()
}

fn telling(text: &str) -> &str {
    let mut lines = text.lines().map(str::trim);
    let number = |line: &&str| line.bytes().any(|byte| byte.is_ascii_digit());
    lines.find(number).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_and_version_are_found_in_text() {
        assert_eq!(parse_load("1.25 0.50 0.10 2/300 4242\n"), Some(1.25));
        assert_eq!(parse_load(""), None);
        assert_eq!(
            telling("A tool\n  Version:  1.3.3\nGo: 1.26\n"),
            "Version:  1.3.3"
        );
        assert_eq!(telling("no number"), "?");
    }
}
