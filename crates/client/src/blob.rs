//! Blobs: is one there, and reading it (OCI distribution-spec v1.1, *Pulling blobs*).

use std::net::IpAddr;

use bytes::Bytes;
use dhow_model::{Descriptor, Digest};
use futures_core::stream::BoxStream;
use http::{Method, StatusCode};
use url::{Host, Url};

use crate::body::Download;
use crate::channel::Channel;
use crate::host::HostKey;
use crate::origin;
use crate::{Error, RepositoryClient};

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
        if is_private_place(address).await {
            tracing::warn!(
                url = origin::redacted(address),
                "not fetching a layer from a private address"
            );
            return Ok(None);
        }
        let key = HostKey {
            registry: crate::fault::authority(address),
            verify: true,
            cert_dir: None,
        };
        let channel = Channel::new(
            self.channel.session(),
            key,
            anonymous(),
            self.repository.clone(),
        );
        Download::from_elsewhere(channel, address.clone(), blob)
            .open(offset)
            .await
            .map(Some)
    }
}

fn anonymous() -> dhow_config::CredentialSource {
    dhow_config::CredentialSource::Given(dhow_config::FoundCredentials {
        credentials: dhow_config::Credentials::Anonymous,
        origin: "addresses of foreign layers get none".to_owned(),
    })
}

fn foreign_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let usable = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none();
    usable.then_some(url)
}

/// Returns whether an address that an image names is inside: on this machine or in its networks.
async fn is_private_place(url: &Url) -> bool {
    let port = url.port_or_known_default().unwrap_or(443);
    match url.host() {
        Some(Host::Ipv4(address)) => origin::is_private(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => origin::is_private(IpAddr::V6(address)),
        Some(Host::Domain(name)) => match tokio::net::lookup_host((name, port)).await {
            Ok(mut addresses) => addresses.any(|address| origin::is_private(address.ip())),
            // The request says what is wrong with the name; a proxy may know it.
            Err(_) => false,
        },
        None => true,
    }
}
