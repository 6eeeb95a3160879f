//! Where the registries live: on loopback, or in a network namespace of their own at the end of a link
//! that takes time.
//!
//! The link is a pair of virtual Ethernet devices with `netem` where the kernel has it, and a relay
//! between two TUN devices where it has not. TCP is the kernel's own on both sides, so that handshakes,
//! slow start and windows cost what they cost on a real link.

use std::fs;
use std::path::Path;
use std::process::{self, Command};

use super::arguments::Link;
use super::relay;

/// The network of one bench. Dropping it takes the namespace and the link away.
#[derive(Debug)]
pub(super) struct Network {
    /// The address the registries listen on.
    pub(super) address: String,
    /// What the link is, for the report.
    pub(super) kind: &'static str,
    namespace: Option<String>,
    near: String,
}

impl Network {
    /// Returns the network of this machine.
    pub(super) fn loopback() -> Self {
        Self {
            address: "127.0.0.1".to_owned(),
            kind: "loopback",
            namespace: None,
            near: String::new(),
        }
    }

    /// Makes a namespace `PREFIX-PROCESS` at the end of a link.
    pub(super) fn behind(link: Link, prefix: &str) -> Result<Self, String> {
        if !cfg!(target_os = "linux") || !rustix::process::geteuid().is_root() {
            return Err("`--rtt` makes a network namespace, which needs root on Linux".to_owned());
        }
        let id = process::id();
        let namespace = format!("{prefix}-{id}");
        let subnet = format!("198.18.{}", id % 256);
        // From here on, whatever goes wrong, dropping it cleans up.
        let mut network = Self {
            address: format!("{subnet}.2"),
            kind: "netem",
            namespace: Some(namespace.clone()),
            near: format!("dbn{id}"),
        };
        let far = format!("dbf{id}");
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("-n {namespace} link set lo up"))?;
        if let Err(without) = network.netem(&far, link) {
            network.kind = "TUN relay";
            network.relay(&far, link).map_err(|error| {
                format!("no link can be made: {error}; and without a relay: {without}")
            })?;
        }
        let near = &network.near;
        ip(&format!("addr add {subnet}.1/30 dev {near}"))?;
        ip(&format!("link set {near} up"))?;
        ip(&format!("-n {namespace} addr add {subnet}.2/30 dev {far}"))?;
        ip(&format!("-n {namespace} link set {far} up"))?;
        Ok(network)
    }

    /// Returns the command that runs a program where the registries live.
    pub(super) fn command(&self, program: &Path) -> Command {
        // The registries must not outlive us, even when we are killed.
        let mut words = Vec::new();
        if cfg!(target_os = "linux") && xtask::shell::has("setpriv") {
            words.extend(["setpriv", "--pdeathsig", "KILL", "--"]);
        }
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace]);
        }
        let Some((first, rest)) = words.split_first() else {
            return Command::new(program);
        };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }

    /// Makes the devices as a pair that the kernel delays.
    fn netem(&self, far: &str, link: Link) -> Result<(), String> {
        let near = &self.near;
        let namespace = self.namespace.as_deref().unwrap_or_default();
        ip(&format!(
            "link add {near} type veth peer name {far} netns {namespace}"
        ))?;
        let delay = format!(
            "root netem delay {}us rate {}kbit limit {PACKETS}",
            (link.rtt * 500.0).round(),
            (link.rate * 1000.0).round()
        );
        let made = run("tc", &format!("qdisc add dev {near} {delay}"))
            .and_then(|()| run("tc", &format!("-n {namespace} qdisc add dev {far} {delay}")));
        if made.is_err() {
            ip(&format!("link del {near}"))?;
        }
        made
    }

    /// Makes the devices as two ends of a relay.
    fn relay(&self, far: &str, link: Link) -> Result<(), String> {
        relay::start(&self.near, far, link)?;
        let namespace = self.namespace.as_deref().unwrap_or_default();
        ip(&format!("link set {far} netns {namespace}"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(namespace) = &self.namespace {
            // There may be none of it yet; with the devices the relay ends.
            drop(ip(&format!("link del {}", self.near)));
            drop(ip(&format!("netns del {namespace}")));
        }
    }
}

/// Takes away the namespaces of benches that were killed: `PREFIX-PROCESS`.
pub(super) fn sweep(prefix: &str) {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let id = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('-'));
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            drop(ip(&format!("netns del {name}")));
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {arguments}`: {}", said.trim()))
}

/// How many packets the kernel may hold for a link.
const PACKETS: usize = 100_000;
