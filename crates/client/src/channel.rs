//! The way to one repository: authentication, redirects and retries around every request.
//!
//! ```text
//! send        tries again after transient faults, with pauses
//!  authorized answers challenges: token or password, at most a few rounds
//!   exchange  finds out http or https, follows redirects
//!    once     one request on one connection
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhow_config::{CredentialSource, Credentials, FoundCredentials};
use dhow_model::Repository;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use crate::answer::Answer;
use crate::auth::{self, Account, Bearer, Challenge, TokenRequest, TokenSlot};
use crate::fault;
use crate::host::{Host, HostKey, Scheme};
use crate::origin::{self, redacted};
use crate::request::{Request, Target};
use crate::retry::{self, Backoff};
use crate::{Error, ErrorKind, Session};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// How many challenges of one request are answered.
const MAX_ROUNDS: usize = 3;
/// How long a server may think before it begins to answer a read.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// The same for a write: registries check and move whole blobs before they answer.
const WRITE_TIMEOUT: Duration = Duration::from_mins(10);

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The way to one repository, with the credentials of one side of a command.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Inner>);

struct Inner {
    session: Session,
    host: Arc<Host>,
    source: CredentialSource,
    repository: Repository,
    login: OnceCell<Login>,
}

/// Credentials, once they were looked up.
#[derive(Debug)]
struct Login {
    found: FoundCredentials,
    account: Arc<Account>,
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

/// A failed try on one connection.
enum Fault {
    /// There was no answer.
    NoAnswer(reqwest::Error, Url),
    Other(Error),
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
        }))
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
        let mut backoff = Backoff::new(self.session().retries());
        loop {
            let outcome = self.authorized(&mut request).await;
            match Self::pause(&request, &outcome, &mut backoff) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return outcome,
            }
        }
    }

    /// Sends a request to an address that is not the registry's: no challenge is answered there,
    /// and nothing is shown but what the request itself has.
    pub(crate) async fn send_elsewhere(&self, mut request: Request) -> Result<Answer, Error> {
        let authorization = request.headers.remove(AUTHORIZATION);
        let mut backoff = Backoff::new(self.session().retries());
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
            match Self::pause(&request, &outcome, &mut backoff) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return outcome,
            }
        }
    }

    /// Returns how long to wait before the same request is sent again; `None` when it is not.
    fn pause(
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

    async fn login(&self) -> Result<&Login, Error> {
        self.0.login.get_or_try_init(|| self.look_up()).await
    }

    async fn look_up(&self) -> Result<Login, Error> {
        let source = self.0.source.clone();
        let repository = self.0.repository.clone();
        let looking = tokio::task::spawn_blocking(move || source.find(&repository));
        let found = looking
            .await
            .map_err(|source| {
                Error::new(ErrorKind::Bug, "looking for credentials was interrupted")
                    .caused_by(source)
            })?
            .map_err(|source| {
                Error::new(
                    ErrorKind::Settings,
                    format!(
                        "the credentials for `{}` cannot be found out",
                        self.0.repository
                    ),
                )
                .caused_by(source)
            })?;
        tracing::debug!(repository = %self.0.repository, origin = found.origin, "credentials");
        let account = self.session().account(&found.credentials);
        Ok(Login { found, account })
    }

    /// Adds to a 401 what was shown and what to do about it.
    pub(crate) fn unauthorized(&self, error: Error, found: &FoundCredentials) -> Error {
        let registry = self.0.host.registry();
        error.hint(match &found.credentials {
            Credentials::Anonymous => format!(
                "no credentials for `{registry}` were sent ({}); pass --creds USER:PASSWORD, or \
                 name a file that has them with --authfile",
                found.origin
            ),
            _ => format!(
                "`{registry}` refused the credentials from {}; check them, or pass others with \
                 --creds USER:PASSWORD or --authfile",
                found.origin
            ),
        })
    }

    /// Returns the error that an answer means, with a hint where credentials are the cause.
    pub(crate) async fn refusal(&self, answer: Answer, during: String) -> Error {
        let error = answer.into_error().await;
        let error = match (error.kind(), self.0.login.get()) {
            (ErrorKind::Unauthorized, Some(login)) => self.unauthorized(error, &login.found),
            (ErrorKind::Unauthorized, None) => error.hint(format!(
                "`{}` asks for no proof that dhow can give",
                self.0.host.registry()
            )),
            (ErrorKind::Denied, Some(login)) => error.hint(format!(
                "the credentials from {} do not allow this; use others, or ask for access",
                login.found.origin
            )),
            _ => error,
        };
        error.during(during)
    }

    async fn exchange(
        &self,
        request: &mut Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Error> {
        let host = &self.0.host;
        let mut guard = None;
        if host.scheme().is_none() {
            guard = Some(host.deciding.lock().await);
        }
        let outcome = match host.scheme() {
            Some(scheme) => self.exchange_at(scheme, request, authorization).await,
            None => self.first_exchange(request, authorization).await,
        };
        drop(guard);
        outcome.map_err(|fault| self.error_of(fault))
    }

    /// Finds out whether the host speaks https, by the first request itself. Only for hosts whose
    /// certificate is not verified.
    async fn first_exchange(
        &self,
        request: &mut Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Fault> {
        let host = &self.0.host;
        let secure = self
            .exchange_at(Scheme::Https, request, authorization)
            .await;
        let fault = match secure {
            Err(Fault::NoAnswer(error, url)) if fault::may_be_plain(&error) => {
                Fault::NoAnswer(error, url)
            }
            Ok(answer) => {
                host.decide(Scheme::Https);
                return Ok(answer);
            }
            Err(other) => return Err(other),
        };
        tracing::debug!(
            registry = host.registry(),
            "no https here, trying plain http"
        );
        match self.exchange_at(Scheme::Http, request, authorization).await {
            Ok(answer) => {
                host.decide(Scheme::Http);
                Ok(answer)
            }
            // What https said is told: it is what should have worked.
            Err(_) => Err(fault),
        }
    }

    async fn exchange_at(
        &self,
        scheme: Scheme,
        request: &mut Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Fault> {
        let origin = self.0.host.base(scheme).map_err(Fault::Other)?;
        let url = match &request.target {
            Target::Path(path) => origin.join(path).map_err(|source| {
                Fault::Other(Error::new(ErrorKind::Bug, "a path is not a URL").caused_by(source))
            })?,
            Target::Url(url) => url.clone(),
        };
        let answer = self.follow(request, url, &origin, authorization).await?;
        answer.log_warnings(self.session());
        Ok(answer)
    }

    /// Sends a request and follows redirects. `authorization` goes to `origin` and nowhere else.
    async fn follow(
        &self,
        request: &mut Request,
        mut url: Url,
        origin: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Fault> {
        let mut at_origin = origin::same(origin, &url);
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .once(request, &url, authorization.filter(|_| at_origin))
                .await?;
            let status = response.status();
            let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = response
                .headers()
                .get(LOCATION)
                .filter(|_| redirects)
                .and_then(|value| value.to_str().ok().map(str::to_owned));
            let answer = Answer::new(response, url.clone(), at_origin);
            let Some(location) = location else {
                return Ok(answer);
            };
            let reads = matches!(request.method, Method::GET | Method::HEAD);
            let repeats = matches!(status.as_u16(), 307 | 308) && request.body.is_replayable();
            if !reads && !repeats {
                return Ok(answer);
            }
            let next = origin::follow(&url, &location).map_err(Fault::Other)?;
            // Who was sent away once is not trusted again, even if sent back.
            at_origin = at_origin && origin::same(origin, &next);
            url = next;
        }
        Err(Fault::Other(Error::protocol(format!(
            "`{}` is redirected more than {MAX_REDIRECTS} times",
            redacted(&url)
        ))))
    }

    async fn once(
        &self,
        request: &mut Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<reqwest::Response, Fault> {
        let client = self
            .0
            .host
            .client(self.session(), url, request.lane)
            .await
            .map_err(Fault::Other)?;
        let mut sent = reqwest::Request::new(request.method.clone(), url.clone());
        *sent.headers_mut() = request.headers.clone();
        if matches!(request.target, Target::Path(_)) {
            sent.headers_mut()
                .insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        }
        if let Some(value) = authorization {
            sent.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let timeout = match request.method {
            Method::GET | Method::HEAD => Some(READ_TIMEOUT),
            // The body's own watch sees to the others.
            _ if request.body.is_replayable() => Some(WRITE_TIMEOUT),
            _ => None,
        };
        *sent.body_mut() = request.body.take();
        let start = Instant::now();
        let sending = client.execute(sent);
        let outcome = match timeout {
            None => sending.await,
            Some(timeout) => match tokio::time::timeout(timeout, sending).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    return Err(Fault::Other(
                        Error::new(
                            ErrorKind::Timeout,
                            format!(
                                "`{}` did not answer for {} seconds",
                                fault::authority(url),
                                timeout.as_secs()
                            ),
                        )
                        .retryable(None),
                    ));
                }
            },
        };
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = outcome
            .as_ref()
            .ok()
            .map(|response| response.status().as_u16());
        tracing::debug!(method = %request.method, url = redacted(url), status, ms, "request");
        outcome.map_err(|error| Fault::NoAnswer(error, url.clone()))
    }

    fn error_of(&self, fault: Fault) -> Error {
        match fault {
            Fault::NoAnswer(error, url) => fault::no_answer(error, &url, &self.0.host),
            Fault::Other(error) => error,
        }
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
