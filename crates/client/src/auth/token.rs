//! Token services (distribution's *Token Authentication Specification* and its OAuth2 form): how
//! credentials become a bearer token.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use dhow_config::{Credentials, FoundCredentials, Secret};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::account::usable;
use super::{Account, Bearer, TokenSlot};
use crate::channel::Channel;
use crate::host::Lane;
use crate::origin;
use crate::request::{Request, RequestBody};
use crate::{Error, ErrorKind};

/// The largest answer of a token service, in bytes.
const MAX_TOKEN_ANSWER: usize = 1024 * 1024;
/// SPEC: tokens live at least this long, whatever the service says.
const SHORTEST_LIFE: Duration = Duration::from_mins(1);
/// A token is renewed this long before its end, so that it does not end on the way.
const MARGIN: Duration = Duration::from_secs(15);

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A bearer token.
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) ends: Instant,
    /// Tells tokens apart, so that a refusal hits the one that was sent.
    pub(crate) serial: u64,
}

impl Token {
    pub(crate) fn ends_soon(&self) -> bool {
        Instant::now() + MARGIN >= self.ends
    }
}

/// A token, and whether it was made for this request.
pub(crate) struct Issued {
    pub(crate) header: HeaderValue,
    pub(crate) serial: u64,
    pub(crate) fresh: bool,
}

/// What a token is wanted for.
#[derive(Debug)]
pub(crate) struct TokenRequest<'a> {
    pub(crate) slot: TokenSlot,
    pub(crate) bearer: &'a Bearer,
    pub(crate) scopes: BTreeSet<String>,
    /// The serial number of a token that the registry has just refused.
    pub(crate) refused: Option<u64>,
}

/// Returns a token from the session's store, or from the service.
pub(crate) async fn fetch(
    channel: &Channel,
    account: &Account,
    found: &FoundCredentials,
    wanted: TokenRequest<'_>,
) -> Result<Issued, Error> {
    let tokens = account.tokens(wanted.slot.clone());
    let mut tokens = tokens.lock().await;
    if let Some(serial) = wanted.refused {
        tokens.retain(|token| token.serial != serial);
    }
    if let Some(token) = usable(&tokens, &wanted.scopes) {
        return Ok(Issued {
            header: token.header.clone(),
            serial: token.serial,
            fresh: false,
        });
    }
    let (header, life) = exchange(channel, found, &wanted).await?;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    tokens.retain(|token| !token.ends_soon() && !wanted.scopes.is_superset(&token.scopes));
    tokens.push(Token {
        header: header.clone(),
        scopes: wanted.scopes,
        ends: Instant::now() + life,
        serial,
    });
    Ok(Issued {
        header,
        serial,
        fresh: true,
    })
}

async fn exchange(
    channel: &Channel,
    found: &FoundCredentials,
    wanted: &TokenRequest<'_>,
) -> Result<(HeaderValue, Duration), Error> {
    let realm = realm(channel, wanted)?;
    let shown = origin::redacted(&realm);
    let during = |error: Error| {
        error.during(format!(
            "the token service `{shown}` gave no token for `{}`",
            wanted.slot.repository
        ))
    };
    let answer = channel
        .send_elsewhere(request(realm, found, wanted)?)
        .await
        .map_err(during)?;
    let status = answer.status();
    if status != StatusCode::OK {
        let error = answer.into_error().await;
        let error = if status == StatusCode::UNAUTHORIZED || status == StatusCode::BAD_REQUEST {
            channel.unauthorized(error.of_kind(ErrorKind::Unauthorized), found)
        } else {
            error
        };
        return Err(during(error));
    }
    let body = answer.bytes(MAX_TOKEN_ANSWER).await.map_err(during)?;
    parse_answer(&body).map_err(during)
}

fn realm(channel: &Channel, wanted: &TokenRequest<'_>) -> Result<Url, Error> {
    let Some(text) = wanted.bearer.realm.as_deref() else {
        return Err(Error::protocol(format!(
            "registry `{}` asks for a token without naming a token service",
            wanted.slot.registry
        )));
    };
    let registry = channel.base()?;
    let realm = Url::parse(text).map_err(|source| {
        Error::protocol(format!(
            "registry `{}` names a token service that is not a URL",
            wanted.slot.registry
        ))
        .caused_by(source)
    })?;
    origin::check_realm(&registry, &realm)?;
    Ok(realm)
}

/// Builds the request: GET with the credentials as Basic, or POST of the refresh token.
fn request(
    mut realm: Url,
    found: &FoundCredentials,
    wanted: &TokenRequest<'_>,
) -> Result<Request, Error> {
    let mut pairs: Vec<(String, String)> = realm.query_pairs().into_owned().collect();
    realm.set_query(None);
    let mut add = |key: &str, value: &str| pairs.push((key.to_owned(), value.to_owned()));
    for scope in &wanted.scopes {
        add("scope", scope);
    }
    if let Some(service) = &wanted.bearer.service {
        add("service", service);
    }
    if let Credentials::IdentityToken(token) = &found.credentials {
        add("grant_type", "refresh_token");
        add("client_id", "dhow");
        pairs.sort();
        let form = Zeroizing::new(
            form_urlencoded::Serializer::new(String::new())
                .extend_pairs(&pairs)
                .append_pair("refresh_token", token.expose())
                .finish(),
        );
        let body = Bytes::copy_from_slice(form.as_bytes());
        let mut request = Request::to_url(Method::POST, realm, Lane::Small);
        request.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        request.body = RequestBody::Bytes(body);
        request.confidential = true;
        return Ok(request);
    }
    let mut authorization = None;
    if let Credentials::Basic { username, password } = &found.credentials {
        if !username.is_empty() {
            add("account", username);
        }
        // COMPAT(skopeo): half a pair is not sent.
        if !username.is_empty() && !password.expose().is_empty() {
            authorization = Some(basic(username, password)?);
        }
    }
    // COMPAT(skopeo): the parameters are sorted by key, as Go's url.Values writes them.
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    realm.query_pairs_mut().extend_pairs(&pairs);
    let mut request = Request::to_url(Method::GET, realm, Lane::Small);
    request
        .headers
        .insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(value) = authorization {
        request.headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// Returns the value of `Authorization` for Basic.
pub(crate) fn basic(username: &str, password: &Secret) -> Result<HeaderValue, Error> {
    let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
    let text = Zeroizing::new(format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())
    ));
    sensitive(&text)
}

/// Returns the value of `Authorization` for a bearer token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, Error> {
    sensitive(&Zeroizing::new(format!("Bearer {token}")))
}

fn sensitive(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        // The cause would show the text.
        Error::new(
            ErrorKind::Settings,
            "the token has characters that cannot be sent",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

fn parse_answer(body: &[u8]) -> Result<(HeaderValue, Duration), Error> {
    let answer: TokenAnswer = serde_json::from_slice(body)
        .map_err(|source| Error::protocol("the answer is not a token").caused_by(source))?;
    let token = [answer.token, answer.access_token]
        .into_iter()
        .flatten()
        .map(Zeroizing::new)
        .find(|token| !token.is_empty())
        .ok_or_else(|| Error::protocol("the answer has no token in it"))?;
    let life = answer
        .expires_in
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or_default()
        .clamp(SHORTEST_LIFE, Duration::from_hours(24));
    Ok((bearer(&token)?, life))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_answers_are_read() {
        for (body, expected) in [
            (r#"{"token":"a","expires_in":300}"#, Some(("Bearer a", 300))),
            (r#"{"access_token":"b"}"#, Some(("Bearer b", 60))),
            (
                r#"{"token":"","access_token":"c","expires_in":5}"#,
                Some(("Bearer c", 60)),
            ),
            (r#"{"token":"d","expires_in":-1}"#, Some(("Bearer d", 60))),
            (r#"{"token":"e\n"}"#, None),
            (r#"{"token":null}"#, None),
            ("{}", None),
            ("<html>", None),
        ] {
            let got = parse_answer(body.as_bytes()).ok();
            let got = got
                .as_ref()
                .map(|(header, life)| (header.to_str().unwrap(), life.as_secs()));
            assert_eq!(got, expected, "{body}");
        }
    }
}
