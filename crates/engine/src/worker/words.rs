//! How node and worker put into words what HTTP has no place for: versions, faults, limits, errors of the way out.
//!
//! What comes from a worker is believed by nobody: unknown codes, missing fields and odd numbers become the plainest fault.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use wasmtime_wasi_http::Error;

use crate::answer::Fault;
use crate::body::{Body, BoxError, empty};
use crate::config::{Isolation, Limits, Reuse};

/// On a request to a worker: which version of which workload.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("hanse-version");
/// On a request to a worker: the method, where HTTP/2 would read it as something else.
pub(crate) const METHOD: HeaderName = HeaderName::from_static("hanse-method");
/// On a request to a worker: the client named no scheme and no authority.
pub(crate) const ORIGIN_FORM: HeaderName = HeaderName::from_static("hanse-origin-form");
/// On a worker's answer: the code of a fault.
const FAULT: HeaderName = HeaderName::from_static("hanse-fault");
const FAULT_MESSAGE: HeaderName = HeaderName::from_static("hanse-fault-message");
const FAULT_HINT: HeaderName = HeaderName::from_static("hanse-fault-hint");
/// On the answer to a guest's own request: why there is none.
pub(crate) const WAY_OUT_ERROR: HeaderName = HeaderName::from_static("hanse-way-out-error");

/// The codes that a worker may give.
const CODES: [&str; 11] = [
    "egress.denied",
    "engine.overloaded",
    "guest.deadline",
    "guest.egress_denied",
    "guest.error",
    "guest.memory",
    "guest.no_response",
    "guest.response_too_large",
    "guest.trap",
    "guest.unloaded",
    "request.too_large",
];

pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The engine's own copy of a code that came from a worker.
pub(crate) fn code(told: &str) -> Option<&'static str> {
    CODES.iter().copied().find(|code| *code == told)
}

/// A text that may stand in a header.
fn text(words: &str) -> HeaderValue {
    let plain: String = words
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(1_000)
        .collect();
    HeaderValue::from_bytes(plain.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

fn said(headers: &HeaderMap, name: &HeaderName) -> String {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

/// How a worker tells a fault.
pub(crate) fn fault_response(fault: &Fault) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = fault.status;
    let headers = response.headers_mut();
    headers.insert(FAULT, HeaderValue::from_static(fault.code));
    headers.insert(FAULT_MESSAGE, text(&fault.message));
    headers.insert(FAULT_HINT, text(&fault.hint));
    if let Some(seconds) = fault.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The fault a worker told of, if it told of one.
pub(crate) fn fault_of(response: &Response<impl Sized>) -> Option<Fault> {
    let headers = response.headers();
    let told = headers.get(FAULT)?;
    let code = told.to_str().ok().and_then(code).unwrap_or("guest.trap");
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    Some(Fault {
        code,
        status: match is_error {
            true => response.status(),
            false => StatusCode::INTERNAL_SERVER_ERROR,
        },
        message: said(headers, &FAULT_MESSAGE),
        hint: said(headers, &FAULT_HINT).into(),
        retry_after_s: number(headers, &RETRY_AFTER).and_then(|seconds| u32::try_from(seconds).ok()),
    })
}

/// What a worker has to know of a workload.
pub(crate) fn spec(workload: &str, limits: &Limits, env: &[(String, String)]) -> Value {
    json!({
        "workload": workload,
        "env": env,
        "memory_bytes": limits.memory_bytes,
        "timeout_ms": limits.timeout_ms,
        "request_body_bytes": limits.request_body_bytes,
        "response_body_bytes": limits.response_body_bytes,
        "concurrency": limits.concurrency,
        "queue": limits.queue,
        "table_elements": limits.table_elements,
        "tables": limits.tables,
        "core_instances": limits.core_instances,
        "hostcall_bytes": limits.hostcall_bytes,
        "resources": limits.resources,
        "random_bytes": limits.random_bytes,
        "header_bytes": limits.header_bytes,
        "egress_concurrency": limits.egress_concurrency,
        "log_bytes": limits.log_bytes,
        "reuse_count": limits.reuse.count,
        "reuse_concurrency": limits.reuse.concurrency,
        "reuse_idle_ms": limits.reuse.idle_ms,
    })
}

/// The limits in a spec; one that is missing bounds to nothing at all.
pub(crate) fn limits(spec: &Value) -> Limits {
    let number = |name: &str| spec.get(name).and_then(Value::as_u64).unwrap_or_default();
    let size = |name: &str| usize::try_from(number(name)).unwrap_or(usize::MAX);
    let count = |name: &str| u32::try_from(number(name)).unwrap_or(u32::MAX);
    Limits {
        memory_bytes: size("memory_bytes"),
        timeout_ms: number("timeout_ms"),
        request_body_bytes: number("request_body_bytes"),
        response_body_bytes: number("response_body_bytes"),
        concurrency: count("concurrency"),
        queue: count("queue"),
        table_elements: size("table_elements"),
        tables: size("tables"),
        core_instances: size("core_instances"),
        hostcall_bytes: size("hostcall_bytes"),
        resources: size("resources"),
        random_bytes: number("random_bytes"),
        header_bytes: size("header_bytes"),
        egress_concurrency: count("egress_concurrency"),
        log_bytes: size("log_bytes"),
        reuse: Reuse {
            count: count("reuse_count"),
            concurrency: count("reuse_concurrency"),
            idle_ms: number("reuse_idle_ms"),
        },
        class: String::new(),
        isolation: Isolation::Shared,
    }
}

/// The environment in a spec.
pub(crate) fn env(spec: &Value) -> Vec<(String, String)> {
    let pair = |pair: &Value| {
        let text = |at: usize| pair.get(at).and_then(Value::as_str).map(str::to_owned);
        Some((text(0)?, text(1)?))
    };
    let pairs = spec.get("env").and_then(Value::as_array);
    pairs.into_iter().flatten().filter_map(pair).collect()
}

/// Why a guest's own request has no answer, for a header.
pub(crate) fn error_told(error: &Error) -> HeaderValue {
    match error {
        Error::ConfigurationError => HeaderValue::from_static("configuration"),
        Error::ConnectionLimitReached => HeaderValue::from_static("connection-limit"),
        Error::ConnectionReadTimeout => HeaderValue::from_static("read-timeout"),
        Error::ConnectionTimeout => HeaderValue::from_static("connection-timeout"),
        Error::DestinationIpProhibited => HeaderValue::from_static("ip-prohibited"),
        Error::DestinationNotFound => HeaderValue::from_static("not-found"),
        Error::DnsError { rcode, .. } => text(&format!("dns {}", rcode.as_deref().unwrap_or_default())),
        Error::HttpRequestDenied => HeaderValue::from_static("denied"),
        Error::HttpRequestUriInvalid => HeaderValue::from_static("uri-invalid"),
        Error::Connect(_) => HeaderValue::from_static("refused"),
        Error::TlsProtocolError | Error::Tls(_) => HeaderValue::from_static("tls"),
        Error::Hyper(_) => HeaderValue::from_static("protocol"),
        other => text(&format!("other {other}")),
    }
}

/// The error behind the header.
pub(crate) fn error_heard(told: &HeaderValue) -> Error {
    let told = String::from_utf8_lossy(told.as_bytes());
    let (what, rest) = told.split_once(' ').unwrap_or((&told, ""));
    match what {
        "configuration" => Error::ConfigurationError,
        "connection-limit" => Error::ConnectionLimitReached,
        "read-timeout" => Error::ConnectionReadTimeout,
        "connection-timeout" => Error::ConnectionTimeout,
        "ip-prohibited" => Error::DestinationIpProhibited,
        "not-found" => Error::DestinationNotFound,
        "dns" => Error::DnsError {
            rcode: Some(rest.to_owned()),
            info_code: None,
        },
        "denied" => Error::HttpRequestDenied,
        "uri-invalid" => Error::HttpRequestUriInvalid,
        "refused" => Error::ConnectionRefused,
        "tls" => Error::TlsProtocolError,
        "protocol" => Error::HttpProtocolError,
        _ => Error::InternalError(Some(rest.to_owned())),
    }
}

/// `body`, and `held` until it ends or is dropped.
pub(crate) fn holding<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    Holding {
        inner: body,
        held: Some(held),
    }
    .boxed_unsync()
}

struct Holding<T> {
    inner: Body,
    held: Option<T>,
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.held = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_environment_come_over_as_they_are() {
        let limits_here = Limits {
            memory_bytes: 1,
            timeout_ms: 2,
            request_body_bytes: 3,
            response_body_bytes: 4,
            concurrency: 5,
            queue: 6,
            table_elements: 7,
            tables: 8,
            core_instances: 9,
            hostcall_bytes: 10,
            resources: 11,
            random_bytes: 12,
            header_bytes: 13,
            egress_concurrency: 14,
            log_bytes: 15,
            reuse: Reuse {
                count: 16,
                concurrency: 17,
                idle_ms: 18,
            },
            class: String::new(),
            isolation: Isolation::Shared,
        };
        let env_here = vec![("KEY".to_owned(), "one\ntwo".to_owned())];
        let spec = spec("default.work", &limits_here, &env_here);
        let over: Value = serde_json::from_str(&spec.to_string()).unwrap();
        assert_eq!(limits(&over), limits_here);
        assert_eq!(env(&over), env_here);
    }

    #[test]
    fn a_fault_comes_over_and_a_made_up_code_becomes_a_trap() {
        let fault = Fault::overloaded("the workload");
        assert_eq!(fault_of(&fault_response(&fault)), Some(fault));
        let mut lie = fault_response(&Fault::deadline());
        lie.headers_mut()
            .insert(FAULT, HeaderValue::from_static("policy.denied"));
        *lie.status_mut() = StatusCode::OK;
        let heard = fault_of(&lie).unwrap();
        assert_eq!(
            (heard.code, heard.status),
            ("guest.trap", StatusCode::INTERNAL_SERVER_ERROR)
        );
    }

    #[test]
    fn errors_of_the_way_out_keep_their_kind() {
        for error in [
            Error::HttpRequestDenied,
            Error::DestinationIpProhibited,
            Error::ConnectionTimeout,
            Error::ConnectionLimitReached,
            Error::TlsProtocolError,
        ] {
            assert_eq!(format!("{:?}", error_heard(&error_told(&error))), format!("{error:?}"));
        }
        let refused = Error::Connect(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(error_heard(&error_told(&refused)), Error::ConnectionRefused));
    }
}
