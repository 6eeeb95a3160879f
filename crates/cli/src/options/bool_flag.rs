//! Boolean values as Go's flag packages write them.

/// Parses `true`, `1`, `t`, … and their opposites.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("expected `true` or `false`".to_owned()),
    }
}
