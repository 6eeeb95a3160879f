//! In which form layers arrive: the flags of `copy` for the destination's compression.

use clap::Args;
use dhow_ops::{LayerForm, LayerOptions, PackFormat, Packing};

use super::parse_bool;
use crate::failure::Failure;

/// The flags.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub(crate) struct LayerArgs {
    /// Compress the layers in a `dir:` destination
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    dest_compress: bool,
    /// Decompress the layers in a `dir:` destination
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    dest_decompress: bool,
    /// Compress layers with this format: gzip, zstd or zstd:chunked
    #[arg(long, value_name = "FORMAT")]
    dest_compress_format: Option<String>,
    /// Level of the compression, in the format's own scale [default: the format's]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    dest_compress_level: Option<i32>,
    /// Take no blob that the destination has in another compression than that of --dest-compress-format
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    dest_force_compress_format: bool,
    /// Find out the digest of what is compressed before it is sent, so that what is there is not sent again
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    dest_precompute_digests: bool,
    /// Keep uncompressed layers as they are in an `oci:` destination
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = parse_bool, hide_default_value = true)]
    dest_oci_accept_uncompressed_layers: bool,
}

impl LayerArgs {
    /// Returns what is asked for at a destination of this name.
    pub(crate) fn options(&self, destination: &str) -> Result<LayerOptions, Failure> {
        let transport = destination.split_once(':').map_or("", |(name, _)| name);
        if self.dest_compress && self.dest_decompress {
            return Err(Failure::usage(
                "cannot compress and decompress at the same time",
            ));
        }
        let form = self.form(transport);
        let packing = self.packing()?;
        if self.dest_force_compress_format && packing.is_none() {
            return Err(Failure::usage(
                "cannot use --dest-force-compress-format without --dest-compress-format",
            ));
        }
        Ok(LayerOptions {
            form,
            packing,
            force_packing: self.dest_force_compress_format,
            precompute_digests: self.dest_precompute_digests,
        })
    }

    fn form(&self, transport: &str) -> Option<LayerForm> {
        let mut form = None;
        for (given, flag, wanted) in [
            (self.dest_compress, "--dest-compress", LayerForm::Compressed),
            (
                self.dest_decompress,
                "--dest-decompress",
                LayerForm::Uncompressed,
            ),
        ] {
            if given && transport == "dir" {
                form = Some(wanted);
            } else if given {
                // COMPAT(skopeo): so it says, and goes on.
                tracing::warn!("{flag} can only be used if the destination transport is 'dir'");
            }
        }
        let layout = matches!(transport, "oci" | "oci-archive");
        if self.dest_oci_accept_uncompressed_layers && layout {
            form = Some(LayerForm::Keep);
        }
        form
    }

    fn packing(&self) -> Result<Option<Packing>, Failure> {
        let level = self.dest_compress_level;
        let Some(name) = self.dest_compress_format.as_deref() else {
            // The level of the compression that there is without a format.
            let packing = level.map(|level| Packing {
                format: PackFormat::Gzip,
                level: Some(level),
            });
            return packing.map(Self::checked).transpose();
        };
        let packing = Packing::parse(name, level).map_err(|error| Self::refused(&error))?;
        Self::checked(packing).map(Some)
    }

    fn checked(packing: Packing) -> Result<Packing, Failure> {
        match packing.check() {
            Ok(()) => Ok(packing),
            Err(error) => Err(Self::refused(&error)),
        }
    }

    fn refused(error: &dhow_ops::PackingError) -> Failure {
        Failure::usage(error.to_string())
            .hint("the formats are gzip (levels 0 to 9), zstd and zstd:chunked")
    }
}
