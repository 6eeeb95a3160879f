//! The transports, one module each, and the table of them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use dhow_client::Endpoint;
use dhow_transport::{Location, ParseError, Transport};

/// What transports are built from: the settings of one side of a command.
#[derive(Clone, Debug)]
pub struct Parts {
    /// How registries are reached.
    pub endpoint: Endpoint,
    /// Where `oci:` keeps its blobs, when that is not in the layout.
    pub shared_blob_dir: Option<PathBuf>,
    /// Where big temporary files go.
    pub tmp: PathBuf,
}
