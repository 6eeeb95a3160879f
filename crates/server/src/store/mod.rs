//! What the registry stands on: content by digest, and one index that names it.
//!
//! Everything here blocks and is called on blocking threads.

mod contract;
mod disk;
mod memory;

pub(crate) use contract::{Content, Stamp, Store, StoreError, Upload};
pub(crate) use disk::Disk;
pub(crate) use memory::Memory;
