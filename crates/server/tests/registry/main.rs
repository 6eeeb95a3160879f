//! The registry over real HTTP, with both stores.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod content;
mod discovery;
mod layout;
mod stores;
mod uploads;
mod world;
