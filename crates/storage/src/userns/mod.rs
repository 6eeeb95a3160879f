//! The user namespace in which a user's storage can be written: there the user is root, and the ids
//! of /etc/subuid and /etc/subgid stand for all other owners of files.
//!
//! Who enters must be the only thread of its process, so this comes first in `main`:
//!
//! ```text
//! main ─ enter ─▶ the program again, `inside`: unshare ─▶ "ready"
//!                 newuidmap, newgidmap                ◀─
//!                 "go" ─▶ becomes 0:0 ─▶ the program once more, which is not `needed()` any more
//!        waits, forwards signals ◀─ ends
//! ```
//!
//! It has the same ids as the one that Podman makes, and does not join Podman's.

mod enter;
mod error;
mod inside;
mod mapping;
mod needed;
mod ranges;
mod wait;

pub use enter::{Entry, enter};
pub use error::{Error, Fault};
pub use needed::{needed, owner};
pub use wait::exit_code;
