//! A client of registries: the OCI distribution-spec v1.1, on top of hyper and rustls.
//!
//! A [`Session`] is what one process keeps: connections, tokens, and what it learnt of each host.
//! An [`Endpoint`] is one side of a command, with its credentials and certificates; it gives a
//! [`RepositoryClient`] for each repository. Every request goes through one
//! [`Channel`](channel::Channel), which authenticates, follows redirects and tries again; nothing
//! else in the program speaks to a registry.
//!
//! This crate knows nothing of images beyond the bytes of manifests, and nothing of copying.

mod answer;
mod auth;
mod authorities;
mod blob;
mod body;
mod channel;
mod content;
mod endpoint;
mod error;
mod fault;
mod feed;
mod gate;
mod guard;
mod host;
mod manifest;
mod near;
mod origin;
mod pace;
mod part;
mod patience;
mod places;
mod probe;
mod proxy;
mod ranges;
mod referrers;
mod repository;
mod request;
mod retry;
mod session;
mod tags;
mod tls;
mod tls_files;
mod upload;
mod upload_facts;
mod wire;
mod zone;

pub use blob::{BlobHead, BlobStream};
pub use content::{Content, UploadMethod, Uploaded};
pub use endpoint::{Access, Endpoint, EndpointOptions};
pub use error::{Error, ErrorKind};
pub use manifest::{ManifestHead, StoredManifest};
pub use pace::RateLimit;
pub use patience::Timeouts;
pub use places::Place;
pub use probe::{CertificateFacts, Connected, Probe, Proof, TlsFacts, TrustFacts};
pub use repository::{ManifestRef, RepositoryClient};
pub use session::{Session, SessionOptions};
pub use tls_files::{TlsFiles, tls_config};
pub use upload::{Upload, UploadStart};
pub use upload_facts::{OwnMounts, UploadFacts};
