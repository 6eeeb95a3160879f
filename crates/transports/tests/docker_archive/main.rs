//! Docker archives: those of others are read, and those written here have skopeo's form, keep what
//! was there, and are whole or not there.

#![expect(clippy::unwrap_used, reason = "a test that is wrong about this fails")]

mod gaps;
mod reading;
mod samples;
mod writing;
