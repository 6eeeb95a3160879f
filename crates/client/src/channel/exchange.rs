//! One exchange with a server: http or https, redirects, and the connection itself.

use std::time::Instant;

use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderName, HeaderValue, Method, Response};
use tokio::sync::MutexGuard;
use url::Url;

use super::Channel;
use crate::answer::Answer;
use crate::fault;
use crate::host::{Lane, Scheme};
use crate::origin::{self, redacted};
use crate::request::{Request, Target};
use crate::wire::{Incoming, WireError};
use crate::{Error, ErrorKind};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// A failed try on one connection.
pub(super) enum Fault {
    /// There was no answer.
    NoAnswer(WireError, Url),
    Other(Error),
}

impl Channel {
    pub(super) async fn exchange(
        &self,
        request: &mut Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Error> {
        let host = &self.0.host;
        let deciding = match host.scheme() {
            Some(_) => None,
            None => Some(host.deciding.lock().await),
        };
        let outcome = match host.scheme() {
            Some(scheme) => {
                drop(deciding);
                self.exchange_at(scheme, request, authorization).await
            }
            None => match self.named_scheme(request) {
                Some(scheme) => {
                    let outcome = self.exchange_at(scheme, request, authorization).await;
                    if outcome.is_ok() {
                        host.decide(scheme);
                    }
                    outcome
                }
                None => self.first_exchange(deciding, request, authorization).await,
            },
        };
        outcome.map_err(|fault| self.error_of(fault))
    }

    /// Returns the scheme that a request names itself: to an address of the registry that it gave
    /// earlier.
    fn named_scheme(&self, request: &Request) -> Option<Scheme> {
        let Target::Url(url) = &request.target else {
            return None;
        };
        [Scheme::Https, Scheme::Http].into_iter().find(|scheme| {
            let base = self.0.host.base(*scheme);
            base.is_ok_and(|base| origin::same(&base, url))
        })
    }

    /// Sends a request once, showing nothing to the server.
    pub(crate) async fn exchange_openly(&self, request: &mut Request) -> Result<Answer, Error> {
        self.exchange(request, None).await
    }

    /// Finds out whether the host speaks https, by the first request itself. Only for hosts whose
    /// certificate is not verified.
    async fn first_exchange(
        &self,
        mut deciding: Option<MutexGuard<'_, ()>>,
        request: &mut Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Fault> {
        let host = &self.0.host;
        let secure = self
            .exchange_at(Scheme::Https, request, authorization)
            .await;
        let (error, url) = match secure {
            Err(Fault::NoAnswer(error, url)) if fault::may_be_plain(&error) => (error, url),
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
        if fault::is_no_tls(&error) {
            // Who answers like this will not speak https: the others need not wait for more.
            host.decide(Scheme::Http);
            drop(deciding.take());
        }
        let plain = self.exchange_at(Scheme::Http, request, authorization).await;
        if plain.is_ok() {
            host.decide(Scheme::Http);
        }
        match plain {
            // Where nothing listens, what https said is told: it is what should have worked.
            Err(Fault::NoAnswer(plain, _)) if plain.is_connect() => {
                Err(Fault::NoAnswer(error, url))
            }
            outcome => outcome,
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
        let host = &self.0.host;
        if answer.at_origin() {
            if request.lane == Lane::Small {
                host.learn_version(answer.version());
            }
            host.pace()
                .learn(host.registry(), answer.status(), answer.headers());
        }
        Ok(answer)
    }

    /// Sends a request and follows redirects. `authorization` goes to `origin` and nowhere else.
    pub(super) async fn follow(
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
            let stall = self.session().timeouts().stall;
            let answer = Answer::new(response, url.clone(), at_origin, stall);
            let Some(location) = location else {
                return Ok(answer);
            };
            let reads = matches!(request.method, Method::GET | Method::HEAD);
            let repeats = matches!(status.as_u16(), 307 | 308) && request.body.is_replayable();
            if !reads && !repeats {
                return Ok(answer);
            }
            let next = origin::follow(&url, &location).map_err(Fault::Other)?;
            if request.confidential && !origin::same(origin, &next) {
                return Err(Fault::Other(Error::new(
                    ErrorKind::Refused,
                    format!(
                        "`{}` leads to `{}` with a secret that is not for it",
                        redacted(&url),
                        redacted(&next)
                    ),
                )));
            }
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
    ) -> Result<Response<Incoming>, Fault> {
        let wire = self
            .0
            .host
            .wire(self.session(), url, request.lane)
            .await
            .map_err(Fault::Other)?;
        let mut headers = request.headers.clone();
        if matches!(request.target, Target::Path(_)) {
            headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        }
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let timeouts = self.session().timeouts();
        let timeout = match request.method {
            Method::GET | Method::HEAD => Some(self.answer_timeout()),
            // The body's own watch sees to the others.
            _ if request.body.is_replayable() => Some(timeouts.commit),
            _ => None,
        };
        let start = Instant::now();
        let sending = wire.send(request.method.clone(), url, headers, request.body.take());
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

    pub(super) fn error_of(&self, fault: Fault) -> Error {
        match fault {
            Fault::NoAnswer(error, url) => fault::no_answer(&error, &url, &self.0.host),
            Fault::Other(error) => error,
        }
    }
}
