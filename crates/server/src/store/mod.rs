//! What the registry stands on: content by digest.
//!
//! Everything here blocks and is called on blocking threads.

mod contract;
mod disk;
mod memory;

pub(crate) use contract::{Content, Store, StoreError, Upload};
pub(crate) use disk::{Disk, absent_as_none};
pub(crate) use memory::Memory;
