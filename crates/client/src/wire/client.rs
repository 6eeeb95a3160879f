//! One request on one connection, from a pool of them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ACCEPT, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body::Body as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioTimer;
use url::Url;

use super::connector::Connector;
use super::drive::{Drivers, Wheel};
use super::hop::Hop;
use super::{BoxError, Incoming, Outgoing, WireError};
use crate::guard::Resolver;
use crate::proxy::ProxyRules;

/// How much hyper reads or writes at once on one HTTP/1.1 connection, in bytes. Left alone its
/// buffers grow to 400 KiB each, which with dozens of connections is most of what a copy needs in
/// memory; no head of an answer is near to this size, and larger reads take more memory than time.
const MAX_BUFFER: usize = 64 * 1024;
/// How much of one answer a server may send ahead on HTTP/2, in bytes. Only small requests go
/// there; the largest answers are manifests of 4 MiB, and nearly all fit into this.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all answers of one connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How long a connection that nobody uses is kept.
const IDLE_FOR: Duration = Duration::from_secs(90);
/// How often a request is sent again that the server has not looked at.
const MAX_UNPROCESSED: u32 = 2;

/// The connections to one host, and to whomever it leads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Inner>);

struct Inner {
    connector: Connector,
    client: Client<Connector, Outgoing>,
    proxies: Arc<ProxyRules>,
    user_agent: HeaderValue,
}

/// What a [`Wire`] is made from.
pub(crate) struct WireOptions {
    /// Says by ALPN whether HTTP/2 is offered.
    pub(crate) tls: rustls::ClientConfig,
    pub(crate) resolver: Resolver,
    pub(crate) proxies: Arc<ProxyRules>,
    pub(crate) user_agent: HeaderValue,
    /// How long a connection may take to be made: name, TCP, proxy and TLS together.
    pub(crate) connect: Duration,
    /// Is told how long the first connection took that is not made through a proxy.
    pub(crate) reached_in: Arc<OnceLock<Duration>>,
}

impl Wire {
    /// Returns a pool of connections, of which there is none yet.
    pub(crate) fn new(options: WireOptions) -> Self {
        let proxies = Arc::clone(&options.proxies);
        let user_agent = options.user_agent.clone();
        let connector = Connector::new(options);
        let client = Client::builder(Drivers)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            // What a connection that died unused has not taken goes to another one.
            .retry_canceled_requests(true)
            .http1_max_buf_size(MAX_BUFFER)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_send_buf_size(MAX_BUFFER)
            .build(connector.clone());
        Self(Arc::new(Inner {
            connector,
            client,
            proxies,
            user_agent,
        }))
    }

    /// Begins to make a connection that a request will want soon, if there are fewer than `most`.
    pub(crate) fn connect_ahead(&self, url: &Url, most: usize) {
        // What is wrong with the URL, the request will tell.
        if let Ok(target) = bare(url) {
            self.0.connector.connect_ahead(target, most);
        }
    }

    /// Sends a request and returns the head of the answer. User and fragment of the URL are not
    /// sent.
    ///
    /// # Errors
    /// When there is no answer; any status is one.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        mut body: Outgoing,
    ) -> Result<Response<Incoming>, WireError> {
        let head = self
            .head(method, url, headers)
            .map_err(WireError::Address)?;
        let mut left = MAX_UNPROCESSED;
        loop {
            let again = body.again();
            let request = Request::from_parts(head.clone(), body);
            let error = match self.0.client.request(request).await {
                Ok(mut response) => {
                    let wheel = response.extensions_mut().remove::<Wheel>();
                    // What has no body needs nobody to read it.
                    let wheel = wheel.filter(|_| !response.body().is_end_stream());
                    let connection = wheel.and_then(|wheel| wheel.take());
                    return Ok(response.map(|body| Incoming::new(body, connection)));
                }
                Err(error) => WireError::NoAnswer(error),
            };
            match again.filter(|_| left > 0 && error.is_unprocessed()) {
                Some(again) => body = again,
                None => return Err(error),
            }
            left -= 1;
        }
    }

    fn head(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
    ) -> Result<http::request::Parts, BoxError> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = method;
        head.uri = bare(url)?;
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        headers
            .entry(USER_AGENT)
            .or_insert_with(|| self.0.user_agent.clone());
        // For https the proxy is told when the tunnel is made, and the server must not see it.
        if url.scheme() == "http"
            && let Some(proxy) = self.0.proxies.proxy(url)
            && let Some(value) = Hop::new(&proxy)?.authorization()?
        {
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        head.headers = headers;
        Ok(head)
    }
}

/// Returns a URL as it is sent: without user and fragment.
fn bare(url: &Url) -> Result<Uri, BoxError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the scheme is neither http nor https".into());
    }
    let mut url = url.clone();
    // Neither can fail where there is a host, and http has always one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    Ok(url.as_str().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sent_without_user_and_fragment() {
        for (url, expected) in [
            ("https://a.io/v2/?n=1", Some("https://a.io/v2/?n=1")),
            ("https://u:p@a.io:5/x#f", Some("https://a.io:5/x")),
            ("http://[::1]:5/", Some("http://[::1]:5/")),
            ("ftp://a.io/", None),
            ("https://{a}/", None),
        ] {
            let got = Url::parse(url)
                .ok()
                .and_then(|url| bare(&url).ok())
                .map(|uri| uri.to_string());
            assert_eq!(got.as_deref(), expected, "{url}");
        }
    }
}
