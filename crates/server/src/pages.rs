//! A few pages of text over HTTP, for those who watch a long-running command: health and metrics.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Error;

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// Whether all is well: 200, else 503.
    pub well: bool,
    /// The text.
    pub text: String,
}

/// Gives the page for a path; `None` where there is none.
pub type Pages = Arc<dyn Fn(&str) -> Option<Page> + Send + Sync>;

/// Pages that can be read as long as this is served.
pub struct PageServer {
    listener: TcpListener,
    pages: Pages,
}

impl PageServer {
    /// Listens.
    pub async fn bind(listen: SocketAddr, pages: Pages) -> Result<Self, Error> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| Error::Listen {
                address: listen,
                source,
            })?;
        Ok(Self { listener, pages })
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until the future is dropped.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = self.listener.accept().await;
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if connections.len() >= AT_ONCE {
                continue;
            }
            let pages = Arc::clone(&self.pages);
            connections.spawn(async move {
                let serve = service_fn(|request| {
                    let answer = answer(&pages, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), serve);
                // Whoever hangs up has seen enough.
                drop(connection.await);
            });
        }
    }
}

impl std::fmt::Debug for PageServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageServer")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

fn answer<B>(pages: &Pages, request: &Request<B>) -> Response<Full<Bytes>> {
    let found = match *request.method() {
        Method::GET | Method::HEAD => pages(request.uri().path()),
        _ => None,
    };
    let (status, text) = match found {
        Some(page) if page.well => (StatusCode::OK, page.text),
        Some(page) => (StatusCode::SERVICE_UNAVAILABLE, page.text),
        None => (StatusCode::NOT_FOUND, "there is no such page\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// How many readers there may be at once.
const AT_ONCE: usize = 64;
/// How long a reader may take for a request.
const PATIENCE: Duration = Duration::from_secs(10);
