//! Step by step from a name to a right, for `dhow doctor`: each step by itself, so that the first
//! that does not work is known.
//!
//! The steps use the connections, certificates, credentials and guards of every other request;
//! only the TLS handshake is made once more, to look at the certificates.

mod certificate;
mod handshake;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dhow_config::FoundCredentials;
use http::Method;
use tokio::net::TcpStream;

pub use certificate::CertificateFacts;
pub use handshake::TlsFacts;

use crate::auth::{self, Challenge};
use crate::host::Scheme;
use crate::origin::redacted;
use crate::request::Request;
use crate::{Error, ErrorKind, ManifestRef, Place, RateLimit, RepositoryClient};

/// Examines one place.
#[derive(Clone, Debug)]
pub struct Probe {
    client: RepositoryClient,
}

/// A connection that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// With whom.
    pub address: SocketAddr,
    /// How long it took.
    pub elapsed: Duration,
}

/// Which proof a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// None.
    Nothing,
    /// User name and password.
    Basic,
    /// A token of this service.
    Bearer {
        /// The address of the token service, without what may be secret.
        realm: String,
        /// The name under which the registry is known there.
        service: Option<String>,
    },
    /// Something that dhow cannot give, or an answer that is none of a registry.
    Unknown {
        /// The status of the answer.
        status: u16,
    },
}

/// Where trust comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustFacts {
    /// The directories in which certificates for this registry are searched.
    pub looked_in: Vec<PathBuf>,
    /// The one that was found.
    pub dir: Option<PathBuf>,
    /// The certificate authorities in it.
    pub authorities: Vec<PathBuf>,
    /// The client certificates in it.
    pub identities: Vec<PathBuf>,
    /// Where the system's authorities were read from.
    pub system: Vec<PathBuf>,
    /// Whether certificates are verified.
    pub verified: bool,
}

impl Place {
    /// Returns what examines this place.
    pub fn probe(&self) -> Probe {
        self.client.probe()
    }
}

impl RepositoryClient {
    /// Returns what examines the place of this repository.
    pub fn probe(&self) -> Probe {
        Probe {
            client: self.hasty(),
        }
    }
}

impl Probe {
    /// Returns host and port, where the registry is reached by https.
    pub fn authority(&self) -> Result<(String, u16), Error> {
        let base = self.client.channel.host().base(Scheme::Https)?;
        let host = base.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok((host, base.port_or_known_default().unwrap_or(443)))
    }

    /// Returns the proxy through which the registry is reached, without its password.
    pub fn proxy(&self) -> Result<Option<String>, Error> {
        let scheme = self.client.channel.host().scheme();
        let base = self
            .client
            .channel
            .host()
            .base(scheme.unwrap_or(Scheme::Https))?;
        let proxy = self.client.channel.session().proxies().proxy(&base);
        Ok(proxy.as_ref().map(redacted))
    }

    /// Resolves the name of the registry.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, Error> {
        let (host, port) = self.authority()?;
        let limit = self.client.channel.session().timeouts().connect;
        let looking = tokio::net::lookup_host((host.as_str(), port));
        match tokio::time::timeout(limit, looking).await {
            Ok(Ok(found)) => Ok(found.collect()),
            Ok(Err(source)) => Err(Error::new(
                ErrorKind::Unreachable,
                format!("the name `{host}` has no address"),
            )
            .caused_by(source)
            .hint("check the spelling, and the name servers in /etc/resolv.conf")),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("no name server told the address of `{host}` in time"),
            )),
        }
    }

    /// Connects to the first of `addresses` that answers.
    pub async fn connect(&self, addresses: &[SocketAddr]) -> Result<Connected, Error> {
        let limit = self.client.channel.session().timeouts().mirror;
        let (host, port) = self.authority()?;
        let mut last = Error::new(
            ErrorKind::Unreachable,
            format!("`{host}` has no address to connect to"),
        );
        for address in addresses {
            let start = Instant::now();
            let unreachable =
                |kind| Error::new(kind, format!("`{host}` does not answer at {address}"));
            last = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {
                    return Ok(Connected {
                        address: *address,
                        elapsed: start.elapsed(),
                    });
                }
                Ok(Err(source)) => unreachable(ErrorKind::Unreachable).caused_by(source),
                Err(_) => unreachable(ErrorKind::Timeout),
            };
        }
        Err(last.hint(format!(
            "check that the registry runs, and that no firewall is in front of port {port}"
        )))
    }

    /// Makes a TLS handshake and looks at the certificates. `None` where the host does not speak
    /// TLS.
    pub async fn tls(&self, address: SocketAddr) -> Result<Option<TlsFacts>, Error> {
        handshake::run(&self.client.channel, address).await
    }

    /// Returns where trust comes from, once certificates were read.
    pub fn trust(&self) -> TrustFacts {
        let host = self.client.channel.host();
        let trust = host.trust();
        let trust = trust.as_deref();
        TrustFacts {
            looked_in: trust
                .map(|trust| trust.looked_in.clone())
                .unwrap_or_default(),
            dir: trust.and_then(|trust| trust.dir.clone()),
            authorities: trust
                .map(|trust| trust.authorities.clone())
                .unwrap_or_default(),
            identities: trust
                .map(|trust| trust.identities.clone())
                .unwrap_or_default(),
            system: trust.map(|trust| trust.system.clone()).unwrap_or_default(),
            verified: host.key.verify,
        }
    }

    /// Asks the registry which proof it wants (`GET /v2/`), showing none.
    pub async fn proof(&self) -> Result<Proof, Error> {
        let mut request = Request::to_path(Method::GET, "/v2/".to_owned());
        let answer = self.client.channel.exchange_openly(&mut request).await?;
        if answer.status().is_success() {
            return Ok(Proof::Nothing);
        }
        let offered = auth::challenges(answer.headers());
        Ok(match offered.into_iter().next() {
            Some(Challenge::Basic) => Proof::Basic,
            Some(Challenge::Bearer(bearer)) => Proof::Bearer {
                realm: bearer
                    .realm
                    .as_deref()
                    .and_then(|realm| url::Url::parse(realm).ok())
                    .map(|realm| redacted(&realm))
                    .unwrap_or_default(),
                service: bearer.service,
            },
            None => Proof::Unknown {
                status: answer.status().as_u16(),
            },
        })
    }

    /// Returns whether the registry speaks https, once that is known.
    pub fn is_secure(&self) -> Option<bool> {
        let scheme = self.client.channel.host().scheme()?;
        Some(scheme == Scheme::Https)
    }

    /// Returns the credentials that are shown here.
    pub async fn credentials(&self) -> Result<FoundCredentials, Error> {
        self.client.channel.found_credentials().await
    }

    /// Shows the credentials to the registry, or lets the token service check them.
    pub async fn log_in(&self) -> Result<(), Error> {
        let request = Request::to_path(Method::GET, "/v2/".to_owned());
        let answer = self.client.channel.send(request).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let registry = self.client.repository.registry();
        let what = format!("registry `{registry}` does not let these credentials in");
        Err(self.client.refusal(answer, what).await)
    }

    /// Asks for a manifest without reading it; `false` when it is not there, and reading is
    /// allowed.
    pub async fn pull(&self, manifest: &ManifestRef) -> Result<bool, Error> {
        Ok(self.client.head_manifest(manifest).await?.is_some())
    }

    /// Starts an upload and gives it up: nothing is stored.
    pub async fn push(&self) -> Result<(), Error> {
        self.client.start_upload().await?.cancel().await;
        Ok(())
    }

    /// Returns what the registry said of its limit, if it did.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.client.channel.host().pace().limit()
    }
}
