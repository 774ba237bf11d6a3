//! The answers the engine gives itself: a fault with a code, as a small JSON body that says what to do.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use crate::body::{Body, full};

/// Code of a fault; only the engine sets it, so a peer can tell our 503 from a guest's.
pub(crate) const ERROR: HeaderName = HeaderName::from_static("hanse-error");
/// Node whose front took the request.
pub(crate) const INGRESS: HeaderName = HeaderName::from_static("hanse-ingress");
/// Node that ran the request.
pub(crate) const NODE: HeaderName = HeaderName::from_static("hanse-node");
/// On a forwarded request: the node that passed it on.
pub(crate) const FORWARDED_BY: HeaderName = HeaderName::from_static("hanse-forwarded-by");
/// On a forwarded request: the workload meant.
pub(crate) const WORKLOAD: HeaderName = HeaderName::from_static("hanse-workload");
/// On a forwarded request: milliseconds left.
pub(crate) const DEADLINE_MS: HeaderName = HeaderName::from_static("hanse-deadline-ms");

/// A request that ended otherwise than by the guest's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) hint: Cow<'static, str>,
    pub(crate) retry_after_s: Option<u32>,
}

impl Fault {
    pub(crate) fn new(code: &'static str, status: StatusCode, message: impl Into<String>, hint: &'static str) -> Self {
        Self {
            code,
            status,
            message: message.into(),
            hint: Cow::Borrowed(hint),
            retry_after_s: None,
        }
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn overloaded(what: &str) -> Self {
        Self::new(
            "engine.overloaded",
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{what} has as many requests as it may hold"),
            "try again later; more replicas or a higher concurrency limit carry more",
        )
        .retry_after(1)
    }

    pub(crate) fn shed(limit: u32) -> Self {
        Self::new(
            "route.overloaded",
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the route holds {limit} requests here, as many as are answered in good time"),
            "try again later; more replicas carry more",
        )
        .retry_after(1)
    }

    pub(crate) fn connect() -> Self {
        Self::new(
            "request.connect",
            StatusCode::NOT_IMPLEMENTED,
            "this is no proxy for other destinations",
            "ask for a path of a workload",
        )
    }

    pub(crate) fn deadline() -> Self {
        Self::new(
            "guest.deadline",
            StatusCode::GATEWAY_TIMEOUT,
            "no answer within the time allowed",
            "raise the workload's timeout, or answer sooner",
        )
    }

    pub(crate) fn unloaded() -> Self {
        Self::new(
            "guest.unloaded",
            StatusCode::SERVICE_UNAVAILABLE,
            "the workload was taken off this node while it ran",
            "try again; another replica answers",
        )
        .retry_after(1)
    }

    pub(crate) fn request_too_large(limit: u64) -> Self {
        Self::new(
            "request.too_large",
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request body is larger than {limit} bytes"),
            "send less, or raise the workload's request body limit",
        )
    }

    pub(crate) fn response_too_large(limit: u64) -> Self {
        Self::new(
            "guest.response_too_large",
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the response body is larger than {limit} bytes"),
            "answer with less, or raise the workload's response body limit",
        )
    }

    /// What a client has to do to be let in (RFC 6750 section 3).
    fn challenge(&self) -> HeaderValue {
        if self.code == "auth.missing" {
            return HeaderValue::from_static("Bearer");
        }
        let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{}\"", self.code);
        HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer"))
    }

    /// The response a client gets, from this `node`.
    pub(crate) fn response(&self, node: &str) -> Response<Body> {
        let body = serde_json::json!({
            "error": self.code,
            "message": self.message,
            "hint": self.hint,
            "node": node,
        });
        let mut response = Response::new(full(Bytes::from(format!("{body}\n"))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR, HeaderValue::from_static(self.code));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, self.challenge());
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
