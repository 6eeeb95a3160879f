//! Blobs: is one there, and reading it (OCI distribution-spec v1.1, *Pulling blobs*).

use bytes::Bytes;
use dhow_model::{Descriptor, Digest};
use futures_core::stream::BoxStream;
use http::{Method, StatusCode};
use url::Url;

use crate::body::Download;
use crate::channel::Channel;
use crate::endpoint::anonymous;
use crate::host::HostKey;
use crate::origin;
use crate::{Error, ErrorKind, RepositoryClient};

/// The bytes of a blob on their way. Broken connections are mended by asking for the rest.
pub struct BlobStream {
    /// The number of bytes that come, where it is known.
    pub size: Option<u64>,
    /// The bytes. Their number is checked, their digest is not.
    pub bytes: BoxStream<'static, Result<Bytes, Error>>,
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// What a registry tells of a blob that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHead {
    /// The size in bytes, where the registry says it.
    pub size: Option<u64>,
}

impl RepositoryClient {
    /// Asks whether a blob is there; `None` when it is not.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Option<BlobHead>, Error> {
        let request = self.request(Method::HEAD, &format!("blobs/{digest}"));
        let answer = self.channel.send(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(Some(BlobHead {
                size: answer.announced_length(),
            })),
            StatusCode::NOT_FOUND => Ok(None),
            _ => {
                let what = format!(
                    "it cannot be found out whether `{}` has blob `{digest}`",
                    self.repository
                );
                Err(self.refusal(answer, what).await)
            }
        }
    }

    /// Opens a blob for reading, from `offset` (bytes, 0-based) on. Returns when the registry has
    /// begun to answer.
    ///
    /// A foreign layer is read from the addresses that it names.
    pub async fn blob(&self, blob: &Descriptor, offset: u64) -> Result<BlobStream, Error> {
        let mut tried = None;
        for address in blob.urls.iter().filter_map(|text| foreign_url(text)) {
            match self.foreign_blob(blob, &address, offset).await {
                Ok(Some(stream)) => return Ok(stream),
                // A place that dhow does not go to is as good as none.
                Ok(None) => {}
                Err(error) => tried = Some(error),
            }
        }
        if let Some(error) = tried {
            // COMPAT(skopeo): who names addresses does not have the blob in the registry.
            return Err(error.during(format!(
                "blob `{}` cannot be fetched from any of its addresses",
                blob.digest
            )));
        }
        let path = self.path(&format!("blobs/{}", blob.digest));
        Download::from_registry(self.clone(), path, blob)
            .open(offset)
            .await
    }

    async fn foreign_blob(
        &self,
        blob: &Descriptor,
        address: &Url,
        offset: u64,
    ) -> Result<Option<BlobStream>, Error> {
        let key = HostKey {
            registry: crate::fault::authority(address),
            verify: true,
            cert_dir: None,
            named_by: Some(self.channel.host().registry().to_owned()),
        };
        let channel = Channel::new(
            self.channel.session(),
            key,
            anonymous("addresses of foreign layers get none"),
            self.repository.clone(),
        );
        match Download::from_elsewhere(channel, address.clone(), blob)
            .open(offset)
            .await
        {
            Err(error) if error.kind() == ErrorKind::Refused => {
                tracing::warn!(url = origin::redacted(address), %error, "address of a layer not used");
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }
}

fn foreign_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let usable = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none();
    usable.then_some(url)
}
