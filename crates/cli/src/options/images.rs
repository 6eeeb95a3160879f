//! Which images of an index, and in which format: flags of `copy` and `sync`.

use dhow_model::Platform;
use dhow_ops::{Format, Select};

use crate::failure::Failure;

/// Returns which images of an index are meant.
pub(crate) fn select(all: bool, multi_arch: Option<&str>) -> Result<Select, Failure> {
    let Some(text) = multi_arch else {
        return Ok(if all { Select::All } else { Select::System });
    };
    if all {
        return Err(Failure::usage(
            "cannot use --all and --multi-arch flags together",
        ));
    }
    match text {
        "system" => return Ok(Select::System),
        "all" => return Ok(Select::All),
        "index-only" => return Ok(Select::IndexOnly),
        _ => {}
    }
    let platforms = text.split(',').map(|text| {
        Platform::parse(text.trim()).map_err(|error| {
            Failure::usage(format!("unknown multi-arch option `{text}`"))
                .caused_by(&error)
                .hint("choose `system`, `all`, `index-only`, or platforms such as `linux/amd64,linux/arm64/v8`")
        })
    });
    platforms.collect::<Result<_, _>>().map(Select::Platforms)
}

/// Returns the format of manifests.
pub(crate) fn parse_format(text: Option<&str>) -> Result<Option<Format>, Failure> {
    match text {
        None | Some("") => Ok(None),
        Some("oci") => Ok(Some(Format::Oci)),
        Some("v2s2") => Ok(Some(Format::Docker2)),
        Some("v2s1") => Ok(Some(Format::Docker1)),
        Some(other) => Err(Failure::usage(format!(
            "unknown format `{other}`. Choose one of the supported formats: 'oci', 'v2s1', or 'v2s2'"
        ))),
    }
}
