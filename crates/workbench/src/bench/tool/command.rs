//! The command line of each tool for each piece of work.

use std::path::{Path, PathBuf};

use super::{Dialect, Tool};
use crate::bench::samples::{Sample, TAG};
use crate::bench::scenario::Work;

/// One piece of work, with everything a command line has to name.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Task<'a> {
    /// What is done.
    pub(in crate::bench) work: Work,
    /// With which sample.
    pub(in crate::bench) sample: &'a Sample,
    /// The address of the registry that has the sample.
    pub(in crate::bench) source: &'a str,
    /// The address of the other one.
    pub(in crate::bench) destination: &'a str,
    /// Whether they speak TLS.
    pub(in crate::bench) tls: bool,
    /// Where the folders of a run are.
    pub(in crate::bench) folder: &'a Path,
}

impl Tool {
    /// Returns the words behind the tool's name, or `None` if it cannot do this.
    pub(in crate::bench) fn command(&self, task: &Task<'_>) -> Option<Vec<String>> {
        let line = match self.dialect {
            Dialect::Dhow | Dialect::Skopeo => Some(skopeo(task)),
            Dialect::Crane => crane(task),
            Dialect::Regctl => regctl(task),
            Dialect::Oras => oras(task),
            Dialect::Ocync => ocync(task),
        };
        // No path or name in it has a blank.
        line.map(|line| line.split_whitespace().map(str::to_owned).collect())
    }

    /// Returns what the tool must find in its environment, besides what all do.
    pub(in crate::bench) fn environment(&self) -> Option<(&'static str, &'static str)> {
        // As root, skopeo keeps its cache of blobs outside of HOME, where it outlives the run.
        (self.dialect == Dialect::Skopeo).then_some(("_CONTAINERS_ROOTLESS_UID", "1000"))
    }
}

/// Returns the words that make a tool say its version.
pub(super) const fn version(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Dhow | Dialect::Skopeo => &["--version"],
        Dialect::Crane | Dialect::Regctl | Dialect::Oras | Dialect::Ocync => &["version"],
    }
}

/// The repository that an image of the source is mounted into.
pub(in crate::bench) const REPOSITORY_FOR_MOUNTS: &str = "mounted";

impl Task<'_> {
    /// Returns the folder for what the tool makes.
    pub(in crate::bench) fn output(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// Returns where the tool makes a layout, an archive or a directory.
    pub(in crate::bench) fn product(&self) -> PathBuf {
        self.output().join("x")
    }

    /// Returns the folder for what it writes in passing.
    pub(in crate::bench) fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// Returns the folder that is its home.
    pub(in crate::bench) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Returns the file with what it wrote to stdout.
    pub(in crate::bench) fn stdout(&self) -> PathBuf {
        self.folder.join("stdout")
    }

    /// Returns the file with what it wrote to stderr.
    pub(in crate::bench) fn stderr(&self) -> PathBuf {
        self.folder.join("stderr")
    }

    /// Returns the image in the source registry.
    fn from(&self) -> String {
        format!("{}/{}:{TAG}", self.source, self.sample.name)
    }

    /// Returns the image in the destination registry.
    fn to(&self) -> String {
        format!("{}/{}:{TAG}", self.destination, self.sample.name)
    }

    /// Returns the image in the repository for mounts.
    fn beside(&self) -> String {
        format!("{}/{REPOSITORY_FOR_MOUNTS}:{TAG}", self.source)
    }

    fn out(&self) -> String {
        self.product().display().to_string()
    }

    /// Returns `flag` where TLS must be turned off.
    fn plain<'a>(&self, flag: &'a str) -> &'a str {
        if self.tls { "" } else { flag }
    }
}

fn skopeo(task: &Task<'_>) -> String {
    let (from, to, beside, out) = (task.from(), task.to(), task.beside(), task.out());
    let plain = task.plain("--tls-verify=false");
    let source = task.plain("--src-tls-verify=false");
    let destination = task.plain("--dest-tls-verify=false");
    let all = if task.sample.is_index() { "--all" } else { "" };
    let copy = format!("--tmpdir {} copy {all}", task.scratch().display());
    let layout = task.sample.layout.display();
    let archive = task.sample.archive.display();
    match task.work {
        Work::Startup => "--version".to_owned(),
        Work::Inspect => format!("inspect --no-tags {plain} docker://{from}"),
        Work::Raw => format!("inspect --raw {plain} docker://{from}"),
        Work::ListTags => {
            format!(
                "list-tags {plain} docker://{}/{}",
                task.source, task.sample.name
            )
        }
        Work::Copy => format!("{copy} {source} {destination} docker://{from} docker://{to}"),
        Work::Mount => format!("{copy} {source} {destination} docker://{from} docker://{beside}"),
        Work::ToOci => format!("{copy} {source} docker://{from} oci:{out}:{TAG}"),
        Work::FromOci => format!("{copy} {destination} oci:{layout}:{TAG} docker://{to}"),
        Work::ToArchive => {
            format!("{copy} {source} docker://{from} docker-archive:{out}:bench/x:1")
        }
        Work::FromArchive => format!("{copy} {destination} docker-archive:{archive} docker://{to}"),
        Work::ToDir => format!("{copy} {source} docker://{from} dir:{out}"),
    }
}

fn crane(task: &Task<'_>) -> Option<String> {
    let (from, to, beside, out) = (task.from(), task.to(), task.beside(), task.out());
    let plain = task.plain("--insecure");
    let layout = task.sample.layout.display();
    let archive = task.sample.archive.display();
    Some(match task.work {
        Work::Startup => "version".to_owned(),
        Work::Inspect => format!("config {plain} {from}"),
        Work::Raw => format!("manifest {plain} {from}"),
        Work::ListTags => format!("ls {plain} {}/{}", task.source, task.sample.name),
        Work::Copy => format!("copy {plain} {from} {to}"),
        Work::Mount => format!("copy {plain} {from} {beside}"),
        Work::ToOci => format!("pull {plain} --format=oci {from} {out}"),
        Work::FromOci => format!("push {plain} {layout} {to}"),
        Work::ToArchive => format!("pull {plain} --format=tarball {from} {out}"),
        Work::FromArchive => format!("push {plain} {archive} {to}"),
        Work::ToDir => return None,
    })
}

fn regctl(task: &Task<'_>) -> Option<String> {
    let (from, to, beside, out) = (task.from(), task.to(), task.beside(), task.out());
    let plain = |address: &str| {
        let flag = format!("--host reg={address},tls=disabled");
        task.plain(&flag).to_owned()
    };
    let (source, destination) = (plain(task.source), plain(task.destination));
    let layout = task.sample.layout.display();
    let archive = task.sample.archive.display();
    Some(match task.work {
        Work::Startup => "version".to_owned(),
        Work::Inspect => format!("image inspect {source} {from}"),
        Work::Raw => format!("manifest get {source} --format raw-body {from}"),
        Work::ListTags => format!("tag ls {source} {}/{}", task.source, task.sample.name),
        Work::Copy => format!("image copy {source} {destination} {from} {to}"),
        Work::Mount => format!("image copy {source} {from} {beside}"),
        Work::ToOci => format!("image copy {source} {from} ocidir://{out}:{TAG}"),
        Work::FromOci => format!("image copy {destination} ocidir://{layout}:{TAG} {to}"),
        Work::ToArchive => format!("image export {source} {from} {out}"),
        Work::FromArchive => format!("image import {destination} {to} {archive}"),
        Work::ToDir => return None,
    })
}

fn oras(task: &Task<'_>) -> Option<String> {
    let (from, to, beside, out) = (task.from(), task.to(), task.beside(), task.out());
    let plain = task.plain("--plain-http");
    let source = task.plain("--from-plain-http");
    let destination = task.plain("--to-plain-http");
    let layout = task.sample.layout.display();
    Some(match task.work {
        Work::Startup => "version".to_owned(),
        Work::Inspect => format!("manifest fetch-config {plain} {from}"),
        Work::Raw => format!("manifest fetch {plain} {from}"),
        Work::ListTags => format!("repo tags {plain} {}/{}", task.source, task.sample.name),
        Work::Copy => format!("cp --no-tty {source} {destination} {from} {to}"),
        Work::Mount => format!("cp --no-tty {source} {destination} {from} {beside}"),
        Work::ToOci => format!("cp --no-tty {source} --to-oci-layout {from} {out}:{TAG}"),
        Work::FromOci => {
            format!("cp --no-tty {destination} --from-oci-layout {layout}:{TAG} {to}")
        }
        Work::ToArchive | Work::FromArchive | Work::ToDir => return None,
    })
}

fn ocync(task: &Task<'_>) -> Option<String> {
    Some(match task.work {
        Work::Startup => "version".to_owned(),
        Work::ListTags => format!("tags {}/{}", task.source, task.sample.name),
        Work::Copy => format!("copy {} {}", task.from(), task.to()),
        Work::Mount => format!("copy {} {}", task.from(), task.beside()),
        _ => return None,
    })
}
