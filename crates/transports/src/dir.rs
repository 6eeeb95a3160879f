//! `dir:PATH`: an image as plain files (skopeo's directory transport, version 1.1): `version`,
//! `manifest.json`, `<hex>.manifest.json` for the images of an index, and `<hex>` for blobs.
//!
//! A destination is staged in a directory beside it and exchanged with it by `commit`, so that
//! what was there stays whole until then.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_layout::BlobWriter;
use dhow_model::{Descriptor, Digest, Hasher, RawManifest, Reference};
use dhow_transport::{
    Blob, BlobWant, ByteRange, Catalog, Error, How, Kind, LayerForm, Location, ParseError, Placed,
    PolicyScopes, Result, ReuseScope, Sink, SinkCaps, Source, SourceCaps, Transport,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use crate::file_blob::{self, blocking, layout_error};
use crate::path_scopes;

/// The `dir` transport.
#[derive(Debug, Default)]
pub struct Dir {}

impl Dir {
    /// Returns the transport.
    pub const fn new() -> Self {
        Self {}
    }
}

impl Transport for Dir {
    fn name(&self) -> &'static str {
        "dir"
    }

    fn parse(&self, rest: &str) -> Result<Arc<dyn Location>, ParseError> {
        if rest.is_empty() {
            return Err(ParseError::new("`dir:` needs the path of a directory"));
        }
        Ok(Arc::new(DirLocation {
            path: PathBuf::from(rest),
        }))
    }

    fn validate_policy_scope(&self, scope: &str) -> Result<(), ParseError> {
        path_scopes::validate(scope)
    }
}

#[derive(Clone, Debug)]
struct DirLocation {
    path: PathBuf,
}

impl fmt::Display for DirLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dir:{}", self.path.display())
    }
}

impl DirLocation {
    fn read_root(&self) -> Result<RawManifest> {
        let path = self.path.join(MANIFEST);
        let bytes = read_bounded(&path)?;
        RawManifest::new(bytes, None).map_err(crate::manifest_error)
    }

    /// Refuses to replace what is not an image directory.
    fn check_destination(&self) -> Result<()> {
        let path = &self.path;
        let refuse = |why: &str| {
            let error = Error::new(Kind::Exists, format!("`{}` {why}", path.display()));
            Err(error.hint("name a directory that is empty or does not exist"))
        };
        let mut entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return refuse("is there and is no directory");
            }
            Err(error) => return Err(Error::file("read", path, error)),
        };
        if entries.next().is_none() {
            return Ok(());
        }
        match fs::read(path.join("version")) {
            Ok(text) if text == VERSION.as_bytes() => Ok(()),
            _ => refuse(
                "is not a containers image directory, don't want to overwrite important data",
            ),
        }
    }
}

#[async_trait]
impl Location for DirLocation {
    fn transport(&self) -> &'static str {
        "dir"
    }

    fn reference(&self) -> Option<&Reference> {
        None
    }

    fn policy_scopes(&self) -> PolicyScopes {
        path_scopes::scopes(&self.path, None)
    }

    async fn source(&self) -> Result<Arc<dyn Source>> {
        let location = self.clone();
        let root = blocking({
            let location = location.clone();
            move || location.read_root()
        })
        .await??;
        Ok(Arc::new(DirSource { location, root }))
    }

    async fn sink(&self) -> Result<Arc<dyn Sink>> {
        let location = self.clone();
        blocking({
            let location = location.clone();
            move || location.check_destination()
        })
        .await??;
        let caps = SinkCaps {
            manifests: Vec::new(),
            layers: LayerForm::Keep,
            concurrency: CONCURRENCY,
            needs_size: false,
            foreign_layers: false,
            sparse_index: true,
            verifies: true,
            scope: ReuseScope(location.to_string()),
        };
        Ok(Arc::new(DirSink {
            location,
            caps,
            staging: Mutex::new(None),
        }))
    }

    fn catalog(&self) -> Option<&dyn Catalog> {
        None
    }
}

#[derive(Debug)]
struct DirSource {
    location: DirLocation,
    root: RawManifest,
}

#[async_trait]
impl Source for DirSource {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> SourceCaps {
        SourceCaps {
            ranges: true,
            concurrency: CONCURRENCY,
        }
    }

    async fn root(&self) -> Result<RawManifest> {
        Ok(self.root.clone())
    }

    async fn manifest(&self, digest: &Digest) -> Result<RawManifest> {
        if *digest == self.root.digest() {
            return Ok(self.root.clone());
        }
        let path = self
            .location
            .path
            .join(format!("{}.{MANIFEST}", digest.hex()));
        let bytes = blocking(move || read_bounded(&path)).await??;
        RawManifest::verified(bytes, None, digest).map_err(crate::manifest_error)
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        let path = self.location.path.join(blob.digest.hex());
        let file =
            blocking(move || File::open(&path).map_err(|error| Error::file("open", &path, error)))
                .await??;
        file_blob::read(file, range).await
    }
}

#[derive(Debug)]
struct DirSink {
    location: DirLocation,
    caps: SinkCaps,
    /// Made at the first write; gone when the sink is dropped without `commit`.
    staging: Mutex<Option<TempDir>>,
}

impl DirSink {
    /// Returns the staging directory, made beside the destination so that it can take its place.
    fn staging(&self) -> Result<PathBuf> {
        let mut staging = self.lock()?;
        if let Some(directory) = staging.as_ref() {
            return Ok(directory.path().to_owned());
        }
        let path = std::path::absolute(&self.location.path)
            .map_err(|error| Error::file("find", &self.location.path, error))?;
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let wrap = |error| Error::file("create a directory in", parent, error);
        fs::create_dir_all(parent).map_err(wrap)?;
        let directory = tempfile::Builder::new()
            .prefix(STAGING_PREFIX)
            .tempdir_in(parent)
            .map_err(wrap)?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).map_err(wrap)?;
        let path = directory.path().to_owned();
        *staging = Some(directory);
        Ok(path)
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Option<TempDir>>> {
        self.staging
            .lock()
            .map_err(|_| Error::new(Kind::Bug, "a lock is poisoned"))
    }

    async fn put_file(&self, name: String, bytes: Bytes) -> Result<()> {
        let path = self.staging()?.join(name);
        blocking(move || {
            let wrap = |error| Error::file("write", &path, error);
            fs::write(&path, &bytes).map_err(wrap)?;
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(wrap)
        })
        .await?
    }
}

#[async_trait]
impl Sink for DirSink {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> &SinkCaps {
        &self.caps
    }

    async fn present_root(&self) -> Result<Option<Digest>> {
        let location = self.location.clone();
        blocking(move || Ok(location.read_root().ok().map(|root| root.digest()))).await?
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let Some(digest) = want.digest else {
            return Ok(None);
        };
        if !self.has(want).await? {
            return Ok(None);
        }
        let staging = self.staging()?;
        let old = self.location.path.join(digest.hex());
        blocking(move || {
            let new = staging.join(digest.hex());
            if !new.exists() {
                fs::hard_link(&old, &new)
                    .or_else(|_| fs::copy(&old, &new).map(drop))
                    .map_err(|error| Error::file("link", &new, error))?;
            }
            let size = fs::metadata(&new)
                .map_err(|error| Error::file("read", &new, error))?
                .len();
            Ok(Some(Placed {
                digest,
                size,
                how: How::Present,
            }))
        })
        .await?
    }

    /// Files here are named by hex alone, so only what hashes right counts as there.
    async fn has(&self, want: &BlobWant) -> Result<bool> {
        let Some(digest) = want.digest else {
            return Ok(false);
        };
        let staged = self
            .lock()?
            .as_ref()
            .map(|directory| directory.path().join(digest.hex()));
        let (old, size) = (self.location.path.join(digest.hex()), want.size);
        blocking(move || {
            staged.is_some_and(|path| path.exists()) || holds(&old, &digest, size).unwrap_or(false)
        })
        .await
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let (staging, size) = (self.staging()?, want.size.or(blob.size));
        let writer = blocking(move || BlobWriter::create_flat(&staging, size))
            .await?
            .map_err(layout_error)?;
        file_blob::store(writer, want.digest, blob).await
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        let name = format!("{}.{MANIFEST}", manifest.digest().hex());
        self.put_file(name, manifest.bytes().clone()).await
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        self.put_file("version".to_owned(), Bytes::from_static(VERSION.as_bytes()))
            .await?;
        self.put_file(MANIFEST.to_owned(), root.bytes().clone())
            .await?;
        let Some(staging) = self.lock()?.take() else {
            return Err(Error::new(Kind::Bug, "there is nothing to commit"));
        };
        let destination = self.location.path.clone();
        blocking(move || take_place(staging, &destination)).await?
    }
}

/// Puts the staged directory in the place of `destination`, in one step where the file system can.
fn take_place(staging: TempDir, destination: &Path) -> Result<()> {
    let wrap = |error: rustix::io::Errno| Error::file("replace", destination, error.into());
    match renameat_with(
        CWD,
        staging.path(),
        CWD,
        destination,
        RenameFlags::NOREPLACE,
    ) {
        Ok(()) => {
            let _moved_away = staging.keep();
            return Ok(());
        }
        Err(rustix::io::Errno::EXIST | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(wrap(error)),
    }
    match renameat_with(CWD, staging.path(), CWD, destination, RenameFlags::EXCHANGE) {
        // The guard now holds what was there, and removes it.
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(wrap(error)),
    }
    let aside = staging.path().with_extension("old");
    let step = |from: &Path, to: &Path| {
        fs::rename(from, to).map_err(|error| Error::file("replace", destination, error))
    };
    if destination.exists() {
        step(destination, &aside)?;
    }
    if let Err(error) = step(staging.path(), destination) {
        step(&aside, destination)?;
        return Err(error);
    }
    let _moved_away = staging.keep();
    drop(fs::remove_dir_all(&aside));
    Ok(())
}

/// Returns whether the file is the blob, by size and then by hashing it.
fn holds(path: &Path, digest: &Digest, size: Option<u64>) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    if size.is_some_and(|size| file.metadata().is_ok_and(|metadata| metadata.len() != size)) {
        return Ok(false);
    }
    let mut hasher = Hasher::new(digest.algorithm());
    let mut piece = vec![0; 256 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish() == *digest),
            length => hasher.update(&piece[..length]),
        }
    }
}

fn read_bounded(path: &Path) -> Result<Bytes> {
    let wrap = |error| Error::file("open", path, error);
    let mut bytes = Vec::new();
    let limit = RawManifest::MAX_SIZE as u64 + 1;
    File::open(path)
        .map_err(wrap)?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(wrap)?;
    Ok(Bytes::from(bytes))
}

const MANIFEST: &str = "manifest.json";
const VERSION: &str = "Directory Transport Version: 1.1\n";
const STAGING_PREFIX: &str = ".dhow-dir-";

/// Files that are read or written at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(8).expect("8 is not zero");
