//! Listening, and the life of connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::auth::Gate;
use crate::catalog::{LayoutCatalog, MemoryCatalog};
use crate::naming::Naming;
use crate::registry::{Opened, Registry};
use crate::service::Service;
use crate::sessions::Sessions;
use crate::store::{Disk, Memory};
use crate::tls::Tls;
use crate::{Config, Error, StoreConfig};

/// A registry that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    service: Arc<Service>,
    acceptor: Option<Acceptor>,
    certificate: Option<String>,
}

#[derive(Clone)]
struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Server {
    /// Opens the store and the certificate, and listens. Connections wait until
    /// [`Server::run`].
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let (tls_config, store_config) = (config.tls, config.store);
        let opened = tokio::task::spawn_blocking(move || {
            Ok((Tls::new(&tls_config)?, open_store(&store_config)?))
        })
        .await;
        let (tls, opened) = match opened {
            Ok(result) => result?,
            Err(error) => return Err(Error::System(error.to_string())),
        };
        let listen = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let gate = Gate::new(config.auth, config.anonymous_pull)
            .ok_or_else(|| Error::System("there are no random numbers".to_owned()))?;
        let (acceptor, certificate) = match tls {
            Some(tls) => (Some(Acceptor(tls.acceptor)), tls.pem),
            None => (None, None),
        };
        let service = Service {
            registry: Arc::new(Registry::new(opened, config.allow_sparse)),
            sessions: Sessions::default(),
            gate,
            read_only: config.read_only,
            scheme: if acceptor.is_some() { "https" } else { "http" },
            address,
            log: config.log,
        };
        Ok(Self {
            listener,
            address,
            service: Arc::new(service),
            acceptor,
            certificate,
        })
    }

    /// Returns the address that it listens on.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate that was made up, for clients to trust.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Answers requests until `shutdown` ends; then lets those under way end, for a few seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let mut shutdown = pin!(shutdown);
        let (stop, stopping) = watch::channel(());
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            tokio::select! {
                () = &mut shutdown => break,
                (place, accepted) = accept => match accepted {
                    Ok((stream, remote)) => {
                        let connection = Connection {
                            service: Arc::clone(&self.service),
                            acceptor: self.acceptor.clone(),
                            remote,
                            stopping: stopping.clone(),
                        };
                        connections.spawn(async move {
                            connection.run(stream).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        // Often too many open files: others must end first.
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_ended) = connections.join_next() => {}
            }
        }
        drop(self.listener);
        drop(stop);
        let all_end = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all_end).await.is_err() {
            tracing::warn!(connections = connections.len(), "connections were cut");
        }
        Ok(())
    }
}

fn open_store(config: &StoreConfig) -> Result<Opened, Error> {
    let memory = |limit| Opened {
        store: Arc::new(Memory::new(limit)),
        catalog: Arc::new(MemoryCatalog::new()),
    };
    match config {
        StoreConfig::Directory(path) => {
            let disk = Disk::open(path)?;
            let catalog = LayoutCatalog::new(disk.layout(), Naming::for_directory(path));
            Ok(Opened {
                store: Arc::new(disk),
                catalog: Arc::new(catalog),
            })
        }
        StoreConfig::Memory => Ok(memory(StoreConfig::MEMORY_LIMIT)),
        StoreConfig::MemoryLimited(limit) => Ok(memory(*limit)),
    }
}

struct Connection {
    service: Arc<Service>,
    acceptor: Option<Acceptor>,
    remote: SocketAddr,
    stopping: watch::Receiver<()>,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Answers are written whole; waiting for more only delays them.
        drop(stream.set_nodelay(true));
        match self.acceptor.clone() {
            None => self.serve(stream).await,
            Some(Acceptor(acceptor)) => {
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => self.serve(stream).await,
                    Ok(Err(error)) => {
                        tracing::debug!(remote = %self.remote, %error, "no TLS handshake");
                    }
                    Err(_) => tracing::debug!(remote = %self.remote, "TLS handshake too slow"),
                }
            }
        }
    }

    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER)
            .max_buf_size(BUFFER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_send_buf_size(BUFFER)
            .max_header_list_size(32 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let (service, remote) = (self.service, self.remote);
        let answer = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer(remote, request).await) }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _stop = self.stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%remote, %error, "a connection broke");
        }
    }
}

/// How many connections there may be at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 512;

/// How many requests there may be at once in one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;

/// How many bytes of one request or connection are in memory.
const BUFFER: usize = 128 * 1024;

/// How many bytes of an HTTP/2 request a client may send ahead.
const WINDOW: u32 = 256 * 1024;

/// How long a client may take for a request's header, and stay without one.
const HEADER: Duration = Duration::from_mins(1);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// How long requests may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(5);
