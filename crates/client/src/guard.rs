//! Which addresses a registry may send dhow to, enforced where the connection is made.
//!
//! A registry names other hosts: token services, redirects, places for uploads, foreign layers.
//! Such a name must not lead into the network of the user: not to a link-local or metadata
//! address, and from a registry on the internet not to this machine or a private network either.
//! Names are judged by the addresses they resolve to, in the resolver that the connection uses, so
//! that there is no moment between the check and the connection.
//!
//! ```text
//! check(url)      literal addresses, before any request
//!  resolve(name)  names, when a connection is made; what is forbidden is not connected to
//! ```
//!
//! The registry's own host is never judged: the user named it. What a proxy resolves cannot be
//! judged here; a registry that is reached through a proxy counts as public. So does, wherever it
//! is, a registry on whose behalf an image names a host: anybody may have written the image.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;
use url::{Host, Url};

use crate::wire::{BoxError, Unresolved};
use crate::zone::Zone;

/// Judges the addresses that one registry names.
pub(crate) struct Guard(Arc<Inner>);

struct Inner {
    /// Who leads somewhere, for messages.
    leader: String,
    /// The host of the registry itself, as URLs have it.
    own: String,
    /// Hosts that the user named as proxies.
    proxies: Vec<String>,
    zone: AtomicU8,
}

/// Why no connection is made.
#[derive(Debug)]
pub(crate) struct Forbidden {
    host: String,
    leader: String,
    zone: Zone,
}

const UNKNOWN: u8 = 0;
const PUBLIC: u8 = 1;
const PRIVATE: u8 = 2;

impl Guard {
    /// Returns the guard of a registry, whose host is that of `base`.
    pub(crate) fn new(registry: &str, base: Option<&Url>, proxies: Vec<String>) -> Self {
        let own = base.and_then(Url::host_str).unwrap_or_default();
        let zone = match base.and_then(Url::host) {
            Some(Host::Ipv4(address)) => code(Zone::of(address.into())),
            Some(Host::Ipv6(address)) => code(Zone::of(address.into())),
            _ => UNKNOWN,
        };
        Self(Arc::new(Inner {
            leader: format!("registry `{registry}`"),
            own: own.to_owned(),
            proxies,
            zone: AtomicU8::new(zone),
        }))
    }

    /// Returns the guard of a host that an image names, on behalf of a registry.
    pub(crate) fn elsewhere(registry: &str, proxies: Vec<String>) -> Self {
        Self(Arc::new(Inner {
            leader: format!("an image of `{registry}`"),
            own: String::new(),
            proxies,
            zone: AtomicU8::new(PUBLIC),
        }))
    }

    /// Returns whether the registry is known to be in a private network.
    pub(crate) fn is_private(&self) -> bool {
        self.0.is_private()
    }

    /// Judges a URL as far as it can be judged without resolving its name.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Forbidden> {
        let host = url.host_str().unwrap_or_default();
        if host == self.0.own {
            return Ok(());
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.0.judge(host, address.into()),
            Some(Host::Ipv6(address)) => self.0.judge(host, address.into()),
            Some(Host::Domain(name)) if is_metadata(name) => {
                Err(self.0.forbidden(host, Zone::Link))
            }
            Some(Host::Domain(name)) if is_localhost(name) && !self.is_private() => {
                Err(self.0.forbidden(host, Zone::Private))
            }
            _ => Ok(()),
        }
    }

    /// Returns the resolver that connections are made with.
    pub(crate) fn resolver(&self) -> Resolver {
        Resolver(Arc::clone(&self.0))
    }
}

impl Inner {
    fn is_private(&self) -> bool {
        self.zone.load(Ordering::Relaxed) == PRIVATE
    }

    fn judge(&self, host: &str, address: IpAddr) -> Result<(), Forbidden> {
        match Zone::of(address) {
            Zone::Public => Ok(()),
            Zone::Private if self.is_private() => Ok(()),
            zone => Err(self.forbidden(host, zone)),
        }
    }

    fn forbidden(&self, host: &str, zone: Zone) -> Forbidden {
        Forbidden {
            host: host.to_owned(),
            leader: self.leader.clone(),
            zone,
        }
    }

    /// Returns the addresses of a name to which connections may be made.
    fn admit(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        if name.eq_ignore_ascii_case(&self.own) {
            let all_private = addresses
                .iter()
                .all(|address| Zone::of(address.ip()) != Zone::Public);
            let zone = if all_private { PRIVATE } else { PUBLIC };
            self.zone.store(zone, Ordering::Relaxed);
            return Ok(addresses);
        }
        if self
            .proxies
            .iter()
            .any(|proxy| name.eq_ignore_ascii_case(proxy))
        {
            return Ok(addresses);
        }
        let mut refused = None;
        let admitted: Vec<_> = addresses
            .into_iter()
            .filter(|address| match self.judge(name, address.ip()) {
                Ok(()) => true,
                Err(forbidden) => {
                    refused = Some(forbidden);
                    false
                }
            })
            .collect();
        match refused {
            Some(forbidden) if admitted.is_empty() => Err(forbidden),
            _ => Ok(admitted),
        }
    }
}

/// Finds the addresses of names, and leaves out those to which no connection may be made.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Inner>);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(Unresolved)?;
            Ok(inner.admit(name.as_str(), found.collect())?.into_iter())
        })
    }
}

impl Forbidden {
    /// Returns what the user can do.
    pub(crate) fn hint(&self) -> String {
        match self.zone {
            Zone::Link => format!(
                "do not trust {} before you know why it names such an address",
                self.leader
            ),
            _ => format!(
                "reach the registry by its address in the private network, or let {} name a \
                 public host",
                self.leader
            ),
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, leader, .. } = self;
        match self.zone {
            Zone::Link => write!(
                f,
                "{leader} leads to `{host}`, which is a link-local or metadata address"
            ),
            _ => write!(
                f,
                "{leader} leads to `{host}`, which is in a private network"
            ),
        }
    }
}

impl std::error::Error for Forbidden {}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("leader", &self.0.leader)
            .finish_non_exhaustive()
    }
}

const fn code(zone: Zone) -> u8 {
    match zone {
        Zone::Public => PUBLIC,
        Zone::Private | Zone::Link => PRIVATE,
    }
}

fn is_metadata(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    ["metadata.google.internal", "metadata.goog"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// RFC 6761 §6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(registry: &str) -> Guard {
        let base = Url::parse(registry).unwrap();
        Guard::new(base.host_str().unwrap(), Some(&base), vec!["proxy".into()])
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter()
            .map(|address| SocketAddr::new(address.parse().unwrap(), 0))
            .collect()
    }

    #[test]
    fn literal_addresses_are_judged_by_where_the_registry_is() {
        for (registry, url, expected) in [
            ("https://203.0.113.7", "https://198.51.100.1/t", true),
            ("https://203.0.113.7", "https://10.0.0.1/t", false),
            ("https://203.0.113.7", "https://127.0.0.1/t", false),
            ("https://203.0.113.7", "https://localhost/t", false),
            ("https://203.0.113.7", "https://[::1]/t", false),
            ("https://203.0.113.7", "https://203.0.113.7:8443/t", true),
            ("https://a.io", "https://127.0.0.1/t", false), // not resolved yet: counts as public
            ("https://a.io", "https://a.io:1/t", true),
            ("http://127.0.0.1:1", "http://127.0.0.1:2/t", true),
            ("http://127.0.0.1:1", "http://10.0.0.1/t", true),
            ("http://127.0.0.1:1", "http://localhost:2/t", true),
            ("http://127.0.0.1:1", "http://169.254.169.254/t", false),
            ("http://127.0.0.1:1", "http://0xa9fea9fe/t", false), // the same in hexadecimal
            ("http://127.0.0.1:1", "http://2852039166/t", false), // and decimal
            (
                "http://127.0.0.1:1",
                "http://[::ffff:169.254.169.254]/t",
                false,
            ),
            ("http://127.0.0.1:1", "http://0.0.0.0/t", false),
            (
                "http://127.0.0.1:1",
                "http://metadata.google.internal/",
                false,
            ),
            ("http://169.254.1.1", "http://169.254.1.1/t", true),
        ] {
            let got = guard(registry).check(&Url::parse(url).unwrap()).is_ok();
            assert_eq!(got, expected, "{registry} {url}");
        }
    }

    #[test]
    fn names_are_judged_by_what_they_resolve_to() {
        let private = ["10.0.0.1"];
        let public = ["203.0.113.7"];
        for (own, name, found, admitted) in [
            (&public, "b.io", &["198.51.100.1"][..], 1),
            (&public, "b.io", &["198.51.100.1", "127.0.0.1"], 1), // the rest is left out
            (&public, "b.io", &["127.0.0.1"], 0),
            (&public, "b.io", &["10.0.0.1", "::1"], 0),
            (&public, "a.io", &["10.0.0.1"], 1), // the registry itself
            (&public, "proxy", &["10.0.0.1"], 1),
            (&private, "b.io", &["10.0.0.9"], 1),
            (&private, "b.io", &["127.0.0.1"], 1),
            (&private, "b.io", &["169.254.169.254"], 0),
            (&private, "b.io", &["fe80::1", "169.254.0.1"], 0),
        ] {
            let guard = guard("https://a.io");
            guard.0.admit("a.io", addresses(own)).unwrap();
            let got = guard
                .0
                .admit(name, addresses(found))
                .map_or(0, |all| all.len());
            assert_eq!(got, admitted, "{own:?} {name} {found:?}");
        }
    }
}
