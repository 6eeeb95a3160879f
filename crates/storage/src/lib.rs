//! Podman's storage on disk, read and written natively.

pub mod userns;
