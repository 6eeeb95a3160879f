//! Deciding about one request, and issuing tokens (distribution's *Token Authentication
//! Specification*).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;
use tokio::sync::Semaphore;

use super::htpasswd::Htpasswd;
use super::token::{Grant, Signer};
use crate::AuthConfig;
use crate::answer::{Answer, Refusal, json as json_answer};
use crate::body::Received;
use crate::naming::is_repository;
use crate::routes::{Route, TOKEN_PATH};
use crate::service::{blocking, lost};

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Find out what the server wants.
    Ping,
    Pull,
    Push,
    Delete,
    /// List all repositories.
    List,
}

/// Where the client reached the server.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) scheme: &'static str,
    pub(crate) host: String,
}

/// Decides about requests.
#[derive(Debug)]
pub(crate) struct Gate {
    config: AuthConfig,
    signer: Signer,
    anonymous_pull: bool,
    /// bcrypt takes a processor for a tenth of a second: strangers must not get all of them.
    checks: Semaphore,
}

impl Gate {
    pub(crate) fn new(config: AuthConfig, anonymous_pull: bool) -> Option<Self> {
        Some(Self {
            config,
            signer: Signer::new()?,
            anonymous_pull,
            checks: Semaphore::new(2),
        })
    }

    /// Lets a request through and returns its user, or refuses it with a challenge.
    pub(crate) async fn admit(
        &self,
        action: Action,
        route: &Route,
        headers: &HeaderMap,
        origin: &Origin,
    ) -> Result<Option<String>, Refusal> {
        match &self.config {
            AuthConfig::Open => Ok(None),
            AuthConfig::Basic(users) => {
                let anonymous = self.anonymous_pull && action == Action::Pull;
                match basic(headers) {
                    None if anonymous && !headers.contains_key(AUTHORIZATION) => Ok(None),
                    None => Err(unauthorized("credentials are needed", BASIC)),
                    Some((user, password)) => {
                        if self.check(users, &user, &password).await? {
                            Ok(Some(user))
                        } else {
                            Err(unauthorized("user name or password is wrong", BASIC))
                        }
                    }
                }
            }
            AuthConfig::Token(_) => {
                let scope = scope(action, route);
                let challenge = |error: &str| challenge(origin, scope.as_ref(), error);
                let Some(token) = bearer(headers) else {
                    return Err(unauthorized("a token is needed", &challenge("")));
                };
                let Some(grant) = self.signer.read(token, now()) else {
                    return Err(unauthorized(
                        "the token is not valid any more, or never was",
                        &challenge("invalid_token"),
                    ));
                };
                if let Some((resource, actions)) = &scope
                    && !grant.allows(resource, actions[actions.len() - 1])
                {
                    return Err(unauthorized(
                        "the token does not allow this",
                        &challenge("insufficient_scope"),
                    ));
                }
                Ok(Some(grant.user).filter(|user| !user.is_empty()))
            }
        }
    }

    /// Answers a request for a token: `GET` with Basic credentials, or an OAuth2 password form.
    pub(crate) async fn issue(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &mut Received,
    ) -> Result<(Answer, Option<String>), Refusal> {
        let AuthConfig::Token(users) = &self.config else {
            return Err(Refusal::not_found(
                "UNSUPPORTED",
                "this server issues no tokens",
            ));
        };
        let form = form(method, uri, body).await?;
        let fields = |name: &'static str| {
            url::form_urlencoded::parse(&form)
                .filter(move |(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let credentials = basic(headers)
            .or_else(|| Some((fields("username").next()?, fields("password").next()?)))
            .filter(|_| *method == Method::POST || basic(headers).is_some());
        let user = match credentials {
            Some((user, password)) => {
                if !self.check(users, &user, &password).await? {
                    return Err(unauthorized("user name or password is wrong", BASIC));
                }
                Some(user)
            }
            None if headers.contains_key(AUTHORIZATION) || !self.anonymous_pull => {
                return Err(unauthorized("credentials are needed", BASIC));
            }
            None => None,
        };
        let scopes: Vec<String> = fields("scope").take(MAX_SCOPES).collect();
        let grant = Grant {
            user: user.clone().unwrap_or_default(),
            expires: now() + LIFETIME,
            access: granted(&scopes, user.is_some()),
        };
        let token = self.signer.sign(&grant);
        let answer = json_answer(&json!({
            "token": token,
            "access_token": token,
            "expires_in": LIFETIME,
            "issued_at": jiff::Timestamp::from_second(now()).unwrap_or_default().to_string(),
        }));
        Ok((answer, user))
    }

    async fn check(&self, users: &Htpasswd, user: &str, password: &str) -> Result<bool, Refusal> {
        let (users, user, password) = (users.clone(), user.to_owned(), password.to_owned());
        if users.knows(&user, &password) && !users.is_stale() {
            return Ok(true);
        }
        let _permit = self
            .checks
            .acquire()
            .await
            .map_err(|error| Refusal::internal(&error))?;
        blocking(move || Ok(users.check(&user, &password))).await
    }
}

/// Returns the fields that a token is asked for with, URL-encoded.
async fn form(method: &Method, uri: &Uri, body: &mut Received) -> Result<Vec<u8>, Refusal> {
    if *method != Method::POST {
        return Ok(uri.query().unwrap_or_default().as_bytes().to_vec());
    }
    let posted = body.collect(MAX_FORM).await.map_err(|error| lost(&error))?;
    let posted = posted.ok_or_else(|| {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "DENIED",
            "the form is too large",
        )
    })?;
    Ok(posted.to_vec())
}

/// Returns the resource and the actions that a request needs; the last one decides.
fn scope(action: Action, route: &Route) -> Option<(String, &'static [&'static str])> {
    let actions: &[&str] = match action {
        Action::Ping => return None,
        Action::List => return Some(("registry:catalog".to_owned(), &["*"])),
        Action::Pull => &["pull"],
        Action::Push => &["pull", "push"],
        Action::Delete => &["delete"],
    };
    Some((format!("repository:{}", route.repository()?), actions))
}

/// Returns what is granted of what was asked for.
fn granted(scopes: &[String], known: bool) -> BTreeMap<String, Vec<String>> {
    let mut access: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for scope in scopes
        .iter()
        .flat_map(|scopes| scopes.split(' '))
        .take(MAX_SCOPES)
    {
        let Some((resource, asked)) = scope.rsplit_once(':') else {
            continue;
        };
        let possible: &[&str] = match resource.split_once(':') {
            Some(("repository", name)) if is_repository(name) => {
                if known {
                    &["pull", "push", "delete"]
                } else {
                    &["pull"]
                }
            }
            Some(("registry", "catalog")) if known => &["*"],
            _ => continue,
        };
        let actions = access.entry(resource.to_owned()).or_default();
        for action in possible {
            if asked
                .split(',')
                .any(|asked| asked == *action || asked == "*")
                && !actions.iter().any(|granted| granted == action)
            {
                actions.push((*action).to_owned());
            }
        }
    }
    access
}

fn challenge(
    origin: &Origin,
    scope: Option<&(String, &'static [&'static str])>,
    error: &str,
) -> String {
    let Origin { scheme, host } = origin;
    let mut parts = vec![
        format!("Bearer realm=\"{scheme}://{host}{TOKEN_PATH}\""),
        format!("service=\"{host}\""),
    ];
    if let Some((resource, actions)) = scope {
        parts.push(format!("scope=\"{resource}:{}\"", actions.join(",")));
    }
    if !error.is_empty() {
        parts.push(format!("error=\"{error}\""));
    }
    parts.join(",")
}

fn unauthorized(message: &str, challenge: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
        .header(WWW_AUTHENTICATE, challenge)
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let pair = BASE64_STANDARD
        .decode(credentials(headers, "basic")?)
        .ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

const BASIC: &str = "Basic realm=\"dhow\", charset=\"UTF-8\"";

/// How long a token holds, in seconds.
const LIFETIME: i64 = 600;

/// How many scopes one token may have.
const MAX_SCOPES: usize = 64;

/// The largest form that asks for a token, in bytes.
const MAX_FORM: usize = 64 * 1024;
