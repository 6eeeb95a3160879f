//! One request: read-only? allowed? then to its endpoint, and its line into the log.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, EXPECT, HOST};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::answer::{API_VERSION, Answer, Refusal, json, set, without_body};
use crate::auth::{Action, Gate, Origin};
use crate::body::Received;
use crate::log::{LoggedBody, PendingLine, RequestLog};
use crate::registry::Registry;
use crate::routes::Route;
use crate::sessions::Sessions;
use crate::{blobs, listing, manifests, uploads};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) registry: Arc<Registry>,
    pub(crate) sessions: Sessions,
    pub(crate) gate: Gate,
    pub(crate) read_only: bool,
    pub(crate) scheme: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<dyn RequestLog>,
}

impl Service {
    /// Answers a request.
    pub(crate) async fn answer(
        &self,
        remote: SocketAddr,
        request: Request<Incoming>,
    ) -> Response<LoggedBody> {
        let (parts, body) = request.into_parts();
        let mut pending = PendingLine::new(
            remote,
            &parts.method,
            parts.uri.path(),
            Arc::clone(&self.log),
        );
        let mut body = Received::new(body, Arc::clone(&pending.received));
        let result = self.route(&parts, &mut body, &mut pending.line.user).await;
        let mut answer = match result {
            Ok(answer) => answer,
            Err(refusal) => {
                drain(&parts, &mut body).await;
                refusal.into_answer()
            }
        };
        set(&mut answer, API_VERSION, "registry/2.0");
        if parts.method == Method::HEAD {
            answer = without_body(answer);
        }
        pending.line.status = answer.status().as_u16();
        answer.map(|body| LoggedBody::new(body, pending))
    }

    async fn route(
        &self,
        parts: &Parts,
        body: &mut Received,
        user: &mut Option<String>,
    ) -> Result<Answer, Refusal> {
        let route = Route::parse(&parts.method, parts.uri.path())?;
        if matches!(route, Route::Token) {
            if parts.method != Method::GET && parts.method != Method::POST {
                return Err(not_allowed("GET, POST"));
            }
            let (answer, who) = self
                .gate
                .issue(&parts.method, &parts.uri, &parts.headers, body)
                .await?;
            *user = who;
            return Ok(answer);
        }
        let action = action(&route, &parts.method)?;
        *user = self
            .gate
            .admit(action, &route, &parts.headers, &self.origin(parts))
            .await?;
        if self.read_only && matches!(action, Action::Push | Action::Delete) {
            return Err(Refusal::unsupported("the registry is read-only"));
        }
        self.dispatch(route, parts, body).await
    }

    async fn dispatch(
        &self,
        route: Route,
        parts: &Parts,
        body: &mut Received,
    ) -> Result<Answer, Refusal> {
        let (registry, sessions) = (&self.registry, &self.sessions);
        let Parts { uri, headers, .. } = parts;
        // Which methods there are was decided before: see `action`.
        let method = parts.method.as_str();
        match (route, method) {
            (Route::Base | Route::Token, _) => Ok(json(&serde_json::json!({}))),
            (Route::Catalog, _) => listing::catalog(registry, uri).await,
            (Route::Tags { repository }, _) => listing::tags(registry, repository, uri).await,
            (Route::Referrers { repository, digest }, _) => {
                listing::referrers(registry, repository, digest, uri).await
            }
            (Route::Manifest { repository, name }, "PUT") => {
                manifests::put(registry, repository, name, headers, body).await
            }
            (Route::Manifest { repository, name }, "DELETE") => {
                manifests::delete(registry, repository, name).await
            }
            (Route::Manifest { repository, name }, _) => {
                manifests::fetch(registry, repository, name).await
            }
            (Route::Blob { digest, .. }, "DELETE") => blobs::delete(registry, digest).await,
            (Route::Blob { digest, .. }, _) => blobs::fetch(registry, digest, headers).await,
            (Route::Uploads { repository }, _) => {
                uploads::start(registry, sessions, &repository, uri, body).await
            }
            (Route::Upload { repository, id }, "PATCH") => {
                uploads::patch(registry, sessions, &repository, &id, headers, body).await
            }
            (Route::Upload { repository, id }, "PUT") => {
                let place = (repository.as_str(), id.as_str());
                uploads::put(registry, sessions, place, uri, headers, body).await
            }
            (Route::Upload { repository, id }, "DELETE") => {
                uploads::cancel(sessions, &repository, &id)
            }
            (Route::Upload { repository, id }, _) => {
                uploads::status(sessions, &repository, &id).await
            }
        }
    }

    /// Returns where the client thinks that the server is, if that could be in a URL.
    fn origin(&self, parts: &Parts) -> Origin {
        let named = parts
            .uri
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| parts.headers.get(HOST)?.to_str().ok())
            .filter(|host| {
                !host.is_empty()
                    && host.len() <= 255
                    && host
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b".:-_[]".contains(&byte))
            });
        Origin {
            scheme: self.scheme,
            host: named.map_or_else(|| self.address.to_string(), str::to_owned),
        }
    }
}

/// Returns what a request wants to do, or that the endpoint has no such method.
fn action(route: &Route, method: &Method) -> Result<Action, Refusal> {
    let method = method.as_str();
    let (action, allowed) = match (route, method) {
        (Route::Base | Route::Token, "GET" | "HEAD") => (Some(Action::Ping), ""),
        (Route::Catalog, "GET" | "HEAD") => (Some(Action::List), ""),
        (
            Route::Tags { .. }
            | Route::Referrers { .. }
            | Route::Manifest { .. }
            | Route::Blob { .. },
            "GET" | "HEAD",
        ) => (Some(Action::Pull), ""),
        (Route::Manifest { .. }, "PUT")
        | (Route::Uploads { .. }, "POST")
        | (Route::Upload { .. }, "GET" | "HEAD" | "PATCH" | "PUT" | "DELETE") => {
            (Some(Action::Push), "")
        }
        (Route::Manifest { .. } | Route::Blob { .. }, "DELETE") => (Some(Action::Delete), ""),
        (
            Route::Base
            | Route::Token
            | Route::Catalog
            | Route::Tags { .. }
            | Route::Referrers { .. },
            _,
        ) => (None, "GET, HEAD"),
        (Route::Manifest { .. }, _) => (None, "GET, HEAD, PUT, DELETE"),
        (Route::Blob { .. }, _) => (None, "GET, HEAD, DELETE"),
        (Route::Uploads { .. }, _) => (None, "POST"),
        (Route::Upload { .. }, _) => (None, "GET, HEAD, PATCH, PUT, DELETE"),
    };
    action.ok_or_else(|| not_allowed(allowed))
}

fn not_allowed(methods: &str) -> Refusal {
    Refusal::unsupported(format!("this endpoint takes {methods}")).header(ALLOW, methods)
}

/// Takes the rest of a small body, so that the client reads the answer and not a reset.
async fn drain(parts: &Parts, body: &mut Received) {
    if body.is_empty() || parts.headers.contains_key(EXPECT) {
        return;
    }
    let drained = body.collect(MAX_DRAINED);
    drop(tokio::time::timeout(Duration::from_secs(1), drained).await);
}

/// Does what blocks on a thread for that.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Refusal::internal(&error)),
    }
}

/// Says that the client did not send all that it promised.
pub(crate) fn lost(error: &std::io::Error) -> Refusal {
    tracing::debug!(%error, cause = error.source(), "a request's body broke off");
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "SIZE_INVALID",
        "the request's body broke off",
    )
}

/// How much of a body is read after the request was refused.
const MAX_DRAINED: usize = 4 * 1024 * 1024;
