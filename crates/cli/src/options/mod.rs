//! Flags that commands share, one group per file.

mod bool_flag;
mod duration;
mod endpoint;
mod global;
mod images;
mod layers;
mod retry;
mod tag_filter;

pub(crate) use bool_flag::parse_bool;
pub(crate) use duration::parse_duration;
pub(crate) use endpoint::{Destination, EndpointArgs, Only, SharedAuth, Source};
pub(crate) use global::{GlobalOptions, OutputFormat, ProgressMode};
pub(crate) use images::{parse_format, select};
pub(crate) use layers::LayerArgs;
pub(crate) use retry::RetryArgs;
pub(crate) use tag_filter::{TagFilterArgs, refuse};
