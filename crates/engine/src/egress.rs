//! The only way out for a guest: `outgoing request -> allowed destination, or an error code`.
//!
//! The decision falls on the name, before it is resolved; then every resolved address must be public unless the rule says
//! otherwise, and the connection goes to the address that was checked, so a name that changes its mind in between (DNS
//! rebinding) gains nothing. One connection per request, HTTP/1.1; bodies are counted by the destination's jurisdiction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::config::EgressRule;
use crate::host::Signs;
use crate::logs::LogRing;
use crate::stats::Counters;
use crate::workload::Workload;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_CHUNK_BYTES: usize = 256 << 10;
const MAX_RESPONSE_HEADER_BYTES: usize = 64 << 10;

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// Where a workload may call, ready for look-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    rules: Vec<(Destination, EgressRule)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Destination {
    host: String,
    /// `None`: the default port of the scheme.
    port: Option<u16>,
}

impl Policy {
    pub(crate) fn new(rules: &[EgressRule]) -> Self {
        Self {
            rules: rules
                .iter()
                .map(|rule| (destination(&rule.host), rule.clone()))
                .collect(),
        }
    }

    fn find(&self, target: &Target) -> Option<&EgressRule> {
        let allows = |destination: &Destination| {
            destination.host == target.host && destination.port.unwrap_or(target.default_port) == target.port
        };
        self.rules
            .iter()
            .find(|(destination, _)| allows(destination))
            .map(|(_, rule)| rule)
    }
}

fn destination(pattern: &str) -> Destination {
    let pattern = pattern.to_ascii_lowercase();
    let split = pattern
        .rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    let (host, port) = match split {
        Some((host, port)) => (host, Some(port)),
        None => (pattern, None),
    };
    Destination {
        host: bare(&host).to_owned(),
        port,
    }
}

/// A host without the brackets of an IPv6 literal and without the final dot of a rooted name.
fn bare(host: &str) -> &str {
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host)
}

#[derive(Debug)]
struct Target {
    host: String,
    port: u16,
    default_port: u16,
    is_tls: bool,
}

impl Target {
    fn of(uri: &Uri) -> Option<Self> {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let default_port = if is_tls { 443 } else { 80 };
        let host = bare(uri.host()?).to_ascii_lowercase();
        (!host.is_empty()).then(|| Self {
            host,
            port: uri.port_u16().unwrap_or(default_port),
            default_port,
            is_tls,
        })
    }
}

/// The hook of one instance.
pub(crate) struct Egress {
    policy: Arc<Policy>,
    tls: Arc<rustls::ClientConfig>,
    open: Arc<Semaphore>,
    signs: Arc<Signs>,
    counters: Arc<Counters>,
    logs: Arc<LogRing>,
}

impl Egress {
    pub(crate) fn new(workload: &Workload, signs: Arc<Signs>) -> Self {
        Self {
            policy: workload.egress.clone(),
            tls: workload.egress_tls.clone(),
            open: Arc::new(Semaphore::new(workload.limits.egress_concurrency as usize)),
            signs,
            counters: workload.counters.clone(),
            logs: workload.logs.clone(),
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

    fn refuse(&self, target: &Target, why: &str) {
        refuse(&self.signs, &self.logs, &self.counters, target, why);
    }
}

fn refuse(signs: &Signs, logs: &LogRing, counters: &Counters, target: &Target, why: &str) {
    signs.egress_denied.store(true, Ordering::Relaxed);
    counters.error("guest.egress_denied");
    let text = format!("guest.egress_denied: {}:{}: {why}", target.host, target.port);
    logs.push("fault", text.as_bytes());
}

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let admitted = self.admit(request.uri());
        let (tls, signs) = (self.tls.clone(), self.signs.clone());
        let (counters, logs) = (self.counters.clone(), self.logs.clone());
        Box::new(async move {
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
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
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

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(
    target: &Target,
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Box<dyn Stream>, Error> {
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
    stream: Box<dyn Stream>,
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

/// Whether an address belongs to the public Internet (IANA special-purpose registries, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        // IPv4-mapped and -compatible, loopback, unspecified.
        (0, 0) if c == 0 && d == 0 && e == 0 && (f == 0xffff || f == 0) => f == 0xffff && embedded(g, h),
        // NAT64 (RFC 6052) and 6to4 carry an IPv4 address.
        (0x64, 0xff9b) => c == 0 && embedded(g, h),
        (0x2002, _) => embedded(b, c),
        (0x2001, 0xdb8) => false,
        // Global unicast is 2000::/3; everything else is local, multicast or unassigned.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str) -> EgressRule {
        EgressRule {
            host: host.to_owned(),
            jurisdiction: "DE".to_owned(),
            allow_private: false,
        }
    }

    fn is_allowed(rules: &[&str], uri: &str) -> bool {
        let rules: Vec<_> = rules.iter().map(|host| rule(host)).collect();
        Policy::new(&rules)
            .find(&Target::of(&uri.parse().unwrap()).unwrap())
            .is_some()
    }

    #[test]
    fn a_rule_names_one_host_and_port_exactly() {
        assert!(is_allowed(&["api.example.org"], "https://API.example.org/x"));
        assert!(is_allowed(&["api.example.org"], "http://api.example.org./x"));
        assert!(!is_allowed(&["api.example.org"], "https://api.example.org:8443/x"));
        assert!(is_allowed(&["api.example.org:8443"], "https://api.example.org:8443/"));
        assert!(!is_allowed(&["api.example.org:8443"], "https://api.example.org/"));
        assert!(!is_allowed(&["example.org"], "https://api.example.org/"));
        assert!(!is_allowed(&["example.org"], "https://user@evil.net/example.org"));
        assert!(is_allowed(&["[2001:db8::1]:80"], "http://[2001:db8::1]/"));
        assert!(!is_allowed(&[], "http://example.org/"));
    }

    #[test]
    fn private_addresses_are_never_public_in_any_disguise() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "9.9.9.9",
            "193.0.0.1",
            "2a00:1450:4001::1",
            "::ffff:9.9.9.9",
            "64:ff9b::9.9.9.9",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
