//! What a worker tells its node of its guests: log lines and counts, soon after they happened.
//!
//! The worker's word is taken for its own tenant's numbers only, and bounded like a guest's: so many lines, so many bytes. What the
//! node can count by itself (requests, bytes, latency, bytes of the way out) it does not ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::body::{Body, full};
use crate::logs::LogRing;
use crate::stats::Counters;
use crate::worker::ledger::Ledger;
use crate::worker::outlet::Outlet;
use crate::worker::serve::Worker;
use crate::worker::words;

const HOST: &str = "report.hanse.invalid";
const MAX_REPORT_BYTES: usize = 4 << 20;
const MAX_LINES: usize = 500;
/// Reports go out at most this often, so that a busy worker sends few and large ones.
const PAUSE: Duration = Duration::from_millis(25);
/// While requests run for long, their counts are told this often.
const WHILE_BUSY: Duration = Duration::from_millis(250);
/// After the last request has ended, its instance may still have a last line to write.
const LOOKS_AFTER: u32 = 2;

/// What has been told of one version.
#[derive(Default)]
pub(crate) struct Tale {
    last_line: AtomicU64,
}

/// Report until the node has gone.
pub(crate) async fn tell(worker: Arc<Worker>, mut outlet: Outlet) {
    let mut looks = 0;
    loop {
        if worker.busy.load(Ordering::Relaxed) > 0 {
            looks = LOOKS_AFTER;
        }
        match looks {
            0 => worker.stirred.notified().await,
            // Time is up or something happened: both are a reason to look.
            _ => drop(timeout(WHILE_BUSY, worker.stirred.notified()).await),
        }
        looks = if looks == 0 { LOOKS_AFTER } else { looks - 1 };
        sleep(PAUSE).await;
        if tell_all(&worker, &mut outlet).await.is_none() {
            return;
        }
    }
}

/// Tell what is new; `None` when nobody listens.
pub(crate) async fn tell_all(worker: &Worker, outlet: &mut Outlet) -> Option<()> {
    loop {
        let (report, is_all) = report(worker);
        if let Some(report) = report {
            outlet.tell(report).await.ok()?;
        }
        if is_all {
            return Some(());
        }
    }
}

/// What is new, and whether that is all of it.
fn report(worker: &Worker) -> (Option<Request<Body>>, bool) {
    let mut versions = Map::new();
    let mut is_all = true;
    for (number, version) in worker.versions.load().iter() {
        let workload = &version.workload;
        let last = version.tale.last_line.load(Ordering::Relaxed);
        let lines = workload.logs.read(last, MAX_LINES);
        is_all &= lines.len() < MAX_LINES;
        if let Some(line) = lines.last() {
            version.tale.last_line.store(line.seq, Ordering::Relaxed);
        }
        let lines: Vec<_> = lines.iter().map(|line| json!([line.stream, line.text])).collect();
        let counts = workload.counters.take();
        if lines.is_empty() && counts.is_none() {
            continue;
        }
        versions.insert(number.to_string(), json!({"lines": lines, "counts": counts}));
    }
    if versions.is_empty() {
        return (None, is_all);
    }
    let text = Bytes::from(Value::Object(versions).to_string());
    let mut request = Request::new(full(text));
    *request.uri_mut() = Uri::from_static("http://report.hanse.invalid/");
    (Some(request), is_all)
}

/// Whether a request on the way out is a report; no guest can make one, since only its worker's own requests lack a version.
pub(crate) fn is_report(request: &Request<Incoming>) -> bool {
    request.uri().host() == Some(HOST) && !request.headers().contains_key(words::VERSION)
}

/// Take a report to heart, as far as it makes sense.
pub(crate) async fn hear(ledger: &Ledger, request: Request<Incoming>) {
    let Ok(text) = Limited::new(request.into_body(), MAX_REPORT_BYTES).collect().await else {
        return;
    };
    let Ok(Value::Object(versions)) = serde_json::from_slice(&text.to_bytes()) else {
        return;
    };
    for (number, report) in versions {
        let Some((logs, counters)) = number.parse().ok().and_then(|number| ledger.account(number)) else {
            continue;
        };
        take_lines(&logs, &report);
        take_counts(&counters, &report);
    }
}

fn take_lines(logs: &LogRing, report: &Value) {
    let lines = report.get("lines").and_then(Value::as_array);
    for line in lines.into_iter().flatten().take(MAX_LINES) {
        let part = |at: usize| line.get(at).and_then(Value::as_str).unwrap_or_default();
        let stream = match part(0) {
            "stdout" => "stdout",
            "stderr" => "stderr",
            _ => "fault",
        };
        logs.push(stream, part(1).as_bytes());
    }
}

fn take_counts(counters: &Counters, report: &Value) {
    if let Some(counts) = report.get("counts").and_then(Value::as_object) {
        counters.add(counts, words::code);
    }
}
