//! What a bench found, as Markdown for people and as JSON for programs.

mod json;
mod markdown;

use super::arguments::Arguments;
use super::bed::Bed;
use super::machine::{self, Machine};
use super::rounds::{End, Row};
use super::tool::Tool;

pub(super) use json::document;
pub(super) use markdown::{heading, table};

/// Where and how a bench ran.
#[derive(Clone, Debug)]
pub(super) struct Circumstances {
    /// The machine.
    pub(super) machine: Machine,
    /// The tools and their versions.
    pub(super) tools: Vec<(String, String)>,
    /// The version of the registries.
    pub(super) registry: String,
    /// How the registries are reached: `TLS, 20 ms round trip, 1000 Mbit/s (netem)`.
    pub(super) network: String,
    /// How many runs count.
    pub(super) runs: usize,
}

impl Circumstances {
    /// Asks the tools and the machine.
    pub(super) fn look(machine: Machine, arguments: &Arguments, tools: &[Tool], bed: &Bed) -> Self {
        let scheme = if arguments.tls { "TLS" } else { "plain HTTP" };
        let kind = bed.network.kind;
        let way = arguments.link.map_or_else(
            || kind.to_owned(),
            |link| format!("{} ms round trip, {} Mbit/s ({kind})", link.rtt, link.rate),
        );
        let tools = tools.iter().map(|tool| (tool.name.clone(), tool.version()));
        Self {
            machine,
            tools: tools.collect(),
            registry: machine::version(&bed.registry, &["--version"]),
            network: format!("{scheme}, {way}"),
            runs: arguments.runs,
        }
    }
}

/// The rows of one scenario.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// The scenario.
    pub(super) scenario: &'static str,
    /// A row for each tool, in the order of the tools.
    pub(super) rows: Vec<Row>,
}

/// Returns the names of scenarios in which a build of dhow did not do what it should.
pub(super) fn wrong(measured: &[Measured]) -> Vec<&'static str> {
    let is_wrong = |row: &Row| row.is_dhow && matches!(row.end, Some(End::Wrong(_)));
    let wrong = measured.iter().filter(|one| one.rows.iter().any(is_wrong));
    wrong.map(|one| one.scenario).collect()
}
