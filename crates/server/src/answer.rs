//! Answers, and the errors that the distribution spec knows (OCI distribution-spec v1.1, *Error
//! Codes*).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use crate::body::Body;

pub(crate) type Answer = Response<Body>;

/// Returns an answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// Returns an answer with a document.
pub(crate) fn document(media_type: &str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Body::Bytes(bytes));
    set(&mut answer, CONTENT_TYPE, media_type);
    answer
}

/// Returns an answer with a JSON value.
pub(crate) fn json(value: &serde_json::Value) -> Answer {
    document("application/json", Bytes::from(value.to_string()))
}

/// Sets a header. What cannot be one is left out.
pub(crate) fn set(answer: &mut Answer, name: HeaderName, value: impl AsRef<str>) {
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        answer.headers_mut().insert(name, value);
    }
}

/// Takes the body away and leaves the length it would have had, as `HEAD` wants it.
pub(crate) fn without_body(mut answer: Answer) -> Answer {
    let length = http_body::Body::size_hint(answer.body()).exact();
    *answer.body_mut() = Body::empty();
    if let Some(length) = length.filter(|_| answer.status() != StatusCode::NO_CONTENT) {
        set(&mut answer, CONTENT_LENGTH, length.to_string());
    }
    answer
}

/// A refusal: a status, a code of the spec, and what is wrong.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    /// Says that the server, not the client, has the trouble. What it is goes to the log.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = chain, "the store does not answer");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "the registry's store does not answer; its log says why",
        )
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn into_answer(self) -> Answer {
        let mut answer = json(&json!({
            "errors": [{"code": self.code, "message": self.message}],
        }));
        *answer.status_mut() = self.status;
        for (name, value) in self.headers {
            set(&mut answer, name, value);
        }
        answer
    }
}

pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
pub(crate) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(crate) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
