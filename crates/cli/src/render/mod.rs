//! Everything that is written: data on stdout, all else on stderr.

pub(crate) mod compat;
pub(crate) mod doctor;
mod flying;
pub(crate) mod go_struct;
pub(crate) mod json;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod progress;
pub(crate) mod result;
pub(crate) mod size;
pub(crate) mod streams;
pub(crate) mod sync;
mod tabs;
pub(crate) mod template;
