//! A running server, and a client that is told everything.

use std::path::Path;
use std::sync::{Arc, Mutex};

use dhow_model::Digest;
use dhow_server::{Config, RequestLine, RequestLog, Server, StoreConfig};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) client: Client,
    pub(crate) lines: Arc<Lines>,
    pub(crate) certificate: Option<String>,
    stop: Option<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<RequestLine>>);

impl RequestLog for Lines {
    fn request(&self, line: &RequestLine) {
        self.0.lock().unwrap().push(line.clone());
    }
}

/// Runs a test on both stores.
pub(crate) async fn on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    test(World::start(StoreConfig::Memory).await).await;
    let place = TempDir::new().unwrap();
    test(World::on(place.path()).await).await;
}

impl World {
    pub(crate) async fn start(store: StoreConfig) -> Self {
        Self::with(store, |_| {}).await
    }

    pub(crate) async fn on(directory: &Path) -> Self {
        Self::start(StoreConfig::Directory(directory.join("target"))).await
    }

    pub(crate) async fn with(store: StoreConfig, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), store);
        let lines = Arc::new(Lines::default());
        config.log = Arc::clone(&lines) as Arc<dyn RequestLog>;
        change(&mut config);
        let server = Server::bind(config).await.unwrap();
        let certificate = server.certificate_pem().map(str::to_owned);
        let scheme = if certificate.is_some() {
            "https"
        } else {
            "http"
        };
        let base = format!("{scheme}://{}", server.local_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let ended = async { drop(stopped.await) };
            server.run(ended).await.unwrap();
        });
        Self {
            base,
            client: client(certificate.as_deref()),
            lines,
            certificate,
            stop: Some(stop),
            tasks,
        }
    }

    /// Stops the server in good order.
    pub(crate) async fn stop(mut self) {
        drop(self.client);
        drop(self.stop.take());
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        self.client.request(method, url)
    }

    pub(crate) async fn send(&self, method: &str, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    pub(crate) async fn status(&self, method: &str, path: &str) -> u16 {
        self.send(method, path).await.status().as_u16()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let text = self.send("GET", path).await.text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn push_blob(&self, repository: &str, data: &'static [u8]) -> Digest {
        let digest = Digest::sha256(data);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.request("POST", &path).body(data).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        digest
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        name: &str,
        document: &Value,
    ) -> Response {
        let kind = document["mediaType"].as_str().unwrap().to_owned();
        self.request("PUT", &format!("/v2/{repository}/manifests/{name}"))
            .header("content-type", kind)
            .body(document.to_string())
            .send()
            .await
            .unwrap()
    }

    /// Pushes an image whose only layer is `content` and returns its digest.
    pub(crate) async fn push_image(
        &self,
        repository: &str,
        tag: &str,
        content: &'static [u8],
    ) -> Digest {
        let image = self.image(repository, content).await;
        let answer = self.put_manifest(repository, tag, &image).await;
        assert_eq!(answer.status(), 201);
        digest_of(&image)
    }

    /// Pushes the blobs of an image and returns its manifest.
    pub(crate) async fn image(&self, repository: &str, content: &'static [u8]) -> Value {
        self.push_blob(repository, b"{}").await;
        self.push_blob(repository, content).await;
        manifest(content)
    }
}

pub(crate) fn manifest(content: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256(b"{}"),
            "size": 2,
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": Digest::sha256(content),
            "size": content.len(),
        }],
    })
}

pub(crate) fn index(manifests: &[&Value]) -> Value {
    let entries: Vec<Value> = manifests
        .iter()
        .map(|manifest| {
            json!({
                "mediaType": manifest["mediaType"],
                "digest": digest_of(manifest),
                "size": manifest.to_string().len(),
            })
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
}

pub(crate) fn digest_of(document: &Value) -> Digest {
    Digest::sha256(document.to_string().as_bytes())
}

pub(crate) fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

pub(crate) async fn code(answer: Response) -> String {
    let text = answer.text().await.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    document["errors"][0]["code"].as_str().unwrap().to_owned()
}

fn client(certificate: Option<&str>) -> Client {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let mut builder = Client::builder().no_proxy();
    if let Some(pem) = certificate {
        let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        builder = builder.tls_certs_only([trusted]);
    }
    builder.build().unwrap()
}
