//! The sample images, made anew for each bench from fixed seeds: an OCI layout each, and beside it an
//! archive as `docker save` writes it, with layers that are not compressed.

mod archive;
mod content;
mod layer;
mod layout;

use std::path::{Path, PathBuf};

use dhow_model::{Descriptor, Digest};

use super::stop::Stop;
use layer::Layer;
use layout::Layout;

/// An image or index on disk, and all that must arrive when it is copied.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Its name, which is that of its repository, too. Its tag is [`TAG`].
    pub(super) name: &'static str,
    /// Where its OCI layout is.
    pub(super) layout: PathBuf,
    /// Where its archive is; an index has none.
    pub(super) archive: PathBuf,
    /// What its tag points to.
    pub(super) root: Descriptor,
    /// All manifests, the root among them.
    pub(super) manifests: Vec<Descriptor>,
    /// Configs and layers, each digest once.
    pub(super) blobs: Vec<Descriptor>,
    /// The diffIDs of its layers in order; those of an index are not kept.
    pub(super) diff_ids: Vec<Digest>,
}

impl Sample {
    /// Returns whether it is an index.
    pub(super) fn is_index(&self) -> bool {
        self.manifests.len() > 1
    }

    /// Returns how many bytes there are in all blobs.
    pub(super) fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}

/// The tag of every sample.
pub(super) const TAG: &str = "latest";

/// Makes a sample in `folder`.
pub(super) fn make(name: &'static str, folder: &Path, stop: &Stop) -> Result<Sample, String> {
    let recipe = RECIPES
        .iter()
        .find(|recipe| recipe.name == name)
        .ok_or_else(|| format!("there is no sample `{name}`"))?;
    let mut layout = Layout::create(&folder.join(name))?;
    let archive = folder.join(format!("{name}.tar"));
    let shared = recipe.layers(&mut layout, recipe.shared, "shared", stop)?;
    let mut images = Vec::new();
    let mut diff_ids = Vec::new();
    for platform in recipe.platforms {
        let own = recipe.layers(&mut layout, recipe.own, platform, stop)?;
        let layers: Vec<&Layer> = shared.iter().chain(&own).collect();
        let image = layout.image(platform, &layers)?;
        if recipe.platforms.len() == 1 {
            diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
            archive::write(&archive, name, &layout.read(&image.config)?, &layers)?;
        }
        images.push((*platform, image.manifest));
    }
    let root = match images.as_slice() {
        [(_, only)] => only.clone(),
        several => layout.index(several)?,
    };
    layout.finish(&root)?;
    Ok(Sample {
        name,
        layout: folder.join(name),
        archive,
        root,
        manifests: layout.manifests,
        blobs: layout.blobs,
        diff_ids,
    })
}

/// What a sample is made of.
struct Recipe {
    name: &'static str,
    platforms: &'static [&'static str],
    /// How large the content of each shared layer is, in steps of [`STEP`].
    shared: &'static [usize],
    /// The same of the layers that each platform has for itself.
    own: &'static [usize],
}

impl Recipe {
    /// Writes layers of these sizes, which nobody else has.
    fn layers(
        &self,
        layout: &mut Layout,
        sizes: &[usize],
        owner: &str,
        stop: &Stop,
    ) -> Result<Vec<Layer>, String> {
        let layer = |(number, steps): (usize, &usize)| {
            stop.check()?;
            layout.layer(&format!("{} {owner} {number}", self.name), steps * STEP)
        };
        sizes.iter().enumerate().map(layer).collect()
    }
}

/// A layer of one step has about 100 kB when it is compressed.
const STEP: usize = 256_000;

const RECIPES: [Recipe; 4] = [
    Recipe {
        name: "small",
        platforms: &["linux/amd64"],
        shared: &[],
        own: &[50, 40, 10, 30, 20, 10, 40, 20],
    },
    Recipe {
        name: "many",
        platforms: &["linux/amd64"],
        shared: &[],
        own: &[1; 100],
    },
    Recipe {
        name: "multi",
        platforms: &[
            "linux/amd64",
            "linux/arm64",
            "linux/arm/v7",
            "linux/ppc64le",
            "linux/riscv64",
            "linux/s390x",
        ],
        shared: &[50, 30],
        own: &[50, 30, 10],
    },
    Recipe {
        name: "big",
        platforms: &["linux/amd64"],
        shared: &[],
        own: &[6000, 500, 500],
    },
];

#[cfg(test)]
mod tests {
    use std::fs;

    use dhow_testkit::image::validate_layout;

    use super::super::check;
    use super::*;

    #[test]
    fn a_sample_passes_its_checks_until_something_is_missing() {
        let place = tempfile::tempdir().unwrap();
        let sample = make("many", place.path(), &Stop::default()).unwrap();
        assert_eq!(sample.blobs.len(), 101);
        assert!((9_000_000..12_000_000).contains(&sample.size()));
        assert_eq!(validate_layout(&sample.layout).unwrap().names, [TAG]);
        check::layout(&sample.layout, &sample).unwrap();
        check::archive(&sample.archive, &sample).unwrap();

        let other = Sample {
            diff_ids: sample.diff_ids[1..].to_vec(),
            ..sample.clone()
        };
        assert!(check::archive(&sample.archive, &other).is_err());
        let blobs = sample.layout.join("blobs/sha256");
        fs::remove_file(blobs.join(sample.blobs[7].digest.hex())).unwrap();
        assert!(check::layout(&sample.layout, &sample).is_err());
    }
}
