//! The only way out for a guest: `outgoing request -> allowed destination, or an error code`.
//!
//! The decision falls on the name, before it is resolved; then every resolved address must be public unless the rule says
//! otherwise, and the connection goes to the address that was checked, so a name that changes its mind in between (DNS
//! rebinding) gains nothing. One connection per request, HTTP/1.1; bodies are counted by the destination's jurisdiction.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::config::EgressRule;
use crate::destination::{Policy, Target, is_public};
use crate::host::Signs;
use crate::logs::LogRing;
use crate::sight::Span;
use crate::stats::Counters;
use crate::upstream::Duplex;
use crate::worker::outlet::{self, Outlet};
use crate::workload::Workload;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_CHUNK_BYTES: usize = 256 << 10;
const MAX_RESPONSE_HEADER_BYTES: usize = 64 << 10;

pub(crate) type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// How a workload's requests leave the process.
#[derive(Clone)]
pub(crate) enum WayOut {
    /// From here, over TLS where asked for.
    Net(Arc<rustls::ClientConfig>),
    /// This is a worker: its node decides and sends, for the version with this number.
    Node(Outlet, u64),
}

/// The hook of one instance.
pub(crate) struct Egress {
    policy: Arc<Policy>,
    way_out: WayOut,
    open: Arc<Semaphore>,
    signs: Arc<Signs>,
    counters: Arc<Counters>,
    logs: Arc<LogRing>,
    is_shared: bool,
}

impl Egress {
    pub(crate) fn new(workload: &Workload, signs: Arc<Signs>) -> Self {
        Self {
            policy: workload.egress.clone(),
            way_out: workload.way_out.clone(),
            open: Arc::new(Semaphore::new(workload.limits.egress_concurrency as usize)),
            signs,
            counters: workload.counters.clone(),
            logs: workload.logs.clone(),
            is_shared: workload.is_shared(),
        }
    }

    fn admit(&self, uri: &Uri) -> Result<(Target, EgressRule, OwnedSemaphorePermit), Error> {
        let target = Target::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        let Some(rule) = self.policy.find(&target) else {
            self.refuse(&target, "no egress rule names it");
            return Err(Error::HttpRequestDenied);
        };
        let permit = self
            .open
            .clone()
            .try_acquire_owned()
            .map_err(|_| Error::ConnectionLimitReached)?;
        Ok((target, rule.clone(), permit))
    }

    /// The step of the trace that an outgoing request is. An instance that serves several requests at once does not say for
    /// which of them it asks: then the guest's word is passed on, if it has one.
    fn span(&self, request: &mut Request<WasiBody>) -> Option<Span> {
        let trace = self.signs.trace.as_ref().filter(|_| !self.is_shared)?;
        let method = request.method().to_string();
        let mut span = trace.outgoing(request.headers_mut(), &method)?;
        span.text("http.request.method", &method);
        if let Some(target) = Target::of(request.uri()) {
            span.text("server.address", &target.host);
            span.number("server.port", u64::from(target.port));
            if let Some(rule) = self.policy.find(&target) {
                span.text("hanse.jurisdiction", &rule.jurisdiction);
            }
        }
        Some(span)
    }

    fn refuse(&self, target: &Target, why: &str) {
        refuse(&self.signs, &self.logs, &self.counters, target, why);
    }
}

fn refuse(signs: &Signs, logs: &LogRing, counters: &Counters, target: &Target, why: &str) {
    signs.deny_egress();
    // Counts calls; that the request failed for it, if it did, is counted as guest.egress_denied.
    counters.error("egress.denied");
    let text = format!("egress.denied: {}:{}: {why}", target.host, target.port);
    logs.push("fault", text.as_bytes());
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let tls = match &self.way_out {
            WayOut::Net(tls) => tls.clone(),
            WayOut::Node(outlet, version) => {
                let permit = self.open.clone().try_acquire_owned();
                let (outlet, version, signs) = (outlet.clone(), *version, self.signs.clone());
                return Box::new(async move {
                    let permit = permit.map_err(|_| Error::ConnectionLimitReached)?;
                    let (response, done) = outlet
                        .send(version, request, options.unwrap_or_default(), signs)
                        .await?;
                    Ok((response.map(|body| outlet::held(body, permit)), done))
                });
            }
        };
        let mut request = request;
        let mut span = self.span(&mut request);
        let admitted = self.admit(request.uri());
        let signs = self.signs.clone();
        let (counters, logs) = (self.counters.clone(), self.logs.clone());
        let sent = async move {
            let (target, rule, permit) = admitted?;
            let options = options.unwrap_or_default();
            let address = match resolve(&target, rule.allow_private).await {
                Err(Error::DestinationIpProhibited) => {
                    refuse(
                        &signs,
                        &logs,
                        &counters,
                        &target,
                        "it resolves to a private address only",
                    );
                    return Err(Error::DestinationIpProhibited);
                }
                resolved => resolved?,
            };
            let meter = Meter {
                counters,
                jurisdiction: rule.jurisdiction.into(),
            };
            let stream = within(options.connect_timeout, CONNECT_TIMEOUT, connect(&target, address, tls))
                .await
                .ok_or(Error::ConnectionTimeout)??;
            let first_byte = options.first_byte_timeout;
            within(first_byte, FIRST_BYTE_TIMEOUT, exchange(stream, request, meter, permit))
                .await
                .ok_or(Error::ConnectionReadTimeout)?
        };
        Box::new(async move {
            let sent = sent.await;
            if let Some(span) = &mut span {
                match &sent {
                    Ok((response, _)) => span.status(response.status().as_u16(), None),
                    Err(cause) => span.fail(&name_of(cause)),
                }
            }
            sent
        })
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

/// The kind of an error, without what it says about the peer.
fn name_of(error: &Error) -> String {
    let text = format!("{error:?}");
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric());
    text.get(..end.unwrap_or(text.len())).unwrap_or_default().to_owned()
}

/// Wait for `work`, at most as long as the guest asked for; `None` when it took longer.
async fn within<T>(asked: Option<Duration>, longest: Duration, work: impl Future<Output = T>) -> Option<T> {
    // A timeout of zero has crashed hosts (GHSA-w4qr); here it is the shortest one possible.
    let limit = asked.unwrap_or(longest).clamp(Duration::from_millis(1), longest);
    timeout(limit, work).await.ok()
}

async fn resolve(target: &Target, allow_private: bool) -> Result<SocketAddr, Error> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let mut addresses = found
        .map_err(|cause| Error::DnsError {
            rcode: Some(cause.to_string()),
            info_code: None,
        })?
        .peekable();
    if addresses.peek().is_none() {
        return Err(Error::DestinationNotFound);
    }
    addresses
        .find(|address| allow_private || is_public(address.ip()))
        .ok_or(Error::DestinationIpProhibited)
}

async fn connect(
    target: &Target,
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Box<dyn Duplex>, Error> {
    let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
    if !target.is_tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|_| Error::TlsProtocolError)?;
    let stream = tokio_rustls::TlsConnector::from(tls)
        .connect(name, stream)
        .await
        .map_err(Error::Tls)?;
    Ok(Box::new(stream))
}

async fn exchange(
    stream: Box<dyn Duplex>,
    request: Request<WasiBody>,
    meter: Meter,
    permit: OwnedSemaphorePermit,
) -> Sent {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_RESPONSE_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let worker = wasmtime_wasi::runtime::spawn(async move {
        let ended = connection.await;
        drop(permit);
        ended
    });
    let (mut parts, body) = request.into_parts();
    parts.uri = parts
        .uri
        .into_parts()
        .path_and_query
        .map_or_else(|| Uri::from_static("/"), Uri::from);
    let body = Metered {
        inner: body,
        meter: meter.clone(),
        is_sent: true,
    };
    let response = sender.send_request(Request::from_parts(parts, body)).await?;
    let response = response.map(|body| {
        Metered {
            inner: body.map_err(Error::from).boxed_unsync(),
            meter,
            is_sent: false,
        }
        .boxed_unsync()
    });
    Ok((response, Box::new(async move { worker.await.map_err(Error::from) })))
}

#[derive(Clone)]
struct Meter {
    counters: Arc<Counters>,
    jurisdiction: Arc<str>,
}

/// A body whose bytes are counted for a jurisdiction.
struct Metered {
    inner: WasiBody,
    meter: Meter,
    is_sent: bool,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let len = frame.data_ref().map_or(0, |data| data.len() as u64);
            let (sent, received) = if self.is_sent { (len, 0) } else { (0, len) };
            self.meter.counters.egress(&self.meter.jurisdiction, sent, received);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
