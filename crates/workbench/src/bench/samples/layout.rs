//! An OCI layout with one image or index in it (OCI image-spec v1.1, *Image Layout*).

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use dhow_model::{Annotations, Descriptor, Digest, MediaType, Platform};
use serde_json::{Value, json};

use super::{Layer, TAG};

/// A layout that is being written.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    /// The manifests and indexes that have been written.
    pub(super) manifests: Vec<Descriptor>,
    /// The configs and layers that have been written.
    pub(super) blobs: Vec<Descriptor>,
}

/// An image that has been written.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) manifest: Descriptor,
    pub(super) config: Descriptor,
}

impl Layout {
    /// Creates a layout without images.
    pub(super) fn create(folder: &Path) -> Result<Self, String> {
        let layout = Self {
            folder: folder.to_owned(),
            manifests: Vec::new(),
            blobs: Vec::new(),
        };
        fs::create_dir_all(layout.blob_folder()).map_err(|error| layout.cannot(&error))?;
        Ok(layout)
    }

    /// Reads a small blob.
    pub(super) fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, String> {
        fs::read(self.path(&blob.digest)).map_err(|error| self.cannot(&error))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blob_folder().join(digest.hex())
    }

    /// Adds a layer with files of `size` bytes.
    pub(super) fn layer(&mut self, label: &str, size: usize) -> Result<Layer, String> {
        let unnamed = self.folder.join("unnamed");
        let layer = File::create(&unnamed)
            .and_then(|file| {
                let mut out = BufWriter::new(file);
                let layer = Layer::write(&mut out, label, size)?;
                out.flush()?;
                fs::rename(&unnamed, self.path(&layer.blob.digest))?;
                Ok(layer)
            })
            .map_err(|error| self.cannot(&error))?;
        self.blobs.push(layer.blob.clone());
        Ok(layer)
    }

    /// Adds an image of these layers, and its config.
    pub(super) fn image(&mut self, platform: &str, layers: &[&Layer]) -> Result<Image, String> {
        let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
        let step = json!({ "created": CREATED, "created_by": "COPY . /opt" });
        let mut config = json!({
            "created": CREATED,
            "config": { "Cmd": ["/bin/sh"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": vec![step; layers.len()],
        });
        if let Value::Object(fields) = json!(parse(platform)?) {
            fields
                .into_iter()
                .for_each(|(name, value)| config[name] = value);
        }
        let config = self.write(&config, MediaType::OCI_CONFIG)?;
        self.blobs.push(config.clone());
        let layers: Vec<&Descriptor> = layers.iter().map(|layer| &layer.blob).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST.as_str(),
            "config": config,
            "layers": layers,
        });
        let manifest = self.write(&manifest, MediaType::OCI_MANIFEST)?;
        self.manifests.push(manifest.clone());
        Ok(Image { manifest, config })
    }

    /// Adds an index of these images, each with its platform.
    pub(super) fn index(&mut self, images: &[(&str, Descriptor)]) -> Result<Descriptor, String> {
        let mut entries = Vec::new();
        for (platform, image) in images {
            let mut entry = image.clone();
            entry.platform = Some(parse(platform)?);
            entries.push(entry);
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX.as_str(),
            "manifests": entries,
        });
        let index = self.write(&index, MediaType::OCI_INDEX)?;
        self.manifests.push(index.clone());
        Ok(index)
    }

    /// Names the root, which makes the layout whole.
    pub(super) fn finish(&self, root: &Descriptor) -> Result<(), String> {
        let mut entry = root.clone();
        entry.annotations.insert(Annotations::REF_NAME, TAG);
        let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
        fs::write(self.folder.join("index.json"), index)
            .and_then(|()| {
                let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
                fs::write(self.folder.join("oci-layout"), marker)
            })
            .map_err(|error| self.cannot(&error))
    }

    fn write(&self, document: &Value, media_type: MediaType) -> Result<Descriptor, String> {
        let bytes = document.to_string().into_bytes();
        let descriptor = Descriptor::of(media_type, &bytes);
        fs::write(self.path(&descriptor.digest), bytes).map_err(|error| self.cannot(&error))?;
        Ok(descriptor)
    }

    fn blob_folder(&self) -> PathBuf {
        self.folder.join("blobs/sha256")
    }

    fn cannot(&self, error: &std::io::Error) -> String {
        format!("cannot write the sample {}: {error}", self.folder.display())
    }
}

fn parse(platform: &str) -> Result<Platform, String> {
    Platform::parse(platform).map_err(|error| error.to_string())
}

const CREATED: &str = "2026-01-02T03:04:05Z";
