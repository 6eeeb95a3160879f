//! Writing an image into an archive. The new archive is made aside and put in the old one's place at
//! the end; a pipe gets it as a stream.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use dhow_model::{Digest, ManifestKind, RawManifest, Reference};
use dhow_transport::{
    Blob, BlobWant, Coming, Error, How, Kind, LayerForm, Location, Placed, Result, ReuseScope,
    Sink, SinkCaps,
};
use tempfile::NamedTempFile;

use super::ArchiveLocation;
use super::assembly::Assembly;
use super::commit::{self, Image};
use super::tail::Tail;
use super::there::There;
use crate::archive_target::ArchiveTarget;
use crate::file_blob::blocking;
use crate::path_scopes;

/// An archive, opened for writing.
#[derive(Debug)]
pub(super) struct ArchiveSink {
    location: ArchiveLocation,
    caps: SinkCaps,
    target: tokio::sync::Mutex<Option<Arc<Target>>>,
    before: tokio::sync::Mutex<Before>,
    coming: Mutex<Coming>,
}

/// What is being written.
#[derive(Debug)]
struct Target {
    assembly: Assembly,
    /// The file that will be the archive; `None` for a pipe. Gone when it is dropped.
    file: Arc<Mutex<Option<NamedTempFile>>>,
}

/// What is known of the archive that was there.
#[derive(Debug, Default)]
enum Before {
    #[default]
    NotAsked,
    Nothing,
    There(Arc<There>),
}

impl ArchiveSink {
    pub(super) fn new(location: ArchiveLocation) -> Self {
        let path = path_scopes::resolve(&location.path);
        Self {
            caps: SinkCaps {
                manifests: vec![ManifestKind::Docker2Manifest],
                strict: true,
                layers: LayerForm::Uncompressed,
                concurrency: concurrency(),
                in_order: true,
                config_first: false,
                foreign_layers: false,
                sparse_index: false,
                verifies: true,
                scope: ReuseScope(format!("docker-archive:{}", path.display())),
            },
            location,
            target: tokio::sync::Mutex::default(),
            before: tokio::sync::Mutex::default(),
            coming: Mutex::default(),
        }
    }

    async fn target(&self) -> Result<Arc<Target>> {
        let mut target = self.target.lock().await;
        let target = if let Some(target) = &*target {
            Arc::clone(target)
        } else {
            let location = self.location.clone();
            let opened = blocking(move || Target::open(&location)).await??;
            Arc::clone(target.insert(Arc::new(opened)))
        };
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let coming = std::mem::take(&mut *coming);
        if !coming.layers.is_empty() {
            target.assembly.expect(&coming);
        }
        Ok(target)
    }

    async fn before(&self) -> Result<Option<Arc<There>>> {
        let mut before = self.before.lock().await;
        if matches!(*before, Before::NotAsked) {
            let location = self.location.clone();
            *before = match blocking(move || There::open(&location)).await?? {
                Some(there) => Before::There(there),
                None => Before::Nothing,
            };
        }
        Ok(match &*before {
            Before::There(there) => Some(Arc::clone(there)),
            Before::NotAsked | Before::Nothing => None,
        })
    }

    /// Returns the size of a blob that is there already.
    async fn there(&self, want: &BlobWant) -> Result<Option<(Digest, u64)>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        let target = self.target.lock().await.clone();
        let stored = target.and_then(|target| target.assembly.stored(&digest));
        let stored = stored.map(|stored| stored.size);
        let size = match (stored, self.before().await?) {
            (Some(size), _) => Some(size),
            (None, Some(before)) => blocking(move || before.size_of(&digest)).await?,
            (None, None) => None,
        };
        let fits = |size: &u64| want.size.is_none_or(|wanted| wanted == *size);
        Ok(size.filter(fits).map(|size| (digest, size)))
    }

    /// Returns the names of the image.
    fn names(&self) -> Vec<Reference> {
        let mut names: Vec<Reference> = Vec::new();
        let own = self.location.select.reference();
        for name in own.into_iter().chain(&self.location.additional_tags) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

#[async_trait]
impl Sink for ArchiveSink {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> &SinkCaps {
        &self.caps
    }

    async fn prepare(&self, coming: &Coming) -> Result<()> {
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = coming.clone();
        // What cannot be added to is refused before anything moves.
        self.before().await.map(drop)
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let Some((digest, size)) = self.there(want).await? else {
            return Ok(None);
        };
        let (assembly, slot) = (self.target().await?.assembly.clone(), want.slot);
        blocking(move || assembly.skip(slot)).await??;
        Ok(Some(Placed {
            digest,
            size,
            how: How::Present,
        }))
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        Ok(self.there(want).await?.is_some())
    }

    async fn wants_likely_size(&self, want: &BlobWant) -> bool {
        let target = self.target().await;
        target.is_ok_and(|target| target.assembly.holds_up(want.slot))
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let target = self.target().await?;
        let (digest, size) = target.assembly.put(want, blob).await?;
        Ok(Placed {
            digest,
            size,
            how: How::Sent,
        })
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        Err(rejected(manifest.kind()))
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        if root.kind() != ManifestKind::Docker2Manifest {
            return Err(rejected(root.kind()));
        }
        let target = self.target().await?;
        let (assembly, file) = (target.assembly.clone(), Arc::clone(&target.file));
        let (location, names, root) = (self.location.clone(), self.names(), root.clone());
        let before = self.before().await?;
        blocking(move || {
            let image = Image {
                root: &root,
                names: &names,
                packed: false,
            };
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if file.is_none() {
                return commit::finish(&assembly, &image);
            }
            publish(&location, &assembly, &image, before, &mut file)
        })
        .await??;
        // Whatever is put next is for another archive.
        *self.target.lock().await = None;
        *self.before.lock().await = Before::NotAsked;
        Ok(())
    }
}

/// Ends the new archive and puts it in the old one's place. Nobody else changes it meanwhile.
fn publish(
    location: &ArchiveLocation,
    assembly: &Assembly,
    image: &Image<'_>,
    before: Option<Arc<There>>,
    file: &mut Option<NamedTempFile>,
) -> Result<()> {
    let target = ArchiveTarget::of(&location.path);
    let _lock = target.lock()?;
    // Others may have added to it since it was looked at.
    let now = There::open(location)?;
    let now = match (before, now) {
        (Some(before), Some(now)) if before.is_same(&now) => Some(before),
        (before, Some(now)) => {
            let looked_for = before.map(|before| before.looked_for()).unwrap_or_default();
            for digest in &looked_for {
                now.size_of(digest);
            }
            Some(now)
        }
        (_, None) => None,
    };
    let before = now.map(|there| there.kept());
    commit::finish_with(assembly, image, before.as_ref())?;
    let Some(made) = file.take() else {
        return Err(Error::new(Kind::Bug, "the archive was written twice"));
    };
    target.publish(made)
}

impl Target {
    /// Opens the place where the archive is made. Blocks.
    fn open(location: &ArchiveLocation) -> Result<Self> {
        let target = ArchiveTarget::of(&location.path);
        if let Some(pipe) = target.pipe()? {
            return Ok(Self {
                assembly: Assembly::new(Tail::Stream(Box::new(pipe)), location.tmp.clone()),
                file: Arc::default(),
            });
        }
        let made = target.made(".docker-archive-")?;
        let file = made.as_file().try_clone();
        let file = file.map_err(|error| target.unwritten(error))?;
        Ok(Self {
            assembly: Assembly::new(Tail::File { file, offset: 0 }, target.folder),
            file: Arc::new(Mutex::new(Some(made))),
        })
    }
}

fn rejected(kind: ManifestKind) -> Error {
    Error::new(
        Kind::ManifestRejected,
        format!(
            "an archive holds images of Docker schema 2, and none of type `{}`",
            kind.media_type()
        ),
    )
}

/// Returns how many layers are taken at once, by the number of cores: one is written, the others are
/// unpacked beside, or wait. Each needs memory.
fn concurrency() -> NonZeroU16 {
    let cores = std::thread::available_parallelism().ok();
    let cores = cores.and_then(|cores| cores.try_into().ok());
    cores.map_or(FEWEST, |cores: NonZeroU16| cores.clamp(FEWEST, MOST))
}

const FEWEST: NonZeroU16 = NonZeroU16::new(3).expect("3 is not zero");
const MOST: NonZeroU16 = NonZeroU16::new(6).expect("6 is not zero");
