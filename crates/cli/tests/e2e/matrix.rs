//! Every place to every other, with every kind of image: whatever the formats and compressions in
//! between, the content of the layers is that of the first image, and what a manifest says of it is
//! true. Where skopeo can do it, it comes to the same.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use dhow_model::{Admitted, Digest, ImageConfig, ImageManifest, Index, RawManifest};
use dhow_testkit::image::{ImageSpec, IndexSpec, SampleImage, docker1, write_dir, write_layout};

use crate::dhow::Desk;
use crate::registry::{Registry, Wanted};
use crate::tools;

/// Without a variant: skopeo 1.9 writes it elsewhere into a config than later ones do.
const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/s390x"];

/// A kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Registry,
    Layout,
    OciArchive,
    Directory,
    DockerArchive,
}

const PLACES: [Place; 5] = [
    Place::Registry,
    Place::Layout,
    Place::OciArchive,
    Place::Directory,
    Place::DockerArchive,
];

impl Place {
    /// Returns the name of an image at such a place.
    fn name(self, registry: &str, image: &str) -> String {
        match self {
            Self::Registry => format!("docker://{registry}/{image}:1"),
            Self::Layout => format!("oci:./{image}.oci:1"),
            Self::OciArchive => format!("oci-archive:./{image}.oci.tar:1"),
            Self::Directory => format!("dir:./{image}.dir"),
            Self::DockerArchive => format!("docker-archive:./{image}.tar:test/image:1"),
        }
    }

    /// Returns whether it can hold several images as one.
    const fn holds_indexes(self) -> bool {
        !matches!(self, Self::DockerArchive)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What an image is, whatever it is packed in: for each platform the digests of its layers' content,
/// recomputed, and the digest of its config where the format has one.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    layers: Vec<Vec<Digest>>,
    configs: Vec<Digest>,
}

/// Reads an image in a directory, without the code under test, and checks every digest and size.
fn content(path: &Path) -> Content {
    let raw = |name: &str| {
        let bytes = fs::read(path.join(name)).unwrap();
        RawManifest::new(bytes.into(), None).unwrap()
    };
    let root = raw("manifest.json");
    let images = if root.kind().is_index() {
        let entries = Index::parse(&root).unwrap().entries;
        let images = entries.iter().map(|entry| {
            let image = raw(&format!("{}.manifest.json", entry.digest.hex()));
            assert_eq!(image.digest(), entry.digest);
            assert_eq!(image.bytes().len() as u64, entry.size);
            image
        });
        images.collect()
    } else {
        vec![root]
    };
    let blob = |digest: &Digest| {
        let bytes = fs::read(path.join(digest.hex())).unwrap();
        assert!(digest.matches(&bytes), "{digest} in {}", path.display());
        bytes
    };
    let (mut all, mut configs) = (Vec::new(), Vec::new());
    for image in images {
        let admitted = Admitted::by_policy(image);
        if admitted.as_inner().kind().is_docker1() {
            let image = dhow_model::manifest::Docker1Manifest::parse(&admitted).unwrap();
            let steps = image.layers.iter().zip(&image.history);
            let layers = steps.filter(|(_, step)| !step.throwaway);
            all.push(layers.map(|(layer, _)| unpacked(&blob(layer))).collect());
            continue;
        }
        let image = ImageManifest::parse(&admitted).unwrap();
        let config = blob(&image.config.digest);
        assert_eq!(config.len() as u64, image.config.size);
        let listed = ImageConfig::parse(&config).unwrap().rootfs.diff_ids;
        let layers: Vec<Digest> = image
            .layers
            .iter()
            .map(|layer| {
                let bytes = blob(&layer.digest);
                assert_eq!(bytes.len() as u64, layer.size);
                unpacked(&bytes)
            })
            .collect();
        assert_eq!(layers, listed, "config and layers in {}", path.display());
        all.push(layers);
        configs.push(image.config.digest);
    }
    Content {
        layers: all,
        configs,
    }
}

/// Returns the digest of a layer's content.
fn unpacked(bytes: &[u8]) -> Digest {
    let mut all = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut content = flate2::read::MultiGzDecoder::new(bytes);
        content.read_to_end(&mut all).unwrap();
    } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        all = zstd::decode_all(bytes).unwrap();
    } else {
        all = bytes.to_vec();
    }
    Digest::sha256(&all)
}

/// Copies with dhow into a directory and reads it.
fn seen(desk: &Desk, from: &str, many: bool) -> Content {
    let path = desk.path("seen");
    let all: &[&str] = if many { &["--all"] } else { &[] };
    let flags = ["copy", "-q", "--src-tls-verify=false"];
    let arguments = [&flags, all, &[from, "dir:./seen"]].concat();
    desk.dhow(&arguments).ok();
    let content = content(&path);
    fs::remove_dir_all(&path).unwrap();
    content
}

struct Kind {
    name: &'static str,
    image: SampleImage,
    many: bool,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, image, many| Kind { name, image, many };
    let docker = ImageSpec::docker2(71).empty_steps(2).build();
    vec![
        kind("small", ImageSpec::oci(70).build(), false),
        kind("empty-layers", docker, false),
        kind("zstd", ImageSpec::oci(72).zstd().build(), false),
        kind("plain", ImageSpec::oci(73).uncompressed().build(), false),
        kind("schema-1", docker1(74, 2), false),
        kind(
            "hundred",
            ImageSpec::oci(75).layers(100).layer_size(200).build(),
            false,
        ),
        kind("platforms", IndexSpec::oci(76, &PLATFORMS).build(), true),
        kind("list", IndexSpec::docker2(77, &PLATFORMS).build(), true),
    ]
}

/// Writes the image to where the first copies come from.
fn publish(desk: &Desk, kind: &Kind) -> String {
    let name = kind.name;
    if kind.name == "schema-1" {
        write_dir(&desk.path(&format!("{name}.origin")), &kind.image);
        return format!("dir:./{name}.origin");
    }
    write_layout(
        &desk.path(&format!("{name}.origin")),
        &[("image", &kind.image)],
    );
    format!("oci:./{name}.origin:image")
}

#[test]
fn every_place_gives_to_every_other_with_every_kind_of_image_heavy() {
    if !tools::has("docker-registry") {
        return;
    }
    let desk = Desk::new();
    let registry = Registry::debian(&desk, "registry", Wanted::default());
    let insecure = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let mut compared = 0;
    for kind in kinds() {
        let origin = publish(&desk, &kind);
        let first = seen(&desk, &origin, kind.many);
        let one = Content {
            layers: first.layers[..1].to_vec(),
            configs: first.configs.iter().take(1).copied().collect(),
        };
        for from in PLACES {
            let all: &[&str] = if kind.many && from.holds_indexes() {
                &["--all"]
            } else {
                &[]
            };
            let source = from.name(&registry.address, kind.name);
            let arguments = [&["copy", "-q"], &insecure[..], all, &[&origin, &source]].concat();
            desk.dhow(&arguments).ok();
            for to in PLACES {
                let what = format!("{}: {from} to {to}", kind.name);
                let many = kind.many && from.holds_indexes() && to.holds_indexes();
                let all: &[&str] = if many { &["--all"] } else { &[] };
                let target = to.name(&registry.address, "target");
                let arguments = [&["copy", "-q"], &insecure[..], all, &[&source, &target]].concat();
                desk.dhow(&arguments).ok();
                let arrived = seen(&desk, &target, many);
                let wanted = if many { &first.layers } else { &one.layers };
                assert_eq!(arrived.layers, *wanted, "{what}");
                clear(&desk, "target");
                if let Some(theirs) = by_skopeo(&desk, &source, to, &registry.address, many) {
                    assert_eq!(arrived.layers, theirs.layers, "{what}");
                    // What skopeo remembers of a registry may lead it to zstd, and that to OCI.
                    if kind.name != "zstd" {
                        assert_eq!(arrived.configs, theirs.configs, "{what}");
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(
        compared == 0 || compared > 100,
        "skopeo did {compared} of them"
    );
}

/// Lets skopeo do the same copy; `None` when it cannot.
fn by_skopeo(desk: &Desk, source: &str, to: Place, registry: &str, many: bool) -> Option<Content> {
    if !tools::has("skopeo") {
        return None;
    }
    let target = to.name(registry, "theirs");
    let mut skopeo = tools::skopeo(desk);
    skopeo.args([
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ]);
    if many {
        skopeo.arg("--all");
    }
    let done = skopeo.args([source, &target]).output().unwrap();
    let content = done.status.success().then(|| seen(desk, &target, many));
    clear(desk, "theirs");
    content
}

fn clear(desk: &Desk, name: &str) {
    for path in [".oci", ".dir"] {
        drop(fs::remove_dir_all(desk.path(&format!("{name}{path}"))));
    }
    for path in [".oci.tar", ".tar"] {
        drop(fs::remove_file(desk.path(&format!("{name}{path}"))));
    }
}
