//! `docker://`: images in registries.
//!
//! The requests are those of `dhow-client`; here they become a [`Source`](dhow_transport::Source),
//! a [`Sink`](dhow_transport::Sink) and a [`Catalog`](dhow_transport::Catalog).

mod error;
mod host;
mod location;
mod notes;
mod presence;
mod sink;
mod source;
mod unnamed;
mod untag;
mod uploads;

pub use location::Docker;
pub(crate) use location::scopes;
