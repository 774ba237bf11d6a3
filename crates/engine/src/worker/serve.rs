//! A worker process from its first line to its end: `setup -> shut in -> guests of one tenant`.
//!
//! It owns nothing but the three sockets it was given: loads come over the first, requests over the second, and all that its
//! guests ask of the world leaves over the third, where the node decides. It ends when the first one closes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use wasmtime::component::Component;

use crate::answer::{DEADLINE_MS, Fault};
use crate::aside::Habit;
use crate::body::{Body, incoming};
use crate::destination::Policy;
use crate::egress::WayOut;
use crate::error::EngineError;
use crate::front::strip_ours;
use crate::instance;
use crate::lane::LongLane;
use crate::logs::LogRing;
use crate::runtime::{Runtime, Ticker};
use crate::shared::Shared;
use crate::stats::Registry;
use crate::warm::Warm;
use crate::worker::channel::Channel;
use crate::worker::code::CodeFile;
use crate::worker::confine::{Layers, confine, detach, limit};
use crate::worker::outlet::Outlet;
use crate::worker::tell::{Tale, tell, tell_all};
use crate::worker::words::{self, METHOD, ORIGIN_FORM, VERSION};
use crate::worker::{CONNECTION_WINDOW_BYTES, MAX_HEADER_BYTES, MAX_STREAMS, STREAM_WINDOW_BYTES, attempt};
use crate::workload::{Admission, Instances, Workload};

const MIB: u64 = 1 << 20;
/// Time for the last counts, when the node has let go.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Be a worker: does not return before the node that started this process is done with it.
///
/// To be called by a program whose standard input is the socket that [`crate::EngineConfig::worker_command`] was started with,
/// on its only thread.
///
/// # Errors
/// `worker.start_failed`, which has been told to the node as well.
pub fn work() -> Result<(), EngineError> {
    let failed = |cause: String| {
        EngineError::new(
            "worker.start_failed",
            cause,
            "workers are started by a node, not by hand",
        )
    };
    detach().map_err(|cause| failed(cause.to_string()))?;
    let control = Channel::of(control_socket());
    let (setup, files) = match control.receive() {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(()),
        Err(cause) => return Err(failed(cause.to_string())),
    };
    let did = match setup.get("do").and_then(Value::as_str) {
        Some("attempt") => try_out(&setup, &control),
        _ => serve(&setup, files, &control),
    };
    did.map_err(|cause| {
        // Whoever started this process hears it as well, if it is still there.
        let _ = control.send(&json!({"error": cause}), &[]);
        failed(cause)
    })
}

#[expect(unsafe_code, reason = "the one descriptor that comes from outside")]
fn control_socket() -> OwnedFd {
    // SAFETY: standard input is open in every program that was started by a node, and read by nothing else in a worker.
    unsafe { OwnedFd::from_raw_fd(0) }
}

fn number(setup: &Value, name: &str) -> u64 {
    setup.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn try_out(setup: &Value, control: &Channel) -> Result<(), String> {
    let is_wanted = |layer: &str| setup[layer].as_bool().unwrap_or_default();
    limit(number(setup, "memory_bytes")).map_err(|cause| cause.to_string())?;
    confine(Layers {
        landlock: is_wanted("landlock"),
        seccomp: is_wanted("seccomp"),
    })?;
    let errno = attempt::run(setup["name"].as_str().unwrap_or_default()).ok_or("there is no such attempt")?;
    control
        .send(&json!({"errno": errno}), &[])
        .map_err(|cause| cause.to_string())
}

fn serve(setup: &Value, files: Vec<OwnedFd>, control: &Channel) -> Result<(), String> {
    let Ok([requests, outside]) = <[OwnedFd; 2]>::try_from(files) else {
        return Err("two sockets are needed".to_owned());
    };
    let instances = u32::try_from(number(setup, "instances")).unwrap_or(u32::MAX);
    let threads = usize::try_from(number(setup, "threads")).unwrap_or(1).max(1);
    // All that needs a file or much address space comes before the walls, all that runs a guest after them.
    let runtime = Runtime::confined(instances).map_err(|cause| cause.to_string())?;
    limit(number(setup, "memory_bytes").max(64 * MIB)).map_err(|cause| cause.to_string())?;
    let landlock = confine(Layers {
        landlock: true,
        seccomp: true,
    })?;
    let ticker = Ticker::start().map_err(|cause| cause.to_string())?;
    ticker.add(runtime.engine());
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("hanse-worker")
        .enable_io()
        .enable_time()
        .build()
        .map_err(|cause| cause.to_string())?;
    let long_lane = LongLane::default();
    let lane = long_lane
        .start(threads, tokio.handle())
        .map_err(|cause| cause.to_string())?;
    let outlet = tokio.block_on(outlet(outside))?;
    let worker = Arc::new(Worker {
        runtime: Arc::new(runtime),
        outlet: outlet.clone(),
        long_lane,
        instances: Arc::new(Instances::new(instances)),
        versions: ArcSwap::default(),
        log_lines: usize::try_from(number(setup, "log_lines")).unwrap_or(1).max(1),
        stirred: Arc::new(Notify::new()),
        busy: AtomicU64::new(0),
    });
    tokio.spawn(requests_of_node(worker.clone(), requests));
    tokio.spawn(tell(worker.clone(), outlet.clone()));
    control
        .send(&json!({"landlock": landlock}), &[])
        .map_err(|cause| cause.to_string())?;
    // Until the node lets go.
    while let Ok(Some((order, files))) = control.receive() {
        let done = tokio.block_on(async { worker.obey(&order, files) });
        let answer = match done {
            Ok(()) => json!({"done": true}),
            Err(cause) => json!({"error": cause}),
        };
        if control.send(&answer, &[]).is_err() {
            break;
        }
    }
    let mut outlet = outlet;
    let _ = tokio.block_on(async { timeout(LAST_WORDS, tell_all(&worker, &mut outlet)).await });
    // Guests that still run have nobody to answer.
    tokio.shutdown_timeout(Duration::ZERO);
    lane.shutdown_timeout(Duration::ZERO);
    Ok(())
}

async fn outlet(socket: OwnedFd) -> Result<Outlet, String> {
    let stream = stream(socket)?;
    let (sender, connection) = client::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| cause.to_string())?;
    tokio::spawn(connection);
    Ok(Outlet::new(sender))
}

fn stream(socket: OwnedFd) -> Result<tokio::net::UnixStream, String> {
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true).map_err(|cause| cause.to_string())?;
    tokio::net::UnixStream::from_std(stream).map_err(|cause| cause.to_string())
}

/// What the threads of a worker share.
pub(crate) struct Worker {
    runtime: Arc<Runtime>,
    outlet: Outlet,
    long_lane: LongLane,
    instances: Arc<Instances>,
    pub(crate) versions: ArcSwap<HashMap<u64, Arc<Version>>>,
    log_lines: usize,
    /// Something happened that the node wants to know.
    pub(crate) stirred: Arc<Notify>,
    /// Requests under way.
    pub(crate) busy: AtomicU64,
}

/// One version of one workload.
pub(crate) struct Version {
    pub(crate) workload: Arc<Workload>,
    pub(crate) tale: Tale,
}

impl Worker {
    fn obey(self: &Arc<Self>, order: &Value, mut files: Vec<OwnedFd>) -> Result<(), String> {
        let version = number(order, "version");
        match order["do"].as_str() {
            Some("load") if files.len() == 2 => {
                let (Some(spec), Some(code)) = (files.pop(), files.pop()) else {
                    return Err("two files are needed".to_owned());
                };
                let spec = read(spec).map_err(|cause| cause.to_string())?;
                let len = usize::try_from(number(order, "code_bytes")).map_err(|cause| cause.to_string())?;
                self.load(version, &spec, code, len)
            }
            Some("unload") => {
                if let Some(old) = self.versions.load().get(&version).cloned() {
                    // Whoever was to finish has finished: the node lets a version go after its last request.
                    let mut outlet = self.outlet.clone();
                    let worker = self.clone();
                    tokio::spawn(async move {
                        old.workload.admission.drain(Duration::ZERO).await;
                        // The last counts, before the version is forgotten.
                        let _ = tell_all(&worker, &mut outlet).await;
                        worker.forget(version);
                    });
                }
                Ok(())
            }
            other => Err(format!("nobody here knows how to {other:?}")),
        }
    }

    fn load(self: &Arc<Self>, number: u64, spec: &Value, code: OwnedFd, len: usize) -> Result<(), String> {
        let code = CodeFile::map(code.as_fd(), len).map_err(|cause| cause.to_string())?;
        let component = component(&self.runtime, code).map_err(|cause| format!("{cause:#}"))?;
        let pre = Arc::new(self.runtime.link(&component).map_err(|cause| cause.message)?);
        let limits = words::limits(spec);
        let name = spec["workload"].as_str().unwrap_or_default().to_owned();
        let logs = Arc::new(LogRing::new(self.log_lines));
        // A registry of its own, so that what is counted is this version's alone.
        let counters = Registry::default().workload(&name);
        let version = Version {
            tale: Tale::default(),
            workload: Arc::new(Workload {
                name,
                pre,
                runtime: self.runtime.clone(),
                long_lane: self.long_lane.clone(),
                habit: Habit::default(),
                warm: Warm::default(),
                shared: Shared::default(),
                admission: Admission::new(&limits, self.instances.clone()),
                limits,
                egress: Arc::new(Policy::new(&[])),
                way_out: WayOut::Node(self.outlet.clone(), number),
                env: words::env(spec),
                logs,
                counters,
                worker: None,
            }),
        };
        let version = Arc::new(version);
        self.versions.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.insert(number, version.clone());
            next
        });
        Ok(())
    }

    fn forget(&self, version: u64) {
        self.versions.rcu(|now| {
            let mut next = HashMap::clone(now);
            next.remove(&version);
            next
        });
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let _busy = Busy::new(self);
        let began = Instant::now();
        match self.run(request, began).await {
            Ok(mut response) => {
                strip_ours(response.headers_mut());
                let busy = Busy::new(self);
                response.map(|body| busy.during(body))
            }
            Err(fault) => words::fault_response(&fault),
        }
    }

    async fn run(&self, request: Request<Incoming>, began: Instant) -> Result<Response<Body>, Fault> {
        let version = self.version(request.headers()).ok_or_else(Fault::unloaded)?;
        let workload = version.workload.clone();
        let allowed = words::number(request.headers(), &DEADLINE_MS).map_or(Duration::MAX, Duration::from_millis);
        let deadline = began + workload.limits.timeout().min(allowed);
        let request = as_it_came(request.map(incoming));
        let permit = workload.admit(deadline).await?;
        instance::run(workload, request, deadline, permit).await
    }

    fn version(&self, headers: &HeaderMap) -> Option<Arc<Version>> {
        let number = words::number(headers, &VERSION)?;
        self.versions.load().get(&number).cloned()
    }
}

/// Counts a request as under way, and has the node told about it when it ends.
pub(crate) struct Busy(Arc<Worker>);

impl Busy {
    fn new(worker: &Arc<Worker>) -> Self {
        worker.busy.fetch_add(1, Ordering::Relaxed);
        Self(worker.clone())
    }

    fn during(self, body: Body) -> Body {
        words::holding(body, self)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        self.0.stirred.notify_one();
    }
}

fn read(file: OwnedFd) -> std::io::Result<Value> {
    let mut file = std::fs::File::from(file);
    file.seek(SeekFrom::Start(0))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(std::io::Error::other)
}

#[expect(unsafe_code, reason = "the code comes from the node's own compiler")]
fn component(runtime: &Runtime, code: CodeFile) -> wasmtime::Result<Component> {
    // SAFETY: the node opened the file in its own cache, which only it writes to, after comparing its digest; or made it in
    // memory from what its compiler returned. The mapping is never taken away, as is asked for: see `CodeFile`.
    unsafe { Component::deserialize_raw(runtime.engine(), code.memory()) }
}

/// The request as the client made it, without what was added for the way here.
fn as_it_came(request: Request<Body>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    if let Some(method) = parts.headers.remove(METHOD)
        && let Ok(method) = Method::from_bytes(method.as_bytes())
    {
        parts.method = method;
    }
    if parts.headers.remove(ORIGIN_FORM).is_some() {
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map(Uri::from).unwrap_or_default();
    }
    parts.headers.remove(VERSION);
    parts.headers.remove(DEADLINE_MS);
    Request::from_parts(parts, body)
}

async fn requests_of_node(worker: Arc<Worker>, socket: OwnedFd) {
    let Ok(stream) = stream(socket) else {
        return;
    };
    let service = service_fn(move |request| {
        let worker = worker.clone();
        async move { Ok::<_, Infallible>(worker.answer(request).await) }
    });
    // Its end is the node's doing; the control socket tells what that means.
    let _ = server::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
