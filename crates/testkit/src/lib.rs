//! Test images, a scripted HTTP server, recording transports and the conformance suites.
//!
//! A development dependency only: nothing that ships uses it.

pub mod conformance;
pub mod evil;
pub mod identity;
pub mod image;
pub mod memory;
pub mod proxy;
pub mod scripted;
pub mod sif;
pub mod tar;
pub mod token_service;
pub mod unruly;
