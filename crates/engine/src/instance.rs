//! One request on one instance: `request -> response, or a fault with a reason`.
//!
//! The instance is made for the request, unless the workload asks for reuse and one is idle (`warm`), or has room (`shared`). The guest runs on
//! the task of its connection until its answer begins. A guest that is done by then (most are) costs no task and no
//! wake-up; one that still streams goes on in a task of its own, so that a client that reads slowly cannot stop the clock
//! that ends it. Whatever drops the answer (a client that went away) drops the guest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::WasiBody;

use crate::answer::Fault;
use crate::aside::Aside;
use crate::blame::{DeadlineReached, broken_body, classify, no_answer, refused_by_guest};
use crate::body::{Body, RequestBody, full};
use crate::call::{Answer, call};
use crate::guest_body::GuestBody;
use crate::host::{Clock, GuestState, Signs};
use crate::shared;
use crate::sight::{self, Kind, Span, Trace};
use crate::stats::Alive;
use crate::upgrade;
use crate::warm::{Instance, Warm};
use crate::worker::ask;
use crate::workload::{Permit, Workload};

/// A guest that stepped aside and has answered gets this long to end, so that its answer can be sent whole.
const LAST_STEPS: Duration = Duration::from_millis(1);

type Guest = Pin<Box<dyn Future<Output = ()> + Send>>;

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
    let is_head = request.method() == Method::HEAD;
    let (mut request, trace, span) = traced(&workload, request);
    if upgrade::is_asked(request.extensions()) && request.method() == Method::CONNECT {
        // Functions speak no WebSocket: the request goes on as if it had not asked (RFC 9110 section 7.8).
        *request.method_mut() = Method::GET;
    }
    if let Some(assignment) = &workload.worker {
        let answered = ask::run(workload.clone(), assignment, request, deadline, permit).await;
        // Whether its instance was a fresh one is known to the worker alone.
        return sight::until_end(span, is_head, answered);
    }
    let signs = Arc::new(Signs::of(trace));
    let answered = answer(&workload, request, signs.clone(), deadline, permit).await;
    if let Err(fault) = &answered {
        workload.report(fault);
    }
    let span = span.map(|mut span| {
        span.truth("faas.coldstart", !signs.is_warm.load(Ordering::Relaxed));
        span
    });
    sight::until_end(span, is_head, answered)
}

/// The request as the guest's own step in its trace, by the conventions for functions of OpenTelemetry.
fn traced(workload: &Workload, mut request: Request<Body>) -> (Request<Body>, Option<Trace>, Option<Span>) {
    let Some(trace) = request.extensions().get::<Trace>() else {
        return (request, None, None);
    };
    let (trace, span) = trace.child(|| workload.name.clone(), Kind::Internal);
    trace.inject(request.headers_mut());
    let span = span.map(|mut span| {
        span.text("faas.name", &workload.name);
        span.text("faas.trigger", "http");
        span.number("faas.max_memory", workload.limits.memory_bytes as u64);
        let id = span.id();
        span.text("faas.invocation_id", &id);
        span
    });
    (request, Some(trace), span)
}

async fn answer(
    workload: &Arc<Workload>,
    request: Request<Body>,
    signs: Arc<Signs>,
    deadline: Instant,
    permit: Permit,
) -> Result<Response<Body>, Fault> {
    let limit = workload.limits.request_body_bytes;
    if request.body().size_hint().lower() > limit {
        return Err(Fault::request_too_large(limit));
    }
    let counters = workload.counters.clone();
    let request = request.map(|inner| RequestBody::new(inner, limit, signs.request_too_large.clone(), counters));
    if workload.is_shared() {
        return shared::answer(workload, request, signs, deadline, permit).await;
    }
    let (sender, mut receiver) = oneshot::channel();
    let mut guest = guest(workload.clone(), request, sender, signs.clone(), deadline, permit);
    let answer = tokio::select! {
        biased;
        () = &mut guest => return finished(workload, &signs, receiver.try_recv().ok()).await,
        answer = &mut receiver => answer.ok(),
        () = sleep_until(deadline) => return Err(Fault::deadline()),
        () = workload.admission.killed() => return Err(Fault::unloaded()),
    };
    if answer.is_none() {
        // It will not answer any more. Why, is known when it has ended, which on another thread may be a moment later.
        return tokio::select! {
            biased;
            () = &mut guest => finished(workload, &signs, None).await,
            () = sleep_until(deadline) => Err(Fault::deadline()),
            () = workload.admission.killed() => Err(Fault::unloaded()),
        };
    }
    if signs.is_long.load(Ordering::Relaxed) && timeout(LAST_STEPS, &mut guest).await.is_ok() {
        return finished(workload, &signs, answer).await;
    }
    let response = settle(workload, &signs, answer)?;
    let rest = tokio::spawn(go_on(guest, workload.clone(), signs.clone(), deadline));
    Ok(response.map(|inner| GuestBody::new(inner, workload.clone(), signs, rest).boxed_unsync()))
}

/// Everything the guest does, up to and including its end.
fn guest(
    workload: Arc<Workload>,
    request: Request<RequestBody>,
    answer: oneshot::Sender<Answer>,
    signs: Arc<Signs>,
    deadline: Instant,
    permit: Permit,
) -> Guest {
    let (owner, watched) = (workload.clone(), signs.clone());
    let Permit { running, seat } = permit;
    let work = async move { drive(&workload, request, answer, &signs, deadline, seat).await };
    Box::pin(Aside::of_one(Box::pin(work), owner, watched, running))
}

async fn drive(
    workload: &Arc<Workload>,
    request: Request<RequestBody>,
    answer: oneshot::Sender<Answer>,
    signs: &Arc<Signs>,
    deadline: Instant,
    seat: Option<OwnedSemaphorePermit>,
) {
    let mut instance = match instance(workload, signs, deadline, seat).await {
        Ok(instance) => instance,
        Err(fault) => return signs.fail(fault),
    };
    instance.served += 1;
    match call(&instance.proxy, &mut instance.store, request, answer).await {
        // Before the store goes: its end closes the response body, whose reader then looks for a fault.
        Err(cause) => signs.fail(classify(&cause, signs, workload)),
        Ok(()) => Warm::put(workload, instance),
    }
}

/// The instance that was kept, or a new one on `seat`; without either what comes first.
async fn instance(
    workload: &Arc<Workload>,
    signs: &Arc<Signs>,
    deadline: Instant,
    mut seat: Option<OwnedSemaphorePermit>,
) -> Result<Instance, Fault> {
    loop {
        if let Some(mut kept) = workload.warm.take(&workload.limits.reuse) {
            workload.counters.warm_starts.fetch_add(1, Ordering::Relaxed);
            signs.is_warm.store(true, Ordering::Relaxed);
            let state = kept.store.data_mut();
            state.begin(workload, signs);
            state.set_clock(Clock::At(deadline));
            kept.store.set_epoch_deadline(1);
            // It has a seat of its own.
            return Ok(kept);
        }
        if let Some(seat) = seat {
            let started = start(workload, signs, Clock::At(deadline), seat).await;
            return started.map_err(|cause| classify(&cause, signs, workload));
        }
        // Somebody else took the instance that was there.
        seat = workload.seat_or_room().await?;
    }
}

/// Make an instance, on its seat.
pub(crate) async fn start(
    workload: &Workload,
    signs: &Arc<Signs>,
    clock: Clock,
    seat: OwnedSemaphorePermit,
) -> wasmtime::Result<Instance> {
    let began = std::time::Instant::now();
    let mut store = store(workload, signs, clock);
    let proxy = workload.pre.instantiate_async(&mut store).await?;
    let counters = &workload.counters;
    counters.instantiate.record(began.elapsed());
    counters.instances_started.fetch_add(1, Ordering::Relaxed);
    Ok(Instance {
        store,
        proxy,
        served: 0,
        _alive: Alive::new(counters.clone()),
        _seat: seat,
    })
}

fn store(workload: &Workload, signs: &Arc<Signs>, clock: Clock) -> Store<GuestState> {
    let limits = &workload.limits;
    let mut store = Store::new(workload.runtime.engine(), GuestState::new(workload, signs, clock));
    store.limiter(GuestState::meter);
    store.set_hostcall_fuel(limits.hostcall_bytes);
    store.set_max_component_handles(limits.resources);
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(limits.resources);
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        if store.data().clock().is_over() {
            return Err(DeadlineReached.into());
        }
        Ok(match store.data().must_yield() {
            true => UpdateDeadline::Yield(1),
            false => UpdateDeadline::Continue(1),
        })
    });
    store
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
pub(crate) fn settle(workload: &Workload, signs: &Signs, answer: Option<Answer>) -> Result<Response<WasiBody>, Fault> {
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

pub(crate) fn declared_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
