//! An OCI archive as a destination.
//!
//! Blobs are put aside as files, beside the archive. `commit` writes a new archive of them and of
//! what was in the old one, in an order that depends on nothing but the names, and puts it in the
//! old one's place. A pipe gets the archive as a stream.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use dhow_layout::{Layout, LayoutIndex};
use dhow_model::{Algorithm, Descriptor, Digest, ManifestKind, RawManifest};
use dhow_transport::{
    Blob, BlobWant, Error, How, Kind, LayerForm, Location, Placed, Result, ReuseScope, Sink,
    SinkCaps,
};
use tar::EntryType;
use tempfile::TempDir;

use super::opened::{Opened, blob_name};
use super::{ArchiveLocation, CONCURRENCY};
use crate::archive_target::{self, ArchiveTarget};
use crate::file_blob::{self, Part, blocking, layout_error};
use crate::path_scopes;
use crate::tar_entry::{END, copy, header, padding};

#[derive(Debug)]
pub(super) struct ArchiveSink {
    location: ArchiveLocation,
    caps: SinkCaps,
    state: Arc<Mutex<State>>,
}

/// What is known and made while blobs arrive.
#[derive(Debug, Default)]
struct State {
    /// The archive as it was when it was first asked about.
    before: Before,
    /// The blobs that were put, as a layout; gone when the sink is dropped.
    aside: Option<TempDir>,
}

/// The archive that was there.
#[derive(Clone, Debug, Default)]
enum Before {
    #[default]
    NotAsked,
    Absent,
    Present(Arc<Opened>),
}

/// Where the bytes of a member are.
enum Content {
    Put(PathBuf),
    Kept(Arc<Opened>, Part),
    Made(Vec<u8>),
}

impl ArchiveSink {
    pub(super) fn new(location: ArchiveLocation) -> Self {
        let path = path_scopes::resolve(&location.path);
        Self {
            caps: SinkCaps {
                manifests: vec![ManifestKind::OciManifest, ManifestKind::OciIndex],
                layers: LayerForm::Compressed,
                concurrency: CONCURRENCY,
                strict: false,
                in_order: false,
                config_first: false,
                foreign_layers: true,
                sparse_index: true,
                verifies: true,
                scope: ReuseScope(format!("oci-archive:{}", path.display())),
            },
            location,
            state: Arc::default(),
        }
    }

    async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ArchiveLocation, &mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (location, state) = (self.location.clone(), Arc::clone(&self.state));
        blocking(move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            work(&location, &mut state)
        })
        .await?
    }

    /// Returns the layout in which blobs are put aside.
    async fn aside(&self) -> Result<Layout> {
        self.with_state(|location, state| state.aside(location))
            .await
    }
}

impl State {
    fn aside(&mut self, location: &ArchiveLocation) -> Result<Layout> {
        if let Some(aside) = &self.aside {
            return Ok(Layout::new(aside.path()));
        }
        let folder = ArchiveTarget::of(&location.path).folder;
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&folder)
            .map_err(|error| Error::file("write into", &folder, error))?;
        let layout = Layout::new(made.path());
        self.aside = Some(made);
        Ok(layout)
    }

    fn before(&mut self, location: &ArchiveLocation) -> Result<Option<Arc<Opened>>> {
        if matches!(self.before, Before::NotAsked) {
            self.before = match present(location)? {
                Some(opened) => Before::Present(opened),
                None => Before::Absent,
            };
        }
        Ok(match &self.before {
            Before::Present(opened) => Some(Arc::clone(opened)),
            Before::NotAsked | Before::Absent => None,
        })
    }

    /// Returns how many bytes of a blob are there, put or kept.
    fn size_of(&mut self, location: &ArchiveLocation, want: &BlobWant) -> Result<Option<u64>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        let put = match &self.aside {
            Some(aside) => Layout::new(aside.path()).blob_size(&digest, want.size),
            None => None,
        };
        if put.is_some() {
            return Ok(put);
        }
        let kept = self.before(location)?;
        let part = kept.and_then(|kept| kept.archive.members.file(&blob_name(&digest)));
        let fits = |part: &Part| want.size.is_none_or(|size| size == part.size);
        Ok(part.filter(fits).map(|part| part.size))
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

    async fn present_root(&self) -> Result<Option<Digest>> {
        self.with_state(|location, state| {
            let before = state.before(location)?;
            let entry = before.and_then(|before| {
                let chosen = location.select.choose(&before.index, &location.path);
                chosen.ok()
            });
            Ok(entry.map(|entry| entry.digest))
        })
        .await
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let wanted = want.clone();
        let size = self
            .with_state(move |location, state| state.size_of(location, &wanted))
            .await?;
        Ok(want.digest.zip(size).map(|(digest, size)| Placed {
            digest,
            size,
            how: How::Present,
        }))
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        Ok(self.reuse(want).await?.is_some())
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let (layout, size) = (self.aside().await?, want.size.or(blob.size));
        let writer = blocking(move || layout.create_blob(size))
            .await?
            .map_err(layout_error)?;
        file_blob::store(writer, want.digest, blob).await
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        if manifest.kind().is_docker1() {
            return Err(Error::new(
                Kind::ManifestRejected,
                "an OCI archive cannot hold schema 1 manifests",
            ));
        }
        let (layout, manifest) = (self.aside().await?, manifest.clone());
        blocking(move || layout.put_blob(&manifest.digest(), manifest.bytes()))
            .await?
            .map_err(layout_error)
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        self.put_manifest(root).await?;
        let entry = root.descriptor();
        self.with_state(move |location, state| {
            let aside = state.aside(location)?;
            commit(location, &aside, &entry)?;
            // What was put is in the archive now.
            state.aside = None;
            state.before = Before::NotAsked;
            Ok(())
        })
        .await
    }
}

/// Returns the archive that is there, if it can be added to.
fn present(location: &ArchiveLocation) -> Result<Option<Arc<Opened>>> {
    let open = || location.open();
    let found = archive_target::present(&location.path, "OCI archive", open, |opened| {
        &opened.archive
    })?;
    Ok(found.map(|(opened, _)| Arc::new(opened)))
}

/// Writes the new archive and puts it in the old one's place. Nobody else changes it meanwhile.
fn commit(location: &ArchiveLocation, aside: &Layout, entry: &Descriptor) -> Result<()> {
    let target = ArchiveTarget::of(&location.path);
    let unwritten = |error| target.unwritten(error);
    if let Some(mut pipe) = target.pipe()? {
        let members = members(None, aside, entry, location)?;
        return write(&mut pipe, &members).map_err(unwritten);
    }
    let _lock = target.lock()?;
    // Others may have added to it since it was looked at.
    let before = present(location)?;
    let members = members(before, aside, entry, location)?;
    let mut made = target.made(PREFIX)?;
    write(made.as_file_mut(), &members).map_err(unwritten)?;
    target.publish(made)
}

/// Returns everything that the new archive has, by name.
fn members(
    before: Option<Arc<Opened>>,
    aside: &Layout,
    entry: &Descriptor,
    location: &ArchiveLocation,
) -> Result<BTreeMap<String, Content>> {
    let mut members = BTreeMap::new();
    // COMPAT(skopeo): without a name, the image takes the place of all that was there.
    let before = before.filter(|_| location.select.name().is_some());
    let mut index = before
        .as_ref()
        .map_or_else(LayoutIndex::empty, |before| before.index.clone());
    if let Some(before) = before {
        let kept = before
            .archive
            .members
            .names()
            .filter(|name| name.starts_with("blobs/"));
        for name in kept {
            if let Some(part) = before.archive.members.file(name) {
                members.insert(name.to_owned(), Content::Kept(Arc::clone(&before), part));
            }
        }
    }
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let folder = aside.blobs_path().join(algorithm.name());
        let Ok(files) = fs::read_dir(&folder) else {
            continue;
        };
        for file in files {
            let file = file.map_err(|error| Error::file("read", &folder, error))?;
            if let Some(hex) = file
                .file_name()
                .to_str()
                .filter(|name| !name.starts_with('.'))
            {
                let name = format!("blobs/{}/{hex}", algorithm.name());
                members.insert(name, Content::Put(file.path()));
            }
        }
    }
    index.insert(entry, location.select.name());
    members.insert("index.json".to_owned(), Content::Made(index.to_bytes()));
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    members.insert("oci-layout".to_owned(), Content::Made(marker));
    Ok(members)
}

/// Writes a tar file: folders before what is in them, no owner, no time.
fn write(to: &mut File, members: &BTreeMap<String, Content>) -> io::Result<()> {
    let mut folders: Vec<&str> = Vec::new();
    for (name, content) in members {
        for (end, _) in name.match_indices('/') {
            let folder = &name[..=end];
            if !folders.contains(&folder) {
                folders.push(folder);
                to.write_all(header(folder, EntryType::Directory, 0, 0o755)?.as_bytes())?;
            }
        }
        let size = match content {
            Content::Made(bytes) => {
                let size = bytes.len() as u64;
                to.write_all(header(name, EntryType::Regular, size, 0o644)?.as_bytes())?;
                to.write_all(bytes)?;
                size
            }
            Content::Put(path) => {
                let file = File::open(path)?;
                let size = file.metadata()?.len();
                to.write_all(header(name, EntryType::Regular, size, 0o644)?.as_bytes())?;
                copy(&file, Part { offset: 0, size }, to)?;
                size
            }
            Content::Kept(archive, part) => {
                to.write_all(header(name, EntryType::Regular, part.size, 0o644)?.as_bytes())?;
                copy(&archive.archive.file, *part, to)?;
                part.size
            }
        };
        to.write_all(&padding(size))?;
    }
    to.write_all(&END)
}

/// How the names of what lies beside the archive for a while begin.
const PREFIX: &str = ".oci-archive-";
