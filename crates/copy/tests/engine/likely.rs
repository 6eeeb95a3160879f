//! How large layers will be that are unpacked: asked for where it helps, and only there.

use dhow_copy::Options;
use dhow_model::Digest;
use dhow_testkit::image::{ImageSpec, SampleImage};
use dhow_testkit::memory::{Call, Fault, Memory};
use dhow_transport::{BlobPart, LayerForm};

use super::{copy, image_of, options};

/// A size of layers, in bytes, that is worth a question.
const WORTH: usize = 1_200_000;

fn unpacking(form: LayerForm) -> Memory {
    Memory::new("to").with_caps(|caps| caps.layers = form)
}

fn one_by_one() -> Options {
    Options {
        parallel: Some(std::num::NonZeroUsize::MIN),
        ..options()
    }
}

/// The parts of blobs that were read.
fn parts(from: &Memory) -> Vec<(Digest, BlobPart)> {
    let calls = from.calls().into_iter();
    let parts = calls.filter_map(|call| match call {
        Call::Part(digest, part) => Some((digest, part)),
        _ => None,
    });
    parts.collect()
}

fn holding(image: &SampleImage, parts: bool) -> Memory {
    Memory::holding("from", image).with_source_caps(|caps| caps.parts = parts)
}

#[tokio::test]
async fn the_end_of_a_large_gzip_layer_tells_the_destination_how_large_it_will_be() {
    let image = ImageSpec::oci(61).layers(2).layer_size(WORTH).build();
    let from = holding(&image, true);
    let to = unpacking(LayerForm::Uncompressed).wanting_likely_sizes();
    copy(&from, &to, one_by_one()).await.unwrap();
    let layers = image_of(&image.root).layers;
    let ends = layers.iter().map(|layer| {
        let (offset, length) = (layer.size - 4, 4);
        (layer.digest, BlobPart { offset, length })
    });
    let mut asked = parts(&from);
    asked.sort_by_key(|(digest, _)| layers.iter().position(|layer| layer.digest == *digest));
    assert_eq!(asked, ends.collect::<Vec<_>>());
    for layer in image_of(&to.root().unwrap()).layers {
        assert!(to.likely_sizes().contains(&Some(layer.size)));
    }
}

#[tokio::test]
async fn nobody_asks_for_ends_that_tell_nothing_or_are_not_wanted() {
    let large = |seed| ImageSpec::oci(seed).layers(1).layer_size(WORTH);
    let keep = || unpacking(LayerForm::Keep).wanting_likely_sizes();
    let unpack = || unpacking(LayerForm::Uncompressed);
    for (what, image, to, parts_can_be_read) in [
        ("kept", large(62).build(), keep(), true),
        ("not wanted", large(63).build(), unpack(), true),
        (
            "zstd",
            large(64).zstd().build(),
            unpack().wanting_likely_sizes(),
            true,
        ),
        (
            "small",
            ImageSpec::oci(65).build(),
            unpack().wanting_likely_sizes(),
            true,
        ),
        (
            "no parts",
            large(66).build(),
            unpack().wanting_likely_sizes(),
            false,
        ),
    ] {
        let from = holding(&image, parts_can_be_read);
        copy(&from, &to, options()).await.unwrap();
        assert_eq!(parts(&from), [], "{what}");
        assert!(to.likely_sizes().iter().all(Option::is_none), "{what}");
    }
}

#[tokio::test]
async fn an_end_that_cannot_be_read_is_in_nobodys_way() {
    let image = ImageSpec::oci(67).layers(1).layer_size(WORTH).build();
    let layer = image_of(&image.root).layers[0].digest;
    let from = holding(&image, true).with_fault(Fault::Unparted(layer));
    let to = unpacking(LayerForm::Uncompressed).wanting_likely_sizes();
    copy(&from, &to, options()).await.unwrap();
    assert_eq!(parts(&from).len(), 1);
    assert_eq!(to.likely_sizes(), [None, None]);
}
