//! JSON as skopeo prints it: four spaces, and `<`, `>`, `&` escaped.

use serde::Serialize;

use super::streams;
use crate::failure::{Exit, Failure};

/// Prints a value.
pub(crate) fn print<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut text = dhow_model::json::to_vec_indented(value, "    ")
        .map_err(|error| Failure::new(Exit::General, "cannot write JSON").caused_by(&error))?;
    text.push(b'\n');
    streams::write(&text)
}
