//! Policy scopes of places in the file system.

use std::path::{Path, PathBuf};

use dhow_transport::{ParseError, PolicyScopes};

/// Returns the scopes of `path`, with `suffix` on the most specific one: absolute, symbolic links
/// resolved as far as the path exists.
pub(crate) fn scopes(path: &Path, suffix: Option<&str>) -> PolicyScopes {
    let resolved = resolve(path);
    let text = resolved.display().to_string();
    let mut parents = Vec::new();
    let identity = match suffix {
        Some(suffix) => {
            parents.push(text.clone());
            format!("{text}:{suffix}")
        }
        None => text,
    };
    parents.extend(
        resolved
            .ancestors()
            .skip(1)
            .filter(|parent| parent.parent().is_some())
            .map(|parent| parent.display().to_string()),
    );
    PolicyScopes {
        identity: Some(identity),
        parents,
    }
}

/// Checks a scope of policy.json.
pub(crate) fn validate(scope: &str) -> Result<(), ParseError> {
    let why = if !scope.starts_with('/') {
        "must be an absolute path"
    } else if scope == "/" {
        "use the generic default scope \"\""
    } else if scope
        .split('/')
        .skip(1)
        .any(|part| matches!(part, "" | "." | ".."))
    {
        "must be a path in its shortest form"
    } else {
        return Ok(());
    };
    Err(ParseError::new(format!(
        "invalid scope `{}`: {why}",
        scope.escape_debug()
    )))
}

/// Returns the absolute path with symbolic links resolved as far as it exists.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut missing = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        if let Ok(found) = existing.canonicalize() {
            return missing
                .iter()
                .rev()
                .fold(found, |path, name| path.join(name));
        }
        match (existing.file_name(), existing.parent()) {
            (Some(name), Some(parent)) => {
                missing.push(name);
                existing = parent;
            }
            _ => return absolute,
        }
    }
}
