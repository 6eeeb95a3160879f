//! Embedded registry: OCI distribution-spec 1.1 over a layout directory or memory.
//!
//! Whatever any tool wrote into an OCI layout can be pulled, and what is pushed can be read by
//! any tool; blobs go through files, never through memory.
//!
//! ```text
//! connection (server) ─> request (service) ─> allowed? (auth) ─> endpoint (blobs, uploads, …)
//!     ─> repositories (registry, publish) over names (catalog) and content by digest (store)
//! ```

mod answer;
mod auth;
mod blobs;
mod body;
mod catalog;
mod config;
mod error;
mod facts;
mod listing;
mod log;
mod manifests;
mod naming;
mod pages;
mod publish;
mod registry;
mod routes;
mod server;
mod service;
mod sessions;
mod store;
mod tls;
mod uploads;

pub use auth::Htpasswd;
pub use config::{AuthConfig, Config, StoreConfig, TlsConfig};
pub use error::Error;
pub use log::{RequestLine, RequestLog, TracingLog};
pub use pages::{Page, PageServer, Pages};
pub use server::Server;
