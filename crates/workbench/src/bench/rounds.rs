//! One scenario: every tool once, and again, in an order that rotates, so that a machine whose speed
//! drifts treats all alike.

use std::thread;
use std::time::Duration;

use super::access_log::Requests;
use super::bed::{Bed, more_tags};
use super::check;
use super::measure::Cost;
use super::scenario::{Before, Scenario, Work};
use super::stop::Stop;
use super::tool::{REPOSITORY_FOR_MOUNTS, Task, Tool};

/// What came of one tool in one scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// The tool.
    pub(super) tool: String,
    /// Whether it is a build of dhow.
    pub(super) is_dhow: bool,
    /// The runs that count.
    pub(super) runs: Vec<Run>,
    /// Why there are no more.
    pub(super) end: Option<End>,
}

/// Why a tool's runs ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It cannot do this.
    Unable,
    /// It did not do it, or not all of it.
    Wrong(String),
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// What it took.
    pub(super) cost: Cost,
    /// What the source registry was asked.
    pub(super) source: Requests,
    /// What the destination registry was asked.
    pub(super) destination: Requests,
}

/// Measures the tools, each in a round that does not count and in `runs` that do. `dhow` makes the
/// destination ready.
pub(super) fn play(
    scenario: &Scenario,
    tools: &[Tool],
    dhow: &Tool,
    bed: &Bed,
    runs: usize,
    stop: &Stop,
) -> Result<Vec<Row>, String> {
    bed.destination.clear()?;
    if scenario.before == Before::Full {
        bed.fill(&bed.destination, bed.sample(scenario)?, dhow, stop)?;
    }
    let mut rows: Vec<Row> = tools
        .iter()
        .map(|tool| Row {
            tool: tool.name.clone(),
            is_dhow: tool.is_dhow(),
            ..Row::default()
        })
        .collect();
    for round in 0..=runs {
        for turn in 0..tools.len() {
            let number = (round + turn) % tools.len();
            let row = &mut rows[number];
            if row.end.is_some() {
                continue;
            }
            match once(scenario, &tools[number], bed, stop) {
                Ok(run) if round > 0 => row.runs.push(run),
                Ok(_) => {}
                Err(end) => row.end = Some(end),
            }
            stop.check()?;
        }
    }
    Ok(rows)
}

fn once(scenario: &Scenario, tool: &Tool, bed: &Bed, stop: &Stop) -> Result<Run, End> {
    let wrong = |error: String| End::Wrong(error);
    let task = bed.task(scenario.work, bed.sample(scenario).map_err(wrong)?);
    bed.source.remove(REPOSITORY_FOR_MOUNTS).map_err(wrong)?;
    if scenario.before == Before::Empty {
        bed.destination.clear().map_err(wrong)?;
    }
    // What the registries still do for the last run shall not fall into this one.
    thread::sleep(SETTLE);
    let (source, destination) = (bed.source.log.end(), bed.destination.log.end());
    let cost = bed
        .run(tool, &task, stop)
        .ok_or(End::Unable)?
        .map_err(wrong)?;
    thread::sleep(SETTLE);
    let run = Run {
        cost,
        source: bed.source.log.since(source).map_err(wrong)?,
        destination: bed.destination.log.since(destination).map_err(wrong)?,
    };
    check(bed, &task).map_err(|error| End::Wrong(format!("incomplete: {error}")))?;
    Ok(run)
}

fn check(bed: &Bed, task: &Task<'_>) -> Result<(), String> {
    let sample = task.sample;
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    match task.work {
        Work::Startup => check::said(&task.stdout(), &[]),
        Work::Inspect => check::said(&task.stdout(), &words(&["architecture", "amd64"])),
        Work::Raw => check::shown(&task.stdout(), sample),
        Work::ListTags => check::said(&task.stdout(), &more_tags()),
        Work::Copy | Work::FromOci => check::registry(&bed.destination, sample.name, sample),
        Work::Mount => check::registry(&bed.source, REPOSITORY_FOR_MOUNTS, sample),
        Work::FromArchive => check::repacked(&bed.destination, sample.name, sample),
        Work::ToOci => check::layout(&task.product(), sample),
        Work::ToArchive => check::archive(&task.product(), sample),
        Work::ToDir => check::directory(&task.product(), sample),
    }
}

/// How long the registries get to write their logs.
const SETTLE: Duration = Duration::from_millis(15);
