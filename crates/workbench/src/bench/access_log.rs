//! What a registry was asked, from its access log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// How many requests there were, by method.
pub(super) type Requests = BTreeMap<String, usize>;

/// The access log of a running registry.
#[derive(Debug)]
pub(super) struct AccessLog {
    path: PathBuf,
}

impl AccessLog {
    /// Returns the log in a file.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Returns where the log ends now, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.path.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Returns the requests that were logged behind `start`.
    pub(super) fn since(&self, start: u64) -> Result<Requests, String> {
        let wrap = |error| format!("cannot read {}: {error}", self.path.display());
        let mut file = File::open(&self.path).map_err(wrap)?;
        file.seek(SeekFrom::Start(start)).map_err(wrap)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(wrap)?;
        Ok(count(&String::from_utf8_lossy(&text)))
    }
}

/// Counts the requests in a log of Apache's combined format: `… "GET /v2/ HTTP/1.1" 200 …`.
fn count(text: &str) -> Requests {
    let mut requests = Requests::new();
    for method in text.lines().filter_map(method) {
        *requests.entry(method.to_owned()).or_default() += 1;
    }
    requests
}

fn method(line: &str) -> Option<&str> {
    let (_, request) = line.split_once('"')?;
    let (method, target) = request.split_once(' ')?;
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_method && target.starts_with('/')).then_some(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_method() {
        let log = r#"127.0.0.1 - - [27/Nov/2026:15:00:00 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "skopeo/1.9.3"
127.0.0.1 - - [27/Nov/2026:15:00:00 +0000] "HEAD /v2/a/blobs/sha256:0 HTTP/2.0" 404 157 "" "GET /not"
127.0.0.1 - - [27/Nov/2026:15:00:01 +0000] "GET /v2/a/manifests/b HTTP/1.1" 200 9 "" ""
time="2026-11-27T15:00:01Z" level=error msg="no request"
127.0.0.1 - - [27/Nov/2026:15:00:02 +0000] "PU"#;
        let wanted = [("GET".to_owned(), 2), ("HEAD".to_owned(), 1)];
        assert_eq!(count(log), Requests::from(wanted));
    }
}
