//! What is done with one layer on its way.

use dhow_codec::{PackFormat, Packing};
use dhow_model::{Compression, Descriptor, LayerType, ManifestKind, MediaType};
use dhow_transport::LayerForm;

use super::Terms;

/// What is done with a blob on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Nothing: its digest stays.
    Keep,
    /// Nothing, but the digest of its content is found out beside.
    Learn,
    /// It is compressed.
    Pack(Packing),
    /// It is decompressed, and compressed in another way.
    Repack(Packing),
    /// It is decompressed.
    Unpack,
}

impl Step {
    /// Returns whether the bytes that arrive are those that left.
    pub(crate) const fn keeps_bytes(self) -> bool {
        matches!(self, Self::Keep | Self::Learn)
    }

    /// Returns the words for a number of layers that this is done to.
    pub(super) fn change(self, count: usize) -> Option<String> {
        let plural = if count == 1 { "" } else { "s" };
        match self {
            Self::Keep | Self::Learn => None,
            Self::Pack(packing) if packing == Packing::GZIP => {
                Some(format!("compression of {count} uncompressed layer{plural}"))
            }
            Self::Pack(packing) => Some(format!(
                "compression of {count} uncompressed layer{plural} with {}",
                packing.format
            )),
            Self::Repack(packing) => Some(format!(
                "compression of {count} layer{plural} with {}",
                packing.format
            )),
            Self::Unpack => Some(format!("decompression of {count} layer{plural}")),
        }
    }
}

/// Where the media type of a layer's content stands after a step, in an image of kind `to`.
/// `None`: there is no such type there.
pub(crate) fn type_after(layer: &MediaType, step: Step, to: ManifestKind) -> Option<MediaType> {
    let compression = match step {
        Step::Keep | Step::Learn => return Some(layer.clone()),
        Step::Pack(packing) | Step::Repack(packing) => Some(packing.format.compression()),
        Step::Unpack => None,
    };
    retyped(layer, compression, to)
}

/// Returns the type of a layer with another compression, in an image of kind `to`.
pub(crate) fn retyped(
    layer: &MediaType,
    compression: Option<Compression>,
    to: ManifestKind,
) -> Option<MediaType> {
    let parts = LayerType::of(layer)?;
    LayerType {
        docker: to != ManifestKind::OciManifest,
        compression,
        ..parts
    }
    .media_type()
}

impl Terms<'_> {
    /// Returns in which form layers are to arrive.
    pub(super) fn form(&self) -> LayerForm {
        self.options.layers.form.unwrap_or(self.caps.layers)
    }

    /// Returns what is done with a layer of an image that becomes one of kind `to`.
    pub(super) fn step(&self, layer: &Descriptor, from: ManifestKind, to: ManifestKind) -> Step {
        let Some(parts) = LayerType::of(&layer.media_type) else {
            return Step::Keep;
        };
        let wish = self.options.layers.packing;
        match (self.form(), parts.compression) {
            // What nobody asked for is not done where nothing may change.
            (LayerForm::Compressed, None) if wish.is_none() && self.frozen().is_some() => {
                Step::Keep
            }
            (LayerForm::Compressed, None) => Step::Pack(wish.unwrap_or(Packing::GZIP)),
            (LayerForm::Compressed, Some(is)) => match wish {
                Some(wish) if !satisfies(layer, is, wish.format) => Step::Repack(wish),
                _ => Self::fitted(is, from, to),
            },
            (LayerForm::Uncompressed, Some(_)) => Step::Unpack,
            (LayerForm::Keep, Some(is)) => Self::fitted(is, from, to),
            (LayerForm::Uncompressed | LayerForm::Keep, None) => Step::Keep,
        }
    }

    /// Returns whether a layer may also be taken as it is, where the destination has it.
    pub(super) fn stays(
        &self,
        layer: &Descriptor,
        step: Step,
        from: ManifestKind,
        to: ManifestKind,
    ) -> bool {
        let parts = LayerType::of(&layer.media_type);
        match (step, parts.and_then(|parts| parts.compression)) {
            (Step::Keep | Step::Learn, _) => true,
            (Step::Unpack, _) => false,
            // COMPAT(skopeo): what is there already wins over the compression that was asked for.
            (Step::Pack(_) | Step::Repack(_), is) => {
                let fits = is.is_none_or(|is| Self::fitted(is, from, to) == Step::Keep);
                // A form that was asked for is not one of several that will do.
                let wished = self.options.layers;
                fits && !wished.force_packing && wished.form.is_none()
            }
        }
    }

    /// Returns what is done with a compressed layer because of the format it comes to.
    fn fitted(is: Compression, from: ManifestKind, to: ManifestKind) -> Step {
        let fits = match to {
            ManifestKind::OciManifest => matches!(is, Compression::Gzip | Compression::Zstd),
            _ => is == Compression::Gzip,
        };
        if from == to || fits {
            Step::Keep
        } else {
            Step::Repack(Packing::GZIP)
        }
    }

    /// Returns the format that layers are asked to have and that not every kind of manifest can
    /// name.
    pub(super) fn demanding(&self) -> Option<PackFormat> {
        let wish = self.options.layers.packing?.format;
        let applies =
            self.form() == LayerForm::Compressed && wish.compression() == Compression::Zstd;
        applies.then_some(wish)
    }
}

/// Returns whether a compressed layer is what is wished for already.
fn satisfies(layer: &Descriptor, is: Compression, wish: PackFormat) -> bool {
    let chunked = layer.annotations.value(CHUNKED).is_some();
    match wish {
        PackFormat::ZstdChunked => is == Compression::Zstd && chunked,
        PackFormat::Gzip | PackFormat::Zstd => is == wish.compression(),
    }
}

/// The annotation that every zstd:chunked layer has.
const CHUNKED: &str = "io.github.containers.zstd-chunked.manifest-checksum";
