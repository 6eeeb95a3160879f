//! Flags that commands share, one group per file.

mod bool_flag;
mod duration;
mod endpoint;
mod global;
mod layers;
mod retry;

pub(crate) use bool_flag::parse_bool;
pub(crate) use duration::parse_duration;
pub(crate) use endpoint::{Destination, EndpointArgs, Only, SharedAuth, Source};
pub(crate) use global::{GlobalOptions, OutputFormat, ProgressMode};
pub(crate) use layers::LayerArgs;
pub(crate) use retry::RetryArgs;
