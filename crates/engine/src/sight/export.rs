//! Spans on their way to a collector: `queue -> batches -> POST /v1/traces`, OTLP over HTTP in protobuf.
//!
//! One task of its own. A collector that is away, slow or refuses costs spans, never a request: a batch is tried a few times,
//! then dropped and counted, and what comes meanwhile fills a bounded queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::rand;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::otlp::encode;
use super::span::{Counts, Finished, Tracer};
use crate::config::Traces;
use crate::error::EngineError;
use crate::identity::{public_roots, web_client};

const BATCH: usize = 512;
const EVERY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(5);
/// Pauses before the second and third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
const MAX_ANSWER_BYTES: usize = 64 << 10;

type Sender = http1::SendRequest<Full<Bytes>>;

/// What the queue holds.
pub(crate) enum Job {
    Span(Box<Finished>),
    /// Send what is there at once and say when that is done.
    Flush(oneshot::Sender<()>),
}

/// The end of the queue, and who empties it.
pub(crate) struct Exporter {
    jobs: mpsc::Receiver<Job>,
    resource: Vec<(&'static str, String)>,
    collector: Collector,
    counts: Arc<Counts>,
}

/// Set up a tracer, and the exporter of its spans.
///
/// # Errors
/// `engine.config_invalid` for an endpoint that is no `http` or `https` address.
pub(super) fn connect(traces: &Traces, node: &str, domain: &str) -> Result<(Tracer, Exporter), EngineError> {
    let (sender, jobs) = mpsc::channel(traces.queue.max(1));
    let counts = Arc::new(Counts::default());
    let resource = vec![
        ("service.name", "hanse".to_owned()),
        ("service.namespace", domain.to_owned()),
        ("service.instance.id", node.to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let exporter = Exporter {
        jobs,
        resource,
        collector: Collector::new(&traces.endpoint)?,
        counts: counts.clone(),
    };
    Ok((
        Tracer::new(traces.ratio_ppm, [seed()?, seed()?], sender, counts),
        exporter,
    ))
}

/// Ids must differ between nodes and between starts, so they begin at random.
fn seed() -> Result<u64, EngineError> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| EngineError::setup("the system gives no random numbers"))?;
    Ok(u64::from_le_bytes(bytes))
}

impl Tracer {
    /// Have what is in the queue sent, as far as that is possible soon.
    pub(crate) async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.queue.send(Job::Flush(done)).await.is_ok() {
            // An exporter that has ended has nothing left.
            let _ = is_done.await;
        }
    }
}

impl Exporter {
    /// Send spans until the engine goes.
    pub(crate) async fn run(mut self) {
        loop {
            let (batch, flushed, is_over) = self.gather().await;
            if !batch.is_empty() {
                self.send(batch).await;
            }
            if let Some(flushed) = flushed {
                // Who asked may have stopped waiting.
                let _ = flushed.send(());
            }
            if is_over {
                return;
            }
        }
    }

    /// Wait for a batch: a full one, or what came within a second of the first.
    async fn gather(&mut self) -> (Vec<Finished>, Option<oneshot::Sender<()>>, bool) {
        let mut batch = Vec::new();
        let mut until = None;
        while batch.len() < BATCH {
            let job = match until {
                None => self.jobs.recv().await,
                Some(until) => match timeout_at(until, self.jobs.recv()).await {
                    Ok(job) => job,
                    Err(_) => return (batch, None, false),
                },
            };
            match job {
                None => return (batch, None, true),
                Some(Job::Flush(done)) => return (batch, Some(done), false),
                Some(Job::Span(span)) => batch.push(*span),
            }
            until.get_or_insert_with(|| Instant::now() + EVERY);
        }
        (batch, None, false)
    }

    async fn send(&mut self, batch: Vec<Finished>) {
        let count = batch.len() as u64;
        let body = encode(&self.resource, &batch);
        for pause in PAUSES.iter().map(Some).chain([None]) {
            match self.collector.post(body.clone()).await {
                Posted::Taken => {
                    self.counts.exported.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Posted::Refused => {
                    self.counts.failures.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Posted::Later => {
                    self.counts.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
            if let Some(pause) = pause {
                sleep(*pause).await;
            }
        }
        self.counts.dropped.fetch_add(count, Ordering::Relaxed);
    }
}

enum Posted {
    Taken,
    /// It will not take this, however often.
    Refused,
    Later,
}

/// The other side, and the connection to it while it lasts.
struct Collector {
    host: String,
    port: u16,
    path: String,
    authority: HeaderValue,
    tls: Option<Arc<rustls::ClientConfig>>,
    open: Option<Sender>,
}

impl Collector {
    fn new(endpoint: &str) -> Result<Self, EngineError> {
        let invalid = || {
            EngineError::new(
                "engine.config_invalid",
                format!("{endpoint:?} is no address of a collector"),
                "write it like http://127.0.0.1:4318; /v1/traces is added",
            )
        };
        let uri: Uri = endpoint.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(invalid()),
        };
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(invalid());
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: format!("{}/v1/traces", uri.path().trim_end_matches('/')),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| invalid())?,
            tls: match is_tls {
                true => Some(Arc::new(web_client(public_roots())?)),
                false => None,
            },
            open: None,
        })
    }

    async fn post(&mut self, body: Bytes) -> Posted {
        match timeout(DEADLINE, self.ask(body)).await {
            Ok(Some(status)) if (200..300).contains(&status) => Posted::Taken,
            // OTLP names those that are worth another try.
            Ok(Some(429 | 502 | 503 | 504) | None) | Err(_) => {
                self.open = None;
                Posted::Later
            }
            Ok(Some(_)) => Posted::Refused,
        }
    }

    async fn ask(&mut self, body: Bytes) -> Option<u16> {
        let mut sender = match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        sender.ready().await.ok()?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.parse().ok()?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(USER_AGENT, HeaderValue::from_static("hanse-engine"));
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        // Read to its end, so that the connection can be used again.
        if Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .is_ok()
        {
            self.open = Some(sender);
        }
        Some(status)
    }

    async fn connect(&self) -> Option<Sender> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.ok()?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return handshake(stream).await;
        };
        let name = ServerName::try_from(self.host.clone()).ok()?;
        let stream = tokio_rustls::TlsConnector::from(tls.clone())
            .connect(name, stream)
            .await
            .ok()?;
        handshake(stream).await
    }
}

async fn handshake<S>(stream: S) -> Option<Sender>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // Ends with the sender.
    tokio::spawn(connection);
    Some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_base_addresses() {
        let of = |text: &str| Collector::new(text).map(|it| (it.host, it.port, it.path, it.tls.is_some()));
        let plain = of("http://127.0.0.1:4318").unwrap();
        assert_eq!(plain, ("127.0.0.1".to_owned(), 4318, "/v1/traces".to_owned(), false));
        let secure = of("https://otel.example.org/tenant/").unwrap();
        assert_eq!(
            secure,
            ("otel.example.org".to_owned(), 443, "/tenant/v1/traces".to_owned(), true)
        );
        assert_eq!(of("http://[::1]:1").unwrap().0, "::1");
        for bad in ["", "127.0.0.1:4318", "grpc://a:1", "http://me:secret@a", "http://a?b"] {
            assert_eq!(of(bad).unwrap_err().code, "engine.config_invalid", "{bad}");
        }
    }
}
