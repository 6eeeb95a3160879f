//! OCI distribution-spec client: hosts, auth, retry, resume, uploads, referrers.

/// How one side of a command reaches registries.
#[derive(Clone, Debug)]
pub struct Endpoint {}
