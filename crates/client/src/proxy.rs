//! Proxies from the environment, by the rules of Go's `httpproxy`, which users of other container
//! tools know: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` and their lower-case forms; this machine is
//! never reached through a proxy.

use std::net::IpAddr;

use dhow_config::EnvSnapshot;
use url::Url;

use crate::{Error, ErrorKind};

/// Which requests go through which proxy.
#[derive(Debug, Default)]
pub(crate) struct ProxyRules {
    http: Option<Url>,
    https: Option<Url>,
    direct: Vec<Direct>,
}

/// One entry of `NO_PROXY`.
#[derive(Debug, PartialEq, Eq)]
enum Direct {
    All,
    Network(IpAddr, u8),
    Address(IpAddr, Option<u16>),
    Domain {
        /// Without leading dot.
        name: String,
        /// Not the domain itself.
        only_below: bool,
        port: Option<u16>,
    },
}

impl ProxyRules {
    pub(crate) fn new(environment: &EnvSnapshot) -> Result<Self, Error> {
        let variable = |upper: &'static str, lower: &'static str| {
            [upper, lower]
                .into_iter()
                .find_map(|name| environment.variable(name).map(|value| (name, value)))
        };
        let proxy = |found: Option<(&str, &str)>| {
            found
                .map(|(name, value)| parse_proxy(name, value))
                .transpose()
        };
        Ok(Self {
            http: proxy(variable("HTTP_PROXY", "http_proxy"))?,
            https: proxy(variable("HTTPS_PROXY", "https_proxy"))?,
            direct: variable("NO_PROXY", "no_proxy")
                .map(|(_, list)| list.split(',').filter_map(parse_direct).collect())
                .unwrap_or_default(),
        })
    }

    /// Returns the hosts of the proxies.
    pub(crate) fn hosts(&self) -> Vec<String> {
        [&self.http, &self.https]
            .into_iter()
            .flatten()
            .filter_map(|url| url.host_str().map(str::to_owned))
            .collect()
    }

    /// Returns the proxy through which `url` is reached.
    pub(crate) fn proxy(&self, url: &Url) -> Option<Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref()?,
            "http" => self.http.as_ref()?,
            _ => return None,
        };
        (!self.is_direct(url)).then(|| proxy.clone())
    }

    fn is_direct(&self, url: &Url) -> bool {
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let port = url.port_or_known_default();
        self.direct
            .iter()
            .any(|entry| entry.matches(&host, address, port))
    }
}

impl Direct {
    fn matches(&self, host: &str, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let same_port = |wanted: &Option<u16>| wanted.is_none() || *wanted == port;
        match self {
            Self::All => true,
            Self::Network(network, bits) => {
                address.is_some_and(|address| contains(*network, *bits, address))
            }
            Self::Address(wanted, port) => address == Some(*wanted) && same_port(port),
            Self::Domain {
                name,
                only_below,
                port,
            } => {
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|front| front.ends_with('.'));
                same_port(port) && (below || (!only_below && host == name))
            }
        }
    }
}

fn parse_proxy(name: &str, value: &str) -> Result<Url, Error> {
    let mut parsed = if value.contains("://") {
        Url::parse(value).ok()
    } else {
        Url::parse(&format!("http://{value}")).ok()
    };
    // COMPAT(skopeo): to Go both are the same, and the proxy resolves the names.
    if let Some(url) = parsed.as_ref().filter(|url| url.scheme() == "socks5") {
        parsed = Url::parse(&url.as_str().replacen("socks5", "socks5h", 1)).ok();
    }
    // The value can hold a password, so it is not shown.
    parsed
        .filter(|url| matches!(url.scheme(), "http" | "https" | "socks5h"))
        .filter(|url| url.host_str().is_some_and(|host| !host.is_empty()))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Settings,
                format!("the proxy in `{name}` is not an http, https or socks5 address"),
            )
            .hint(format!("set `{name}` to `http://HOST:PORT`, or unset it"))
        })
}

fn parse_direct(entry: &str) -> Option<Direct> {
    let entry = entry.trim().to_ascii_lowercase();
    if entry.is_empty() {
        return None;
    }
    if entry == "*" {
        return Some(Direct::All);
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let network = network.parse::<IpAddr>().ok()?;
        let bits = bits.parse::<u8>().ok()?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        return (bits <= longest).then_some(Direct::Network(network, bits));
    }
    if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Direct::Address(address, None));
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
        None => (entry.as_str(), None),
    };
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Direct::Address(address, port));
    }
    let host = host.strip_prefix('*').unwrap_or(host);
    let (name, only_below) = match host.strip_prefix('.') {
        Some(name) => (name, true),
        None => (host, false),
    };
    (!name.is_empty()).then(|| Direct::Domain {
        name: name.to_owned(),
        only_below,
        port,
    })
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let (network, address, width) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (
            u128::from(network.to_bits()),
            u128::from(address.to_bits()),
            32,
        ),
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let shift = width - u32::from(bits);
    network.checked_shr(shift).unwrap_or(0) == address.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(variables: &[(&str, &str)]) -> Result<ProxyRules, Error> {
        ProxyRules::new(&EnvSnapshot {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..EnvSnapshot::default()
        })
    }

    #[test]
    fn proxies_are_chosen_as_go_chooses_them() {
        let list = "direct.io, .below.io,*.star.io,10.0.0.0/8,192.0.2.7,port.io:5000,fd00::/8";
        let rules = rules(&[
            ("HTTPS_PROXY", "http://secure:3128"),
            ("http_proxy", "plain:8080"),
            ("NO_PROXY", list),
        ])
        .unwrap();
        for (url, expected) in [
            ("https://quay.io/v2/", Some("http://secure:3128/")),
            ("http://quay.io/v2/", Some("http://plain:8080/")),
            ("https://direct.io/", None),
            ("https://a.direct.io/", None),
            ("https://indirect.io/", Some("http://secure:3128/")),
            ("https://below.io/", Some("http://secure:3128/")),
            ("https://a.below.io/", None),
            ("https://star.io/", Some("http://secure:3128/")),
            ("https://a.b.star.io/", None),
            ("https://10.1.2.3/", None),
            ("https://11.1.2.3/", Some("http://secure:3128/")),
            ("https://192.0.2.7:8443/", None),
            ("https://port.io:5000/", None),
            ("https://port.io/", Some("http://secure:3128/")),
            ("https://[fd12::1]/", None),
            ("http://localhost:5000/", None),
            ("http://127.0.0.9:5000/", None),
            ("http://[::1]/", None),
        ] {
            let got = rules.proxy(&Url::parse(url).unwrap());
            assert_eq!(got.as_ref().map(Url::as_str), expected, "{url}");
        }
    }

    #[test]
    fn odd_proxies_are_refused_without_showing_them() {
        let error = rules(&[("HTTPS_PROXY", "ftp://u:hunter2@x:1")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(rules(&[("HTTP_PROXY", "http://")]).is_err());
        assert!(rules(&[("HTTP_PROXY", "")]).is_ok());
        let socks = rules(&[("HTTPS_PROXY", "socks5://u:p@s.io:1")]).unwrap();
        let proxy = socks.proxy(&Url::parse("https://a.io").unwrap());
        assert_eq!(proxy.unwrap().as_str(), "socks5h://u:p@s.io:1");
        let all = rules(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")]).unwrap();
        assert_eq!(all.proxy(&Url::parse("https://a.io").unwrap()), None);
    }
}
