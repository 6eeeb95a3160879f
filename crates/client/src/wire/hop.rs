//! The proxy on the way to a host: where it is, and what it is shown.

use dhow_config::Secret;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use url::Url;

use super::BoxError;
use crate::auth;

/// A proxy.
pub(super) struct Hop {
    /// Scheme, host and port, without the user.
    pub(super) address: Uri,
    pub(super) protocol: Protocol,
    /// User and password.
    pub(super) login: Option<(String, Secret)>,
}

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP: whole URLs for http, CONNECT for https.
    Http,
    /// SOCKS5, with names that the proxy resolves.
    Socks,
}

/// The port of SOCKS proxies (RFC 1928).
const SOCKS_PORT: u16 = 1080;

impl Hop {
    /// Returns the proxy at an address: `http`, `https` or `socks5h`.
    pub(super) fn new(proxy: &Url) -> Result<Self, BoxError> {
        let scheme = proxy.scheme();
        let host = proxy.host_str().unwrap_or_default();
        let port = proxy.port_or_known_default().unwrap_or(SOCKS_PORT);
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let has_login = !proxy.username().is_empty() || proxy.password().is_some();
        Ok(Self {
            address: format!("{scheme}://{host}:{port}/").parse()?,
            protocol: match scheme {
                "socks5h" => Protocol::Socks,
                _ => Protocol::Http,
            },
            login: has_login.then(|| {
                let password = decoded(proxy.password().unwrap_or_default());
                (decoded(proxy.username()), Secret::new(password))
            }),
        })
    }

    /// Returns the value of `Proxy-Authorization`, for a proxy that speaks HTTP.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, BoxError> {
        match (self.protocol, &self.login) {
            (Protocol::Http, Some((user, password))) => Ok(Some(auth::basic(user, password)?)),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_an_address_without_a_user() {
        for (url, address, authorization) in [
            ("http://p", "http://p:80/", None),
            ("https://p", "https://p:443/", None),
            ("http://[::1]:8", "http://[::1]:8/", None),
            ("http://u@p:1", "http://p:1/", Some("Basic dTo=")),
            ("http://:w@p:1", "http://p:1/", Some("Basic Onc=")),
            (
                "http://u:p%20w%2Fx+y@p:1",
                "http://p:1/",
                Some("Basic dTpwIHcveCt5"),
            ),
            ("socks5h://u:w@p", "socks5h://p:1080/", None), // shown in SOCKS's own way
        ] {
            let hop = Hop::new(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(hop.address.to_string(), address, "{url}");
            let shown = hop.authorization().unwrap();
            let shown = shown.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(shown, authorization, "{url}");
        }
    }
}
