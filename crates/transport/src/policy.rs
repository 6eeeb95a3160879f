//! The names under which policy.json is searched.

/// The scopes of a location (containers-policy.json(5), *Scopes*).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyScopes {
    /// The location itself, unless its transport has only the default scope.
    pub identity: Option<String>,
    /// Its parents, the nearest first, wildcard domains included.
    pub parents: Vec<String>,
}
