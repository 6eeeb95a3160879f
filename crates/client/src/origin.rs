//! Origins: where credentials may go, which redirects are followed, and how a URL is shown. Which
//! addresses may be connected to is the business of [`guard`](crate::guard).

use url::Url;

use crate::{Error, ErrorKind};

/// Returns whether two URLs have the same scheme, host and port.
pub(crate) fn same(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Returns a URL as it may be shown: without user, query and fragment, which can carry secrets.
pub(crate) fn redacted(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let shown = format!("{}://{host}{port}{}", url.scheme(), url.path());
    shown.chars().take(500).collect()
}

/// Returns where a redirect or an upload location leads from `from`.
pub(crate) fn follow(from: &Url, location: &str) -> Result<Url, Error> {
    let refuse = |to: &Url, why: &str| {
        Error::new(
            ErrorKind::Refused,
            format!("`{}` leads to `{}`, {why}", redacted(from), redacted(to)),
        )
    };
    let to = from.join(location).map_err(|source| {
        Error::protocol(format!("`{}` leads to what is not a URL", redacted(from)))
            .caused_by(source)
    })?;
    if !matches!(to.scheme(), "http" | "https") {
        return Err(refuse(&to, "which is neither http nor https"));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(refuse(&to, "from https to plain http").hint(
            "let the registry announce itself with https; behind a proxy it needs to know its \
             public address",
        ));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refuse(&to, "with a user name in the address"));
    }
    Ok(to)
}

/// Refuses token services that the credentials of this registry must not go to.
pub(crate) fn check_realm(registry: &Url, realm: &Url) -> Result<(), Error> {
    let refuse = |why: &str| {
        Err(Error::new(
            ErrorKind::Refused,
            format!(
                "registry `{}` names the token service `{}`, {why}",
                registry.host_str().unwrap_or_default(),
                redacted(realm)
            ),
        ))
    };
    match (registry.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => {}
        (_, "http") => return refuse("which would get the credentials over plain http"),
        _ => return refuse("which is neither http nor https"),
    }
    if realm.host_str().is_none_or(str::is_empty) {
        return refuse("which has no host");
    }
    if !realm.username().is_empty() || realm.password().is_some() {
        return refuse("with a user name in the address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn origins_differ_by_scheme_host_and_port() {
        for (one, other, expected) in [
            ("https://a.io/x", "https://a.io:443/y", true),
            ("https://a.io/x", "https://A.io/y", true),
            ("https://a.io/x", "https://a.io:444/y", false),
            ("https://a.io/x", "http://a.io/y", false),
            ("http://a.io:443/x", "https://a.io/y", false),
            ("https://a.io/x", "https://b.a.io/y", false),
        ] {
            assert_eq!(same(&url(one), &url(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn realms_are_checked() {
        for (registry, realm, expected) in [
            ("https://a.io", "https://auth.b.io/token", true),
            ("https://a.io", "https://a.io/token", true),
            ("https://a.io", "http://a.io/token", false),
            ("http://a.io", "http://auth.io/token", true),
            ("https://a.io", "ftp://a.io/token", false),
            ("https://a.io", "https://u:p@a.io/token", false),
            ("http://127.0.0.1:1", "http://127.0.0.1:2/token", true),
        ] {
            let got = check_realm(&url(registry), &url(realm)).is_ok();
            assert_eq!(got, expected, "{registry} {realm}");
        }
    }

    #[test]
    fn locations_are_resolved_and_checked() {
        let from = url("https://a.io:5000/v2/x/blobs/uploads/");
        for (location, expected) in [
            ("/v2/y?s=1", Some("https://a.io:5000/v2/y?s=1")),
            ("z", Some("https://a.io:5000/v2/x/blobs/uploads/z")),
            (
                "?digest=1",
                Some("https://a.io:5000/v2/x/blobs/uploads/?digest=1"),
            ),
            ("//b.io/q", Some("https://b.io/q")),
            ("https://b.io/q", Some("https://b.io/q")),
            ("http://a.io:5000/q", None),
            ("file:///etc/passwd", None),
            ("https://u@b.io/", None),
            ("https://[", None),
        ] {
            let got = follow(&from, location).ok();
            assert_eq!(got.as_ref().map(Url::as_str), expected, "{location}");
        }
    }

    #[test]
    fn redacted_urls_have_no_secrets() {
        assert_eq!(
            redacted(&url("https://u:p@a.io:8443/v2/x?sig=SECRET#f")),
            "https://a.io:8443/v2/x"
        );
    }
}
