//! The store in an OCI layout directory.

use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use bytes::Bytes;
use dhow_layout::{BlobWriter, Layout};
use dhow_model::{Algorithm, Digest};

use super::{Content, Store, StoreError, Upload};
use crate::Error;

/// A layout directory. It is made with the first write.
#[derive(Debug)]
pub(crate) struct Disk {
    layout: Layout,
}

impl Disk {
    /// Takes a directory that is a layout, is empty or is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let layout = Layout::new(path);
        match layout.read_index() {
            Ok(_) => {}
            Err(dhow_layout::Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                let strange = match std::fs::read_dir(path) {
                    Ok(mut entries) => {
                        entries.next().is_some()
                            && !path.join("oci-layout").exists()
                            && !path.join("blobs").is_dir()
                    }
                    Err(error) => error.kind() != io::ErrorKind::NotFound,
                };
                if strange {
                    return Err(Error::NotALayout(path.to_owned()));
                }
            }
            Err(error) => return Err(Error::Store(error)),
        }
        Ok(Self { layout })
    }

    /// Returns the directory.
    pub(crate) fn layout(&self) -> Layout {
        self.layout.clone()
    }
}

impl Store for Disk {
    fn blob_size(&self, digest: &Digest) -> Option<u64> {
        self.layout.blob_size(digest, None)
    }

    fn open_blob(&self, digest: &Digest) -> Result<Option<Content>, StoreError> {
        match absent_as_none(self.layout.open_blob(digest))? {
            Some(file) => {
                let metadata = file.metadata()?;
                let size = metadata.len();
                Ok(metadata.is_file().then_some(Content::File { file, size }))
            }
            None => Ok(None),
        }
    }

    fn read_manifest(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(absent_as_none(self.layout.read_manifest(digest))?.map(Bytes::from))
    }

    fn put(&self, digest: &Digest, data: &Bytes) -> Result<(), StoreError> {
        Ok(self.layout.put_blob(digest, data)?)
    }

    fn upload(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(DiskUpload {
            writer: Some(self.layout.create_blob(None)?),
            layout: self.layout.clone(),
        }))
    }

    fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        match std::fs::remove_file(self.layout.blob_path(digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct DiskUpload {
    /// There until the end.
    writer: Option<BlobWriter>,
    layout: Layout,
}

impl Upload for DiskUpload {
    fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        let writer = self.writer.as_mut().ok_or_else(ended)?;
        Ok(writer.write(data)?)
    }

    fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::written)
    }

    fn finish(mut self: Box<Self>, digest: &Digest) -> Result<(), StoreError> {
        let writer = self.writer.take().ok_or_else(ended)?;
        let finished = if digest.algorithm() == Algorithm::Sha256 {
            writer.finish(digest)
        } else {
            // Which algorithm it would be was not known when the bytes came.
            copy(&self.layout, &writer, digest)?.finish(digest)
        };
        finished.map_err(|error| match error {
            dhow_layout::Error::Digest { expected, actual } => {
                StoreError::Digest { expected, actual }
            }
            other => other.into(),
        })
    }
}

impl Drop for DiskUpload {
    /// Gives up the file where that may block: it waits for a flush that is under way.
    fn drop(&mut self) {
        let writer = self.writer.take();
        if let (Some(writer), Ok(runtime)) = (writer, tokio::runtime::Handle::try_current()) {
            drop(runtime.spawn_blocking(move || drop(writer)));
        }
    }
}

fn ended() -> StoreError {
    StoreError::Io(io::Error::other("the upload has ended"))
}

fn copy(layout: &Layout, from: &BlobWriter, digest: &Digest) -> Result<BlobWriter, StoreError> {
    let mut writer = layout
        .create_blob(Some(from.written()))?
        .hashed_with(digest.algorithm());
    let mut file = from.as_file();
    file.rewind()?;
    let mut buffer = vec![0; crate::body::CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(writer),
            length => writer.write(&buffer[..length])?,
        }
    }
}

/// Takes what is not there for nothing.
pub(crate) fn absent_as_none<T>(
    result: Result<T, dhow_layout::Error>,
) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(dhow_layout::Error::Io { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
