//! A scripted server on loopback: it answers what the test says, with faults where the test wants
//! them, and records what it was asked. It speaks HTTP/2, too, where its identity offers that.

mod served;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::evil::Flood;
use crate::identity::Identity;

/// How many bytes of a request body are kept.
const KEPT: usize = 64 * 1024;

/// A server that is stopped when it is dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`.
    pub method: String,
    /// The version of HTTP that it came with.
    pub version: Version,
    /// The path without the query.
    pub path: String,
    /// The query, empty if there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The beginning of the body (64 KiB); empty while a reply is being chosen.
    pub body: Vec<u8>,
    /// How many bytes of the body arrived.
    pub body_length: u64,
}

impl Seen {
    /// Returns `GET /path?query`.
    pub fn line(&self) -> String {
        if self.query.is_empty() {
            format!("{} {}", self.method, self.path)
        } else {
            format!("{} {}?{}", self.method, self.path, self.query)
        }
    }

    /// Returns a header, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    chunked: bool,
    cut_after: Option<usize>,
    /// At the cut, nothing more comes, and the connection stays.
    stalls: bool,
    delay: Duration,
    read: u64,
    hang_up: bool,
    flood: Option<Flood>,
}

impl Reply {
    /// Returns an answer without a body.
    ///
    /// # Panics
    /// When that is not a status.
    pub fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a test uses statuses that exist"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            chunked: false,
            cut_after: None,
            stalls: false,
            delay: Duration::ZERO,
            read: u64::MAX,
            hang_up: false,
            flood: None,
        }
    }

    /// Closes the connection without an answer.
    pub fn hang_up() -> Self {
        let mut reply = Self::status(200);
        reply.hang_up = true;
        reply
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When that is not a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a test uses names that exist");
        let value = HeaderValue::from_str(value.as_ref()).expect("a test uses values that exist");
        self.headers.append(name, value);
        self
    }

    /// Sets the body, sent with its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the body without announcing its length.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Breaks the connection after so many bytes of the body.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// Sends nothing more after so many bytes of the body, and keeps the connection.
    #[must_use]
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self.stalls = true;
        self
    }

    /// Goes on after the body for as long as the client reads.
    #[must_use]
    pub fn flood(mut self, flood: &Flood) -> Self {
        self.flood = Some(flood.clone());
        self.chunked()
    }

    /// Waits before answering.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Reads only so many bytes of the request's body, then does what the reply says.
    #[must_use]
    pub fn reading(mut self, bytes: u64) -> Self {
        self.read = bytes;
        self
    }
}

impl ScriptedServer {
    /// Starts a server. `script` sees the head of each request, and how many requests came before
    /// it, and says what is answered.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start<F>(script: F) -> Self
    where
        F: Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    {
        Self::listen(Box::new(script), None).await
    }

    /// Starts a server that speaks TLS.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start_tls<F>(identity: &Identity, script: F) -> Self
    where
        F: Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    {
        Self::listen(Box::new(script), Some(identity.acceptor())).await
    }

    async fn listen(script: Box<Script>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("loopback has ports");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared {
            script,
            seen: seen.clone(),
            tls,
        });
        let connections = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared, Arc::clone(&connections)));
        Self {
            address,
            seen,
            connections,
            _tasks: tasks,
        }
    }

    /// Returns host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns how many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Returns method, path and query of the requests so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

type Script = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
    tls: Option<TlsAcceptor>,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, count: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        connections.spawn(async move {
            let tls = shared.tls.clone();
            let service = service_fn(move |request| answer(shared.clone(), request));
            let http = auto::Builder::new(TokioExecutor::new());
            // A connection that breaks is what tests are about.
            match tls {
                None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Scripted>, io::Error> {
    let (head, mut body) = request.into_parts();
    let seen = Seen {
        method: head.method.to_string(),
        version: head.version,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: Vec::new(),
        body_length: 0,
    };
    let (number, reply) = {
        let mut all = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = (shared.script)(&seen, all.len());
        all.push(seen);
        (all.len() - 1, reply)
    };
    let mut left = reply.read;
    while left > 0 {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { break };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        left = left.saturating_sub(data.len() as u64);
        let mut all = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        all[number].body_length += data.len() as u64;
        let room = KEPT.saturating_sub(all[number].body.len()).min(data.len());
        all[number].body.extend_from_slice(&data[..room]);
    }
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    if reply.hang_up {
        return Err(io::Error::other("the script says so"));
    }
    let mut response = Response::new(Scripted {
        left: reply.body.clone(),
        until_cut: reply.cut_after,
        stalls: reply.stalls,
        chunked: reply.chunked,
        flood: reply.flood,
        sent_head: false,
    });
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    if head.method == http::Method::HEAD && !reply.body.is_empty() {
        let length = HeaderValue::from(reply.body.len());
        response
            .headers_mut()
            .entry(http::header::CONTENT_LENGTH)
            .or_insert(length);
    }
    Ok(response)
}

/// A body that can break off.
struct Scripted {
    left: Bytes,
    until_cut: Option<usize>,
    stalls: bool,
    chunked: bool,
    flood: Option<Flood>,
    sent_head: bool,
}

impl hyper::body::Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.until_cut {
            // The task ends with the server: nobody needs to be woken.
            Some(0) if self.sent_head && self.stalls => return Poll::Pending,
            Some(0) if self.sent_head => {
                return Poll::Ready(Some(Err(io::Error::other("the script says so"))));
            }
            Some(0) => {
                // Let the head and what came before reach the socket first.
                self.sent_head = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            _ => {}
        }
        if self.left.is_empty() {
            let more = self.flood.as_ref().map(Flood::piece);
            return Poll::Ready(more.map(|piece| Ok(Frame::data(piece))));
        }
        let piece = self.until_cut.unwrap_or(usize::MAX).min(self.left.len());
        let piece = self.left.split_to(piece);
        if let Some(until) = &mut self.until_cut {
            *until -= piece.len();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.chunked {
            SizeHint::new()
        } else {
            SizeHint::with_exact(self.left.len() as u64)
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.until_cut.is_none() && self.flood.is_none()
    }
}
