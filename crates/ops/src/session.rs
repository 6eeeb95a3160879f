//! What all verbs of one process share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dhow_client::Timeouts;
use dhow_config::{Config, Policy};
use dhow_copy::{BlobCache, Engine};
use dhow_model::PlatformWish;
use dhow_transport::Location;
use dhow_trust::Admission;

use crate::{Error, ImageName};

/// Connections, tokens, policy and the platform that images are chosen for.
#[derive(Clone, Debug)]
pub struct Session {
    pub(crate) config: Arc<Config>,
    pub(crate) client: dhow_client::Session,
    pub(crate) tmp: PathBuf,
    pub(crate) policy: PolicyOption,
    pub(crate) platform: PlatformWish,
    pub(crate) blob_cache: BlobCache,
}

/// What a [`Session`] is made from.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The environment of the process, and where configuration is.
    pub config: Arc<Config>,
    /// The `User-Agent` of all requests.
    pub user_agent: String,
    /// Where big temporary files go.
    pub tmp: PathBuf,
    /// Which policy applies.
    pub policy: PolicyOption,
    /// The platform that images are chosen for.
    pub platform: PlatformWish,
    /// How long a connection may give no byte before it counts as broken; `None`: the usual time.
    pub stall: Option<Duration>,
}

/// What the requests of a process have come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How often a request, the rest of a blob or an image was tried again.
    pub retries: u64,
    /// How many requests are left of the limit of each registry that tells it, in the order of their
    /// names.
    pub limits: Vec<(String, u64)>,
}

/// Which policy applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyOption {
    /// The user's or the system's policy.json; where there is none, everything is accepted.
    Default,
    /// This file.
    File(PathBuf),
    /// Everything is accepted.
    AcceptAnything,
}

impl Session {
    /// Starts a session. Reads nothing yet: files are read by the verb that needs them.
    pub fn new(options: SessionOptions) -> Result<Self, Error> {
        let blob_cache = options
            .config
            .environment()
            .cache_home()
            .map(|folder| folder.join("dhow"));
        let mut timeouts = Timeouts::default();
        if let Some(stall) = options.stall {
            timeouts.stall = stall;
        }
        let client = dhow_client::Session::new(dhow_client::SessionOptions {
            user_agent: options.user_agent,
            config: Arc::clone(&options.config),
            timeouts,
            ..dhow_client::SessionOptions::default()
        })?;
        Ok(Self {
            config: options.config,
            client,
            tmp: options.tmp,
            policy: options.policy,
            platform: options.platform,
            blob_cache: match blob_cache {
                Some(folder) => BlobCache::open(folder),
                None => BlobCache::off(),
            },
        })
    }

    /// Returns what the requests of this process have come to so far.
    pub fn traffic(&self) -> Traffic {
        let left = self.client.limits().into_iter();
        Traffic {
            retries: self.client.retries_so_far(),
            limits: left
                .map(|(registry, limit)| (registry, limit.remaining))
                .collect(),
        }
    }

    /// Parses the name of an image. `role` says in messages what it is the name of.
    pub fn location(
        &self,
        image: &ImageName,
        role: &'static str,
    ) -> Result<Arc<dyn Location>, Error> {
        dhow_transports::standard(&image.endpoint.parts(self))
            .parse(&image.name)
            .map_err(|source| Error::Name { role, source })
    }

    pub(crate) fn engine(&self) -> Result<Engine, Error> {
        let policy = match &self.policy {
            PolicyOption::Default => Policy::load(self.config.environment(), None)?,
            PolicyOption::File(path) => Policy::load(self.config.environment(), Some(path))?,
            PolicyOption::AcceptAnything => Policy::accept_all(),
        };
        Ok(Engine::new(Admission::new(policy)))
    }
}
