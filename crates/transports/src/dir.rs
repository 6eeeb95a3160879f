//! `dir:PATH`: an image as plain files (skopeo's directory transport, version 1.1): `version`,
//! `manifest.json`, `<hex>.manifest.json` for the images of an index, and `<hex>` for blobs.
//!
//! A destination is made aside and takes its place by `commit`, so that the image that was there
//! stays whole until then.

mod staging;

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dhow_layout::{BlobWriter, open_file};
use dhow_model::{Descriptor, Digest, Hasher, RawManifest, Reference};
use dhow_transport::{
    Blob, BlobWant, ByteRange, Catalog, Error, How, Kind, LayerForm, Location, ParseError, Placed,
    PolicyScopes, Result, ReuseScope, Sink, SinkCaps, Source, SourceCaps, Transport,
};

use self::staging::{Staging, is_staging, nothing_staged};
use crate::file_blob::{self, blocking, layout_error, place_is_absent};
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
        let bytes =
            read_bounded(&path).map_err(|error| place_is_absent(error, "an image directory"))?;
        RawManifest::new(bytes, None).map_err(crate::manifest_error)
    }

    /// Refuses to replace what is not an image directory.
    fn check_destination(&self) -> Result<()> {
        let path = &self.path;
        let refuse = |why: &str| {
            let error = Error::new(Kind::Exists, format!("`{}` {why}", path.display()));
            Err(error.hint("name a directory that is empty or does not exist"))
        };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                return refuse("is there and is no directory");
            }
            Err(error) => return Err(Error::file("read", path, error)),
        };
        let foreign = |entry: io::Result<fs::DirEntry>| {
            !entry.is_ok_and(|entry| is_staging(&entry.file_name()))
        };
        if !entries.into_iter().any(foreign) {
            return Ok(());
        }
        match dhow_layout::read_bounded(&path.join(VERSION_FILE), VERSION.len() as u64) {
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
            strict: false,
            in_order: false,
            config_first: false,
            foreign_layers: false,
            sparse_index: true,
            verifies: true,
            scope: ReuseScope(location.to_string()),
        };
        Ok(Arc::new(DirSink {
            location,
            caps,
            staging: Arc::default(),
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
        SourceCaps::local(CONCURRENCY)
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
            blocking(move || open_file(&path).map_err(|error| Error::file("open", &path, error)))
                .await??;
        file_blob::read(file, blob, range).await
    }
}

#[derive(Debug)]
struct DirSink {
    location: DirLocation,
    caps: SinkCaps,
    /// Made at the first write; gone when the sink is dropped without `commit`.
    staging: Arc<Mutex<Option<Staging>>>,
}

impl DirSink {
    /// Returns the staging directory.
    async fn staging(&self) -> Result<PathBuf> {
        let (staging, path) = (self.staging.clone(), self.location.path.clone());
        blocking(move || {
            let mut staging = lock(&staging)?;
            if let Some(staging) = staging.as_ref() {
                return Ok(staging.path().to_owned());
            }
            let made = Staging::of(&path_scopes::resolve(&path))?;
            let path = made.path().to_owned();
            *staging = Some(made);
            Ok(path)
        })
        .await?
    }

    async fn put_file(&self, name: String, bytes: Bytes) -> Result<()> {
        let path = self.staging().await?.join(name);
        blocking(move || {
            let write = || {
                let mut file = fs::File::create(&path)?;
                io::Write::write_all(&mut file, &bytes)?;
                file.sync_all()
            };
            write().map_err(|error| Error::file("write", &path, error))
        })
        .await?
    }
}

fn lock(staging: &Mutex<Option<Staging>>) -> Result<std::sync::MutexGuard<'_, Option<Staging>>> {
    staging
        .lock()
        .map_err(|_| Error::new(Kind::Bug, "a lock is poisoned"))
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
        let staging = self.staging().await?;
        let old = self.location.path.join(digest.hex());
        blocking(move || {
            let new = staging.join(digest.hex());
            // A symbolic link would lead elsewhere from another directory.
            let linked = !old.is_symlink() && fs::hard_link(&old, &new).is_ok();
            // Where there are no links it has to be sent again.
            if !linked && !new.exists() {
                return Ok(None);
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
        let staged = lock(&self.staging)?
            .as_ref()
            .map(|staging| staging.path().join(digest.hex()));
        let (old, size) = (self.location.path.join(digest.hex()), want.size);
        blocking(move || {
            staged.is_some_and(|path| path.exists()) || holds(&old, &digest, size).unwrap_or(false)
        })
        .await
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        let (staging, size) = (self.staging().await?, want.size.or(blob.size));
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
        self.put_file(
            VERSION_FILE.to_owned(),
            Bytes::from_static(VERSION.as_bytes()),
        )
        .await?;
        self.put_file(MANIFEST.to_owned(), root.bytes().clone())
            .await?;
        let staging = lock(&self.staging)?.take().ok_or_else(nothing_staged)?;
        let location = self.location.clone();
        blocking(move || {
            // Somebody may have put something there in the meantime.
            staging.take_place(|| location.check_destination())
        })
        .await?
    }
}

/// Returns whether the file is the blob, by size and then by hashing it.
fn holds(path: &Path, digest: &Digest, size: Option<u64>) -> std::io::Result<bool> {
    let mut file = open_file(path)?;
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
    let mut bytes = Vec::new();
    open_file(path)
        .and_then(|file| {
            // One byte more, so that what is too large is seen to be.
            let limit = RawManifest::MAX_SIZE as u64 + 1;
            file.take(limit).read_to_end(&mut bytes)
        })
        .map_err(|error| Error::file("open", path, error))?;
    Ok(Bytes::from(bytes))
}

const MANIFEST: &str = "manifest.json";
const VERSION_FILE: &str = "version";
const VERSION: &str = "Directory Transport Version: 1.1\n";

/// Files that are read or written at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(8).expect("8 is not zero");
