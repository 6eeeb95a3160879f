//! HTTP with an engine: one connection per request, over a socket, TCP or TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhow_client::tls_config;
use dhow_config::EnvSnapshot;
use dhow_transport::{Error, Kind, Result};
use futures_core::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, BodyStream, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::host::Host;

/// What is sent.
pub(super) type Sent = BoxBody<Bytes, io::Error>;

/// Speaks with one engine.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) host: Host,
    pub(super) environment: Arc<EnvSnapshot>,
}

/// An answer, with the connection that its body comes through.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Incoming,
    connection: JoinSet<()>,
}

impl Client {
    /// Sends a request and returns its answer, whatever that is.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Sent>,
    ) -> Result<Answer> {
        let mut connection = JoinSet::new();
        let mut sender = timeout(CONNECT, self.connect(&mut connection))
            .await
            .map_err(|_| self.unreachable(io::ErrorKind::TimedOut.into()))??;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "docker")
            .header("user-agent", concat!("dhow/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header("content-type", "application/x-tar");
        }
        let nothing = || Empty::new().map_err(|never| match never {}).boxed();
        let request = request
            .body(body.unwrap_or_else(nothing))
            .map_err(|error| Error::new(Kind::Bug, "no request can be made").caused_by(error))?;
        let answer: Response<Incoming> = sender.send_request(request).await.map_err(|error| {
            let message = format!("the Docker engine at {} does not answer", self.host);
            Error::new(Kind::Io, message).caused_by(error)
        })?;
        let (head, body) = answer.into_parts();
        Ok(Answer {
            status: head.status,
            body,
            connection,
        })
    }

    async fn connect(&self, connection: &mut JoinSet<()>) -> Result<SendRequest<Sent>> {
        match &self.host {
            Host::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                handshake(stream.map_err(|error| self.unreachable(error))?, connection).await
            }
            Host::Tcp { address, tls } => {
                let stream = TcpStream::connect(address).await;
                let stream = stream.map_err(|error| self.unreachable(error))?;
                let Some(files) = tls.clone() else {
                    return handshake(stream, connection).await;
                };
                let environment = Arc::clone(&self.environment);
                let config = crate::file_blob::blocking(move || tls_config(&environment, &files));
                let config = config.await?.map_err(|error| {
                    Error::new(Kind::Invalid, "TLS with the Docker engine cannot be set up")
                        .caused_by(error)
                })?;
                let host = address
                    .rsplit_once(':')
                    .map_or(address.as_str(), |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let name = ServerName::try_from(host.to_owned()).map_err(|error| {
                    Error::new(Kind::Invalid, format!("`{host}` is no host name")).caused_by(error)
                })?;
                let connector = TlsConnector::from(Arc::new(config));
                let stream = connector.connect(name, stream).await;
                handshake(stream.map_err(|error| self.untrusted(error))?, connection).await
            }
        }
    }

    fn unreachable(&self, error: io::Error) -> Error {
        let message = format!("cannot connect to the Docker engine at {}", self.host);
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "ask for the right to use the socket: on most systems the group `docker` has it"
            }
            _ => {
                "start Docker, or name the engine with `--daemon-host` (`--src-daemon-host`, \
                 `--dest-daemon-host`) or DOCKER_HOST"
            }
        };
        Error::new(Kind::Unreachable, message)
            .caused_by(error)
            .hint(hint)
    }

    fn untrusted(&self, error: io::Error) -> Error {
        let message = format!("no TLS with the Docker engine at {}", self.host);
        Error::new(Kind::Untrusted, message).caused_by(error).hint(
            "put `ca.pem`, `cert.pem` and `key.pem` into a folder and name it with `--cert-dir`; \
             for an engine without TLS write `http://HOST:PORT`",
        )
    }
}

async fn handshake<S>(stream: S, connection: &mut JoinSet<()>) -> Result<SendRequest<Sent>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| {
            Error::new(Kind::Io, "the Docker engine speaks no HTTP").caused_by(error)
        })?;
    // What goes wrong there is seen by whoever waits for the answer.
    connection.spawn(async move { drop(driver.await) });
    Ok(sender)
}

impl Answer {
    /// Returns the body when the engine did what it was asked.
    ///
    /// # Errors
    /// What the engine says, else.
    pub(super) async fn good(self) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let status = self.status;
        let bytes = timeout(SMALL, self.whole(MAX_ERROR)).await;
        let bytes = bytes.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default();
        let said = serde_json::from_slice::<Said>(&bytes).map(|said| said.message);
        let said = said.unwrap_or_else(|_| plain(&bytes, status));
        let kind = match status {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Denied,
            _ => Kind::Io,
        };
        // COMPAT(skopeo): its words.
        Err(Error::new(
            kind,
            format!("docker engine reported: {said:?}"),
        ))
    }

    /// Reads the body whole, if it is not larger than `most` bytes.
    pub(super) async fn whole(self, most: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut body = self.into_stream();
        while let Some(piece) = body.try_next().await.map_err(broken)? {
            all.extend_from_slice(&piece);
            if all.len() > most {
                let message = format!("the Docker engine answers with more than {most} bytes");
                return Err(Error::new(Kind::Invalid, message));
            }
        }
        Ok(all)
    }

    /// Returns the body as a stream.
    pub(super) fn into_stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        let Self {
            body, connection, ..
        } = self;
        let body = Box::pin(BodyStream::new(body));
        // The connection lives as long as its body.
        let pieces = stream::unfold((body, connection), |(mut body, connection)| async move {
            loop {
                let frame = match body.next().await? {
                    Ok(frame) => frame,
                    Err(error) => return Some((Err(io::Error::other(error)), (body, connection))),
                };
                if let Ok(piece) = frame.into_data() {
                    return Some((Ok(piece), (body, connection)));
                }
            }
        });
        pieces.boxed()
    }
}

/// Classifies a body that broke.
pub(super) fn broken(error: io::Error) -> Error {
    Error::new(Kind::Io, "the Docker engine's answer broke off")
        .caused_by(error)
        .retryable(None)
}

/// Returns what an error's body says when it is plain text: its first line.
fn plain(body: &[u8], status: StatusCode) -> String {
    let text = str::from_utf8(body).unwrap_or_default();
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!(
            "{status}: {}",
            line.chars().take(MAX_LINE).collect::<String>()
        ),
        None => status.to_string(),
    }
}

#[derive(Deserialize)]
struct Said {
    message: String,
}

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(15);

/// How long a small answer may take.
pub(super) const SMALL: Duration = Duration::from_mins(1);

/// How much of a plain text error is shown, in characters.
const MAX_LINE: usize = 200;

/// The largest error that is read, in bytes.
const MAX_ERROR: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_plain_text_is_shown_by_its_first_line() {
        let shown = |body: &[u8]| plain(body, StatusCode::BAD_REQUEST);
        let body = b"\n Client sent an HTTP request to an HTTPS server.\nmore";
        let said = "400 Bad Request: Client sent an HTTP request to an HTTPS server.";
        assert_eq!(shown(body), said);
        assert_eq!(shown(b" \n"), "400 Bad Request");
        assert_eq!(shown(b"\xff\xfe"), "400 Bad Request");
        assert!(shown(&[b'x'; 9000]).len() < 300);
    }
}
