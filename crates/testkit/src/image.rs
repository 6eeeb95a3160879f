//! Sample images in memory, the same for the same seed: real tar layers, real gzip, a config whose
//! diffIDs are true. [`write_layout`](crate::image::write_layout) and
//! [`write_dir`](crate::image::write_dir) put them on disk without the code under test.

mod disk;
mod docker1;
mod tar;
mod validate;

use std::collections::BTreeMap;
use std::io::Write as _;

use bytes::Bytes;
use dhow_model::{Descriptor, Digest, LayerType, ManifestKind, MediaType, Platform, RawManifest};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

pub use disk::{write_dir, write_layout};
pub use docker1::docker1;
pub use tar::header as tar_header;
pub use validate::{LayoutContent, validate_dir, validate_layout};

/// An image or index with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct SampleImage {
    /// What a name points to.
    pub root: RawManifest,
    /// The manifests that the root lists, if it is an index.
    pub manifests: Vec<RawManifest>,
    /// Configs and layers, each digest once; foreign layers are not among them.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl SampleImage {
    /// Returns the content of a blob.
    pub fn blob(&self, digest: &Digest) -> Option<&Bytes> {
        self.blobs
            .iter()
            .find(|(descriptor, _)| descriptor.digest == *digest)
            .map(|(_, bytes)| bytes)
    }

    /// Returns the root and the members.
    pub fn all_manifests(&self) -> impl Iterator<Item = &RawManifest> {
        std::iter::once(&self.root).chain(&self.manifests)
    }

    /// Returns the bytes of all blobs together.
    pub fn blob_bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// What a single image is to be like. [`ImageSpec::build`] makes it.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Images of different seeds share nothing.
    pub seed: u64,
    /// [`ManifestKind::OciManifest`] or [`ManifestKind::Docker2Manifest`].
    pub kind: ManifestKind,
    /// How many layers there are.
    pub layers: usize,
    /// The size of the file in each layer in bytes; it does not compress.
    pub layer_size: usize,
    /// How layers are compressed: with gzip, zstd, or not.
    pub compression: Option<dhow_model::Compression>,
    /// How many steps of the history have changed no files.
    pub empty_steps: usize,
    /// What the image runs on.
    pub platform: Platform,
    /// The first this many layers are those of the seed, whatever the platform.
    pub shared_layers: usize,
    /// A layer more, at the base, that is kept elsewhere.
    pub foreign_layer: bool,
    /// Makes it no image but an artifact of this type, with a config of its own.
    pub artifact_type: Option<String>,
    /// The labels in the config.
    pub labels: BTreeMap<String, String>,
    /// When it was made, as the config says it.
    pub created: Option<String>,
    /// What it refers to.
    pub subject: Option<Descriptor>,
}

impl ImageSpec {
    /// An OCI image for linux/amd64 with two gzip layers of 2 KiB.
    pub fn oci(seed: u64) -> Self {
        Self {
            seed,
            kind: ManifestKind::OciManifest,
            layers: 2,
            layer_size: 2048,
            compression: Some(dhow_model::Compression::Gzip),
            empty_steps: 0,
            platform: platform("linux/amd64"),
            shared_layers: 0,
            foreign_layer: false,
            artifact_type: None,
            labels: BTreeMap::from([("seed".to_owned(), seed.to_string())]),
            created: Some("2024-05-06T07:08:09.123456789Z".to_owned()),
            subject: None,
        }
    }

    /// The same as a Docker schema 2 image.
    pub fn docker2(seed: u64) -> Self {
        Self {
            kind: ManifestKind::Docker2Manifest,
            ..Self::oci(seed)
        }
    }

    /// An OCI artifact with a config that is no image config.
    pub fn artifact(seed: u64) -> Self {
        Self {
            layers: 1,
            artifact_type: Some("application/vnd.example.sbom".to_owned()),
            ..Self::oci(seed)
        }
    }

    /// Sets the number of layers.
    #[must_use]
    pub fn layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// Sets the size of each layer's file in bytes.
    #[must_use]
    pub fn layer_size(mut self, bytes: usize) -> Self {
        self.layer_size = bytes;
        self
    }

    /// Sets the platform: `linux/arm64/v8`.
    #[must_use]
    pub fn platform(mut self, text: &str) -> Self {
        self.platform = platform(text);
        self
    }

    /// Leaves layers uncompressed.
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        self.compression = None;
        self
    }

    /// Compresses layers with zstd.
    #[must_use]
    pub fn zstd(mut self) -> Self {
        self.compression = Some(dhow_model::Compression::Zstd);
        self
    }

    /// Adds steps to the history that have changed no files.
    #[must_use]
    pub fn empty_steps(mut self, steps: usize) -> Self {
        self.empty_steps = steps;
        self
    }

    /// Adds a layer that is kept elsewhere.
    #[must_use]
    pub fn with_foreign_layer(mut self) -> Self {
        self.foreign_layer = true;
        self
    }

    /// Sets when it was made; `None`: the config does not say it.
    #[must_use]
    pub fn created(mut self, date: Option<&str>) -> Self {
        self.created = date.map(str::to_owned);
        self
    }

    /// Makes it refer to a manifest.
    #[must_use]
    pub fn subject(mut self, subject: &RawManifest) -> Self {
        self.subject = Some(subject.descriptor());
        self
    }

    /// Makes the image.
    pub fn build(&self) -> SampleImage {
        let mut blobs = Vec::new();
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        if self.foreign_layer {
            let (descriptor, diff_id) = self.foreign();
            layers.push(descriptor);
            diff_ids.push(diff_id);
        }
        for number in 0..self.layers {
            let (descriptor, bytes, diff_id) = self.layer(number);
            diff_ids.push(diff_id);
            layers.push(descriptor.clone());
            blobs.push((descriptor, bytes));
        }
        let (config, bytes) = self.config(&diff_ids);
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": self.kind.media_type().as_str(),
        });
        if let Some(kind) = &self.artifact_type {
            document["artifactType"] = json!(kind);
        }
        document["config"] = json!(config);
        document["layers"] = json!(layers);
        if let Some(subject) = &self.subject {
            document["subject"] = json!(subject);
        }
        blobs.insert(0, (config, bytes));
        SampleImage {
            root: manifest(&document, self.kind),
            manifests: Vec::new(),
            blobs,
        }
    }

    fn layer(&self, number: usize) -> (Descriptor, Bytes, Digest) {
        let own = if number < self.shared_layers {
            String::new()
        } else {
            self.platform.to_string()
        };
        let seed = fold(self.seed, &format!("{number} {own}"));
        let note = format!("layer {number} of image {} {own}\n", self.seed);
        let tar = tar::archive(&[
            (
                format!("data/layer-{number}"),
                noise(seed, self.layer_size).as_slice(),
            ),
            (format!("etc/note-{number}"), note.as_bytes()),
        ]);
        let diff_id = Digest::sha256(&tar);
        let bytes = match self.compression {
            None => tar,
            Some(dhow_model::Compression::Zstd) => {
                zstd::encode_all(tar.as_slice(), 3).expect("memory can be compressed")
            }
            Some(_) => gzip(&tar),
        };
        let docker = self.kind == ManifestKind::Docker2Manifest;
        let parts = LayerType {
            docker,
            foreign: false,
            compression: self.compression,
        };
        let media_type = parts.media_type().expect("layers of this type exist");
        (
            Descriptor::of(media_type, &bytes),
            Bytes::from(bytes),
            diff_id,
        )
    }

    fn foreign(&self) -> (Descriptor, Digest) {
        let tar = tar::archive(&[("windows/base".to_owned(), b"kept elsewhere".as_slice())]);
        let media_type = if self.kind == ManifestKind::Docker2Manifest {
            MediaType::DOCKER2_FOREIGN_LAYER_GZIP
        } else {
            MediaType::OCI_FOREIGN_LAYER_GZIP
        };
        let mut descriptor = Descriptor::of(media_type, &gzip(&tar));
        descriptor.urls = vec!["https://layers.invalid/base".to_owned()];
        (descriptor, Digest::sha256(&tar))
    }

    fn config(&self, diff_ids: &[Digest]) -> (Descriptor, Bytes) {
        if self.artifact_type.is_some() {
            let bytes = format!(r#"{{"artifact":{}}}"#, self.seed).into_bytes();
            let media_type = MediaType::new("application/vnd.example.config.v1+json");
            return (Descriptor::of(media_type, &bytes), Bytes::from(bytes));
        }
        let mut document = match &self.created {
            Some(created) => json!({ "created": created, "author": "dhow testkit" }),
            None => json!({ "author": "dhow testkit" }),
        };
        if let (Value::Object(document), Ok(Value::Object(platform))) =
            (&mut document, serde_json::to_value(&self.platform))
        {
            document.extend(platform);
        }
        document["config"] = json!({
            "Env": ["PATH=/usr/bin:/bin", "GREETING=<hello & goodbye>"],
            "Entrypoint": ["/bin/sh"],
            "Cmd": ["-c", "true"],
            "WorkingDir": "/data",
            "Labels": self.labels,
        });
        document["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
        let empty = (0..self.empty_steps).map(|number| {
            json!({
                "created": "2024-05-06T07:08:09Z",
                "created_by": format!("ENV STEP={number}"),
                "empty_layer": true,
            })
        });
        document["history"] = (0..diff_ids.len())
            .map(|number| {
                json!({
                    "created": "2024-05-06T07:08:09Z",
                    "created_by": format!("COPY layer {number} /"),
                })
            })
            .chain(empty)
            .collect();
        let media_type = if self.kind == ManifestKind::Docker2Manifest {
            // Fields of Docker's own, which a conversion to OCI drops.
            document["docker_version"] = json!("20.10.5");
            document["container"] = json!("0123456789abcdef");
            MediaType::DOCKER2_CONFIG
        } else {
            MediaType::OCI_CONFIG
        };
        let bytes = serialize(&document);
        (Descriptor::of(media_type, &bytes), Bytes::from(bytes))
    }
}

/// What an index is to be like. [`IndexSpec::build`] makes it.
#[derive(Clone, Debug)]
pub struct IndexSpec {
    /// What its images are like, but for the platform.
    pub image: ImageSpec,
    /// What its images run on.
    pub platforms: Vec<Platform>,
}

impl IndexSpec {
    /// An OCI index with one image for each platform, which share their first layer.
    pub fn oci(seed: u64, platforms: &[&str]) -> Self {
        Self::new(ImageSpec::oci(seed), platforms)
    }

    /// The same as a Docker manifest list of schema 2 images.
    pub fn docker2(seed: u64, platforms: &[&str]) -> Self {
        Self::new(ImageSpec::docker2(seed), platforms)
    }

    /// An index of images made from `image`, which share their first layer.
    pub fn new(mut image: ImageSpec, platforms: &[&str]) -> Self {
        image.shared_layers = image.shared_layers.max(1);
        Self {
            image,
            platforms: platforms.iter().map(|text| platform(text)).collect(),
        }
    }

    /// Makes the index.
    pub fn build(&self) -> SampleImage {
        let mut entries = Vec::new();
        let mut manifests = Vec::new();
        let mut blobs: Vec<(Descriptor, Bytes)> = Vec::new();
        for platform in &self.platforms {
            let image = ImageSpec {
                platform: platform.clone(),
                ..self.image.clone()
            }
            .build();
            let mut entry = image.root.descriptor();
            entry.platform = Some(platform.clone());
            entries.push(entry);
            manifests.push(image.root);
            for blob in image.blobs {
                if !blobs.iter().any(|(known, _)| known.digest == blob.0.digest) {
                    blobs.push(blob);
                }
            }
        }
        let kind = if self.image.kind == ManifestKind::Docker2Manifest {
            ManifestKind::Docker2List
        } else {
            ManifestKind::OciIndex
        };
        let document = json!({
            "schemaVersion": 2,
            "mediaType": kind.media_type().as_str(),
            "manifests": entries,
        });
        SampleImage {
            root: manifest(&document, kind),
            manifests,
            blobs,
        }
    }
}

/// Returns `size` bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators".
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    out.truncate(size);
    out
}

/// Returns `data` as gzip, the same bytes each time.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::fast());
    encoder
        .write_all(data)
        .and_then(|()| encoder.finish())
        .expect("writing to memory works")
}

fn manifest(document: &Value, kind: ManifestKind) -> RawManifest {
    RawManifest::new(Bytes::from(serialize(document)), Some(&kind.media_type()))
        .expect("the sample is a manifest of its kind")
}

fn serialize(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).expect("JSON values can be written")
}

fn platform(text: &str) -> Platform {
    Platform::parse(text).expect("the test names a platform")
}

fn fold(seed: u64, text: &str) -> u64 {
    text.bytes().fold(seed.wrapping_add(1), |sum, byte| {
        sum.wrapping_mul(0x0100_0000_01B3) ^ u64::from(byte)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use dhow_model::{Admitted, ImageConfig, ImageManifest, Index};

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_image_and_another_gives_another() {
        let image = ImageSpec::oci(1).build();
        assert_eq!(image.root, ImageSpec::oci(1).build().root);
        let other = ImageSpec::oci(2).build();
        for (descriptor, _) in &image.blobs {
            assert!(other.blob(&descriptor.digest).is_none());
        }
    }

    #[test]
    fn diff_ids_are_those_of_the_unpacked_layers() {
        for spec in [
            ImageSpec::oci(3),
            ImageSpec::docker2(3),
            ImageSpec::oci(3).uncompressed(),
        ] {
            let image = spec.build();
            let manifest = ImageManifest::parse(&Admitted::by_policy(image.root.clone())).unwrap();
            let config = image.blob(&manifest.config.digest).unwrap();
            let config = ImageConfig::parse(config).unwrap();
            for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
                let bytes = image.blob(&layer.digest).unwrap();
                let mut tar = Vec::new();
                if spec.compression.is_some() {
                    flate2::read::GzDecoder::new(bytes.as_ref())
                        .read_to_end(&mut tar)
                        .unwrap();
                } else {
                    tar = bytes.to_vec();
                }
                assert!(diff_id.matches(&tar));
            }
        }
    }

    #[test]
    fn images_of_an_index_share_their_first_layer() {
        let index = IndexSpec::oci(4, &["linux/amd64", "linux/arm64/v8", "linux/arm/v7"]).build();
        let entries = Index::parse(&index.root).unwrap().entries;
        assert_eq!(entries.len(), 3);
        assert_eq!(index.manifests.len(), 3);
        assert_eq!(index.blobs.len(), 3 /* configs */ + 1 + 3);
    }

    #[test]
    fn what_is_written_is_valid_until_a_byte_changes() {
        let place = tempfile::tempdir().unwrap();
        let image = ImageSpec::docker2(5).with_foreign_layer().build();
        let index = IndexSpec::docker2(6, &["linux/amd64", "linux/s390x"]).build();
        let layout = place.path().join("layout");
        write_layout(&layout, &[("a", &image), ("b", &index)]);
        assert_eq!(validate_layout(&layout).unwrap().names, ["a", "b"]);
        let dir = place.path().join("dir");
        write_dir(&dir, &index);
        assert_eq!(validate_dir(&dir).unwrap(), index.root.digest());

        let victim = &image.blobs[1].0.digest;
        let path = layout.join("blobs/sha256").join(victim.hex());
        std::fs::write(path, "x").unwrap();
        assert!(validate_layout(&layout).is_err());
        std::fs::write(dir.join("left-over"), "x").unwrap();
        assert!(validate_dir(&dir).is_err());
    }
}
