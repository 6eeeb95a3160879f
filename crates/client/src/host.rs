//! What a session knows of one host: whether it speaks https, its connections, the challenges it
//! gave, and which uploads it takes.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use http::Version;
use tokio::sync::OnceCell;
use url::Url;

use crate::auth::Challenge;
use crate::fault;
use crate::gate::Gates;
use crate::guard::Guard;
use crate::origin;
use crate::pace::Pace;
use crate::tls::{self, Loaded, Trust};
use crate::upload_facts::UploadFacts;
use crate::wire::{Wire, WireOptions};
use crate::{Error, ErrorKind, Session};

/// How long a connection to a host takes that is near: on the same machine or in the same network.
const NEAR: Duration = Duration::from_millis(3);

/// What tells hosts apart: the same registry with other certificates is another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostKey {
    /// As users name it: host and optional port.
    pub(crate) registry: String,
    pub(crate) verify: bool,
    pub(crate) cert_dir: Option<PathBuf>,
    /// The registry with an image that names this host, which is not the user's choice.
    pub(crate) named_by: Option<String>,
}

/// Which connections a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Small requests: HTTP/2 where the server has it.
    Small,
    /// Blobs: HTTP/1.1, because one HTTP/2 connection is one TCP window for all transfers. The POST
    /// that begins an upload is a small request, so that what blobs come on was warmed by blobs.
    Bulk,
}

impl Lane {
    /// Returns which connections bring an answer of so many bytes: what is small comes on those that
    /// brought the manifest.
    pub(crate) const fn for_answer(size: u64) -> Self {
        if size <= SMALL {
            Self::Small
        } else {
            Self::Bulk
        }
    }
}

/// The largest answer, in bytes, that is not worth a connection of its own.
const SMALL: u64 = 64 * 1024;

/// http or https.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// One host.
pub(crate) struct Host {
    pub(crate) key: HostKey,
    scheme: OnceLock<Scheme>,
    /// Held by the request that finds out the scheme.
    pub(crate) deciding: tokio::sync::Mutex<()>,
    plain: OnceLock<Wire>,
    secure: OnceCell<Secure>,
    challenges: Mutex<HashMap<String, Challenge>>,
    uploads: UploadFacts,
    reached_in: Arc<OnceLock<Duration>>,
    /// What small requests are answered with.
    version: OnceLock<Version>,
    guard: Guard,
    pace: Pace,
    gates: Gates,
    /// Held by who changes a list of referrers that is kept under a tag.
    pub(crate) listing_referrers: tokio::sync::Mutex<()>,
}

struct Secure {
    small: Wire,
    bulk: Wire,
    trust: Arc<Trust>,
}

impl Host {
    pub(crate) fn new(key: HostKey, proxies: Vec<String>) -> Self {
        let guard = if let Some(registry) = &key.named_by {
            Guard::elsewhere(registry, proxies)
        } else {
            let base = base(&key.registry, Scheme::Https).ok();
            Guard::new(&key.registry, base.as_ref(), proxies)
        };
        let scheme = OnceLock::new();
        if key.verify {
            // Cannot fail: the cell is new.
            let _ = scheme.set(Scheme::Https);
        }
        Self {
            key,
            scheme,
            deciding: tokio::sync::Mutex::new(()),
            plain: OnceLock::new(),
            secure: OnceCell::new(),
            challenges: Mutex::default(),
            uploads: UploadFacts::default(),
            reached_in: Arc::default(),
            version: OnceLock::new(),
            guard,
            pace: Pace::default(),
            gates: Gates::default(),
            listing_referrers: tokio::sync::Mutex::default(),
        }
    }

    /// Returns how fast the host lets this process be.
    pub(crate) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Returns how many requests the host takes at once.
    pub(crate) const fn gates(&self) -> &Gates {
        &self.gates
    }

    /// Returns the name of the registry, as users write it.
    pub(crate) fn registry(&self) -> &str {
        &self.key.registry
    }

    /// Returns the scheme, once it is known.
    pub(crate) fn scheme(&self) -> Option<Scheme> {
        self.scheme.get().copied()
    }

    pub(crate) fn decide(&self, scheme: Scheme) {
        let _ = self.scheme.set(scheme);
    }

    /// Returns the root of the registry's API.
    pub(crate) fn base(&self, scheme: Scheme) -> Result<Url, Error> {
        base(self.registry(), scheme)
    }

    pub(crate) fn uploads(&self) -> &UploadFacts {
        &self.uploads
    }

    /// Returns whether a request costs more work than time: the host was reached, with no proxy
    /// between, in hardly any.
    pub(crate) fn is_near(&self) -> bool {
        let reached_in = self.reached_in.get();
        reached_in.is_some_and(|reached_in| *reached_in < NEAR)
    }

    /// Notes what a small request was answered with.
    pub(crate) fn learn_version(&self, version: Version) {
        self.version.get_or_init(|| version);
    }

    /// Returns whether the registry has no HTTP/2: blobs then go over the same connections as all
    /// else. Where it leads to may have it.
    fn has_one_lane(&self, url: &Url) -> bool {
        let version = self.version.get();
        version.is_some_and(|version| *version < Version::HTTP_2)
            && self
                .base(Scheme::Https)
                .is_ok_and(|base| origin::same(&base, url))
    }

    /// Begins to make a connection for blobs, if there are fewer than `most`, if it would take time, and
    /// if the one that small requests use is none for blobs.
    pub(crate) fn connect_ahead(&self, most: usize) {
        let has_http2 = self.version.get() == Some(&Version::HTTP_2);
        if has_http2
            && !self.is_near()
            && let Some(secure) = self.secure.get()
            && let Ok(base) = self.base(Scheme::Https)
        {
            secure.bulk.connect_ahead(&base, most);
        }
    }

    /// Returns the challenge that the host gave for a repository.
    pub(crate) fn challenge(&self, repository: &str) -> Option<Challenge> {
        self.lock_challenges().get(repository).cloned()
    }

    pub(crate) fn remember_challenge(&self, repository: &str, challenge: Challenge) {
        self.lock_challenges()
            .insert(repository.to_owned(), challenge);
    }

    fn lock_challenges(&self) -> std::sync::MutexGuard<'_, HashMap<String, Challenge>> {
        self.challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connections for `url`. Certificates are read when the first https request
    /// needs them.
    pub(crate) async fn wire(
        &self,
        session: &Session,
        url: &Url,
        lane: Lane,
    ) -> Result<Wire, Error> {
        self.guard
            .check(url)
            .map_err(|why| fault::forbidden(&why))?;
        if url.scheme() == "http" {
            if let Some(wire) = self.plain.get() {
                return Ok(wire.clone());
            }
            let wire = self.build(session, tls::nothing_trusted()?);
            return Ok(self.plain.get_or_init(|| wire).clone());
        }
        let secure = self.secure.get_or_try_init(|| self.secure(session)).await?;
        Ok(match lane {
            Lane::Bulk if !self.has_one_lane(url) => secure.bulk.clone(),
            Lane::Bulk | Lane::Small => secure.small.clone(),
        })
    }

    /// Returns where trust in the host's certificate comes from, once certificates were read.
    pub(crate) fn trust(&self) -> Option<Arc<Trust>> {
        self.secure.get().map(|secure| secure.trust.clone())
    }

    /// Reads certificates, in a thread that may block.
    pub(crate) async fn load_tls(&self, session: &Session) -> Result<Loaded, Error> {
        let key = self.key.clone();
        let environment = session.environment().clone();
        let loading = tokio::task::spawn_blocking(move || tls::load(&environment, &key));
        loading.await.map_err(|source| {
            Error::new(ErrorKind::Bug, "reading certificates was interrupted").caused_by(source)
        })?
    }

    async fn secure(&self, session: &Session) -> Result<Secure, Error> {
        let Loaded { config, trust, .. } = self.load_tls(session).await?;
        let mut small = config.clone();
        small.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut bulk = config;
        bulk.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Secure {
            small: self.build(session, small),
            bulk: self.build(session, bulk),
            trust: Arc::new(trust),
        })
    }

    fn build(&self, session: &Session, tls: rustls::ClientConfig) -> Wire {
        Wire::new(WireOptions {
            tls,
            resolver: self.guard.resolver(),
            proxies: session.proxies().clone(),
            user_agent: session.user_agent().clone(),
            connect: session.timeouts().connect,
            reached_in: Arc::clone(&self.reached_in),
        })
    }
}

/// Returns the root of the API of a registry.
fn base(registry: &str, scheme: Scheme) -> Result<Url, Error> {
    let host = match registry {
        "docker.io" => "registry-1.docker.io",
        other => other,
    };
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    Url::parse(&format!("{scheme}://{host}/")).map_err(|source| {
        Error::new(
            ErrorKind::Settings,
            format!("`{registry}` is not the name of a registry"),
        )
        .caused_by(source)
    })
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("key", &self.key)
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}
