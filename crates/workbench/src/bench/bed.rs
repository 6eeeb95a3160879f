//! The test bed: samples, two registries with fresh storage, and a folder for each run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use tempfile::TempDir;

use super::arguments::Arguments;
use super::certificates::Certificates;
use super::measure::{Cost, Invocation};
use super::network::{self, Network};
use super::registry::{self, Registry};
use super::samples::{self, Sample, TAG};
use super::scenario::{Scenario, Work};
use super::stop::Stop;
use super::tool::{Task, Tool};

/// Everything that a bench needs. Dropping it takes it all down: first the registries, then the
/// network, then the files.
#[derive(Debug)]
pub(super) struct Bed {
    /// The registry that has the samples.
    pub(super) source: Registry,
    /// The registry that they are copied to.
    pub(super) destination: Registry,
    /// Where both of them live.
    pub(super) network: Network,
    /// The program of both.
    pub(super) registry: PathBuf,
    samples: Vec<Sample>,
    certificates: Option<Certificates>,
    folder: TempDir,
}

impl Bed {
    /// Makes the samples that the scenarios need, starts the registries and fills one with `dhow`.
    pub(super) fn make(
        arguments: &Arguments,
        scenarios: &[&Scenario],
        dhow: &Tool,
        stop: &Stop,
    ) -> Result<Self, String> {
        sweep();
        let registry = registry::find()?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{NAME}-{}-", process::id()))
            .tempdir_in(top())
            .map_err(|error| format!("cannot make a folder: {error}"))?;
        let network = match arguments.link {
            Some(link) => Network::behind(link, NAME)?,
            None => Network::loopback(),
        };
        let certificates = arguments
            .tls
            .then(|| Certificates::make(folder.path(), &network.address))
            .transpose()?;
        let start = |name| {
            let certificates = certificates.as_ref();
            Registry::start(&registry, name, folder.path(), &network, certificates, stop)
        };
        let mut bed = Self {
            source: start("source")?,
            destination: start("destination")?,
            network,
            registry,
            samples: Vec::new(),
            certificates,
            folder,
        };
        for scenario in scenarios {
            if bed
                .samples
                .iter()
                .all(|sample| sample.name != scenario.sample)
            {
                let sample = samples::make(scenario.sample, bed.folder.path(), stop)?;
                eprintln!("sample {}: {} MB", sample.name, sample.size() / 1_000_000);
                bed.fill(&bed.source, &sample, dhow, stop)?;
                bed.samples.push(sample);
            }
        }
        if bed.samples.iter().any(|sample| sample.name == "small") {
            bed.source.add_tags("small", TAG, &more_tags())?;
        }
        Ok(bed)
    }

    /// Returns the sample of a scenario.
    pub(super) fn sample(&self, scenario: &Scenario) -> Result<&Sample, String> {
        let mut samples = self.samples.iter();
        let found = samples.find(|sample| sample.name == scenario.sample);
        found.ok_or_else(|| format!("the sample {} was not made", scenario.sample))
    }

    /// Puts a sample into a registry.
    pub(super) fn fill(
        &self,
        registry: &Registry,
        sample: &Sample,
        dhow: &Tool,
        stop: &Stop,
    ) -> Result<(), String> {
        let task = Task {
            destination: &registry.address,
            ..self.task(Work::FromOci, sample)
        };
        self.run(dhow, &task, stop)
            .ok_or("dhow cannot copy")?
            .map(drop)
            .map_err(|error| format!("cannot put the sample {} in place: {error}", sample.name))
    }

    /// Returns a task with the folders of the next run.
    pub(super) fn task<'a>(&'a self, work: Work, sample: &'a Sample) -> Task<'a> {
        Task {
            work,
            sample,
            source: &self.source.address,
            destination: &self.destination.address,
            tls: self.certificates.is_some(),
            folder: self.folder.path(),
        }
    }

    /// Runs a tool in folders that are empty. `None`: it cannot do this.
    pub(super) fn run(
        &self,
        tool: &Tool,
        task: &Task<'_>,
        stop: &Stop,
    ) -> Option<Result<Cost, String>> {
        let arguments = tool.command(task)?;
        let made = [task.output(), task.scratch(), task.home()]
            .iter()
            .try_for_each(|folder| renew(folder));
        let invocation = Invocation {
            program: &tool.program,
            arguments: &arguments,
            environment: &self.environment(tool, task),
            folder: &task.scratch(),
            stdout: &task.stdout(),
            stderr: &task.stderr(),
        };
        Some(made.and_then(|()| invocation.run(stop)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is no library")]
    fn environment(&self, tool: &Tool, task: &Task<'_>) -> BTreeMap<&'static str, OsString> {
        let mut environment = BTreeMap::from([
            ("PATH", std::env::var_os("PATH").unwrap_or_default()),
            ("HOME", task.home().into()),
            ("TMPDIR", task.scratch().into()),
        ]);
        if let Some(certificates) = &self.certificates {
            environment.insert("SSL_CERT_FILE", certificates.authority.clone().into());
        }
        environment.extend(tool.environment().map(|(name, value)| (name, value.into())));
        environment
    }
}

/// The tags that the repository `small` has besides [`TAG`].
pub(super) fn more_tags() -> Vec<String> {
    (1..=TAGS).map(|number| format!("v{number}")).collect()
}

/// Returns where files are made: in memory if that is possible.
fn top() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        return memory.to_owned();
    }
    std::env::temp_dir()
}

/// Takes away what benches left that were killed.
fn sweep() {
    network::sweep(NAME);
    for entry in fs::read_dir(top()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name
            .strip_prefix(NAME)
            .and_then(|rest| rest.strip_prefix('-'));
        let id = rest.and_then(|rest| rest.split_once('-')).map(|(id, _)| id);
        if id.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

fn renew(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("cannot empty a folder: {error}"))?;
    }
    fs::create_dir_all(folder).map_err(|error| format!("cannot make a folder: {error}"))
}

/// What folders and namespaces of a bench are named after.
const NAME: &str = "dhow-bench";

/// How many tags a repository has for listing.
const TAGS: usize = 300;
