//! The public listener: sockets in, requests out, and what a client may hold while it is connected.
//!
//! Plain HTTP, or TLS where the node was set up for it; HTTP/1.1 and HTTP/2 on one port. Bounded are connections, the time for a
//! handshake and a header, the header's size, the time a client may leave an answer unread, and streams per connection. A
//! connection that ends otherwise than by its client's will is counted with the reason.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::bulk::{Burden, carry};
use crate::core::{Core, Stopping};
use crate::crew::Crew;
use crate::front;
use crate::front_tls::{FrontIdentity, valid_for};
use crate::principal::Principal;
use crate::stall::Impatient;

const MAX_HEADER_BYTES: usize = 64 << 10;
const MAX_STREAMS: u32 = 256;
const PING_EVERY: Duration = Duration::from_secs(20);
/// Out of file descriptors or memory: wait for some to come back rather than spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// First byte of a TLS record with a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;
const PLAIN_ON_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nhanse-error: request.plain_http\r\ncontent-length: 34\r\n\
    connection: close\r\n\r\nthis port speaks TLS: use https://";

/// Accept clients until the engine stops.
pub(crate) async fn listen(core: Arc<Core>, listener: TcpListener, crew: Crew) {
    loop {
        let Ok(place) = core.places.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = core.stopping() => return,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // It belongs to the thread that serves it.
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let (core, streams) = (core.clone(), crew.clone());
        crew.serve(async move {
            core.stats.connections.fetch_add(1, Ordering::Relaxed);
            let burden = Burden::default();
            let connection = connection(core.clone(), stream, streams, burden.clone());
            if let Some(Err(reason)) = carry(connection, burden, core.long_lane.clone()).await {
                core.stats.cut_off(reason);
            }
            core.stats.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
}

/// Serve one client to its end.
///
/// # Errors
/// Why the connection was refused or cut off, as it is counted.
async fn connection(
    core: Arc<Core>,
    stream: std::net::TcpStream,
    streams: Crew,
    burden: Burden,
) -> Result<(), &'static str> {
    let core = &core;
    // These fail only for a client that is gone already.
    let stream = TcpStream::from_std(stream).map_err(|_| "broken")?;
    stream.set_nodelay(true).map_err(|_| "broken")?;
    if !core.config.front_tls {
        let stream = Impatient::new(stream, core.config.write_timeout(), burden.clone());
        return serve(core, stream, Arc::default(), std::future::pending(), streams, burden).await;
    }
    let identity = core.front_identity().ok_or("tls.no_certificate")?;
    let handshake = timeout(
        core.config.header_timeout(),
        handshake(core, &identity, stream, burden.clone()),
    );
    let stream = handshake.await.map_err(|_| "tls.timeout")??;
    let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let (principal, valid_for) = match leaf {
        None => (Principal::Anonymous, None),
        Some(leaf) => (
            Principal::of_certificate(leaf, &core.config.trust_domain).ok_or("tls.bad_spiffe_id")?,
            Some(valid_for(leaf)),
        ),
    };
    let over = async {
        let expired = async {
            match valid_for {
                Some(left) => sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expired => {}
            () = core.front_asks_otherwise(&identity) => {}
        }
    };
    serve(core, stream, Arc::new(principal), over, streams, burden).await
}

async fn handshake(
    core: &Core,
    identity: &FrontIdentity,
    mut stream: TcpStream,
    burden: Burden,
) -> Result<TlsStream<Impatient<TcpStream>>, &'static str> {
    let mut first = [0];
    if stream.peek(&mut first).await.map_err(|_| "broken")? == 0 {
        return Err("broken");
    }
    if first != [TLS_HANDSHAKE] {
        // Whether it is read is the client's affair.
        let _ = stream.write_all(PLAIN_ON_TLS).await;
        return Err("tls.plain_http");
    }
    let stream = Impatient::new(stream, core.config.write_timeout(), burden);
    let accepted = TlsAcceptor::from(identity.config.clone()).accept(stream).await;
    accepted.map_err(|_| "tls.handshake")
}

/// Answer the requests of one connection until it ends, or until `over`, from when on it takes no further one.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    core: &Arc<Core>,
    stream: S,
    principal: Arc<Principal>,
    over: impl Future<Output = ()>,
    streams: Crew,
    burden: Burden,
) -> Result<(), &'static str> {
    let limit = core.config.header_timeout();
    let (has_begun, is_http2) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let service = {
        let (core, has_begun, is_http2) = (core.clone(), has_begun.clone(), is_http2.clone());
        service_fn(move |request: Request<Incoming>| {
            has_begun.store(true, Ordering::Relaxed);
            let is_http1 = request.version() != Version::HTTP_2;
            is_http2.store(!is_http1, Ordering::Relaxed);
            let (core, principal, burden) = (core.clone(), principal.clone(), is_http1.then(|| burden.clone()));
            let was_asked_only = request.body().is_end_stream();
            async move {
                let response = front::answer(&core, request, principal).await;
                Ok::<_, Infallible>(match burden {
                    Some(burden) => response.map(|body| burden.weigh(body, was_asked_only)),
                    None => response,
                })
            }
        })
    };
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(limit)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        // For WebSockets (RFC 8441).
        .enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut first_request = pin!(sleep(limit));
    let mut over = pin!(over);
    let mut may_wait = true;
    let mut may_go_on = true;
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|cause| reason(cause.as_ref())),
            // hyper times the header; whether HTTP/1 or 2 is spoken is decided before that clock starts.
            () = first_request.as_mut(), if may_wait => {
                if !has_begun.load(Ordering::Relaxed) {
                    return Err("timeout");
                }
                may_wait = false;
            }
            () = async { tokio::select! { () = told_to_end(core, &is_http2) => {}, () = over.as_mut() => {} } }, if may_go_on => {
                connection.as_mut().graceful_shutdown();
                may_go_on = false;
            }
        }
    }
}

/// Resolves when a connection has to end after what is in hand.
///
/// HTTP/2 can say so without losing a request that is on its way (RFC 9113 section 6.8), HTTP/1 cannot: where another process
/// has taken over, its clients hear it with their next answer, and those who do not ask for long are cut off.
async fn told_to_end(core: &Core, is_http2: &AtomicBool) {
    if let Stopping::HandedOver(idle_until) = core.stopping().await
        && !is_http2.load(Ordering::Relaxed)
    {
        sleep_until(idle_until).await;
    }
}

/// Why hyper gave a connection up, as it is counted.
fn reason(cause: &(dyn Error + Send + Sync + 'static)) -> &'static str {
    let Some(cause) = cause.downcast_ref::<hyper::Error>() else {
        return "broken";
    };
    if cause.is_parse_too_large() {
        return "header_too_large";
    }
    if cause.is_parse() {
        return "malformed";
    }
    if cause.is_timeout() {
        return "timeout";
    }
    let mut source = cause.source();
    while let Some(deeper) = source {
        let io = deeper.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
            return "stalled";
        }
        source = deeper.source();
    }
    "broken"
}
