//! The client against a real registry: Debian's `docker-registry`, with TLS from a private CA and htpasswd.

#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhow_client::{
    Access, Content, Endpoint, EndpointOptions, ErrorKind, ManifestRef, RepositoryClient, Session,
    SessionOptions, UploadMethod, UploadStart,
};
use dhow_config::{Config, CredentialSource, Credentials, FoundCredentials, Registries, Secret};
use dhow_model::{Descriptor, MediaType, RawManifest, Repository, Tag};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};

struct Registry {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Tls {
    Off,
    /// A certificate of a CA that is in the file `ca/ca.crt`.
    PrivateCa,
    /// A certificate marked as an authority, as `openssl req -x509` makes it.
    SelfSigned,
}

impl Registry {
    fn start(tls: Tls, password: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let root = directory.path().display();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: 127.0.0.1:{port}\n"
        );
        if tls != Tls::Off {
            certificates(directory.path(), tls);
            writeln!(
                config,
                "  tls: {{certificate: {root}/server.crt, key: {root}/server.key}}"
            )
            .unwrap();
        }
        if password {
            let line = output("htpasswd", &["-nbB", "user", "word"]);
            fs::write(directory.path().join("htpasswd"), line).unwrap();
            writeln!(
                config,
                "auth: {{htpasswd: {{realm: x, path: {root}/htpasswd}}}}"
            )
            .unwrap();
        }
        let path = directory.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's docker-registry is installed");
        let registry = Self {
            process,
            port,
            directory,
        };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the registry does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    fn client(&self, path: &str, options: EndpointOptions, access: Access) -> RepositoryClient {
        let session = Session::new(SessionOptions {
            config: Arc::new(Config::default().with_registries(Registries::default())),
            ..SessionOptions::default()
        });
        let name = format!("localhost:{}/{path}", self.port);
        Endpoint::new(&session.unwrap(), options)
            .repository(&Repository::parse(&name).unwrap(), access)
            .now_or_never()
            .unwrap()
            .unwrap()
    }
}

fn certificates(directory: &Path, tls: Tls) {
    let at = |name: &str| directory.join(name).display().to_string();
    fs::create_dir(directory.join("ca")).unwrap();
    let new_key = |key: &str| {
        let curve = "ec_paramgen_curve:P-256";
        ["-newkey", "ec", "-pkeyopt", curve, "-nodes", "-keyout"]
            .map(str::to_owned)
            .into_iter()
            .chain([at(key)])
            .collect::<Vec<_>>()
    };
    let run = |fixed: &[&str], rest: Vec<String>| {
        let mut arguments: Vec<String> = fixed.iter().map(|one| (*one).to_owned()).collect();
        arguments.extend(rest);
        let all: Vec<_> = arguments.iter().map(String::as_str).collect();
        output("openssl", &all);
    };
    let name = "subjectAltName=DNS:localhost";
    if tls == Tls::SelfSigned {
        let mut rest = new_key("server.key");
        rest.extend(["-out".to_owned(), at("server.crt")]);
        run(
            &[
                "req", "-x509", "-days", "9", "-subj", "/CN=x", "-addext", name,
            ],
            rest,
        );
        fs::copy(directory.join("server.crt"), directory.join("ca/ca.crt")).unwrap();
        return;
    }
    let mut rest = new_key("ca.key");
    rest.extend(["-out".to_owned(), at("ca/ca.crt")]);
    run(&["req", "-x509", "-days", "9", "-subj", "/CN=ca"], rest);
    let mut rest = new_key("server.key");
    rest.extend(["-out".to_owned(), at("server.csr")]);
    run(&["req", "-subj", "/CN=localhost"], rest);
    fs::write(directory.join("extensions"), name).unwrap();
    let rest = [
        "-in",
        "server.csr",
        "-CA",
        "ca/ca.crt",
        "-CAkey",
        "ca.key",
        "-out",
        "server.crt",
    ]
    .iter()
    .map(|one| {
        if one.starts_with('-') {
            (*one).to_owned()
        } else {
            at(one)
        }
    })
    .chain(["-extfile".to_owned(), at("extensions")])
    .collect();
    run(&["x509", "-req", "-days", "9", "-CAcreateserial"], rest);
}

fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {said}");
    output.stdout
}

fn options(credentials: Credentials, tls_verify: Option<bool>) -> EndpointOptions {
    EndpointOptions {
        tls_verify,
        ..EndpointOptions::new(CredentialSource::Given(FoundCredentials {
            credentials,
            origin: "`--creds`".to_owned(),
        }))
    }
}

fn login() -> Credentials {
    Credentials::Basic {
        username: "user".to_owned(),
        password: Secret::new("word"),
    }
}

/// Sends an image in all ways, reads it back, lists and deletes it.
async fn there_and_back(client: &RepositoryClient, sibling: &RepositoryClient) {
    let layer: Bytes = (0..5_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, &layer);
    assert_eq!(client.head_blob(&descriptor.digest).await.unwrap(), None);
    for (method, digest, size) in [
        (
            UploadMethod::Put,
            Some(descriptor.digest),
            Some(descriptor.size),
        ),
        (
            UploadMethod::Patch,
            Some(descriptor.digest),
            Some(descriptor.size),
        ),
        (
            UploadMethod::Chunks,
            Some(descriptor.digest),
            Some(descriptor.size),
        ),
        (UploadMethod::Put, None, None),
    ] {
        let mut upload = client.start_upload().await.unwrap().with_method(method);
        let pieces: Vec<_> = layer
            .chunks(100_000)
            .map(|one| Ok(layer.slice_ref(one)))
            .collect();
        let content = Content {
            start: 0,
            bytes: futures_util::stream::iter(pieces).boxed(),
            size,
            digest,
        };
        let done = upload.send(content).await.unwrap();
        assert_eq!(
            (done.digest, done.size),
            (descriptor.digest, descriptor.size)
        );
    }
    let head = client.head_blob(&descriptor.digest).await.unwrap().unwrap();
    assert_eq!(head.size, Some(descriptor.size));
    let mounted = sibling
        .mount(&descriptor.digest, client.repository())
        .await
        .unwrap();
    assert!(matches!(mounted, UploadStart::Mounted));
    for offset in [0_usize, 4_999_000] {
        let stream = client.blob(&descriptor, offset as u64).await.unwrap();
        let pieces: Vec<Bytes> = stream.bytes.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), layer[offset..]);
    }
    let config = Bytes::from_static(b"{}");
    let config_descriptor = Descriptor::of(MediaType::OCI_CONFIG, &config);
    let mut upload = client.start_upload().await.unwrap();
    let content = Content::from_bytes(config, Some(config_descriptor.digest));
    upload.send(content).await.unwrap();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        MediaType::OCI_MANIFEST,
        serde_json::to_string(&config_descriptor).unwrap(),
        serde_json::to_string(&descriptor).unwrap()
    );
    let manifest = RawManifest::new(Bytes::from(text), None).unwrap();
    let tag = ManifestRef::Tag(Tag::parse("v1").unwrap());
    client.put_manifest(&tag, &manifest).await.unwrap();
    assert_eq!(client.manifest(&tag).await.unwrap(), manifest);
    let head = client.head_manifest(&tag).await.unwrap().unwrap();
    assert_eq!(head.digest, Some(manifest.digest()));
    let tags: Vec<_> = client.tags().try_collect().await.unwrap();
    assert_eq!(tags, [Tag::parse("v1").unwrap()]);
    let near = ManifestRef::Tag(Tag::parse("v2").unwrap());
    let error = client.manifest(&near).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("`v1`"));
    assert!(
        client
            .referrers(&manifest.digest(), None)
            .await
            .unwrap()
            .is_empty()
    );
    client.delete_manifest(&manifest.digest()).await.unwrap();
    assert_eq!(client.head_manifest(&tag).await.unwrap(), None);
}

#[tokio::test]
async fn an_image_goes_there_and_back_in_plain_http() {
    let registry = Registry::start(Tls::Off, false);
    let options = options(Credentials::Anonymous, Some(false));
    let client = registry.client("a/b", options.clone(), Access::Push);
    there_and_back(&client, &registry.client("c/d", options, Access::Push)).await;
}

#[tokio::test]
async fn an_image_goes_there_and_back_with_a_private_ca_and_a_password() {
    for tls in [Tls::PrivateCa, Tls::SelfSigned] {
        let registry = Registry::start(tls, true);
        let mut options = options(login(), None);
        options.cert_dir = Some(registry.directory.path().join("ca"));
        let client = registry.client("a/b", options.clone(), Access::Push);
        there_and_back(&client, &registry.client("c/d", options, Access::Push)).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_trust_and_credentials_is_told() {
    let registry = Registry::start(Tls::PrivateCa, true);
    let tag = ManifestRef::Tag(Tag::latest());
    let try_with = async |options: EndpointOptions| {
        let client = registry.client("a/b", options, Access::Pull);
        client.manifest(&tag).await.unwrap_err()
    };
    let error = try_with(options(login(), None)).await;
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    let hint = error.hint_text().unwrap();
    assert!(
        hint.contains("certs.d") && hint.contains("--tls-verify=false"),
        "{hint}"
    );
    // Without verification the password is asked for, over TLS.
    let error = try_with(options(Credentials::Anonymous, Some(false))).await;
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.hint_text().unwrap().contains("--creds"));
    let wrong = Credentials::Basic {
        username: "user".to_owned(),
        password: Secret::new("wrong"),
    };
    let error = try_with(options(wrong, Some(false))).await;
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let error = try_with(options(login(), Some(false))).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // A CA that did not sign the certificate.
    let other = Registry::start(Tls::PrivateCa, false);
    let mut strange = options(login(), None);
    strange.cert_dir = Some(PathBuf::from(other.directory.path()).join("ca"));
    assert_eq!(try_with(strange).await.kind(), ErrorKind::Untrusted);
}
