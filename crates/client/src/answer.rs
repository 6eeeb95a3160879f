//! What a server answered: bounded reads of its body, and the error that a refusal becomes.

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, LINK, LOCATION, WARNING};
use http::{HeaderMap, HeaderName, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use url::Url;

use crate::fault;
use crate::origin::redacted;
use crate::retry;
use crate::wire::Incoming;
use crate::{Error, ErrorKind, Session};

/// The largest body of a refusal that is read, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;
/// How much of a server's own words is shown, in characters.
const MAX_WORDS: usize = 300;

/// The head of an answer, with its body still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    response: Response<Incoming>,
    url: Url,
    at_origin: bool,
    /// How long the body may give no byte before it counts as broken.
    stall: Duration,
}

/// What a registry said when it refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// Codes of the distribution-spec: `MANIFEST_UNKNOWN`.
    pub(crate) codes: Vec<String>,
    words: String,
}

impl Answer {
    pub(crate) const fn new(
        response: Response<Incoming>,
        url: Url,
        at_origin: bool,
        stall: Duration,
    ) -> Self {
        Self {
            response,
            url,
            at_origin,
            stall,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn version(&self) -> Version {
        self.response.version()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns the address that answered, after redirects.
    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// Returns whether the registry itself answered, and no one it redirected to.
    pub(crate) const fn at_origin(&self) -> bool {
        self.at_origin
    }

    /// Returns the text of a header.
    pub(crate) fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.headers().get(name.into())?.to_str().ok()
    }

    /// Returns the length that the server announced.
    pub(crate) fn announced_length(&self) -> Option<u64> {
        self.headers()
            .get(http::header::CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }

    /// Returns where the server continues what it started: an upload, from the `Location`.
    pub(crate) fn location(&self) -> Result<Url, Error> {
        let location = self.header(LOCATION).ok_or_else(|| {
            Error::protocol(format!(
                "the answer of `{}` has no location",
                redacted(&self.url)
            ))
        })?;
        crate::origin::follow(&self.url, location)
    }

    /// Returns the address of the next page (RFC 8288), reduced to path and query: pages are
    /// fetched from the registry and nowhere else.
    pub(crate) fn next_page(&self) -> Option<String> {
        let links = self.headers().get_all(LINK).iter();
        let target = links
            .filter_map(|value| value.to_str().ok())
            .find_map(next_link)?;
        let next = self.url.join(target).ok()?;
        Some(match next.query() {
            Some(query) => format!("{}?{query}", next.path()),
            None => next.path().to_owned(),
        })
    }

    /// Refuses a body that is encoded: digests are of bytes as stored.
    pub(crate) fn check_encoding(&self) -> Result<(), Error> {
        match self.header(CONTENT_ENCODING) {
            None | Some("" | "identity") => Ok(()),
            Some(encoding) => Err(Error::protocol(format!(
                "`{}` sent a body in the encoding `{}`, which was not asked for",
                redacted(&self.url),
                words(encoding)
            ))),
        }
    }

    /// Returns the next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match tokio::time::timeout(self.stall, data(self.response.body_mut())).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(fault::broken_body(&error, &self.url)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "`{}` sent nothing for {} seconds",
                    redacted(&self.url),
                    self.stall.as_secs()
                ),
            )
            .retryable(None)),
        }
    }

    /// Reads the body, which may have `most` bytes.
    pub(crate) async fn bytes(mut self, most: usize) -> Result<Bytes, Error> {
        self.check_encoding()?;
        let too_large = |url: &Url| {
            Error::protocol(format!(
                "the answer of `{}` is larger than {most} bytes",
                redacted(url)
            ))
        };
        let announced = self.announced_length().unwrap_or_default();
        if announced > most as u64 {
            return Err(too_large(&self.url));
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > most {
                return Err(too_large(&self.url));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Logs the warnings that the answer carries, each once in a session.
    pub(crate) fn log_warnings(&self, session: &Session) {
        for value in self.headers().get_all(WARNING) {
            // SPEC: distribution-spec, *Warnings*: `299 - "text"`.
            let text = value
                .to_str()
                .ok()
                .and_then(|value| value.strip_prefix("299 - \""))
                .and_then(|value| value.strip_suffix('"'))
                .map(words);
            if let Some(text) = text
                && session.is_new_warning(&text)
            {
                tracing::warn!(url = redacted(&self.url), text, "warning from registry");
            }
        }
    }

    /// Returns the error that this answer means, with the server's words as its cause.
    pub(crate) async fn into_error(mut self) -> Error {
        let mut body = BytesMut::new();
        // Whatever goes wrong here, the status is what counts.
        while let Ok(Some(chunk)) = self.chunk().await {
            let room = MAX_REFUSAL - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MAX_REFUSAL {
                break;
            }
        }
        let refusal = Refusal::new(self.status(), &body);
        let message = format!("`{}` answered {refusal}", fault::authority(&self.url));
        let mut error = Error::refused(refusal.kind(), message, refusal);
        if retry::is_transient(self.status()) {
            error = error.retryable(retry::retry_after(self.headers()));
        }
        error
    }
}

/// Returns the next data of a body; trailers are skipped.
async fn data(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<OneError>,
    /// What Docker Hub sends in place of `errors` at times.
    details: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, body: &[u8]) -> Self {
        let mut refusal = Self {
            status,
            codes: Vec::new(),
            words: String::new(),
        };
        match serde_json::from_slice::<Body>(body) {
            Ok(found) => {
                let first = found.errors.iter().find(|one| !one.code.is_empty());
                refusal.words = match first {
                    Some(one) => spoken(&one.code, &one.message),
                    None => words(&found.details.or(found.message).unwrap_or_default()),
                };
                refusal.codes = found.errors.into_iter().map(|one| one.code).collect();
            }
            // A page for people has nothing to say here.
            Err(_) if body.trim_ascii_start().starts_with(b"<") => {}
            Err(_) => refusal.words = words(&String::from_utf8_lossy(body)),
        }
        refusal
    }

    fn kind(&self) -> ErrorKind {
        match self.status.as_u16() {
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            405 | 501 => ErrorKind::Unsupported,
            429 => ErrorKind::RateLimited,
            408 | 500..=599 => ErrorKind::Unavailable,
            _ if self.has("DIGEST_INVALID") => ErrorKind::DigestMismatch,
            _ if self.has("SIZE_INVALID") => ErrorKind::SizeMismatch,
            _ if self.has("TOOMANYREQUESTS") => ErrorKind::RateLimited,
            _ if self.has("DENIED") => ErrorKind::Denied,
            100..=399 => ErrorKind::Protocol,
            _ => ErrorKind::Rejected,
        }
    }

    /// Returns whether the registry gave this code.
    pub(crate) fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|one| one.eq_ignore_ascii_case(code))
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status.fmt(f)?;
        if !self.words.is_empty() {
            write!(f, ": {}", self.words)?;
        }
        Ok(())
    }
}

/// Returns `manifest unknown: the words of the registry`, once when both are the same.
fn spoken(code: &str, message: &str) -> String {
    let code = words(&code.replace('_', " ").to_ascii_lowercase());
    let message = words(message);
    if message.is_empty() || message.eq_ignore_ascii_case(&code) {
        code
    } else {
        format!("{code}: {message}")
    }
}

/// Makes a server's words fit for a terminal: one line, no control characters, bounded.
fn words(text: &str) -> String {
    let mut kept: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|character| !character.is_control())
        .take(MAX_WORDS + 1)
        .collect();
    if kept.chars().count() > MAX_WORDS {
        kept.pop();
        kept.push('…');
    }
    kept
}

/// Returns the target of the link whose relation is `next`.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, opened) = rest.split_once('<')?;
        let (target, after) = opened.split_once('>')?;
        let (parameters, others) = after.split_once(',').unwrap_or((after, ""));
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel")
                && value
                    .trim()
                    .trim_matches('"')
                    .split_whitespace()
                    .any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_links_are_found() {
        for (header, expected) in [
            (
                r#"</v2/a?last=b&n=1>; rel="next""#,
                Some("/v2/a?last=b&n=1"),
            ),
            (r"<x>;rel=next", Some("x")),
            (r#"<p>; rel="prev", <n>; title="t"; rel="next""#, Some("n")),
            (r#"<p>; rel="prev""#, None),
            ("garbage", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), expected, "{header}");
        }
    }

    #[test]
    fn refusals_say_what_the_registry_said() {
        let say = |status: u16, body: &str| {
            Refusal::new(StatusCode::from_u16(status).unwrap(), body.as_bytes()).to_string()
        };
        let one = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        assert_eq!(say(404, one), "404 Not Found: manifest unknown");
        let two = r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m\nway"}]}"#;
        assert_eq!(say(403, two), "403 Forbidden: denied: no[31m way");
        assert_eq!(say(502, "<html>oops"), "502 Bad Gateway");
        assert_eq!(
            say(401, r#"{"details":"wrong"}"#),
            "401 Unauthorized: wrong"
        );
        assert!(say(400, &"x".repeat(9999)).chars().count() < 400);
    }
}
