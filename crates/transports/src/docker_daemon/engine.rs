//! What an engine is asked for.

use std::fmt::Write as _;
use std::sync::Arc;

use dhow_model::Digest;
use dhow_transport::{Error, Kind, Result};
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::client::{Answer, Client, SMALL, Sent};
use super::host::Host;
use crate::EngineOptions;
use crate::file_blob::blocking;

/// A Docker engine.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    client: Client,
}

/// An image of the engine.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EngineImage {
    /// The digest of its config, where the engine knows images by that.
    pub(super) id: String,
    #[serde(default, rename = "RootFS")]
    root_fs: Option<RootFs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Option<Vec<Digest>>,
}

impl EngineImage {
    /// Returns the digests of the contents of its layers, base first.
    pub(super) fn diff_ids(&self) -> &[Digest] {
        let layers = self.root_fs.as_ref().and_then(|root| root.layers.as_ref());
        layers.map(Vec::as_slice).unwrap_or_default()
    }
}

impl Engine {
    /// Finds the engine. Does not connect.
    pub(super) async fn find(options: &EngineOptions) -> Result<Self> {
        let wanted = options.clone();
        Ok(Self {
            client: Client {
                host: blocking(move || Host::find(&wanted)).await??,
                environment: Arc::clone(&options.environment),
            },
        })
    }

    /// Returns where the engine is.
    pub(super) const fn host(&self) -> &Host {
        &self.client.host
    }

    /// Checks that the engine answers.
    pub(super) async fn ping(&self) -> Result<()> {
        self.small(Method::GET, "/_ping").await.map(drop)
    }

    /// Returns an image.
    pub(super) async fn image(&self, name: &str) -> Result<EngineImage> {
        self.json(&format!("/images/{}/json", escaped(name))).await
    }

    /// Returns the ids of all images, not more than `most`.
    pub(super) async fn images(&self, most: usize) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Listed {
            id: String,
        }
        let images: Vec<Listed> = self.json("/images/json?all=1").await?;
        Ok(images
            .into_iter()
            .take(most)
            .map(|image| image.id)
            .collect())
    }

    /// Returns whether the engine keeps images in containerd's store, which knows nothing of single
    /// layers.
    pub(super) async fn has_containerd_store(&self) -> Result<bool> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            #[serde(default)]
            driver_status: Option<Vec<Vec<String>>>,
        }
        let info: Info = self.json("/info").await?;
        let told = info.driver_status.unwrap_or_default();
        Ok(told
            .iter()
            .flatten()
            .any(|text| text.contains("containerd")))
    }

    /// Asks for the archive of an image.
    pub(super) async fn save(&self, name: &str) -> Result<Answer> {
        let path = format!("/images/get?names={}", escaped(name));
        self.client
            .send(Method::GET, &path, None)
            .await?
            .good()
            .await
    }

    /// Sends an archive; returns what the engine says of it.
    pub(super) async fn load(&self, archive: Sent) -> Result<()> {
        let sent = self
            .client
            .send(Method::POST, "/images/load?quiet=1", Some(archive));
        let answer = sent.await?.good().await?;
        let said = answer.whole(MAX_JSON).await?;
        // One document per line; the last one tells of an error.
        for line in said
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            #[derive(Deserialize)]
            struct Line {
                error: Option<String>,
            }
            if let Ok(Line { error: Some(error) }) = serde_json::from_slice(line) {
                // COMPAT(skopeo): its words.
                return Err(Error::new(
                    Kind::Invalid,
                    format!("docker engine reported: {error:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Takes a name away.
    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        let path = format!("/images/{}", escaped(name));
        self.small(Method::DELETE, &path).await.map(drop)
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let bytes = self.small(Method::GET, path).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the Docker engine at {} answers with nonsense", self.host());
            Error::new(Kind::Invalid, message).caused_by(error)
        })
    }

    async fn small(&self, method: Method, path: &str) -> Result<Vec<u8>> {
        let asked = async {
            let answer = self.client.send(method, path, None).await?.good().await?;
            answer.whole(MAX_JSON).await
        };
        timeout(SMALL, asked).await.map_err(|_| {
            let message = format!(
                "the Docker engine at {} does not answer in time",
                self.host()
            );
            Error::new(Kind::Timeout, message)
        })?
    }
}

/// Returns a name as a part of a path or query (RFC 3986, *Percent-Encoding*).
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                text.push(char::from(byte));
            }
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// The largest answer that is read into memory, in bytes: a list of some ten thousand images.
const MAX_JSON: usize = 32 * 1024 * 1024;
