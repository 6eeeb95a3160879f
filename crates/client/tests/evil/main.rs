//! A registry that means harm. Each test plays a row of *Digests and manifests* in the project's
//! list of known attacks; what `tests/wire` plays already is not repeated.

#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

mod digests;
mod endless;
mod kinds;

use std::sync::Arc;

use dhow_client::{Access, Endpoint, EndpointOptions, RepositoryClient, Session, SessionOptions};
use dhow_config::{Config, CredentialSource, Credentials, FoundCredentials, Registries};
use dhow_testkit::scripted::{Reply, ScriptedServer};
use futures_util::FutureExt as _;

/// Returns an endpoint that tries nothing twice.
pub(crate) fn endpoint() -> Endpoint {
    let session = Session::new(SessionOptions {
        config: Arc::new(Config::default().with_registries(Registries::default())),
        retries: 0,
        ..SessionOptions::default()
    });
    let source = CredentialSource::Given(FoundCredentials {
        credentials: Credentials::Anonymous,
        origin: "the test".to_owned(),
    });
    let options = EndpointOptions {
        tls_verify: Some(false),
        ..EndpointOptions::new(source)
    };
    Endpoint::new(&session.unwrap(), options)
}

/// Returns a client of `a/b` on the server.
pub(crate) fn client(server: &ScriptedServer) -> RepositoryClient {
    let repository = format!("{}/a/b", server.address());
    let repository = dhow_model::Repository::parse(&repository).unwrap();
    endpoint()
        .repository(&repository, Access::Pull)
        .now_or_never()
        .unwrap()
        .unwrap()
}

/// Starts a server with one answer to everything.
pub(crate) async fn always(reply: Reply) -> ScriptedServer {
    ScriptedServer::start(move |_, _| reply.clone()).await
}
