//! User names and passwords, as `htpasswd -B` writes them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Context, SHA256};

use crate::Error;

/// Users and the bcrypt hashes of their passwords. The user `*` stands for every name, so that a
/// token alone is enough, as OpenShift takes it.
///
/// A file is read again when it changes. Clones share what they know.
#[derive(Clone)]
pub struct Htpasswd(Arc<Inner>);

/// When a file was changed, and its size in bytes.
type Stamp = (SystemTime, u64);

type Users = HashMap<String, Hash>;

struct Inner {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    modified: Option<Stamp>,
    users: Arc<Users>,
    /// Digests of pairs that bcrypt has approved, because it takes a tenth of a second.
    approved: HashSet<[u8; 32]>,
}

enum Hash {
    Bcrypt(String),
    Sha256([u8; 32]),
}

impl Htpasswd {
    /// The largest file that is read, in bytes: tens of thousands of users.
    pub const MAX_SIZE: u64 = 4 * 1024 * 1024;

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or has a line with another hash than bcrypt.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (modified, users) = read(path)?;
        Ok(Self::new(Some(path.to_owned()), Some(modified), users))
    }

    /// Takes the text of a file.
    ///
    /// # Errors
    /// When a line has another hash than bcrypt.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self::new(None, None, parse(text, Path::new("htpasswd"))?))
    }

    /// Takes one user with a password of any length.
    pub fn for_user(user: &str, password: &str) -> Self {
        let hash = Hash::Sha256(digest(&[password.as_bytes()]));
        Self::new(None, None, HashMap::from([(user.to_owned(), hash)]))
    }

    fn new(path: Option<PathBuf>, modified: Option<Stamp>, users: Users) -> Self {
        Self(Arc::new(Inner {
            path,
            state: Mutex::new(State {
                modified,
                users: Arc::new(users),
                approved: HashSet::new(),
            }),
        }))
    }

    /// Returns whether the password is that of the user, if that is known without bcrypt.
    pub(crate) fn knows(&self, user: &str, password: &str) -> bool {
        let pair = digest(&[user.as_bytes(), b"\0", password.as_bytes()]);
        self.lock().approved.contains(&pair)
    }

    /// Returns whether the password is that of the user. Blocks, and takes its time.
    pub(crate) fn check(&self, user: &str, password: &str) -> bool {
        self.refresh();
        let users = Arc::clone(&self.lock().users);
        let hash = users.get(user).filter(|_| user != WILDCARD);
        let approved = match (hash, users.get(WILDCARD)) {
            (Some(hash), _) if hash.matches(password) => true,
            (_, Some(any)) => any.matches(password),
            (Some(_), None) => false,
            (None, None) => {
                // An unknown name must not be told by the shorter time.
                if let Some(any) = users.values().next() {
                    any.matches(password);
                }
                false
            }
        };
        let mut state = self.lock();
        if approved && Arc::ptr_eq(&state.users, &users) {
            if state.approved.len() >= MOST_APPROVED {
                state.approved.clear();
            }
            let pair = digest(&[user.as_bytes(), b"\0", password.as_bytes()]);
            state.approved.insert(pair);
        }
        approved
    }

    /// Reads the file again if it has changed. A file that is broken meanwhile changes nothing.
    pub(crate) fn refresh(&self) {
        let Some(path) = &self.0.path else {
            return;
        };
        if modified(path).ok() == self.lock().modified {
            return;
        }
        match read(path) {
            Ok((modified, users)) => {
                let mut state = self.lock();
                state.modified = Some(modified);
                state.users = Arc::new(users);
                state.approved.clear();
            }
            Err(error) => tracing::error!(%error, "the password file is not taken"),
        }
    }

    /// Returns whether the file is another one than was read.
    pub(crate) fn is_stale(&self) -> bool {
        self.0
            .path
            .as_ref()
            .is_some_and(|path| modified(path).ok() != self.lock().modified)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Htpasswd")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

impl Hash {
    fn matches(&self, password: &str) -> bool {
        match self {
            // bcrypt looks at 72 bytes only, and all JSON web tokens begin alike.
            Self::Bcrypt(_) if password.len() > 72 => {
                tracing::warn!("a password has more than the 72 bytes that bcrypt looks at");
                false
            }
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Sha256(hash) => {
                verify_slices_are_equal(&digest(&[password.as_bytes()]), hash).is_ok()
            }
        }
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

fn modified(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

fn read(path: &Path) -> Result<(Stamp, Users), Error> {
    let wrap = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let modified = modified(path).map_err(wrap)?;
    let bytes = dhow_layout::read_bounded(path, Htpasswd::MAX_SIZE).map_err(wrap)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        wrap(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not UTF-8",
        ))
    })?;
    Ok((modified, parse(&text, path)?))
}

fn parse(text: &str, path: &Path) -> Result<Users, Error> {
    let mut users = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let invalid = |why| Error::Htpasswd {
            path: path.to_owned(),
            line: number + 1,
            why,
        };
        let (user, hash) = line
            .split_once(':')
            .filter(|(user, _)| !user.is_empty())
            .ok_or_else(|| invalid("it is not `user:hash`"))?;
        let is_bcrypt = ["$2y$", "$2a$", "$2b$"]
            .iter()
            .any(|prefix| hash.starts_with(prefix));
        if !is_bcrypt || hash.parse::<bcrypt::HashParts>().is_err() {
            return Err(invalid(
                "the hash is not bcrypt's; make it with `htpasswd -B`",
            ));
        }
        users.insert(user.to_owned(), Hash::Bcrypt(hash.to_owned()));
    }
    Ok(users)
}

const WILDCARD: &str = "*";

const MOST_APPROVED: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str, password: &str) -> String {
        format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    #[test]
    fn passwords_are_checked() {
        let text = format!("# users\n\n{}{}", line("ann", "a"), line("bob", "b"));
        let users = Htpasswd::parse(&text).unwrap();
        for (user, password, expected) in [
            ("ann", "a", true),
            ("ann", "b", false),
            ("bob", "b", true),
            ("eve", "a", false),
            ("", "", false),
            ("*", "a", false),
        ] {
            assert_eq!(users.check(user, password), expected, "{user}");
            assert_eq!(users.knows(user, password), expected, "{user}");
        }
    }

    #[test]
    fn the_wildcard_takes_every_name() {
        let users = Htpasswd::parse(&line("*", "token")).unwrap();
        assert!(users.check("serviceaccount", "token"));
        assert!(!users.check("serviceaccount", "other"));
        let long = "x".repeat(100);
        assert!(Htpasswd::for_user("*", &long).check("anybody", &long));
        assert!(
            !Htpasswd::parse(&line("a", &long[..72]))
                .unwrap()
                .check("a", &long)
        );
    }

    #[test]
    fn other_hashes_are_refused() {
        for bad in [
            "ann",
            ":x",
            "ann:plain",
            "ann:$apr1$abc$def",
            "ann:{SHA}abc=",
            "ann:$2y$",
            "ann:$2y$05$short",
        ] {
            assert!(
                matches!(Htpasswd::parse(bad), Err(Error::Htpasswd { line: 1, .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("htpasswd");
        fs::write(&path, line("ann", "old")).unwrap();
        let users = Htpasswd::open(&path).unwrap();
        assert!(users.check("ann", "old"));
        fs::write(&path, line("ann", "new") + &line("bob", "b")).unwrap();
        assert!(users.is_stale());
        assert!(!users.check("ann", "old"));
        assert!(users.check("ann", "new"));
        assert!(!users.knows("ann", "old"));
    }
}
