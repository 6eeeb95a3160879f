//! The tools that are measured, and what each is told to do.

mod command;

use std::path::PathBuf;

use super::arguments::Arguments;
use super::machine;
use xtask::shell;

pub(super) use command::{REPOSITORY_FOR_MOUNTS, Task};

/// A program that moves images.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    /// How reports name it.
    pub(super) name: String,
    /// Where it is.
    pub(super) program: PathBuf,
    /// How it is spoken to.
    pub(super) dialect: Dialect,
}

/// A command line that some tools share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// skopeo's, spoken by dhow.
    Dhow,
    /// skopeo's, spoken by skopeo.
    Skopeo,
    /// crane's, of go-containerregistry.
    Crane,
    /// regctl's, of regclient.
    Regctl,
    /// That of oras.
    Oras,
    /// That of ocync, which goes from registry to registry only.
    Ocync,
}

impl Tool {
    /// Returns whether this is a build of dhow.
    pub(super) fn is_dhow(&self) -> bool {
        self.dialect == Dialect::Dhow
    }

    /// Returns what the tool says of its version.
    pub(super) fn version(&self) -> String {
        machine::version(&self.program, command::version(self.dialect))
    }
}

/// Returns the tools to measure: dhow, other builds of it, and the peers that are found.
pub(super) fn chosen(dhow: &Tool, arguments: &Arguments) -> Result<Vec<Tool>, String> {
    let mut tools = vec![dhow.clone()];
    for (name, path) in &arguments.also {
        tools.push(Tool {
            name: name.clone(),
            program: std::path::absolute(path).unwrap_or_else(|_| path.clone()),
            dialect: Dialect::Dhow,
        });
    }
    if let Some(tool) = tools.iter().find(|tool| !tool.program.is_file()) {
        return Err(format!("{} is no program", tool.program.display()));
    }
    for (name, dialect) in PEERS {
        if let Some(program) = shell::find(name) {
            let name = name.to_owned();
            tools.push(Tool {
                name,
                program,
                dialect,
            });
        }
    }
    select(tools, &arguments.tools)
}

/// Returns those that are named, in the order of the names; all if none is.
fn select(tools: Vec<Tool>, names: &[String]) -> Result<Vec<Tool>, String> {
    if names.is_empty() {
        return Ok(tools);
    }
    let named = |name: &String| {
        let found = tools.iter().find(|tool| tool.name == *name);
        found
            .cloned()
            .ok_or_else(|| format!("there is no tool `{name}` here"))
    };
    names.iter().map(named).collect()
}

const PEERS: [(&str, Dialect); 5] = [
    ("skopeo", Dialect::Skopeo),
    ("crane", Dialect::Crane),
    ("regctl", Dialect::Regctl),
    ("oras", Dialect::Oras),
    ("ocync", Dialect::Ocync),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_selected_by_name_and_in_order() {
        let tools: Vec<Tool> = PEERS
            .iter()
            .map(|(name, dialect)| Tool {
                name: (*name).to_owned(),
                program: PathBuf::from(name),
                dialect: *dialect,
            })
            .collect();
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
            let selected = select(tools.clone(), &wanted)?;
            Ok::<_, String>(
                selected
                    .into_iter()
                    .map(|tool| tool.name)
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(names(&[]).unwrap().len(), PEERS.len());
        assert_eq!(names(&["oras", "crane"]).unwrap(), ["oras", "crane"]);
        assert!(names(&["podman"]).is_err());
    }
}
