//! What goes over the wire: the client against a scripted server, request by request.

#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

mod auth;
mod connections;
mod download;
mod guards;
mod lists;
mod manifests;
mod parts;
mod retries;
mod safety;
mod tls;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use dhow_client::{
    Access, BlobStream, Endpoint, EndpointOptions, Error, RepositoryClient, Session, SessionOptions,
};
use dhow_config::{Config, CredentialSource, Credentials, FoundCredentials, Registries, Secret};
use dhow_model::{Descriptor, MediaType, RawManifest, Repository};
use dhow_testkit::scripted::ScriptedServer;
use futures_util::{FutureExt as _, StreamExt as _};

/// Secrets that must never be seen outside an `Authorization` header or a form.
pub(crate) const PASSWORD: &str = "canary-password";
pub(crate) const IDENTITY: &str = "canary-identity";
pub(crate) const TOKEN: &str = "canary-token";

/// Settings that do not depend on the machine.
pub(crate) fn config() -> Config {
    Config::default().with_registries(Registries::default())
}

pub(crate) fn session() -> Session {
    Session::new(SessionOptions {
        user_agent: "dhow/test".to_owned(),
        config: Arc::new(config()),
        retries: 3,
        ..SessionOptions::default()
    })
    .unwrap()
}

pub(crate) fn basic() -> Credentials {
    Credentials::Basic {
        username: "user".to_owned(),
        password: Secret::new(PASSWORD),
    }
}

pub(crate) fn given(credentials: Credentials) -> CredentialSource {
    CredentialSource::Given(FoundCredentials {
        credentials,
        origin: "`--creds`".to_owned(),
    })
}

pub(crate) fn endpoint(session: &Session, credentials: Credentials) -> Endpoint {
    Endpoint::new(
        session,
        EndpointOptions {
            tls_verify: Some(false),
            ..EndpointOptions::new(given(credentials))
        },
    )
}

pub(crate) fn repository(server: &ScriptedServer, path: &str) -> Repository {
    Repository::parse(&format!("{}/{path}", server.address())).unwrap()
}

/// Returns a client of `a/b` on the server, in a session of its own.
pub(crate) fn client(
    server: &ScriptedServer,
    credentials: Credentials,
    access: Access,
) -> RepositoryClient {
    reach(
        &endpoint(&session(), credentials),
        &repository(server, "a/b"),
        access,
    )
}

/// Returns a client of a repository. No file is read for it, so that nothing is waited for.
pub(crate) fn reach(
    endpoint: &Endpoint,
    repository: &Repository,
    access: Access,
) -> RepositoryClient {
    let reaching = endpoint.repository(repository, access).now_or_never();
    reaching.unwrap().unwrap()
}

pub(crate) fn anonymous(server: &ScriptedServer) -> RepositoryClient {
    client(server, Credentials::Anonymous, Access::Push)
}

pub(crate) fn manifest() -> RawManifest {
    let config = Descriptor::of(MediaType::OCI_CONFIG, b"{}");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[]}}"#,
        MediaType::OCI_MANIFEST,
        serde_json::to_string(&config).unwrap()
    );
    RawManifest::new(Bytes::from(text), None).unwrap()
}

pub(crate) fn blob(data: &[u8]) -> Descriptor {
    Descriptor::of(MediaType::OCI_LAYER_GZIP, data)
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap())
        .collect()
}

pub(crate) async fn read(stream: BlobStream) -> Result<Vec<u8>, Error> {
    let mut bytes = stream.bytes;
    let mut all = Vec::new();
    while let Some(piece) = bytes.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

/// Returns the whole chain of an error, as words and as Debug, to look for secrets in.
pub(crate) fn everything(error: &Error) -> String {
    let mut text = format!("{error:?} {error} {:?}", error.hint_text());
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push(' ');
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
