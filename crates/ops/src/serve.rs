//! Serve: a layout directory, or memory, as a registry.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use dhow_server::{AuthConfig, Config, Htpasswd, Server, StoreConfig};
pub use dhow_server::{RequestLine, RequestLog, TlsConfig};

use crate::Error;

/// What to serve, and to whom.
#[derive(Clone, Debug)]
pub struct ServeRequest {
    /// The layout directory; `None` keeps images in memory.
    pub directory: Option<PathBuf>,
    /// The address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Whether and how connections are encrypted.
    pub tls: TlsConfig,
    /// The users and their passwords; `None` lets everybody do everything.
    pub htpasswd: Option<PathBuf>,
    /// Users get Bearer tokens from a token service, as in OpenShift, and not Basic.
    pub token_auth: bool,
    /// Refuse everything that writes.
    pub read_only: bool,
    /// What is told about each request.
    pub log: Arc<dyn RequestLog>,
}

/// What a server is called once it listens.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The certificate that was made at start, PEM.
    pub certificate: Option<String>,
}

/// Serves until `shutdown` is ready. `started` is called once the server listens.
pub async fn serve(
    request: ServeRequest,
    started: impl FnOnce(&Serving),
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let store = request
        .directory
        .map_or(StoreConfig::Memory, StoreConfig::Directory);
    let mut config = Config::new(request.listen, store);
    config.tls = request.tls;
    config.read_only = request.read_only;
    config.log = request.log;
    config.auth = match request.htpasswd {
        None if request.token_auth => {
            return Err(Error::Unsupported {
                message: "tokens are given to users, and there are none".to_owned(),
                hint: "name a file of users with `--htpasswd`".to_owned(),
            });
        }
        None => AuthConfig::Open,
        Some(path) => {
            let users = Htpasswd::open(&path)?;
            if request.token_auth {
                AuthConfig::Token(users)
            } else {
                AuthConfig::Basic(users)
            }
        }
    };
    let server = Server::bind(config).await?;
    started(&Serving {
        address: server.local_addr(),
        certificate: server.certificate_pem().map(str::to_owned),
    });
    Ok(server.run(shutdown).await?)
}
