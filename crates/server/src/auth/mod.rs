//! Who may do what: nobody is asked, a password with each request, or a token for each
//! repository.

mod gate;
mod htpasswd;
mod token;

pub(crate) use gate::{Action, Gate, Origin};
pub use htpasswd::Htpasswd;
