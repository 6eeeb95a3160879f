//! What all requests of one process share: connections, tokens, and what is known of each host.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dhow_config::{Config, Credentials, EnvSnapshot};
use http::HeaderValue;

use crate::auth::Account;
use crate::host::{Host, HostKey};
use crate::proxy::ProxyRules;
use crate::{Error, ErrorKind, RateLimit, Timeouts};

/// The state of all registries that this process talks to. Cheap to clone.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    user_agent: HeaderValue,
    config: Arc<Config>,
    retries: u32,
    timeouts: Timeouts,
    proxies: Arc<ProxyRules>,
    hosts: Mutex<HashMap<HostKey, Arc<Host>>>,
    accounts: Mutex<Vec<Arc<Account>>>,
    warnings: Mutex<HashSet<String>>,
    tried_again: AtomicU64,
}

/// What a [`Session`] is made from.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The `User-Agent` of all requests.
    pub user_agent: String,
    /// The configuration: registries.conf, proxies, and where certificates are found.
    pub config: Arc<Config>,
    /// How often one request is tried again after a transient fault.
    pub retries: u32,
    /// How long to wait for what.
    pub timeouts: Timeouts,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("dhow/", env!("CARGO_PKG_VERSION")).to_owned(),
            config: Arc::new(Config::default()),
            retries: 4,
            timeouts: Timeouts::default(),
        }
    }
}

impl Session {
    /// Starts a session. Does no I/O.
    ///
    /// # Errors
    /// When the user agent cannot be sent, or a proxy variable is not an address.
    pub fn new(options: SessionOptions) -> Result<Self, Error> {
        let user_agent = HeaderValue::from_str(&options.user_agent).map_err(|source| {
            Error::new(ErrorKind::Settings, "the user agent is not a header value")
                .caused_by(source)
        })?;
        let proxies = Arc::new(ProxyRules::new(options.config.environment())?);
        Ok(Self(Arc::new(Inner {
            user_agent,
            config: options.config,
            retries: options.retries,
            timeouts: options.timeouts,
            proxies,
            hosts: Mutex::default(),
            accounts: Mutex::default(),
            warnings: Mutex::default(),
            tried_again: AtomicU64::new(0),
        })))
    }

    /// Notes that something is tried again.
    pub fn note_retry(&self) {
        self.0.tried_again.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often something was tried again so far.
    pub fn retries_so_far(&self) -> u64 {
        self.0.tried_again.load(Ordering::Relaxed)
    }

    /// Returns what registries said last of their limits on requests, in the order of their names.
    pub fn limits(&self) -> Vec<(String, RateLimit)> {
        let hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let told = hosts.values().filter_map(|host| {
            let limit = host.pace().limit()?;
            Some((host.registry().to_owned(), limit))
        });
        let mut limits: Vec<_> = told.collect();
        drop(hosts);
        // The same registry with other certificates counts for itself: the least is left.
        limits.sort_by(|one, other| (&one.0, one.1.remaining).cmp(&(&other.0, other.1.remaining)));
        limits.dedup_by(|one, other| one.0 == other.0);
        limits
    }

    pub(crate) fn user_agent(&self) -> &HeaderValue {
        &self.0.user_agent
    }

    pub(crate) fn environment(&self) -> &Arc<EnvSnapshot> {
        self.0.config.environment()
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.0.config
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.0.timeouts
    }

    pub(crate) fn retries(&self) -> u32 {
        self.0.retries
    }

    pub(crate) fn proxies(&self) -> &Arc<ProxyRules> {
        &self.0.proxies
    }

    /// Returns the state of a host, which is made when it is first asked for.
    pub(crate) fn host(&self, key: HostKey) -> Arc<Host> {
        let mut hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .entry(key)
            .or_insert_with_key(|key| Arc::new(Host::new(key.clone(), self.proxies().hosts())))
            .clone()
    }

    /// Returns the tokens that were given for these credentials.
    pub(crate) fn account(&self, credentials: &Credentials) -> Arc<Account> {
        let mut accounts = self
            .0
            .accounts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.iter().find(|one| one.credentials == *credentials) {
            return account.clone();
        }
        let account = Arc::new(Account::new(credentials.clone()));
        accounts.push(account.clone());
        account
    }

    /// Returns whether this warning is new to the session, and remembers it.
    pub(crate) fn is_new_warning(&self, text: &str) -> bool {
        // A hostile server must not fill the memory with warnings.
        const MOST: usize = 100;
        let mut warnings = self
            .0
            .warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        warnings.len() < MOST && warnings.insert(text.to_owned())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
