//! One request to a worker: `request -> worker -> response, or a fault`.
//!
//! A request whose worker died under it is asked once more of the next process if repeating is harmless (RFC 9110 section 9.2.2,
//! or an Idempotency-Key) and its body is still there. Once: a request that kills its worker must not kill all of them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::answer::{DEADLINE_MS, Fault};
use crate::body::{Body, BoxError, RequestBody, incoming};
use crate::forward::{Payload, is_idempotent, strip_hop_by_hop};
use crate::host::Signs;
use crate::instance::declared_len;
use crate::worker::tenant::{Assignment, Link};
use crate::worker::words::{self, METHOD, ORIGIN_FORM, VERSION};
use crate::workload::{Permit, Workload};

/// A worker ends what is past its time by itself, and says so; one that does not is not waited for.
const SLACK: Duration = Duration::from_millis(100);
/// A worker that is being started anew is waited for, but not as long as a client would wait.
const DOWN_PATIENCE: Duration = Duration::from_secs(2);

/// Have the worker of `workload` answer `request`, by `deadline`.
///
/// # Errors
/// What the worker tells, which it has put into its report; or `worker.lost`, `worker.down`, `guest.deadline`, reported here.
pub(crate) async fn run(
    workload: Arc<Workload>,
    assignment: &Assignment,
    request: Request<Body>,
    deadline: Instant,
    permit: Permit,
) -> Result<Response<Body>, Fault> {
    let limit = workload.limits.request_body_bytes;
    let asked = async {
        if request.body().size_hint().lower() > limit {
            return Err(Ours(Fault::request_too_large(limit)));
        }
        let signs = Signs::default();
        let too_large = signs.request_too_large.clone();
        let counters = workload.counters.clone();
        let request = request.map(|inner| {
            let body = RequestBody::new(inner, limit, too_large, counters);
            body.map_err(BoxError::from).boxed_unsync()
        });
        let asking = ask(&workload, assignment, request, deadline);
        let answered = tokio::select! {
            answered = asking => answered,
            () = sleep_until(deadline + SLACK) => Err(Ours(Fault::deadline())),
            () = workload.admission.killed() => Err(Ours(Fault::unloaded())),
        };
        if signs.request_too_large.load(Ordering::Relaxed) {
            return Err(Ours(Fault::request_too_large(limit)));
        }
        answered
    };
    match asked.await {
        Ok((response, link)) => {
            Ok(response.map(|inner| Answer::new(inner, workload, link, deadline, permit).boxed_unsync()))
        }
        Err(Theirs(fault)) => Err(fault),
        Err(Ours(fault)) => {
            workload.report(&fault);
            Err(fault)
        }
    }
}

/// Whose fault it is, that is, who tells the owner of it.
enum Failed {
    Ours(Fault),
    Theirs(Fault),
}
use Failed::{Ours, Theirs};

async fn ask(
    workload: &Arc<Workload>,
    assignment: &Assignment,
    request: Request<Body>,
    deadline: Instant,
) -> Result<(Response<Body>, Arc<Link>), Failed> {
    let may_repeat = is_idempotent(&request);
    let (parts, body) = request.into_parts();
    let parts = outgoing(parts, assignment.version);
    let mut payload = Payload::of(body).await.map_err(Ours)?;
    let mut may_try_again = true;
    loop {
        let patience = deadline.min(Instant::now() + DOWN_PATIENCE);
        let Some(link) = assignment.tenant.link(patience).await else {
            return Err(Ours(down(assignment)));
        };
        let Some(body) = payload.take() else {
            return Err(Ours(lost(assignment, "its body is spent")));
        };
        let mut parts = parts.clone();
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis();
        let left_ms = u64::try_from(left_ms).unwrap_or(u64::MAX);
        parts.headers.insert(DEADLINE_MS, HeaderValue::from(left_ms));
        let mut sender = link.sender.clone();
        match sender.try_send_request(Request::from_parts(parts, body)).await {
            Ok(response) => {
                if let Some(fault) = words::fault_of(&response) {
                    return Err(Theirs(fault));
                }
                return settle(workload, response.map(incoming)).map(|response| (response, link));
            }
            Err(mut failed) => {
                let why = failed.error().to_string();
                let is_unsent = match failed.take_message() {
                    Some(request) => {
                        payload.put_back(request.into_body());
                        true
                    }
                    None => false,
                };
                if !may_try_again || !(is_unsent || may_repeat && payload.is_there()) {
                    return Err(Ours(lost(assignment, &why)));
                }
                may_try_again = is_unsent && may_try_again;
                if !link.is_dead() {
                    // The process is about to be known as gone; until then its link would be given again.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                workload.counters.retried.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn settle(workload: &Workload, mut response: Response<Body>) -> Result<Response<Body>, Failed> {
    strip_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    let limit = workload.limits.response_body_bytes;
    if declared_len(response.headers()).is_some_and(|len| len > limit) {
        return Err(Ours(Fault::response_too_large(limit)));
    }
    Ok(response)
}

/// The request in HTTP/2's terms, with a note of what those cannot say.
fn outgoing(mut parts: request::Parts, version: u64) -> request::Parts {
    let headers = &mut parts.headers;
    headers.insert(VERSION, HeaderValue::from(version));
    if parts.method == Method::CONNECT {
        headers.insert(METHOD, HeaderValue::from_static("CONNECT"));
        parts.method = Method::POST;
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if uri.authority.is_none() {
        headers.insert(ORIGIN_FORM, HeaderValue::from_static("1"));
        uri.authority = Some(Authority::from_static("worker.hanse.invalid"));
    }
    uri.scheme.get_or_insert(Scheme::HTTP);
    uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    // All three parts are there, which is all that is asked of them.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    parts.version = Version::HTTP_2;
    parts.extensions = http::Extensions::new();
    parts
}

fn down(assignment: &Assignment) -> Fault {
    Fault::new(
        "worker.down",
        StatusCode::SERVICE_UNAVAILABLE,
        format!(
            "the worker process of this workload is being started anew; the last one {}",
            assignment.tenant.last_end()
        ),
        "try again; the workload's log has what happened",
    )
    .retry_after(1)
}

fn lost(assignment: &Assignment, why: &str) -> Fault {
    let end = assignment.tenant.last_end();
    let end = if end.is_empty() { why.to_owned() } else { end };
    Fault::new(
        "worker.lost",
        StatusCode::BAD_GATEWAY,
        format!("the worker process of this workload ended while it had the request: it {end}"),
        "the request may have been carried out; send an Idempotency-Key to have such requests repeated",
    )
}

/// The body a worker sends: counted, bounded, and no longer than its time.
struct Answer {
    inner: Body,
    left: u64,
    workload: Arc<Workload>,
    link: Arc<Link>,
    over: Option<Pin<Box<dyn Future<Output = Fault> + Send>>>,
    permit: Option<Permit>,
}

impl Answer {
    fn new(inner: Body, workload: Arc<Workload>, link: Arc<Link>, deadline: Instant, permit: Permit) -> Self {
        let watched = workload.clone();
        let over: Pin<Box<dyn Future<Output = Fault> + Send>> = Box::pin(async move {
            match timeout_at(deadline + SLACK, watched.admission.killed()).await {
                Ok(()) => Fault::unloaded(),
                Err(_) => Fault::deadline(),
            }
        });
        let is_whole = inner.is_end_stream();
        Self {
            inner,
            left: workload.limits.response_body_bytes,
            workload,
            link,
            over: (!is_whole).then_some(over),
            permit: (!is_whole).then_some(permit),
        }
    }

    fn broken_off(&mut self, fault: &Fault) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.workload.report(fault);
        self.over = None;
        self.permit = None;
        Poll::Ready(Some(Err(format!("{}: {}", fault.code, fault.message).into())))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_pending()
            && let Some(over) = &mut self.over
        {
            let fault = ready!(over.as_mut().poll(context));
            return self.broken_off(&fault);
        }
        match ready!(polled) {
            None => {
                self.over = None;
                self.permit = None;
                Poll::Ready(None)
            }
            Some(Err(_)) if self.link.is_dead() => {
                let fault = Fault::new(
                    "worker.lost",
                    StatusCode::BAD_GATEWAY,
                    "the worker process of this workload ended while it answered",
                    "ask again",
                );
                self.broken_off(&fault)
            }
            Some(Err(cause)) => {
                // The worker has told its reason in its report.
                self.over = None;
                self.permit = None;
                Poll::Ready(Some(Err(cause)))
            }
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = self.left.checked_sub(len) else {
                    let fault = Fault::response_too_large(self.workload.limits.response_body_bytes);
                    return self.broken_off(&fault);
                };
                self.left = left;
                self.workload.counters.bytes_out.fetch_add(len, Ordering::Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
