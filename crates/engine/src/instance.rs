//! One request on one fresh instance: `request -> response, or a fault with a reason`.
//!
//! The guest runs on the task of its connection until its answer begins. A guest that is done by then (most are) costs no
//! task and no wake-up; one that still streams goes on in a task of its own, so that a client that reads slowly cannot
//! stop the clock that ends it. Whatever drops the answer (a client that went away) drops the guest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::answer::Fault;
use crate::body::{Body, BoxError, RequestBody, full};
use crate::host::{GuestState, Signs};
use crate::workload::{Permit, Workload};

type Answer = Result<Response<HyperOutgoingBody>, ErrorCode>;
type Guest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The epoch callback found the request's time used up.
#[derive(Debug)]
struct DeadlineReached;

impl std::fmt::Display for DeadlineReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request's time is used up")
    }
}

impl std::error::Error for DeadlineReached {}

/// Answer `request` with a fresh instance of `workload`, by `deadline`.
///
/// # Errors
/// A [`Fault`] while nothing has been answered yet, reported to the owner; a later one breaks the response body off.
pub(crate) async fn run(
    workload: Arc<Workload>,
    request: Request<Body>,
    deadline: Instant,
    permit: Permit,
) -> Result<Response<Body>, Fault> {
    let answered = answer(&workload, request, deadline, permit).await;
    if let Err(fault) = &answered {
        workload.report(fault);
    }
    answered
}

async fn answer(
    workload: &Arc<Workload>,
    request: Request<Body>,
    deadline: Instant,
    permit: Permit,
) -> Result<Response<Body>, Fault> {
    let limit = workload.limits.request_body_bytes;
    if request.body().size_hint().lower() > limit {
        return Err(Fault::request_too_large(limit));
    }
    let signs = Arc::new(Signs::default());
    let (sender, mut receiver) = oneshot::channel();
    let mut guest = guest(workload.clone(), request, sender, signs.clone(), deadline, permit);
    let answer = tokio::select! {
        biased;
        () = &mut guest => return finished(workload, &signs, receiver.try_recv().ok()).await,
        answer = &mut receiver => answer.ok(),
        () = sleep_until(deadline) => return Err(Fault::deadline()),
        () = workload.admission.killed() => return Err(Fault::unloaded()),
    };
    let response = settle(workload, &signs, answer)?;
    let rest = tokio::spawn(go_on(guest, workload.clone(), signs.clone(), deadline));
    Ok(response.map(|inner| GuestBody::new(inner, workload.clone(), signs, rest).boxed_unsync()))
}

/// Everything the guest does, up to and including its end.
fn guest(
    workload: Arc<Workload>,
    request: Request<Body>,
    answer: oneshot::Sender<Answer>,
    signs: Arc<Signs>,
    deadline: Instant,
    permit: Permit,
) -> Guest {
    let cpu = workload.clone();
    let work = async move {
        let mut store = store(&workload, &signs, deadline);
        if let Err(cause) = drive(&workload, &mut store, request, answer, &signs).await {
            // Before the store goes: its end closes the response body, whose reader then looks for a fault.
            signs.fail(classify(&cause, &signs, &workload));
        }
        drop(store);
        drop(permit);
    };
    Box::pin(CpuTime {
        work: Box::pin(work),
        workload: cpu,
    })
}

fn store(workload: &Workload, signs: &Arc<Signs>, deadline: Instant) -> Store<GuestState> {
    let limits = &workload.limits;
    let mut store = Store::new(workload.pre.engine(), GuestState::new(workload, signs));
    store.limiter(GuestState::meter);
    store.set_hostcall_fuel(limits.hostcall_bytes);
    store.set_max_component_handles(limits.resources);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |_| {
        if Instant::now() >= deadline {
            return Err(DeadlineReached.into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

async fn drive(
    workload: &Arc<Workload>,
    store: &mut Store<GuestState>,
    request: Request<Body>,
    answer: oneshot::Sender<Answer>,
    signs: &Signs,
) -> wasmtime::Result<()> {
    let limit = workload.limits.request_body_bytes;
    let counters = &workload.counters;
    let body = |inner| RequestBody::new(inner, limit, signs.request_too_large.clone(), counters.clone());
    let request = store
        .data_mut()
        .http()
        .new_incoming_request(Scheme::Http, request.map(body))?;
    let answer = store.data_mut().http().new_response_outparam(answer)?;

    let began = std::time::Instant::now();
    let proxy = workload.pre.instantiate_async(&mut *store).await?;
    counters.instantiate.record(began.elapsed());
    counters.instances_started.fetch_add(1, Ordering::Relaxed);

    proxy
        .wasi_http_incoming_handler()
        .call_handle(store, request, answer)
        .await
}

/// Let a guest that already began its answer come to its end.
async fn go_on(mut guest: Guest, workload: Arc<Workload>, signs: Arc<Signs>, deadline: Instant) {
    let ended_by = tokio::select! {
        biased;
        () = &mut guest => None,
        () = sleep_until(deadline) => Some(Fault::deadline()),
        () = workload.admission.killed() => Some(Fault::unloaded()),
    };
    if let Some(fault) = ended_by {
        signs.fail(fault);
    }
    if let Some(fault) = signs.fault() {
        workload.report(fault);
    }
    drop(guest);
}

/// The response of a guest that is done: its body is complete, and sent in one piece with its length.
async fn finished(
    workload: &Arc<Workload>,
    signs: &Arc<Signs>,
    answer: Option<Answer>,
) -> Result<Response<Body>, Fault> {
    let (parts, mut inner) = settle(workload, signs, answer)?.into_parts();
    let limit = workload.limits.response_body_bytes;
    let mut whole = BytesMut::new();
    let mut trailers = None;
    // Nothing here waits: the guest is gone, so all it wrote (a few chunks at most) is in the channel.
    while let Some(frame) = inner.frame().await {
        let frame = frame.map_err(|cause| broken_body(&cause))?;
        match frame.into_data() {
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let len = whole.len() as u64;
    if len > limit {
        return Err(Fault::response_too_large(limit));
    }
    workload.counters.bytes_out.fetch_add(len, Ordering::Relaxed);
    let body = full(whole.freeze());
    let body = match trailers {
        None => body,
        Some(trailers) => body.with_trailers(async { Some(Ok(trailers)) }).boxed_unsync(),
    };
    Ok(Response::from_parts(parts, body))
}

/// What the guest answered, if it may be sent.
fn settle(workload: &Workload, signs: &Signs, answer: Option<Answer>) -> Result<Response<HyperOutgoingBody>, Fault> {
    if signs.request_too_large.load(Ordering::Relaxed) {
        return Err(Fault::request_too_large(workload.limits.request_body_bytes));
    }
    if let Some(fault) = signs.fault() {
        return Err(fault.clone());
    }
    let response = match answer {
        Some(Ok(response)) => response,
        Some(Err(code)) => return Err(refused_by_guest(&code, signs)),
        None => return Err(no_answer()),
    };
    let limit = workload.limits.response_body_bytes;
    if declared_len(response.headers()).is_some_and(|len| len > limit) {
        return Err(Fault::response_too_large(limit));
    }
    Ok(response)
}

fn declared_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn classify(cause: &wasmtime::Error, signs: &Signs, workload: &Workload) -> Fault {
    if cause.is::<DeadlineReached>() || cause.downcast_ref() == Some(&Trap::Interrupt) {
        return Fault::deadline();
    }
    if cause.is::<PoolConcurrencyLimitError>() {
        return Fault::overloaded("the node");
    }
    if signs.memory_denied.load(Ordering::Relaxed) {
        return Fault::new(
            "guest.memory",
            StatusCode::INSUFFICIENT_STORAGE,
            format!(
                "the guest wanted more than {} bytes of memory or too large a table",
                workload.limits.memory_bytes
            ),
            "raise the workload's memory limit, or use less",
        );
    }
    let message = match cause.downcast_ref::<I32Exit>() {
        Some(exit) => format!("the guest left with status {} instead of answering", exit.0),
        None => format!("the guest was stopped: {}", cause.root_cause()),
    };
    Fault::new(
        "guest.trap",
        StatusCode::INTERNAL_SERVER_ERROR,
        message,
        "the workload's log has what it wrote before",
    )
}

fn refused_by_guest(code: &ErrorCode, signs: &Signs) -> Fault {
    if signs.egress_denied.load(Ordering::Relaxed) {
        return Fault::new(
            "guest.egress_denied",
            StatusCode::BAD_GATEWAY,
            format!("the guest called a destination it may not call, and gave up with {code:?}"),
            "add the destination to the workload's egress rules; its log names it",
        );
    }
    Fault::new(
        "guest.error",
        StatusCode::BAD_GATEWAY,
        format!("the guest gave up with {code:?}"),
        "the workload's log has what it wrote before",
    )
}

fn no_answer() -> Fault {
    Fault::new(
        "guest.no_response",
        StatusCode::INTERNAL_SERVER_ERROR,
        "the guest returned without an answer",
        "the handler must set its response on every path",
    )
}

fn broken_body(cause: &wasmtime_wasi_http::Error) -> Fault {
    Fault::new(
        "guest.error",
        StatusCode::BAD_GATEWAY,
        format!("the guest did not finish its response body: {cause}"),
        "the body must be as long as its content-length says, and be finished",
    )
}

/// The body of a guest that still writes it.
struct GuestBody {
    inner: HyperOutgoingBody,
    left: u64,
    workload: Arc<Workload>,
    signs: Arc<Signs>,
    rest: AbortOnDrop,
}

impl GuestBody {
    fn new(inner: HyperOutgoingBody, workload: Arc<Workload>, signs: Arc<Signs>, rest: JoinHandle<()>) -> Self {
        Self {
            inner,
            left: workload.limits.response_body_bytes,
            workload,
            signs,
            rest: AbortOnDrop(Some(rest)),
        }
    }

    fn broken_off(&mut self, fault: &Fault) -> BoxError {
        self.rest.abort();
        format!("{}: {}", fault.code, fault.message).into()
    }
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
            // The channel of a guest that was stopped ends like that of one that is done.
            if let Some(fault) = self.signs.fault().cloned() {
                return Poll::Ready(Some(Err(self.broken_off(&fault))));
            }
            self.rest.let_go();
            return Poll::Ready(None);
        };
        let frame = frame.map_err(|cause| self.broken_off(&broken_body(&cause)))?;
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = self.left.checked_sub(len) else {
            let fault = Fault::response_too_large(self.workload.limits.response_body_bytes);
            self.workload.report(&fault);
            return Poll::Ready(Some(Err(self.broken_off(&fault))));
        };
        self.left = left;
        self.workload.counters.bytes_out.fetch_add(len, Ordering::Relaxed);
        Poll::Ready(Some(Ok(frame)))
    }
}

/// The rest of a guest's run; ended when its answer is dropped half-way, left alone when the answer is complete.
struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    fn let_go(&mut self) {
        self.0 = None;
    }

    fn abort(&mut self) {
        if let Some(rest) = self.0.take() {
            rest.abort();
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Adds the time its work runs to the workload's account.
struct CpuTime<F> {
    work: Pin<Box<F>>,
    workload: Arc<Workload>,
}

impl<F: Future> Future for CpuTime<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = std::time::Instant::now();
        let polled = self.work.as_mut().poll(context);
        let ran_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.workload.counters.cpu_ns.fetch_add(ran_ns, Ordering::Relaxed);
        polled
    }
}
