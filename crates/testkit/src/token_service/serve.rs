//! Connections: one request each; what is for the realm is answered, the rest passed on.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{SERVICE, Shared, TokenRequest, lock};

/// The largest head or form of a request, in bytes.
const MAX_REQUEST: usize = 64 * 1024;

/// Returns an acceptor with this certificate chain and key.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .expect("the test made a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("the test made a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("certificate and key belong together");
    TlsAcceptor::from(Arc::new(config))
}

/// Takes connections until it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) {
    let mut tasks = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        // A client that goes away is nothing to a test.
        tasks.spawn(async move {
            match acceptor {
                Some(acceptor) => exchange(acceptor.accept(stream).await?, &shared).await,
                None => exchange(stream, &shared).await,
            }
        });
        while tasks.try_join_next().is_some() {}
    }
}

async fn exchange<S>(mut stream: S, shared: &Shared) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        more(&mut stream, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let (first, headers) = head.split_once("\r\n").unwrap_or_default();
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path != shared.settings.path {
        return forward(stream, shared, first, headers, &bytes[end..]).await;
    }
    let length = header(headers, "content-length").and_then(|text| text.parse().ok());
    let length: usize = length.unwrap_or(0).min(MAX_REQUEST);
    while bytes.len() < end + length {
        more(&mut stream, &mut bytes).await?;
    }
    let (status, answer) = shared.answer(&TokenRequest {
        method: method.to_owned(),
        query: query.to_owned(),
        authorization: header(headers, "authorization").map(str::to_owned),
        body: bytes[end..].to_vec(),
    });
    respond(&mut stream, status, &answer.to_string()).await
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) -> Result<()> {
    if bytes.len() > MAX_REQUEST {
        return Err(Error::other("the request is too large"));
    }
    if stream.read_buf(bytes).await? == 0 {
        return Err(Error::other("the connection ended"));
    }
    Ok(())
}

/// Passes a request on, as the only one of its connection, to the registry behind.
async fn forward<S>(
    mut stream: S,
    shared: &Shared,
    first: &str,
    headers: &str,
    rest: &[u8],
) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(backend) = lock(&shared.backend).clone() else {
        return respond(&mut stream, 404, "{}").await;
    };
    let scheme = shared.settings.tls.as_ref().map_or("http", |_| "https");
    let mut behind = TcpStream::connect(backend).await?;
    let head = format!("{first}\r\nConnection: close\r\nX-Forwarded-Proto: {scheme}\r\n{headers}");
    behind.write_all(head.as_bytes()).await?;
    behind.write_all(rest).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut behind).await?;
    Ok(())
}

async fn respond<S: AsyncWrite + Unpin>(stream: &mut S, status: u16, body: &str) -> Result<()> {
    let challenge = if status == 401 {
        format!("WWW-Authenticate: Basic realm=\"{SERVICE}\"\r\n")
    } else {
        String::new()
    };
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n{challenge}\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await
}

fn header<'a>(headers: &'a str, wanted: &str) -> Option<&'a str> {
    headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}
