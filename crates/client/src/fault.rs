//! What a broken connection means: an error with a kind, for whatever hyper and TLS report.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use url::Url;

use crate::guard::Forbidden;
use crate::host::Host;
use crate::origin::redacted;
use crate::tls;
use crate::wire::WireError;
use crate::{Error, ErrorKind};

/// The innermost cause of a fault. The layers above it say nothing that a user can act on.
#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

/// Returns the error for a request that got no answer.
pub(crate) fn no_answer(error: &WireError, url: &Url, host: &Host) -> Error {
    let authority = authority(url);
    if let Some(found) = find::<Forbidden>(error) {
        return forbidden(found);
    }
    if let Some(fault) = identity_fault(error, &authority, host) {
        return fault;
    }
    if let Some(found) = find::<rustls::Error>(error) {
        return tls_fault(found, &authority, host);
    }
    if error.is_timeout() {
        return Error::new(
            ErrorKind::Timeout,
            format!("`{authority}` did not answer in time"),
        )
        .retryable(None);
    }
    let cause = Cause(innermost(error));
    if error.is_builder() {
        return Error::new(ErrorKind::Bug, "a request cannot be built").caused_by(cause);
    }
    let message = if error.is_connect() {
        format!("`{authority}` cannot be reached")
    } else {
        format!("the connection to `{authority}` broke")
    };
    let unknown_name = error.is_dns();
    let fault = Error::new(ErrorKind::Unreachable, message).caused_by(cause);
    if unknown_name {
        // COMPAT(skopeo): a name that does not exist is not tried again.
        return fault;
    }
    fault.retryable(None)
}

/// Returns the error for a place to which no connection is made.
pub(crate) fn forbidden(forbidden: &Forbidden) -> Error {
    let hint = forbidden.hint();
    Error::new(ErrorKind::Refused, forbidden.to_string()).hint(hint)
}

/// Returns the error for an answer whose body broke off.
pub(crate) fn broken_body(error: &hyper::Error, url: &Url) -> Error {
    let cause = Cause(innermost(error));
    Error::new(
        ErrorKind::Unreachable,
        format!("the answer of `{}` broke off", redacted(url)),
    )
    .caused_by(cause)
    .retryable(None)
}

/// Returns whether a host that did not answer in https may speak plain http.
pub(crate) fn may_be_plain(error: &WireError) -> bool {
    match find::<rustls::Error>(error) {
        // Whoever sends an alert speaks TLS.
        Some(_) => is_no_tls(error),
        // Also where a name is not known: a proxy for plain http may know it.
        None => !error.is_builder(),
    }
}

/// Returns whether a host answered, and not in TLS.
pub(crate) fn is_no_tls(error: &WireError) -> bool {
    let error = find::<rustls::Error>(error);
    matches!(error, Some(rustls::Error::InvalidMessage(_)))
}

/// Returns the error for what TLS says.
pub(crate) fn tls_fault(error: &rustls::Error, authority: &str, host: &Host) -> Error {
    match error {
        rustls::Error::InvalidCertificate(wrong) => {
            let fault = Error::new(
                ErrorKind::Untrusted,
                format!("the certificate of `{authority}` is not trusted"),
            )
            .caused_by(Cause(tls::explain(wrong)));
            fault.hint(trust_hint(host))
        }
        rustls::Error::InvalidMessage(_) => Error::new(
            ErrorKind::Unreachable,
            format!("`{authority}` does not speak https"),
        )
        .caused_by(Cause(error.to_string()))
        .hint("pass --tls-verify=false if this registry speaks plain http (--src-tls-verify or --dest-tls-verify for one side)"),
        rustls::Error::AlertReceived(_) => Error::new(
            ErrorKind::Untrusted,
            format!("`{authority}` refused the TLS connection"),
        )
        .caused_by(Cause(error.to_string())),
        other => Error::new(
            ErrorKind::Unreachable,
            format!("no TLS connection to `{authority}` can be made"),
        )
        .caused_by(Cause(other.to_string())),
    }
}

/// Returns the error for a connection that ended because there was no client certificate to show.
/// In TLS 1.3 the server says so only after the handshake, or just hangs up.
fn identity_fault(error: &WireError, authority: &str, host: &Host) -> Option<Error> {
    let trust = host.trust()?;
    let over = match find::<rustls::Error>(error) {
        Some(found) => matches!(found, rustls::Error::AlertReceived(_)),
        None => !error.is_timeout() && !error.is_dns(),
    };
    if !over || !trust.is_identity_missing() {
        return None;
    }
    let directory = trust.dir.as_ref().or(trust.looked_in.first());
    let place = directory.map_or_else(String::new, |directory| {
        format!(" into `{}`,", directory.display())
    });
    Some(
        Error::new(
            ErrorKind::Untrusted,
            format!("`{authority}` wants a client certificate, and there is none to show"),
        )
        .caused_by(Cause(innermost(error)))
        .hint(format!(
            "put the certificate and its key as `client.cert` and `client.key`{place} or pass \
             --cert-dir DIR"
        )),
    )
}

fn trust_hint(host: &Host) -> String {
    let registry = host.registry();
    let trust = host.trust();
    let place = match trust.as_deref() {
        Some(trust) => match (&trust.dir, trust.looked_in.as_slice()) {
            (Some(dir), _) => format!(
                "put the CA certificate as a `.crt` file into `{}`, where others were found",
                dir.display()
            ),
            (None, [first, ..]) => {
                let all: Vec<_> = trust
                    .looked_in
                    .iter()
                    .map(|dir| format!("`{}`", dir.display()))
                    .collect();
                format!(
                    "put the CA certificate into `{}/ca.crt` (looked in {})",
                    first.display(),
                    all.join(", ")
                )
            }
            (None, []) => "name a directory with the CA certificate".to_owned(),
        },
        None => "name a directory with the CA certificate".to_owned(),
    };
    format!(
        "to trust `{registry}`, {place}, or pass --cert-dir DIR; --tls-verify=false turns \
         verification off"
    )
}

/// Returns host and port.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let deepest = causes(error).last();
    deepest.map_or_else(String::new, ToString::to_string)
}

/// Finds an error of a type in a chain of causes.
pub(crate) fn find<'a, E: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// Returns an error and all that caused it, the innermost last.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        // The source of an io::Error is that of what it wraps, so it must be looked into.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|wrapped| wrapped as &(dyn StdError + 'static));
        wrapped.or_else(|| error.source())
    })
}
