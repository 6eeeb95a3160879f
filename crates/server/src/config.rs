//! What a server is told when it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::Htpasswd;
use crate::log::{RequestLog, TracingLog};

/// How a server listens, stores and asks for credentials.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where blobs and manifests are.
    pub store: StoreConfig,
    /// Whether and with which certificate connections are encrypted.
    pub tls: TlsConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Whether every change is refused.
    pub read_only: bool,
    /// Whether pulling needs no credentials, with [`AuthConfig::Basic`] and [`AuthConfig::Token`].
    pub anonymous_pull: bool,
    /// Whether an index is accepted although manifests that it lists are not there, as it is when
    /// one platform of a multi-platform image is copied.
    pub allow_sparse: bool,
    /// Who is told about each request.
    pub log: Arc<dyn RequestLog>,
}

impl Config {
    /// Returns the configuration of an open, unencrypted, writable registry.
    pub fn new(listen: SocketAddr, store: StoreConfig) -> Self {
        Self {
            listen,
            store,
            tls: TlsConfig::Off,
            auth: AuthConfig::Open,
            read_only: false,
            anonymous_pull: false,
            allow_sparse: true,
            log: Arc::new(TracingLog),
        }
    }
}

/// Where blobs and manifests are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreConfig {
    /// An OCI layout directory, made with the first push if it is not there.
    Directory(PathBuf),
    /// Memory, at most [`StoreConfig::MEMORY_LIMIT`] bytes; gone with the server.
    Memory,
    /// Memory, at most so many bytes.
    MemoryLimited(u64),
}

impl StoreConfig {
    /// How many bytes a memory store holds unless it is told otherwise.
    pub const MEMORY_LIMIT: u64 = 1024 * 1024 * 1024;
}

/// Whether and with which certificate connections are encrypted.
#[derive(Clone, Debug)]
pub enum TlsConfig {
    /// Plain HTTP.
    Off,
    /// A certificate chain and its key, PEM.
    Files {
        /// The chain, the server's own certificate first.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// A certificate made when the server starts, for `localhost`, `127.0.0.1`, `::1` and these.
    SelfSigned {
        /// More host names and addresses.
        names: Vec<String>,
    },
}

/// Who may do what.
#[derive(Clone, Debug)]
pub enum AuthConfig {
    /// Everybody may do everything.
    Open,
    /// A user name and password with each request.
    Basic(Htpasswd),
    /// A bearer token for each repository, from the server's own token endpoint, as OpenShift's
    /// registry does it. The endpoint takes a user name and password.
    Token(Htpasswd),
}
