//! Writing an image into an archive. The new archive is made aside and put in the old one's place at
//! the end; a pipe gets it as a stream.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU16;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use dhow_layout::Lock;
use dhow_model::{Digest, ManifestKind, RawManifest, Reference};
use dhow_transport::{
    Blob, BlobWant, Coming, Error, How, Kind, LayerForm, Location, Placed, Result, ReuseScope,
    Sink, SinkCaps,
};
use tempfile::NamedTempFile;

use super::ArchiveLocation;
use super::assembly::{Assembly, Tail};
use super::commit::{self, Image};
use super::opened::Opened;
use crate::file_blob::{blocking, layout_error};
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

/// The archive that was there, and what was found in it.
#[derive(Debug)]
struct There {
    opened: Arc<Opened>,
    identity: (u64, u64, u64, i64, i64),
    /// Members that were asked for and have the digest that their images claim.
    found: Mutex<HashMap<Digest, Option<(String, u64)>>>,
}

impl ArchiveSink {
    pub(super) fn new(location: ArchiveLocation) -> Self {
        let path = path_scopes::resolve(&location.path);
        Self {
            caps: SinkCaps {
                manifests: vec![ManifestKind::Docker2Manifest],
                strict: true,
                layers: LayerForm::Uncompressed,
                concurrency: CONCURRENCY,
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
    let path = path_scopes::resolve(&location.path);
    let folder = folder_of(&path);
    let written = |error| Error::file("write", &path, error);
    let _lock = Lock::exclusive(&folder).map_err(layout_error)?;
    // Others may have added to it since it was looked at.
    let now = There::open(location)?;
    let now = match (before, now) {
        (Some(before), Some(now)) if before.identity == now.identity => Some(before),
        (before, Some(now)) => {
            let looked_for = before.map(|before| before.looked_for()).unwrap_or_default();
            for digest in &looked_for {
                now.size_of(digest);
            }
            Some(now)
        }
        (_, None) => None,
    };
    let before = now.map(|there| commit::Before {
        opened: Arc::clone(&there.opened),
        kept: there.kept(),
    });
    commit::finish_with(assembly, image, before.as_ref())?;
    let Some(made) = file.take() else {
        return Err(Error::new(Kind::Bug, "the archive was written twice"));
    };
    made.as_file().sync_all().map_err(written)?;
    made.persist(&path).map_err(|error| written(error.error))?;
    File::open(&folder)
        .and_then(|folder| folder.sync_all())
        .map_err(written)
}

impl Target {
    /// Opens the place where the archive is made. Blocks.
    fn open(location: &ArchiveLocation) -> Result<Self> {
        let path = path_scopes::resolve(&location.path);
        let written = |error| Error::file("write", &path, error);
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            let pipe = fs::OpenOptions::new().write(true).open(&path);
            let tail = Tail::Stream(Box::new(pipe.map_err(written)?));
            return Ok(Self {
                assembly: Assembly::new(tail, location.tmp.clone()),
                file: Arc::default(),
            });
        }
        let folder = folder_of(&path);
        let made = tempfile::Builder::new()
            .prefix(".docker-archive-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(&folder)
            .map_err(|error| Error::file("write into", &folder, error))?;
        let file = made.as_file().try_clone().map_err(written)?;
        Ok(Self {
            assembly: Assembly::new(Tail::File { file, offset: 0 }, folder),
            file: Arc::new(Mutex::new(Some(made))),
        })
    }
}

impl There {
    /// Opens the archive that is there, if there is one that can be added to. Blocks.
    fn open(location: &ArchiveLocation) -> Result<Option<Arc<Self>>> {
        let shown = location.path.display();
        let found = match location.path.metadata() {
            Ok(found) if found.is_dir() => {
                let message = format!("`{shown}` is a directory");
                return Err(Error::new(Kind::Exists, message).hint("name a file"));
            }
            Ok(found) if found.is_file() && found.len() > 0 => found,
            // An empty file is one that somebody has reserved; a pipe holds nothing.
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("open", &location.path, error)),
        };
        let opened = location.open().map_err(|error| match error.kind() {
            Kind::Invalid => Error::new(
                Kind::Exists,
                format!("`{shown}` is there and is no Docker archive: {error}"),
            )
            .hint("name another file, or remove this one"),
            _ => error,
        })?;
        if opened.archive.compressed {
            let message = format!("`{shown}` is compressed, so that nothing can be added to it");
            return Err(Error::unsupported(message).hint("decompress it first"));
        }
        let identity = (
            found.dev(),
            found.ino(),
            found.len(),
            found.mtime(),
            found.mtime_nsec(),
        );
        Ok(Some(Arc::new(Self {
            opened: Arc::new(opened),
            identity,
            found: Mutex::default(),
        })))
    }

    /// Returns the size of a config or an uncompressed layer that is in the archive and has this
    /// digest. What an image says of itself is not believed: the content is read. Blocks.
    fn size_of(&self, digest: &Digest) -> Option<u64> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let member = found.entry(*digest).or_insert_with(|| self.search(digest));
        member.as_ref().map(|(_, size)| *size)
    }

    fn search(&self, digest: &Digest) -> Option<(String, u64)> {
        let archive = &self.opened.archive;
        let mut names = Vec::new();
        for item in &self.opened.items {
            let config = archive.read(&item.config, dhow_model::ImageConfig::MAX_SIZE as u64);
            let Ok(config) = config else { continue };
            if digest.matches(&config) {
                return Some((item.config.clone(), config.len() as u64));
            }
            let parsed = dhow_model::ImageConfig::parse(&config).ok();
            let diff_ids = parsed
                .map(|config| config.rootfs.diff_ids)
                .unwrap_or_default();
            let layers = item.layers.iter().zip(diff_ids);
            names.extend(
                layers
                    .filter(|(_, of)| of == digest)
                    .map(|(name, _)| name.clone()),
            );
        }
        names.into_iter().find_map(|name| {
            let part = archive.members.file(&name)?;
            let actual = commit::digest_of(&archive.file, part, digest.algorithm()).ok()?;
            (actual == *digest).then_some((name, part.size))
        })
    }

    fn looked_for(&self) -> Vec<Digest> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.keys().copied().collect()
    }

    fn kept(&self) -> HashMap<Digest, String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let members = found.iter();
        members
            .filter_map(|(digest, member)| Some((*digest, member.as_ref()?.0.clone())))
            .collect()
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

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Layers that are taken at once: one is written, the others wait beside.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(4).expect("4 is not zero");
