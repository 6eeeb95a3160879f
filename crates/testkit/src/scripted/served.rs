//! Images as a registry serves them.

use super::{Reply, Seen};
use crate::image::SampleImage;

impl Reply {
    /// Answers a request for a manifest or a blob of an image, which has the tag `1`.
    pub fn from_image(image: &SampleImage, seen: &Seen) -> Self {
        let last = seen.path.rsplit('/').next().unwrap_or_default();
        let manifest = image
            .all_manifests()
            .find(|manifest| manifest.digest().to_string() == last)
            .or_else(|| (last == "1").then_some(&image.root));
        if seen.path.contains("/manifests/")
            && let Some(manifest) = manifest
        {
            return Self::status(200)
                .header("content-type", manifest.media_type().as_str())
                .header("docker-content-digest", manifest.digest().to_string())
                .body(manifest.bytes().clone());
        }
        let mut blobs = image.blobs.iter();
        match blobs.find(|(blob, _)| blob.digest.to_string() == last) {
            Some((_, bytes)) => Self::status(200).body(bytes.clone()),
            None => Self::status(404),
        }
    }
}
