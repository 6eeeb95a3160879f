//! Writing an image into an engine: an archive is made and sent at the same time.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroU16;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dhow_model::{Digest, ImageConfig, ManifestKind, RawManifest, Reference};
use dhow_transport::{
    Blob, BlobWant, Coming, Error, How, Kind, LayerForm, Location, Placed, Result, ReuseScope,
    Sink, SinkCaps, Slot,
};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::DaemonLocation;
use super::engine::Engine;
use super::present;
use crate::docker_archive::{Assembly, Image, Tail, finish};
use crate::file_blob::blocking;

/// An engine, opened for writing.
pub(super) struct EngineSink {
    location: DaemonLocation,
    name: Reference,
    engine: Engine,
    caps: SinkCaps,
    upload: tokio::sync::Mutex<Option<Upload>>,
    /// What the engine said against the archive, for every layer that it could not take.
    said: Mutex<Option<Error>>,
    /// The slots of the layers that the engine has: it knows them by their content, however they are
    /// compressed.
    there: Mutex<HashSet<usize>>,
    coming: Mutex<Coming>,
}

/// An archive on its way.
struct Upload {
    assembly: Assembly,
    answer: JoinSet<Result<()>>,
}

impl EngineSink {
    /// Checks that the engine answers.
    pub(super) async fn open(location: DaemonLocation, name: Reference) -> Result<Self> {
        let engine = location.engine().await?;
        engine.ping().await?;
        Ok(Self {
            caps: SinkCaps {
                manifests: vec![ManifestKind::Docker2Manifest],
                strict: true,
                layers: LayerForm::Keep,
                concurrency: CONCURRENCY,
                in_order: true,
                config_first: true,
                foreign_layers: false,
                sparse_index: false,
                verifies: true,
                scope: ReuseScope(format!("docker-daemon:{}", engine.host())),
            },
            location,
            name,
            engine,
            upload: tokio::sync::Mutex::default(),
            said: Mutex::default(),
            there: Mutex::default(),
            coming: Mutex::default(),
        })
    }

    /// Returns the archive, whose sending begins with the first blob.
    async fn assembly(&self) -> Assembly {
        let mut upload = self.upload.lock().await;
        if let Some(upload) = &*upload {
            return upload.assembly.clone();
        }
        let (sender, receiver) = mpsc::channel::<Bytes>(DEPTH);
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            let piece = receiver.recv().await?;
            Some((Ok::<_, io::Error>(Frame::data(piece)), receiver))
        });
        let body = StreamBody::new(pieces).boxed();
        let engine = self.engine.clone();
        let mut answer = JoinSet::new();
        answer.spawn(async move { engine.load(body).await });
        let tail = Tail::Stream(Box::new(Pipe {
            sender,
            buffer: Vec::new(),
        }));
        let assembly = Assembly::new(tail, self.location.tmp.clone());
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        assembly.expect(&coming);
        *upload = Some(Upload {
            assembly: assembly.clone(),
            answer,
        });
        assembly
    }

    /// Returns what the engine says about an archive that it did not take to its end.
    async fn reason(&self, error: Error) -> Error {
        let mut upload = self.upload.lock().await;
        if let Some(mut upload) = upload.take()
            && let Ok(Some(Ok(Err(reason)))) = timeout(LAST_WORDS, upload.answer.join_next()).await
        {
            *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(again(&reason));
            return reason;
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref().map_or(error, again)
    }

    /// Learns which layers the engine has.
    async fn look(&self, coming: &Coming) -> Result<()> {
        let Some(config) = &coming.config else {
            return Ok(());
        };
        let Ok(config) = ImageConfig::parse(config) else {
            return Ok(());
        };
        let diff_ids = &config.rootfs.diff_ids;
        let present = present::layers(&self.engine, diff_ids).await?;
        let above = diff_ids.get(present..).unwrap_or_default();
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        for layer in &coming.layers {
            let slot = layer.index;
            // The same content may lie higher, too, where the engine will look for its file.
            let needed = diff_ids
                .get(slot)
                .is_none_or(|diff_id| above.contains(diff_id));
            if slot < present && !needed {
                there.insert(slot);
            }
        }
        Ok(())
    }

    fn is_there(&self, want: &BlobWant) -> Option<(Digest, u64)> {
        let there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let (digest, size) = want.digest.zip(want.size)?;
        match want.slot {
            Slot::Layer { index } if there.contains(&index) => Some((digest, size)),
            _ => None,
        }
    }
}

#[async_trait]
impl Sink for EngineSink {
    fn location(&self) -> &dyn Location {
        &self.location
    }

    fn caps(&self) -> &SinkCaps {
        &self.caps
    }

    async fn prepare(&self, coming: &Coming) -> Result<()> {
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = Coming {
            layers: coming.layers.clone(),
            ..Coming::default()
        };
        if let Err(error) = self.look(coming).await {
            // All layers are sent, then.
            tracing::debug!(%error, "the engine does not tell which layers it has");
        }
        Ok(())
    }

    async fn reuse(&self, want: &BlobWant) -> Result<Option<Placed>> {
        let upload = self.upload.lock().await;
        let stored = upload.as_ref().zip(want.digest);
        let stored = stored.and_then(|(upload, digest)| {
            let stored = upload.assembly.stored(&digest)?;
            Some((digest, stored.size))
        });
        drop(upload);
        let there = self.is_there(want);
        let Some((digest, size)) = stored.or(there) else {
            return Ok(None);
        };
        let (assembly, slot) = (self.assembly().await, want.slot);
        let left_out = blocking(move || assembly.leave_out(slot, digest, size)).await?;
        if let Err(error) = left_out {
            return Err(self.reason(error).await);
        }
        Ok(Some(Placed {
            digest,
            size,
            how: How::Present,
        }))
    }

    async fn has(&self, want: &BlobWant) -> Result<bool> {
        Ok(self.is_there(want).is_some())
    }

    async fn put_blob(&self, want: &BlobWant, blob: Blob) -> Result<Placed> {
        match self.assembly().await.put(want, blob).await {
            Ok((digest, size)) => Ok(Placed {
                digest,
                size,
                how: How::Sent,
            }),
            Err(error) if error.kind() == Kind::Io => Err(self.reason(error).await),
            Err(error) => Err(error),
        }
    }

    async fn put_manifest(&self, manifest: &RawManifest) -> Result<()> {
        Err(rejected(manifest.kind()))
    }

    async fn commit(&self, root: &RawManifest) -> Result<()> {
        if root.kind() != ManifestKind::Docker2Manifest {
            return Err(rejected(root.kind()));
        }
        let assembly = self.assembly().await;
        let (names, manifest) = ([self.name.clone()], root.clone());
        let ended = blocking(move || {
            let image = Image {
                root: &manifest,
                names: &names,
                packed: true,
            };
            finish(&assembly, &image)
        });
        if let Err(error) = ended.await? {
            return Err(match error.kind() {
                Kind::Io => self.reason(error).await,
                _ => error,
            });
        }
        let Some(mut upload) = self.upload.lock().await.take() else {
            return Err(Error::new(Kind::Bug, "there is nothing to send"));
        };
        match upload.answer.join_next().await {
            Some(Ok(answer)) => answer?,
            _ => return Err(Error::new(Kind::Bug, "an upload is gone")),
        }
        let name = self.location.name.asked();
        let image = self.engine.image(&name).await.map_err(|error| {
            let message = "the Docker engine took the archive, and has no such image";
            Error::new(Kind::Io, message).caused_by(error)
        })?;
        // Engines that keep images in containerd's store know them by another digest.
        tracing::debug!(id = image.id, "the engine has the image");
        Ok(())
    }
}

/// Returns an error that says what this one says.
fn again(reason: &Error) -> Error {
    let mut error = Error::new(reason.kind(), reason.to_string());
    if let Some(hint) = reason.hint_text() {
        error = error.hint(hint);
    }
    match std::error::Error::source(reason) {
        Some(source) => error.caused_by(source.to_string()),
        None => error,
    }
}

fn rejected(kind: ManifestKind) -> Error {
    Error::new(
        Kind::ManifestRejected,
        format!(
            "a Docker engine takes images of Docker schema 2, and none of type `{}`",
            kind.media_type()
        ),
    )
}

/// Takes the bytes of an archive to the connection.
struct Pipe {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.buffer);
        self.sender
            .blocking_send(piece.into())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl fmt::Debug for EngineSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineSink({})", self.location)
    }
}

/// Layers that are taken at once: one is sent, the others wait beside.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(4).expect("4 is not zero");

/// How many pieces wait for the connection.
const DEPTH: usize = 2;

/// How large a piece is at least, in bytes.
const PIECE: usize = 128 * 1024;

/// How long the engine may take to say why it takes no more.
const LAST_WORDS: Duration = Duration::from_secs(5);
