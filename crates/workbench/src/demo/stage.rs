//! The stage of the demo: a temporary directory, registries as child processes, and a shell line
//! that is shown, run and checked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where the demo plays.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    dhow: PathBuf,
    names: Vec<(String, String)>,
    servers: Vec<Child>,
    certificates: BTreeMap<String, String>,
    commands: usize,
}

/// What a command must answer.
#[derive(Clone, Copy)]
pub(crate) enum Expect {
    /// Success, with this on stdout.
    Output(&'static str),
    /// Success, with this on stderr.
    Progress(&'static str),
    /// This exit code, with this on stderr.
    Failure(i32, &'static str),
}

impl Stage {
    pub(crate) fn open(dhow: PathBuf) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| format!("cannot begin: {error}"))?;
        Ok(Self {
            directory,
            dhow,
            names: Vec::new(),
            servers: Vec::new(),
            certificates: BTreeMap::new(),
            commands: 0,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) const fn count(&self) -> usize {
        self.commands
    }

    /// Makes `$NAME` stand for `value` in command lines.
    pub(crate) fn name(&mut self, name: &str, value: &str) {
        self.names.push((format!("${name}"), value.to_owned()));
    }

    /// Starts `dhow serve` over a directory and returns the address it listens on.
    pub(crate) fn serve(
        &mut self,
        name: &str,
        folder: &str,
        flags: &[&str],
    ) -> Result<String, String> {
        let mut server = Command::new(&self.dhow)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags)
            .arg(self.path(folder))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start dhow serve: {error}"))?;
        let stderr = server.stderr.take().ok_or("dhow serve has no stderr")?;
        self.servers.push(server);
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut certificate = String::new();
        let address = loop {
            let line = lines.next().ok_or("dhow serve did not start to listen")?;
            if let Some((_, address)) = line.split_once("listening on ") {
                break address
                    .split("//")
                    .nth(1)
                    .unwrap_or(address)
                    .trim()
                    .to_owned();
            }
            certificate.push_str(&line);
            certificate.push('\n');
        };
        self.certificates.insert(name.to_owned(), certificate);
        // The log is read to its end, so that the server never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(address)
    }

    /// Returns the certificate that a server made for itself.
    pub(crate) fn certificate(&self, name: &str) -> Result<&str, String> {
        self.certificates
            .get(name)
            .map(String::as_str)
            .filter(|text| text.contains("BEGIN CERTIFICATE"))
            .ok_or_else(|| format!("the server {name} showed no certificate"))
    }

    /// Writes a password file and returns its path.
    pub(crate) fn write_users(&self, user: &str, password: &str) -> Result<String, String> {
        let hash = bcrypt::hash(password, 5).map_err(|error| error.to_string())?;
        let path = self.path("users");
        fs::write(&path, format!("{user}:{hash}\n")).map_err(|error| error.to_string())?;
        Ok(path.display().to_string())
    }

    /// Writes Docker's config file into the home directory of the demo.
    pub(crate) fn write_docker_config(&self, user: &str, password: &str) -> Result<(), String> {
        let registry = self.expand("$REGISTRY");
        let auth = STANDARD.encode(format!("{user}:{password}"));
        let folder = self.path("home/.docker");
        let text = format!("{{\"auths\": {{\"{registry}\": {{\"auth\": \"{auth}\"}}}}}}\n");
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("config.json"), text))
            .map_err(|error| error.to_string())
    }

    /// Returns the names of the files in the demo's directory, without those of the registries.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, String> {
        let mut found = Vec::new();
        let entries = fs::read_dir(self.directory.path()).map_err(|error| error.to_string())?;
        for entry in entries.flatten() {
            if !["hub", "openshift"].contains(&entry.file_name().to_string_lossy().as_ref()) {
                collect(&entry.path(), &mut found);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Shows a command, runs it, shows what it answered, and checks that.
    pub(crate) fn dhow(&mut self, line: &str, expect: Expect) -> Result<(), String> {
        println!("\n$ dhow {line}");
        self.commands += 1;
        let home = self.path("home");
        fs::create_dir_all(&home).map_err(|error| error.to_string())?;
        let output = Command::new(&self.dhow)
            .args(words(&self.expand(line)))
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &home)
            .output()
            .map_err(|error| format!("cannot run dhow: {error}"))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        show(&stdout);
        show(&stderr);
        let code = output.status.code();
        let (right, wanted) = match expect {
            Expect::Output(text) => (code == Some(0) && stdout.contains(text), text),
            Expect::Progress(text) => (code == Some(0) && stderr.contains(text), text),
            Expect::Failure(wanted, text) => (code == Some(wanted) && stderr.contains(text), text),
        };
        if right {
            return Ok(());
        }
        Err(format!(
            "this is not as it should be: exit {code:?}, and `{wanted}` was expected"
        ))
    }

    fn expand(&self, text: &str) -> String {
        self.names
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(name, value)
            })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for server in &mut self.servers {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// Says what comes next.
pub(crate) fn say(text: &str) {
    println!("\n# {text}");
}

/// Splits a command line into words as a shell would, as far as the demo needs it.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

fn show(text: &str) {
    const MOST: usize = 14;
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().take(MOST) {
        println!("  {line}");
    }
    if lines.len() > MOST {
        println!("  … {} more lines", lines.len() - MOST);
    }
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), found);
        }
    } else {
        found.push(path.to_owned());
    }
}
