//! The store in memory, for tests and short errands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use dhow_model::Digest;

use super::{Content, Store, StoreError, Upload};

/// Content in memory, at most so many bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    blobs: HashMap<Digest, Bytes>,
    free: u64,
}

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                blobs: HashMap::new(),
                free: limit,
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn blob_size(&self, digest: &Digest) -> Option<u64> {
        self.lock().blobs.get(digest).map(|data| data.len() as u64)
    }

    fn open_blob(&self, digest: &Digest) -> Result<Option<Content>, StoreError> {
        Ok(self.lock().blobs.get(digest).cloned().map(Content::Bytes))
    }

    fn read_manifest(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(self.lock().blobs.get(digest).cloned())
    }

    fn put(&self, digest: &Digest, data: &Bytes) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if !inner.blobs.contains_key(digest) {
            inner.take(data.len())?;
            inner.blobs.insert(*digest, data.clone());
        }
        Ok(())
    }

    fn upload(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(MemoryUpload {
            data: BytesMut::new(),
            inner: Arc::clone(&self.inner),
        }))
    }

    fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(data) = inner.blobs.remove(digest) {
            inner.free += data.len() as u64;
        }
        Ok(())
    }
}

impl Inner {
    fn take(&mut self, length: usize) -> Result<(), StoreError> {
        self.free = self
            .free
            .checked_sub(length as u64)
            .ok_or(StoreError::Full)?;
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryUpload {
    data: BytesMut,
    inner: Arc<Mutex<Inner>>,
}

impl MemoryUpload {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload for MemoryUpload {
    fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.lock().take(data.len())?;
        self.data.extend_from_slice(data);
        Ok(())
    }

    fn written(&self) -> u64 {
        self.data.len() as u64
    }

    fn finish(mut self: Box<Self>, digest: &Digest) -> Result<(), StoreError> {
        let actual = Digest::of(digest.algorithm(), &self.data);
        if actual != *digest {
            return Err(StoreError::Digest {
                expected: *digest,
                actual,
            });
        }
        let data = std::mem::take(&mut self.data).freeze();
        let mut inner = self.lock();
        let length = data.len() as u64;
        if inner.blobs.insert(*digest, data).is_some() {
            inner.free += length;
        }
        drop(inner);
        Ok(())
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        let length = self.data.len() as u64;
        self.lock().free += length;
    }
}
