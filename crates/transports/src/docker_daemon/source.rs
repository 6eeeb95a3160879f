//! Reading an image of an engine: its archive comes once, into a file that nobody else sees.

use std::fmt;
use std::io;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use dhow_model::{Descriptor, Digest, ImageManifest, RawManifest};
use dhow_transport::{Blob, ByteRange, Error, Kind, Location, Result, Source, SourceCaps};
use futures_util::TryStreamExt as _;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::OnceCell;

use super::DaemonLocation;
use super::client::{Answer, broken};
use super::engine::Engine;
use crate::archive_file::ArchiveFile;
use crate::docker_archive::{ImageSource, Opened, Select};
use crate::file_blob::blocking;

/// An image of an engine, opened for reading.
pub(super) struct EngineSource {
    location: DaemonLocation,
    engine: Engine,
    /// The archive, once somebody wanted something of it.
    archive: OnceCell<ImageSource>,
}

impl EngineSource {
    /// Looks for the image.
    pub(super) async fn open(location: DaemonLocation) -> Result<Self> {
        let engine = location.engine().await?;
        engine
            .image(&location.name.asked())
            .await
            .map_err(|error| {
                if error.kind() == Kind::NotFound {
                    error.hint("`docker images` lists what the engine has")
                } else {
                    error
                }
            })?;
        Ok(Self {
            location,
            engine,
            archive: OnceCell::new(),
        })
    }

    async fn archive(&self) -> Result<&ImageSource> {
        self.archive.get_or_try_init(|| self.fetch()).await
    }

    async fn fetch(&self) -> Result<ImageSource> {
        let name = self.location.name.asked();
        let answer = self.engine.save(&name).await?;
        let file = spooled(answer, &self.location.tmp).await?;
        let location = self.location.clone();
        blocking(move || {
            let shown = location.to_string();
            let archive = ArchiveFile::from_file(file, false).map_err(|error| {
                let message = format!("what the Docker engine sends for `{name}` is no tar file");
                Error::new(Kind::Invalid, message).caused_by(error)
            })?;
            let opened = Opened::of(archive, &shown)?;
            let item = opened.choose(&Select::Only, &shown)?.clone();
            ImageSource::open(Arc::new(location), opened, &item)
        })
        .await?
    }
}

/// Writes what comes into a file without a name.
async fn spooled(answer: Answer, folder: &Path) -> Result<std::fs::File> {
    let unwritten = |error: io::Error| Error::file("write into", folder, error);
    let file = tempfile::tempfile_in(folder).map_err(unwritten)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut body = answer.into_stream();
    while let Some(piece) = body.try_next().await.map_err(broken)? {
        file.write_all(&piece).await.map_err(unwritten)?;
    }
    file.flush().await.map_err(unwritten)?;
    file.rewind().await.map_err(unwritten)?;
    Ok(file.into_std().await)
}

#[async_trait]
impl Source for EngineSource {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> SourceCaps {
        SourceCaps::local(CONCURRENCY)
    }

    async fn root(&self) -> Result<RawManifest> {
        self.archive().await?.root().await
    }

    async fn manifest(&self, digest: &Digest) -> Result<RawManifest> {
        self.archive().await?.manifest(digest).await
    }

    async fn blob(&self, blob: &Descriptor, range: ByteRange) -> Result<Blob> {
        self.archive().await?.blob(blob, range).await
    }

    async fn held_layers(&self, image: &ImageManifest) -> Result<Option<Vec<Descriptor>>> {
        self.archive().await?.held_layers(image).await
    }
}

impl fmt::Debug for EngineSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineSource({})", self.location)
    }
}

/// Blobs that are read at once.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(8).expect("8 is not zero");
