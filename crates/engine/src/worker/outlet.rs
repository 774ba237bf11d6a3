//! The way out of a worker: `a guest's request -> the node, which decides and sends -> its answer`.
//!
//! A worker has no network. What its guests ask of the world is put on the socket to the node, where the same hook as for every
//! other guest looks at the destination, resolves it, pins the address, sends, and counts. The worker's word for which workload
//! asks is bounded to the workloads of its own tenant.

use std::convert::Infallible;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::body::{Body, BoxError, empty};
use crate::egress::{Egress, Sent};
use crate::host::Signs;
use crate::worker::ledger::Ledger;
use crate::worker::tell;
use crate::worker::words::{self, VERSION, WAY_OUT_ERROR};
use crate::worker::{CONNECTION_WINDOW_BYTES, MAX_HEADER_BYTES, MAX_STREAMS, STREAM_WINDOW_BYTES};

const CONNECT_MS: HeaderName = HeaderName::from_static("hanse-connect-ms");
const FIRST_BYTE_MS: HeaderName = HeaderName::from_static("hanse-first-byte-ms");

/// The worker's end.
#[derive(Clone)]
pub(crate) struct Outlet(SendRequest<Body>);

impl Outlet {
    pub(crate) fn new(sender: SendRequest<Body>) -> Self {
        Self(sender)
    }

    /// Have the node send `request` for a guest of `version`.
    pub(crate) async fn send(
        mut self,
        version: u64,
        mut request: Request<WasiBody>,
        options: RequestOptions,
        signs: Arc<Signs>,
    ) -> Sent {
        let headers = request.headers_mut();
        headers.insert(VERSION, HeaderValue::from(version));
        for (name, time) in [
            (CONNECT_MS, options.connect_timeout),
            (FIRST_BYTE_MS, options.first_byte_timeout),
        ] {
            headers.remove(&name);
            if let Some(time) = time {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                headers.insert(name, HeaderValue::from(ms));
            }
        }
        // Said by the authority, as everywhere in HTTP/2.
        headers.remove(http::header::HOST);
        *request.version_mut() = Version::HTTP_2;
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let response = self.0.send_request(request).await?;
        if let Some(told) = response.headers().get(WAY_OUT_ERROR) {
            let error = words::error_heard(told);
            if matches!(error, Error::HttpRequestDenied | Error::DestinationIpProhibited) {
                signs.deny_egress();
            }
            return Err(error);
        }
        let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
        Ok((response, Box::new(async { Ok(()) })))
    }

    /// Tell the node what happened.
    pub(crate) async fn tell(&mut self, report: Request<Body>) -> Result<(), hyper::Error> {
        let answer = self.0.send_request(report).await?;
        // An empty one; read, so that the next report finds the stream free.
        answer.into_body().collect().await.map(drop)
    }
}

/// A body that keeps its instance's right to one more open request until it ends.
pub(crate) fn held(body: WasiBody, permit: OwnedSemaphorePermit) -> WasiBody {
    let body = body.map_err(BoxError::from).boxed_unsync();
    let held = words::holding(body, permit);
    held.map_err(|cause| Error::InternalError(Some(cause.to_string())))
        .boxed_unsync()
}

/// The node's end: answers until the worker has gone.
pub(crate) fn attend(handle: &Handle, socket: UnixStream, ledger: Weak<Ledger>) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    let _inside = handle.enter();
    let stream = tokio::net::UnixStream::from_std(socket)?;
    handle.spawn(async move {
        let service = service_fn(move |request| {
            let ledger = ledger.clone();
            async move { Ok::<_, Infallible>(answer(ledger, request).await) }
        });
        // Its end is the end of the worker, which the tenant hears of by itself.
        let _ = server::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    });
    Ok(())
}

async fn answer(ledger: Weak<Ledger>, request: Request<Incoming>) -> Response<Body> {
    let Some(ledger) = ledger.upgrade() else {
        return unanswered(&Error::ConfigurationError);
    };
    if tell::is_report(&request) {
        tell::hear(&ledger, request).await;
        return Response::new(empty());
    }
    match pass_on(&ledger, request).await {
        Ok(response) => response,
        Err(error) => unanswered(&error),
    }
}

fn unanswered(error: &Error) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(WAY_OUT_ERROR, words::error_told(error));
    response
}

async fn pass_on(ledger: &Ledger, mut request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let headers = request.headers_mut();
    let version = words::number(headers, &VERSION).unwrap_or_default();
    let mut time = |name: &HeaderName| {
        let ms = words::number(headers, name).map(Duration::from_millis);
        headers.remove(name);
        ms
    };
    let options = RequestOptions {
        connect_timeout: time(&CONNECT_MS),
        first_byte_timeout: time(&FIRST_BYTE_MS),
        between_bytes_timeout: None,
    };
    headers.remove(VERSION);
    let (workload, gate) = ledger.find(version).ok_or(Error::ConfigurationError)?;
    // What all instances of the workload may have open together; each one's own share is the worker's to keep.
    let open = gate.try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(http::header::HOST, host);
    }
    *request.version_mut() = Version::HTTP_11;
    let request = request.map(|body| body.map_err(Error::from).boxed_unsync());
    let mut hook = Egress::new(&workload, Arc::new(Signs::default()));
    let nothing = Box::new(async { Ok(()) });
    let (mut response, connection) = Box::into_pin(hook.send_request(request, Some(options), nothing)).await?;
    tokio::spawn(Box::into_pin(connection));
    // Whatever the destination says in our name.
    response.headers_mut().remove(WAY_OUT_ERROR);
    *response.version_mut() = Version::HTTP_2;
    Ok(response.map(|body| words::holding(body.map_err(BoxError::from).boxed_unsync(), open)))
}
