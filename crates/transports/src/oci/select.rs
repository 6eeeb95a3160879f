//! What stands behind the directory: a name, or a place in `index.json`.

use dhow_transport::ParseError;

/// Which image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Select {
    /// The only one.
    Only,
    /// The one with this name.
    Named(String),
    /// The one at this place of `index.json` (0-based).
    At(usize),
}

impl Select {
    pub(super) fn parse(whole: &str, text: &str) -> Result<Self, ParseError> {
        let whole = whole.escape_debug();
        if text.is_empty() {
            return Ok(Self::Only);
        }
        if let Some(place) = text.strip_prefix('@') {
            return place.parse().map(Self::At).map_err(|_| {
                ParseError::new(format!(
                    "invalid source index `@{}`: not a number from 0",
                    place.escape_debug()
                ))
            });
        }
        if !text.split('/').all(is_name_component) {
            return Err(ParseError::new(format!("invalid image `{whole}`")).hint(
                "a name in a layout has letters and digits, with one of `-._:@+/` between them",
            ));
        }
        Ok(Self::Named(text.to_owned()))
    }
}

/// OCI image-spec, *annotations*: `alphanum ((separator) alphanum)*`, where a separator is one of
/// `-._:@+` or `--`.
fn is_name_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text
            .split(alphanumeric)
            .all(|run| matches!(run, "" | "-" | "." | "_" | ":" | "@" | "+" | "--"))
}
