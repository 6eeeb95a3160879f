//! `cargo xtask bench`: dhow beside other tools, all of them at the same work, against the same two
//! registries, in one run.
//!
//! ```text
//! samples ─▶ source registry ─▶ scenario by scenario, round by round, tool by tool ─▶ tables
//!                               (destination emptied before, what arrived checked after)
//! ```
//!
//! Figures of two benches are not compared with each other: machines drift. `docs/performance.md`
//! says how to read them.

mod access_log;
mod arguments;
mod bed;
mod certificates;
mod check;
mod glob;
mod machine;
mod measure;
mod network;
mod registry;
mod relay;
mod report;
mod rounds;
mod samples;
mod scenario;
mod statistics;
mod stop;
mod tool;

use std::fs;
use std::path::Path;

use arguments::{Arguments, USAGE};
use bed::Bed;
use machine::Machine;
pub(crate) use measure::{MEASURE, measure};
use report::{Circumstances, Measured};
use stop::Stop;
use tool::{Dialect, Tool};
use xtask::shell;

/// Writes a sample image into a folder: an OCI layout of its name, and an archive beside it.
pub(crate) fn write_sample(name: &'static str, folder: &Path) -> Result<(), String> {
    samples::make(name, folder, &Stop::default()).map(drop)
}

/// Measures what the arguments ask for.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    if words.iter().any(|word| word == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let arguments = Arguments::parse(words)?;
    let scenarios = scenario::chosen(&arguments.scenarios, arguments.big || arguments.list)?;
    if arguments.list {
        for scenario in scenarios {
            println!("{}", scenario.name);
        }
        return Ok(());
    }
    // Before the build, which would be the load.
    let machine = Machine::look();
    let path = match &arguments.dhow {
        Some(path) => std::path::absolute(path).map_err(|error| error.to_string())?,
        None => shell::build_dhow()?,
    };
    let dhow = Tool {
        name: "dhow".to_owned(),
        program: path,
        dialect: Dialect::Dhow,
    };
    let tools = tool::chosen(&dhow, &arguments)?;
    let stop = Stop::listen()?;
    let bed = Bed::make(&arguments, &scenarios, &dhow, &stop)?;
    let circumstances = Circumstances::look(machine, &arguments, &tools, &bed);
    let mut text = report::heading(&circumstances);
    println!("{text}");
    let mut measured = Vec::new();
    for scenario in scenarios {
        let rows = rounds::play(scenario, &tools, &dhow, &bed, arguments.runs, &stop)?;
        let scenario = scenario.name;
        measured.push(Measured { scenario, rows });
        if let Some(last) = measured.last() {
            let table = report::table(last);
            println!("{table}");
            text.push('\n');
            text.push_str(&table);
        }
        // Written again after each scenario: what was measured survives an interruption.
        write(arguments.markdown.as_deref(), || text.clone())?;
        write(arguments.json.as_deref(), || {
            format!("{:#}\n", report::document(&circumstances, &measured))
        })?;
    }
    match report::wrong(&measured).as_slice() {
        [] => Ok(()),
        wrong => Err(format!("dhow did not do its work in {}", wrong.join(", "))),
    }
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    let Some(path) = path else {
        return Ok(());
    };
    fs::write(path, text()).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
