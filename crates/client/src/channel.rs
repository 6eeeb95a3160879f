//! The way to one repository: authentication, redirects and retries around every request.
//!
//! ```text
//! send        tries again after transient faults, with pauses
//!  authorized answers challenges: token or password, at most a few rounds
//!   exchange  finds out http or https, follows redirects
//!    once     one request on one connection
//! ```

mod exchange;
mod login;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dhow_config::{CredentialSource, Credentials};
use dhow_model::Repository;
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use crate::answer::Answer;
use crate::auth::{self, Bearer, Challenge, TokenRequest, TokenSlot};
use crate::host::{Host, HostKey, Scheme};
use crate::request::{Request, Target};
use crate::retry::{self, Backoff};
use crate::{Error, ErrorKind, Session};

use login::Login;

/// How many challenges of one request are answered.
const MAX_ROUNDS: usize = 3;

/// The way to one repository, with the credentials of one side of a command.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Inner>);

struct Inner {
    session: Session,
    host: Arc<Host>,
    source: CredentialSource,
    repository: Repository,
    login: OnceCell<Login>,
    /// There are other places to ask: nothing is tried again, and nothing waited for long.
    hasty: bool,
}

/// What a request was authorized with.
enum Shown {
    Nothing,
    /// A password or a token that was given by the user: there is no other.
    Fixed(HeaderValue),
    Token {
        header: HeaderValue,
        serial: u64,
        fresh: bool,
    },
}

impl Channel {
    pub(crate) fn new(
        session: &Session,
        key: HostKey,
        source: CredentialSource,
        repository: Repository,
    ) -> Self {
        Self(Arc::new(Inner {
            session: session.clone(),
            host: session.host(key),
            source,
            repository,
            login: OnceCell::new(),
            hasty: false,
        }))
    }

    /// Waits until nobody else changes a list of referrers of the host.
    pub(crate) async fn listing_referrers(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.host.listing_referrers.lock().await
    }

    /// Returns a channel that gives up early, for places beside which there are others.
    pub(crate) fn hasty(&self) -> Self {
        Self(Arc::new(Inner {
            session: self.0.session.clone(),
            host: self.0.host.clone(),
            source: self.0.source.clone(),
            repository: self.0.repository.clone(),
            login: OnceCell::new(),
            hasty: true,
        }))
    }

    fn retries(&self) -> u32 {
        if self.0.hasty {
            0
        } else {
            self.session().retries()
        }
    }

    fn answer_timeout(&self) -> Duration {
        let timeouts = self.session().timeouts();
        if self.0.hasty {
            timeouts.mirror.min(timeouts.answer)
        } else {
            timeouts.answer
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.0.session
    }

    pub(crate) fn host(&self) -> &Arc<Host> {
        &self.0.host
    }

    /// Returns the root of the registry, whose origin gets credentials.
    pub(crate) fn base(&self) -> Result<Url, Error> {
        self.0
            .host
            .base(self.0.host.scheme().unwrap_or(Scheme::Https))
    }

    /// Sends a request to the registry and returns its answer, whatever the status.
    pub(crate) async fn send(&self, mut request: Request) -> Result<Answer, Error> {
        let mut backoff = Backoff::new(self.retries());
        loop {
            let host = &self.0.host;
            host.pace().wait().await;
            let pass = host.gates().of(&request.method).enter().await;
            let outcome = self.authorized(&mut request).await;
            pass.learn(host.registry(), &outcome);
            drop(pass);
            match self.pause(&request, &outcome, &mut backoff) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return outcome,
            }
        }
    }

    /// Sends a request to an address that is not the registry's: no challenge is answered there,
    /// and nothing is shown but what the request itself has.
    pub(crate) async fn send_elsewhere(&self, mut request: Request) -> Result<Answer, Error> {
        let authorization = request.headers.remove(AUTHORIZATION);
        let mut backoff = Backoff::new(self.retries());
        loop {
            let Target::Url(url) = &request.target else {
                return Err(Error::new(
                    ErrorKind::Bug,
                    "a request elsewhere needs a URL",
                ));
            };
            let (url, origin) = (url.clone(), url.clone());
            let outcome = self
                .follow(&mut request, url, &origin, authorization.as_ref())
                .await
                .map_err(|fault| self.error_of(fault));
            match self.pause(&request, &outcome, &mut backoff) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return outcome,
            }
        }
    }

    /// Returns how long to wait before the same request is sent again; `None` when it is not.
    fn pause(
        &self,
        request: &Request,
        outcome: &Result<Answer, Error>,
        backoff: &mut Backoff,
    ) -> Option<Duration> {
        let asked = match outcome {
            Ok(answer) if retry::is_transient(answer.status()) => {
                retry::retry_after(answer.headers())
            }
            Err(error) if error.is_retryable() => error.retry_after(),
            _ => return None,
        };
        if !request.body.is_replayable() {
            return None;
        }
        let pause = backoff.next(asked)?;
        self.session().note_retry();
        tracing::debug!(
            method = %request.method,
            target = ?request.target,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "trying again"
        );
        Some(pause)
    }

    async fn authorized(&self, request: &mut Request) -> Result<Answer, Error> {
        let mut scopes = request.scopes.clone();
        let mut refused = None;
        for _ in 0..MAX_ROUNDS {
            let shown = self.authorization(&scopes, refused.take()).await?;
            let answer = self.exchange(request, shown.header()).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || !answer.at_origin() {
                return Ok(answer);
            }
            let Some(challenge) = self.choose(auth::challenges(answer.headers())).await? else {
                return Ok(answer);
            };
            let key = self.0.repository.path();
            let known = self.0.host.challenge(key);
            let grown = match &challenge {
                Challenge::Bearer(bearer) => widen(&mut scopes, bearer),
                Challenge::Basic => false,
            };
            let news = match &shown {
                Shown::Nothing => true,
                Shown::Fixed(_) => known.as_ref().map(scheme_of) != Some(scheme_of(&challenge)),
                Shown::Token { serial, fresh, .. } => {
                    refused = Some(*serial);
                    grown || !fresh
                }
            };
            self.0.host.remember_challenge(key, challenge);
            if !news || !request.body.is_replayable() {
                return Ok(answer);
            }
        }
        Err(Error::new(
            ErrorKind::Unauthorized,
            format!(
                "registry `{}` asks for another proof each time",
                self.0.host.registry()
            ),
        ))
    }

    /// Returns what to show to the registry: nothing before it has asked.
    async fn authorization(
        &self,
        scopes: &BTreeSet<String>,
        refused: Option<u64>,
    ) -> Result<Shown, Error> {
        let Some(challenge) = self.0.host.challenge(self.0.repository.path()) else {
            return Ok(Shown::Nothing);
        };
        let login = self.login().await?;
        match (&challenge, &login.found.credentials) {
            (_, Credentials::RegistryToken(token)) => {
                Ok(Shown::Fixed(auth::bearer(token.expose())?))
            }
            (Challenge::Basic, Credentials::Basic { username, password }) => {
                Ok(Shown::Fixed(auth::basic(username, password)?))
            }
            (Challenge::Basic, _) => Ok(Shown::Nothing),
            (Challenge::Bearer(bearer), _) => self.token(login, bearer, scopes, refused).await,
        }
    }

    async fn token(
        &self,
        login: &Login,
        bearer: &Bearer,
        scopes: &BTreeSet<String>,
        refused: Option<u64>,
    ) -> Result<Shown, Error> {
        let slot = TokenSlot {
            registry: self.0.host.registry().to_owned(),
            realm: bearer.realm.clone().unwrap_or_default(),
            service: bearer.service.clone(),
            repository: self.0.repository.path().to_owned(),
        };
        let mut scopes = scopes.clone();
        if scopes.is_empty() {
            // Requests that belong to no repository: the server knows what they need.
            scopes.extend(bearer.scopes().map(str::to_owned));
        }
        let wanted = TokenRequest {
            slot,
            bearer,
            scopes,
            refused,
        };
        let issued = Box::pin(auth::fetch(self, &login.account, &login.found, wanted)).await?;
        Ok(Shown::Token {
            header: issued.header,
            serial: issued.serial,
            fresh: issued.fresh,
        })
    }

    /// Returns the challenge to answer: the first that these credentials can answer.
    async fn choose(&self, offered: Vec<Challenge>) -> Result<Option<Challenge>, Error> {
        if offered.is_empty() {
            return Ok(None);
        }
        let login = self.login().await?;
        let bearer_only = !matches!(login.found.credentials, Credentials::Basic { .. });
        let mut offered = offered.into_iter();
        Ok(match &login.found.credentials {
            Credentials::RegistryToken(_) => offered.next(),
            _ => offered.find(|one| !bearer_only || matches!(one, Challenge::Bearer(_))),
        })
    }
}

impl Shown {
    const fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Fixed(header) | Self::Token { header, .. } => Some(header),
        }
    }
}

/// Adds the scopes that the registry misses in a token; returns whether there are any.
fn widen(scopes: &mut BTreeSet<String>, bearer: &Bearer) -> bool {
    // A hostile registry must not make the request for a token grow without end.
    const MOST: usize = 16;
    if bearer.error.as_deref() != Some("insufficient_scope") {
        return false;
    }
    let before = scopes.len();
    for scope in bearer.scopes().take(MOST) {
        if scopes.len() < MOST {
            scopes.insert(scope.to_owned());
        }
    }
    scopes.len() > before
}

fn scheme_of(challenge: &Challenge) -> std::mem::Discriminant<Challenge> {
    std::mem::discriminant(challenge)
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("repository", &self.0.repository)
            .finish_non_exhaustive()
    }
}
