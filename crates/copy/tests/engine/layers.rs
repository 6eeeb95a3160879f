//! What becomes of layers: kept, compressed, compressed in another way, decompressed.

use std::io::Read as _;

use bytes::Bytes;
use dhow_copy::{Error, Format, LayerOptions, Options, PackFormat, Packing, PlanError};
use dhow_model::{Compression, ImageConfig, LayerType, ManifestKind, MediaType};
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, docker1};
use dhow_testkit::memory::{Call, Memory};
use dhow_transport::{ComingLayer, Kind, LayerForm};

use super::{all, assert_whole, copy, image_of, options};

use ManifestKind::{Docker1Signed, Docker2Manifest, OciManifest};

const GZIP: Option<Compression> = Some(Compression::Gzip);
const ZSTD: Option<Compression> = Some(Compression::Zstd);

fn place(form: LayerForm, kinds: &[ManifestKind]) -> Memory {
    Memory::new("to").with_caps(|caps| {
        caps.layers = form;
        caps.manifests = kinds.to_vec();
        caps.strict = true;
    })
}

fn packed(format: PackFormat) -> Options {
    Options {
        layers: LayerOptions {
            packing: Some(Packing {
                format,
                level: None,
            }),
            ..LayerOptions::default()
        },
        ..options()
    }
}

/// Returns what a layer holds, decompressed without the code under test.
fn content(bytes: &Bytes, compression: Option<Compression>) -> Vec<u8> {
    let mut all = Vec::new();
    match compression {
        None => all.extend_from_slice(bytes),
        Some(Compression::Gzip) => {
            let mut from = flate2::read::MultiGzDecoder::new(bytes.as_ref());
            from.read_to_end(&mut all).expect("it is gzip");
        }
        Some(Compression::Zstd) => all = zstd::decode_all(bytes.as_ref()).expect("it is zstd"),
        Some(other) => panic!("{other:?} is never written"),
    }
    all
}

/// Asserts that the image at the place is whole, that its layers are compressed so, as their types
/// say, and that their content is what the config says.
fn assert_layers(place: &Memory, compression: Option<Compression>) -> MediaType {
    let root = place.root().expect("there is an image");
    assert_whole(place, &root);
    let image = image_of(&root);
    let config = place.blob(&image.config.digest).expect("there is a config");
    let config = ImageConfig::parse(&config).expect("it is a config");
    assert_eq!(config.rootfs.diff_ids.len(), image.layers.len());
    for (layer, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
        let parts = LayerType::of(&layer.media_type).expect("it is a layer");
        assert_eq!(parts.compression, compression, "{}", layer.media_type);
        assert_eq!(parts.docker, image.kind == Docker2Manifest);
        let bytes = place.blob(&layer.digest).expect("the layer is there");
        assert!(diff_id.matches(&content(&bytes, compression)));
    }
    root.media_type()
}

/// An image, the form and the kinds that the destination wants, the format asked for; and what
/// comes of it.
type Case<'a> = (
    &'a SampleImage,
    LayerForm,
    &'a [ManifestKind],
    Option<PackFormat>,
    Option<Compression>,
    ManifestKind,
);

#[tokio::test]
async fn layers_arrive_in_the_form_that_is_wanted() {
    use LayerForm::{Compressed, Keep, Uncompressed};
    use PackFormat::{Gzip, Zstd};
    let plain = ImageSpec::oci(1).uncompressed().build();
    let gzip = ImageSpec::oci(2).build();
    let zstd = ImageSpec::oci(3).zstd().build();
    let docker = ImageSpec::docker2(4).build();
    let both = &[OciManifest, Docker2Manifest][..];
    let cases: &[Case<'_>] = &[
        (&plain, Keep, both, None, None, OciManifest),
        (&plain, Keep, both, Some(Zstd), None, OciManifest), // a form that is kept is kept
        (&plain, Compressed, both, None, GZIP, OciManifest),
        (&plain, Compressed, both, Some(Zstd), ZSTD, OciManifest),
        (&plain, Uncompressed, both, None, None, OciManifest),
        (&gzip, Compressed, both, None, GZIP, OciManifest),
        (&gzip, Compressed, both, Some(Gzip), GZIP, OciManifest),
        (&gzip, Compressed, both, Some(Zstd), ZSTD, OciManifest),
        (&gzip, Uncompressed, both, None, None, OciManifest),
        (&zstd, Compressed, both, None, ZSTD, OciManifest),
        (&zstd, Compressed, both, Some(Gzip), GZIP, OciManifest),
        (
            &zstd,
            Uncompressed,
            &[Docker2Manifest],
            None,
            None,
            Docker2Manifest,
        ),
        (
            &zstd,
            Compressed,
            &[Docker2Manifest],
            None,
            GZIP,
            Docker2Manifest,
        ), // it knows no zstd
        (&zstd, Keep, &[Docker2Manifest], None, GZIP, Docker2Manifest),
        (&docker, Compressed, both, Some(Zstd), ZSTD, OciManifest), // Docker knows no zstd
        (
            &docker,
            Uncompressed,
            &[Docker2Manifest],
            None,
            None,
            Docker2Manifest,
        ),
        (
            &docker,
            Uncompressed,
            &[OciManifest],
            None,
            None,
            OciManifest,
        ),
    ];
    for (number, (image, form, kinds, format, compression, kind)) in cases.iter().enumerate() {
        let to = place(*form, kinds);
        let options = format.map_or_else(options, packed);
        let report = copy(&Memory::holding("from", image), &to, options).await;
        let report = report.unwrap_or_else(|error| panic!("case {number}: {error:?}"));
        assert_eq!(
            assert_layers(&to, *compression),
            kind.media_type(),
            "case {number}"
        );
        assert_eq!(Some(report.digest), to.root().map(|root| root.digest()));
    }
}

#[tokio::test]
async fn options_take_the_place_of_what_the_destination_says() {
    let gzip = ImageSpec::oci(11).build();
    let to = place(LayerForm::Keep, &[]);
    let options = Options {
        layers: LayerOptions {
            form: Some(LayerForm::Uncompressed),
            ..LayerOptions::default()
        },
        ..options()
    };
    copy(&Memory::holding("from", &gzip), &to, options)
        .await
        .unwrap();
    assert_layers(&to, None);
}

#[tokio::test]
async fn what_is_there_wins_over_a_format_that_is_not_forced() {
    let gzip = ImageSpec::oci(12).build();
    for force_packing in [false, true] {
        let to = Memory::holding("to", &gzip).with_caps(|caps| caps.layers = LayerForm::Compressed);
        let mut options = packed(PackFormat::Zstd);
        options.layers.force_packing = force_packing;
        copy(&Memory::holding("from", &gzip), &to, options)
            .await
            .unwrap();
        assert_layers(&to, if force_packing { ZSTD } else { GZIP });
    }
}

#[tokio::test]
async fn what_cannot_be_is_an_error_before_a_byte_moves() {
    let gzip = ImageSpec::oci(13).build();
    let docker = ImageSpec::docker2(13).build();
    let frozen = Options {
        preserve_digests: true,
        ..packed(PackFormat::Zstd)
    };
    let in_docker = Options {
        format: Some(Format::Docker2),
        ..packed(PackFormat::Zstd)
    };
    let as_oci = Options {
        format: Some(Format::Oci),
        ..options()
    };
    let compressed = LayerForm::Compressed;
    let preserved = Options {
        preserve_digests: true,
        ..options()
    };
    for (image, to, options) in [
        (&gzip, place(compressed, &[]), frozen),
        (
            &docker,
            place(compressed, &[Docker2Manifest]),
            packed(PackFormat::Zstd),
        ),
        (&gzip, place(compressed, &[]), in_docker),
        (&docker, place(compressed, &[Docker2Manifest]), as_oci),
        (&docker, place(LayerForm::Uncompressed, &[]), preserved),
    ] {
        let error = copy(&Memory::holding("from", image), &to, options)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Plan(_)), "{error:?}");
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.hint_text().is_some(), "{error:?}");
        assert!(to.sent().is_empty() && to.root().is_none());
    }
}

#[tokio::test]
async fn artifacts_and_unknown_types_are_never_packed() {
    let artifact = ImageSpec::artifact(14).build();
    let to = place(LayerForm::Compressed, &[]);
    copy(
        &Memory::holding("from", &artifact),
        &to,
        packed(PackFormat::Zstd),
    )
    .await
    .unwrap();
    assert_eq!(to.root(), Some(artifact.root));
}

#[tokio::test]
async fn an_index_says_which_of_its_images_were_compressed_with_zstd() {
    let index = IndexSpec::oci(15, &["linux/amd64", "linux/s390x"]).build();
    let to = place(LayerForm::Compressed, &[]);
    let options = Options {
        select: all().select,
        ..packed(PackFormat::Zstd)
    };
    copy(&Memory::holding("from", &index), &to, options)
        .await
        .unwrap();
    let root = to.root().unwrap();
    for entry in dhow_model::Index::parse(&root).unwrap().entries {
        let told = entry
            .annotations
            .value("io.github.containers.compression.zstd");
        assert_eq!(told, Some("true"));
        assert_whole(&to, &to.manifest(&entry.digest).unwrap());
    }
}

#[tokio::test]
async fn the_destination_hears_what_comes_in_the_order_of_the_manifest() {
    let image = ImageSpec::oci(16).layers(4).build();
    let view = image_of(&image.root);
    let to = Memory::new("to").with_caps(|caps| {
        caps.config_first = true;
        caps.in_order = true;
    });
    let one = Options {
        parallel: Some(std::num::NonZeroUsize::MIN),
        ..options()
    };
    copy(&Memory::holding("from", &image), &to, one)
        .await
        .unwrap();
    let layers: Vec<_> = view.layers.iter().map(|layer| layer.digest).collect();
    let config = image.blob(&view.config.digest).cloned();
    let numbered = view
        .layers
        .iter()
        .enumerate()
        .map(|(index, layer)| ComingLayer {
            index,
            digest: layer.digest,
            size: Some(layer.size),
        });
    let numbered = numbered.collect();
    let told = Call::Prepare(numbered, config);
    let calls = to.calls();
    let prepared = calls
        .iter()
        .position(|call| *call == told)
        .expect("it was told");
    let first = calls
        .iter()
        .position(|call| matches!(call, Call::Reuse(..) | Call::PutBlob(_)));
    assert!(Some(prepared) < first);
    let sent: Vec<_> = to.sent().into_iter().flatten().collect();
    assert_eq!(sent[..4], layers);
}

#[tokio::test]
async fn a_layer_that_is_not_what_its_type_says_breaks_nothing() {
    // Called uncompressed, and is gzip: it stays as it is.
    let mut image = ImageSpec::oci(17).build();
    let text = String::from_utf8(image.root.bytes().to_vec()).unwrap();
    let text = text.replace("v1.tar+gzip", "v1.tar");
    image.root = dhow_model::RawManifest::new(text.into(), None).unwrap();
    let to = place(LayerForm::Compressed, &[]);
    copy(&Memory::holding("from", &image), &to, options())
        .await
        .unwrap();
    assert_eq!(to.root(), Some(image.root));
}

#[tokio::test]
async fn schema_1_is_kept_where_taken_and_converted_where_not() {
    let image = docker1(18, 2);
    let from = Memory::holding("from", &image);
    let to = Memory::new("to");
    copy(&from, &to, options()).await.unwrap();
    assert_eq!(to.root(), Some(image.root.clone()));
    for (form, kinds, compression) in [
        (LayerForm::Keep, &[Docker2Manifest][..], GZIP),
        (LayerForm::Compressed, &[OciManifest], GZIP),
        (LayerForm::Uncompressed, &[Docker2Manifest], None),
    ] {
        let to = place(form, kinds);
        copy(&from, &to, options()).await.unwrap();
        assert_eq!(assert_layers(&to, compression), kinds[0].media_type());
        assert_eq!(image_of(&to.root().unwrap()).layers.len(), 2);
    }
    let to = place(LayerForm::Compressed, &[]);
    copy(&from, &to, packed(PackFormat::Zstd)).await.unwrap();
    assert_eq!(assert_layers(&to, ZSTD), OciManifest.media_type());
}

#[tokio::test]
async fn schema_1_is_made_when_it_is_asked_for() {
    let wanted = Options {
        format: Some(Format::Docker1),
        ..options()
    };
    for image in [
        ImageSpec::docker2(19).empty_steps(2).build(),
        ImageSpec::oci(20).empty_steps(1).build(),
        ImageSpec::oci(21).zstd().build(),
    ] {
        let to = place(LayerForm::Compressed, &[]).with_reference("r.test/old/image:v1");
        copy(&Memory::holding("from", &image), &to, wanted.clone())
            .await
            .unwrap();
        let root = to.root().unwrap();
        assert_eq!(root.kind(), Docker1Signed);
        let admitted = dhow_model::Admitted::by_policy(root);
        let made = dhow_model::manifest::Docker1Manifest::parse(&admitted).unwrap();
        assert_eq!((made.name.as_str(), made.tag.as_str()), ("old/image", "v1"));
        for layer in &made.layers {
            let bytes = to.blob(layer).expect("every layer is there");
            assert!(layer.matches(&bytes));
            content(&bytes, GZIP);
        }
        // And back.
        let again = place(LayerForm::Compressed, &[OciManifest]);
        copy(&to, &again, options()).await.unwrap();
        let (before, after) = (image_of(&image.root), image_of(&again.root().unwrap()));
        let diff_ids = |place: &Memory, config| {
            let config = ImageConfig::parse(&place.blob(config).unwrap()).unwrap();
            config.rootfs.diff_ids
        };
        assert_eq!(
            diff_ids(&Memory::holding("before", &image), &before.config.digest),
            diff_ids(&again, &after.config.digest),
        );
    }
    let image = ImageSpec::docker2(22).build();
    let to = place(LayerForm::Compressed, &[Docker2Manifest]);
    let error = copy(&Memory::holding("from", &image), &to, wanted)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Plan(PlanError::CannotHold { .. })));
}
