//! A proxy on loopback: CONNECT, whole URLs and SOCKS5, with what it was asked for.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const GOES_ON: &str = "a connection of a test goes on";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// A proxy that is stopped when it is dropped. It leads everything to one place.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy, which is spoken to over TLS where it has an identity. `origin` is host and port.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(tls: Option<TlsAcceptor>, origin: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect(GOES_ON);
        let address = listener.local_addr().expect(GOES_ON).to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, origin, log) = (tls.clone(), origin.clone(), Arc::clone(&log));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &origin, &log).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &origin, &log).await,
                            Err(error) => log.lock().expect(GOES_ON).push(error.to_string()),
                        },
                    }
                });
            }
        });
        Self {
            address,
            seen,
            _tasks: tasks,
        }
    }

    /// Returns host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns what was asked for: heads of requests, or the user, password and target of SOCKS5.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().expect(GOES_ON).clone()
    }
}

async fn serve<S>(mut stream: S, origin: &str, log: &Mutex<Vec<String>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Ok(first) = stream.read_u8().await else {
        return;
    };
    let asked = match first {
        5 => socks(&mut stream).await,
        _ => format!("{}{}", char::from(first), head(&mut stream).await),
    };
    log.lock().expect(GOES_ON).push(asked.clone());
    if asked.starts_with("CONNECT") {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .await
            .expect(GOES_ON);
    } else if !asked.starts_with("SOCKS5") {
        stream.write_all(NOT_FOUND).await.expect(GOES_ON);
        return;
    }
    let mut to = TcpStream::connect(origin).await.expect(GOES_ON);
    // Ends with an error when the client is dropped.
    drop(tokio::io::copy_bidirectional(&mut stream, &mut to).await);
}

/// Reads the head of a request, to its empty line.
///
/// # Panics
/// When the connection ends before.
pub async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect(GOES_ON));
    }
    String::from_utf8(head).expect(GOES_ON)
}

/// RFC 1928 and RFC 1929: user and password, CONNECT to a name.
async fn socks<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    async fn text<S: AsyncRead + Unpin>(stream: &mut S) -> String {
        let mut text = vec![0; usize::from(stream.read_u8().await.expect(GOES_ON))];
        stream.read_exact(&mut text).await.expect(GOES_ON);
        String::from_utf8(text).expect(GOES_ON)
    }
    let methods = text(stream).await;
    assert!(methods.contains('\u{2}'), "{methods:?}");
    stream.write_all(&[5, 2]).await.expect(GOES_ON);
    assert_eq!(stream.read_u8().await.expect(GOES_ON), 1);
    let (user, password) = (text(stream).await, text(stream).await);
    stream.write_all(&[1, 0]).await.expect(GOES_ON);
    let mut command = [0; 4];
    stream.read_exact(&mut command).await.expect(GOES_ON);
    assert_eq!(command, [5, 1, 0, 3], "the proxy is asked for a name");
    let (name, port) = (text(stream).await, stream.read_u16().await.expect(GOES_ON));
    let done = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    stream.write_all(&done).await.expect(GOES_ON);
    format!("SOCKS5 {user} {password} {name}:{port}")
}
