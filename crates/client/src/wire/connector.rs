//! Makes connections: TCP to an address that the guard admits, through a proxy where one is set,
//! with TLS for https.
//!
//! ```text
//! http                  TCP
//! https                 TCP, TLS
//! http,  http(s) proxy  TCP [TLS of the proxy], whole URLs
//! https, http(s) proxy  TCP [TLS of the proxy], CONNECT, TLS
//! http,  socks5h        TCP, SOCKS5
//! https, socks5h        TCP, SOCKS5, TLS
//! ```

use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use http::header::USER_AGENT;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Uri};
use hyper::rt::Executor as _;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;
use url::Url;

use super::ahead::{Ahead, Open};
use super::connection::{Connection, Speaks, Stream};
use super::hop::{Hop, Protocol};
use super::{BoxError, WireOptions};
use crate::guard::Resolver;
use crate::proxy::ProxyRules;

/// How long a connection is silent before the kernel asks whether the other side is there.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// How long the kernel waits before it asks again, and how often it does so.
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASK_TIMES: u32 = 3;
/// How long the kernel waits for data to be acknowledged before it calls a connection dead.
const DEAD_AFTER: Duration = Duration::from_mins(1);

/// Makes the connections of one host. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    tcp: HttpConnector<Resolver>,
    tls: TlsConnector,
    /// For the proxy's own TLS: with it HTTP/1.1 is spoken, whatever the host speaks.
    tls_to_proxy: TlsConnector,
    proxies: Arc<ProxyRules>,
    user_agent: HeaderValue,
    timeout: Duration,
    reached_in: Arc<OnceLock<Duration>>,
    ahead: Ahead,
    open: Open,
}

impl Connector {
    pub(super) fn new(options: WireOptions) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(options.resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(SILENT_FOR));
        tcp.set_keepalive_interval(Some(ASK_EVERY));
        tcp.set_keepalive_retries(Some(ASK_TIMES));
        tcp.set_tcp_user_timeout(Some(DEAD_AFTER));
        // Divided among the addresses of a name; the one around it is for the whole.
        tcp.set_connect_timeout(Some(options.connect));
        let mut to_proxy: ClientConfig = options.tls.clone();
        to_proxy.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(Inner {
            tcp,
            tls: Arc::new(options.tls).into(),
            tls_to_proxy: Arc::new(to_proxy).into(),
            proxies: options.proxies,
            user_agent: options.user_agent,
            timeout: options.connect,
            reached_in: options.reached_in,
            ahead: Ahead::default(),
            open: Open::default(),
        }))
    }

    /// Begins to make a connection that will be asked for soon, if there are fewer than `most`.
    pub(super) fn connect_ahead(&self, target: Uri, most: usize) {
        if self.0.open.count() >= most {
            return;
        }
        let (inner, counted) = (Arc::clone(&self.0), self.0.open.clone());
        let hand_in = self.0.ahead.begin(target.clone());
        TokioExecutor::new().execute(async move {
            // Nobody takes it when the pool is gone, or found it too old.
            let _nobody = hand_in.send(inner.connect_in_time(&target, counted).await);
        });
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Connection, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            // What went wrong while nobody waited for it is not told: it may be over.
            if let Some(begun) = inner.ahead.take(&target)
                && let Ok(Ok(connection)) = begun.await
            {
                return Ok(connection);
            }
            inner.connect_in_time(&target, inner.open.clone()).await
        })
    }
}

impl Inner {
    async fn connect_in_time(&self, target: &Uri, counted: Open) -> Result<Connection, BoxError> {
        match tokio::time::timeout(self.timeout, self.connect(target, counted)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    async fn connect(&self, target: &Uri, counted: Open) -> Result<Connection, BoxError> {
        let is_secure = target.scheme() == Some(&Scheme::HTTPS);
        let proxy = self.proxies.proxy(&Url::parse(&target.to_string())?);
        let stream = match proxy {
            None => {
                let start = Instant::now();
                let stream = self.tcp(target).await?;
                self.reached_in.get_or_init(|| start.elapsed());
                stream
            }
            Some(proxy) => {
                let hop = Hop::new(&proxy)?;
                let stream = self.reach(&hop).await?;
                match hop.protocol {
                    Protocol::Socks => socks(&hop, stream, target).await?,
                    Protocol::Http if is_secure => self.tunnel(&hop, stream, target).await?,
                    Protocol::Http => {
                        return Ok(Connection::new(stream, Speaks::Http1ToProxy, counted));
                    }
                }
            }
        };
        if !is_secure {
            return Ok(Connection::new(stream, Speaks::Http1, counted));
        }
        let stream = secure(&self.tls, stream, target).await?;
        let speaks = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Speaks::Http2,
            _ => Speaks::Http1,
        };
        Ok(Connection::new(Box::new(stream), speaks, counted))
    }

    async fn tcp(&self, target: &Uri) -> Result<Box<dyn Stream>, BoxError> {
        let stream = self.tcp.clone().call(target.clone()).await?;
        Ok(Box::new(stream.into_inner()))
    }

    /// Connects to a proxy, and speaks TLS to it where it wants that.
    async fn reach(&self, hop: &Hop) -> Result<Box<dyn Stream>, BoxError> {
        let stream = self.tcp(&hop.address).await?;
        if hop.address.scheme() != Some(&Scheme::HTTPS) {
            return Ok(stream);
        }
        let stream = secure(&self.tls_to_proxy, stream, &hop.address).await?;
        Ok(Box::new(stream))
    }

    /// Has a proxy connect to the target (RFC 9110 §9.3.6).
    async fn tunnel(
        &self,
        hop: &Hop,
        stream: Box<dyn Stream>,
        target: &Uri,
    ) -> Result<Box<dyn Stream>, BoxError> {
        let headers = HeaderMap::from_iter([(USER_AGENT, self.user_agent.clone())]);
        let mut tunnel = Tunnel::new(hop.address.clone(), Made::new(stream)).with_headers(headers);
        if let Some(authorization) = hop.authorization()? {
            tunnel = tunnel.with_auth(authorization);
        }
        Ok(Box::new(tunnel.call(target.clone()).await?.into_inner()))
    }
}

/// Has a proxy connect to the target (RFC 1928, RFC 1929); it resolves the name.
async fn socks(
    hop: &Hop,
    stream: Box<dyn Stream>,
    target: &Uri,
) -> Result<Box<dyn Stream>, BoxError> {
    // hyper-util takes a missing port for that of https.
    let port = target.port_u16().unwrap_or(match target.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    let host = target.host().unwrap_or_default();
    let mut proxy = SocksV5::new(hop.address.clone(), Made::new(stream));
    if let Some((user, password)) = &hop.login {
        proxy = proxy.with_auth(user.clone(), password.expose().to_owned());
    }
    let stream = proxy.call(format!("socks5h://{host}:{port}/").parse()?);
    Ok(Box::new(stream.await?.into_inner()))
}

async fn secure(
    tls: &TlsConnector,
    stream: Box<dyn Stream>,
    target: &Uri,
) -> Result<TlsStream<Box<dyn Stream>>, BoxError> {
    let host = target.host().unwrap_or_default();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())?;
    Ok(tls.connect(name, stream).await?)
}

/// What is connected already, for handshakes that want to connect themselves: they would hide why
/// that did not go.
struct Made(Option<TokioIo<Box<dyn Stream>>>);

impl Made {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self(Some(TokioIo::new(stream)))
    }
}

impl Service<Uri> for Made {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        // Cannot be missing: each handshake connects once.
        ready(
            self.0
                .take()
                .ok_or_else(|| io::ErrorKind::NotConnected.into()),
        )
    }
}
