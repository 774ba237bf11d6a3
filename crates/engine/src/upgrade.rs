//! WebSocket, passed through: `request that asks, response that agrees -> two connections joined`.
//!
//! A client asks with `Upgrade: websocket` (RFC 6455 section 4.1) on HTTP/1.1; between nodes the same travels as an extended
//! CONNECT (RFC 8441). Frames are not looked at. Other protocols are not upgraded to: the request then goes on as if it had not
//! asked, as RFC 9110 section 7.8 allows.

use std::sync::Arc;

use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::answer::Fault;
use crate::body::{Body, empty};
use crate::core::Core;
use crate::stats::{Counters, InFlight};

const WEBSOCKET: &str = "websocket";
const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// Marks a request that asks for a WebSocket.
#[derive(Debug, Clone, Copy)]
struct Asked;

/// Return the client's end, if the request asks for a WebSocket, and mark the request.
pub(crate) fn asked(request: &mut Request<Body>) -> Option<OnUpgrade> {
    let is_asked = match *request.method() {
        Method::GET => {
            request.version() == Version::HTTP_11
                && request.headers().contains_key(KEY)
                && names(request.headers(), &UPGRADE, WEBSOCKET)
                && names(request.headers(), &CONNECTION, "upgrade")
        }
        Method::CONNECT => is_websocket(request.extensions().get()),
        _ => false,
    };
    is_asked.then(|| {
        request.extensions_mut().insert(Asked);
        hyper::upgrade::on(request)
    })
}

/// Whether the request was marked.
pub(crate) fn is_asked(extensions: &Extensions) -> bool {
    extensions.get::<Asked>().is_some()
}

/// The protocol of an extended CONNECT to another node.
pub(crate) fn protocol() -> Protocol {
    Protocol::from_static(WEBSOCKET)
}

/// Say in a request or an answer on HTTP/1.1 that this is a WebSocket.
pub(crate) fn announce(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// Whether whoever answered agreed.
pub(crate) fn is_agreed(response: &Response<Body>) -> bool {
    matches!(response.status(), StatusCode::SWITCHING_PROTOCOLS | StatusCode::OK)
        && response.extensions().get::<OnUpgrade>().is_some()
}

/// Join the client's end with the one behind `response`, in a task of its own, and answer in the way of the client's version.
pub(crate) fn join(
    core: &Arc<Core>,
    client: OnUpgrade,
    mut response: Response<Body>,
    is_http2: bool,
    counters: Arc<Counters>,
) -> Response<Body> {
    let server = hyper::upgrade::on(&mut response);
    let in_flight = InFlight::new(counters.clone());
    let core = core.clone();
    tokio::spawn(async move {
        // Counts as a connection of a client; the one it came by has given its place back.
        let _place = core.places.clone().try_acquire_owned();
        let (Ok(client), Ok(server)) = (client.await, server.await) else {
            return;
        };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        let copied = copy_bidirectional(&mut client, &mut server).await;
        // One that broke off is known to whoever was at its ends.
        if let Ok((received, sent)) = copied {
            counters.add_bytes(received, sent);
        }
        drop(in_flight);
    });
    let headers = response.headers_mut();
    if is_http2 {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
        *response.status_mut() = StatusCode::OK;
    } else {
        announce(headers);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
    response.map(|_| empty())
}

/// The answer to a client on HTTP/2 whose workload speaks no WebSocket.
pub(crate) fn refused() -> Fault {
    Fault::new(
        "request.no_websocket",
        StatusCode::NOT_IMPLEMENTED,
        "this workload does not speak WebSocket",
        "ask a Service, or ask without an upgrade",
    )
}

fn is_websocket(protocol: Option<&Protocol>) -> bool {
    protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEBSOCKET))
}

fn names(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}
