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
use crate::engine::Engine;
use crate::registry::{Registry, Wanted};
use crate::storage::Store;
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
    Engine,
    Storage,
}

const PLACES: [Place; 7] = [
    Place::Registry,
    Place::Layout,
    Place::OciArchive,
    Place::Directory,
    Place::DockerArchive,
    Place::Engine,
    Place::Storage,
];

impl Place {
    /// Returns the name of an image at such a place.
    fn name(self, bench: &Bench, image: &str) -> String {
        match self {
            Self::Registry => format!("docker://{}/{image}:1", bench.registry.address),
            Self::Storage => bench.storage.name(&format!("test/{image}:1")),
            Self::Layout => format!("oci:./{image}.oci:1"),
            Self::OciArchive => format!("oci-archive:./{image}.oci.tar:1"),
            Self::Directory => format!("dir:./{image}.dir"),
            Self::DockerArchive => format!("docker-archive:./{image}.tar:test/image:1"),
            Self::Engine => format!("docker-daemon:test/{image}:1"),
        }
    }

    /// Returns whether it can hold several images as one.
    const fn holds_indexes(self) -> bool {
        !matches!(self, Self::DockerArchive | Self::Engine)
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

/// Where copies are made.
struct Bench {
    desk: Desk,
    registry: Registry,
    engine: Option<Engine>,
    storage: Store,
}

impl Bench {
    /// Returns what both programs are told of registry and engine.
    fn flags(&self, many: bool) -> Vec<String> {
        let flags = [
            "copy",
            "-q",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ];
        let mut flags: Vec<String> = flags.map(str::to_owned).to_vec();
        if many {
            flags.push("--all".to_owned());
        }
        if let Some(engine) = &self.engine {
            flags.push(format!("--src-daemon-host={}", engine.host()));
            flags.push(format!("--dest-daemon-host={}", engine.host()));
        }
        flags
    }

    fn name(&self, place: Place, image: &str) -> String {
        place.name(self, image)
    }

    #[track_caller]
    fn copy(&self, from: &str, to: &str, many: bool) {
        let mut arguments = self.flags(many);
        arguments.extend([from.to_owned(), to.to_owned()]);
        self.desk.dhow(&arguments).ok();
    }

    /// Copies with dhow into a directory and reads it.
    fn seen(&self, from: &str, many: bool) -> Content {
        let path = self.desk.path("seen");
        self.copy(from, "dir:./seen", many);
        let content = content(&path);
        fs::remove_dir_all(&path).unwrap();
        content
    }

    /// Lets skopeo do the same copy; `None` when it cannot.
    fn by_skopeo(&self, source: &str, to: Place, many: bool) -> Option<Content> {
        if !tools::has("skopeo") {
            return None;
        }
        let target = self.name(to, "theirs");
        let mut skopeo = tools::skopeo(&self.desk);
        let done = skopeo
            .args(self.flags(many))
            .args([source, &target])
            .output()
            .unwrap();
        let content = done.status.success().then(|| self.seen(&target, many));
        clear(&self.desk, "theirs");
        content
    }
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
    let bench = Bench {
        registry: Registry::debian(&desk, "registry", Wanted::default()),
        engine: Engine::start(),
        storage: Store::new(&desk, "overlay", "store"),
        desk,
    };
    let is_here = |place: &Place| match place {
        Place::Engine => bench.engine.is_some(),
        Place::Storage => tools::is_root(),
        _ => true,
    };
    let places: Vec<Place> = PLACES.into_iter().filter(is_here).collect();
    let mut compared = 0;
    for kind in kinds() {
        let origin = publish(&bench.desk, &kind);
        let first = bench.seen(&origin, kind.many);
        let one = &first.layers[..1];
        for from in &places {
            let source = bench.name(*from, kind.name);
            bench.copy(&origin, &source, kind.many && from.holds_indexes());
            for to in &places {
                let what = format!("{}: {from} to {to}", kind.name);
                let many = kind.many && from.holds_indexes() && to.holds_indexes();
                let target = bench.name(*to, "target");
                bench.copy(&source, &target, many);
                let arrived = bench.seen(&target, many);
                let wanted = if many { first.layers.as_slice() } else { one };
                assert_eq!(arrived.layers, wanted, "{what}");
                clear(&bench.desk, "target");
                if !is_compared(kind.name, *from, *to) {
                    continue;
                }
                if let Some(theirs) = bench.by_skopeo(&source, *to, many) {
                    assert_eq!(arrived.layers, theirs.layers, "{what}");
                    // What skopeo remembers of a registry may lead it to zstd, and that to OCI. It
                    // keeps schema 1 in a storage, and dhow makes Docker schema 2 of it.
                    let stored = kind.name == "schema-1" && *to == Place::Storage;
                    if kind.name != "zstd" && !stored {
                        assert_eq!(arrived.configs, theirs.configs, "{what}");
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(
        compared == 0 || compared > 150,
        "skopeo did {compared} of them"
    );
}

/// Returns whether skopeo does a copy, too. With a hundred layers it takes the most of the time of this
/// test, and shows nothing beyond registries that fewer layers do not.
fn is_compared(kind: &str, from: Place, to: Place) -> bool {
    kind != "hundred" || [from, to].contains(&Place::Registry)
}

fn clear(desk: &Desk, name: &str) {
    for path in [".oci", ".dir"] {
        drop(fs::remove_dir_all(desk.path(&format!("{name}{path}"))));
    }
    for path in [".oci.tar", ".tar"] {
        drop(fs::remove_file(desk.path(&format!("{name}{path}"))));
    }
}
