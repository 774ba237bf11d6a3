//! Counters and histograms that are written on the request path and read by the agent.
//!
//! Writers touch atomics only; a mutex guards what changes rarely (errors by code, bytes by jurisdiction).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::audit::{DecisionCount, Tally};
use crate::sight::SightStats;

const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Values up to 2^32 microseconds (71 minutes) in steps of 1/16 of their power of two.
const BUCKETS: usize = (32 - SUB_BITS as usize + 1) * SUB;

/// Largest count that is taken from another process at once.
const MOST_TOLD: u64 = 1 << 48;
/// Bounds of the histogram that is told to Prometheus, in microseconds.
pub(crate) const BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000,
];

/// How many records lie at or below each of fourteen bounds, from 100 microseconds to 30 seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    /// Cumulative, in the order of the bounds.
    pub counts: [u64; BOUNDS_US.len()],
    /// All records.
    pub total: u64,
    /// Their sum in microseconds.
    pub sum_us: u64,
}

/// Distribution of durations in microseconds, exact to 1/16 (6 %).
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU32; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
            sum_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, duration: Duration) {
        let us = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(u64::from(us), Ordering::Relaxed);
    }

    /// Return the records as Prometheus wants them: how many lie at or below each bound (exact to 1/16), and their sum.
    pub(crate) fn cumulative(&self) -> Durations {
        let mut counts = [0; BOUNDS_US.len()];
        let mut total = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            let count = u64::from(bucket.load(Ordering::Relaxed));
            total += count;
            for (below, bound) in counts.iter_mut().zip(BOUNDS_US) {
                if upper_edge_us(index) <= bound + bound / 16 {
                    *below += count;
                }
            }
        }
        Durations {
            counts,
            total,
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }

    /// Take all records out: bucket and count of those that have any.
    fn take(&self) -> Vec<(usize, u32)> {
        let counts = self.buckets.iter().map(|bucket| bucket.swap(0, Ordering::Relaxed));
        counts.enumerate().filter(|(_, count)| *count > 0).collect()
    }

    /// Put in records that another histogram had in the same bucket.
    fn put(&self, bucket: usize, count: u32) {
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Let every record so far count half.
    pub(crate) fn fade(&self) {
        for bucket in &self.buckets {
            let count = bucket.load(Ordering::Relaxed);
            bucket.fetch_sub(count / 2, Ordering::Relaxed);
        }
    }

    /// Return the value below which the share `q` (0 to 1) of the records lies, in microseconds; 0 without records.
    pub(crate) fn quantile_us(&self, q: f64) -> u64 {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| u64::from(bucket.load(Ordering::Relaxed)))
            .collect();
        let total: u64 = counts.iter().sum();
        let rank = ((total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank && total > 0 {
                return upper_edge_us(index);
            }
        }
        0
    }
}

fn bucket_of(us: u32) -> usize {
    if us < SUB as u32 {
        return us as usize;
    }
    let exponent = 31 - us.leading_zeros();
    let shift = exponent - SUB_BITS;
    let mantissa = (us >> shift) as usize - SUB;
    SUB + (shift as usize) * SUB + mantissa
}

fn upper_edge_us(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = (index - SUB) / SUB;
    let mantissa = (index - SUB) % SUB;
    (((SUB + mantissa + 1) as u64) << shift) - 1
}

/// What is counted for one workload, alive as long as the engine so that nothing is lost when it is unloaded.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) from_mesh: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) retries_denied: AtomicU64,
    pub(crate) hedged: AtomicU64,
    pub(crate) hedges_won: AtomicU64,
    pub(crate) shed: AtomicU64,
    pub(crate) in_flight_limit: AtomicU64,
    pub(crate) instances: AtomicU64,
    pub(crate) instances_started: AtomicU64,
    pub(crate) warm_starts: AtomicU64,
    pub(crate) interrupts: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) cpu_ns: AtomicU64,
    pub(crate) peak_memory_bytes: AtomicU64,
    pub(crate) latency: Histogram,
    pub(crate) instantiate: Histogram,
    /// Policy decisions.
    pub(crate) decide: Histogram,
    pub(crate) tally: Tally,
    errors: Mutex<BTreeMap<&'static str, u64>>,
    egress: Mutex<BTreeMap<String, EgressBytes>>,
}

impl Counters {
    fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            from_mesh: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            retries_denied: AtomicU64::new(0),
            hedged: AtomicU64::new(0),
            hedges_won: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            in_flight_limit: AtomicU64::new(0),
            instances: AtomicU64::new(0),
            instances_started: AtomicU64::new(0),
            warm_starts: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            peak_memory_bytes: AtomicU64::new(0),
            latency: Histogram::new(),
            instantiate: Histogram::new(),
            decide: Histogram::new(),
            tally: Tally::default(),
            errors: Mutex::default(),
            egress: Mutex::default(),
        }
    }

    pub(crate) fn error(&self, code: &'static str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(code).or_default() += 1;
    }

    /// Body bytes received from clients and sent to them.
    pub(crate) fn add_bytes(&self, received: u64, sent: u64) {
        self.bytes_in.fetch_add(received, Ordering::Relaxed);
        self.bytes_out.fetch_add(sent, Ordering::Relaxed);
    }

    pub(crate) fn egress(&self, jurisdiction: &str, sent: u64, received: u64) {
        let mut egress = self.egress.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match egress.get_mut(jurisdiction) {
            Some(bytes) => bytes,
            None => egress.entry(jurisdiction.to_owned()).or_default(),
        };
        bytes.sent += sent;
        bytes.received += received;
    }

    /// Take out what guests were counted for, to be added to another process's counters; `None` when nothing was.
    pub(crate) fn take(&self) -> Option<Value> {
        let mut counts = Map::new();
        for (name, counter) in self.of_guests() {
            let count = counter.swap(0, Ordering::Relaxed);
            if count > 0 {
                counts.insert(name.to_owned(), count.into());
            }
        }
        let memory = self.peak_memory_bytes.swap(0, Ordering::Relaxed);
        if memory > 0 {
            counts.insert("peak_memory_bytes".to_owned(), memory.into());
        }
        let instantiate = self.instantiate.take();
        if !instantiate.is_empty() {
            counts.insert("instantiate".to_owned(), json!(instantiate));
        }
        let errors = std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner));
        if !errors.is_empty() {
            counts.insert("errors".to_owned(), json!(errors));
        }
        (!counts.is_empty()).then_some(Value::Object(counts))
    }

    /// Add what `take` gave in another process; `known` names the error codes that are believed.
    pub(crate) fn add(&self, counts: &Map<String, Value>, known: impl Fn(&str) -> Option<&'static str>) {
        // Bounded, so that no lie makes a sum begin anew.
        let count = |name: &str| {
            counts
                .get(name)
                .and_then(Value::as_u64)
                .unwrap_or_default()
                .min(MOST_TOLD)
        };
        for (name, counter) in self.of_guests() {
            counter.fetch_add(count(name), Ordering::Relaxed);
        }
        self.peak_memory_bytes
            .fetch_max(count("peak_memory_bytes"), Ordering::Relaxed);
        let records = counts.get("instantiate").and_then(Value::as_array);
        for record in records.into_iter().flatten() {
            let part = |at: usize| record.get(at).and_then(Value::as_u64);
            if let (Some(bucket), Some(count)) = (part(0), part(1)) {
                let bucket = usize::try_from(bucket).unwrap_or(usize::MAX);
                self.instantiate.put(bucket, u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
        let told = counts.get("errors").and_then(Value::as_object);
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        for (code, count) in told.into_iter().flatten() {
            if let (Some(code), Some(count)) = (known(code), count.as_u64()) {
                let sum = errors.entry(code).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }

    /// What only the process that runs the guests can count, but for the peak of memory.
    fn of_guests(&self) -> [(&'static str, &AtomicU64); 4] {
        [
            ("cpu_ns", &self.cpu_ns),
            ("instances_started", &self.instances_started),
            ("interrupts", &self.interrupts),
            ("warm_starts", &self.warm_starts),
        ]
    }

    fn read(&self, workload: &str) -> WorkloadStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkloadStats {
            workload: workload.to_owned(),
            requests: get(&self.requests),
            from_mesh: get(&self.from_mesh),
            in_flight: get(&self.in_flight),
            forwarded: get(&self.forwarded),
            retried: get(&self.retried),
            retries_denied: get(&self.retries_denied),
            hedged: get(&self.hedged),
            hedges_won: get(&self.hedges_won),
            shed: get(&self.shed),
            in_flight_limit: get(&self.in_flight_limit),
            instances: get(&self.instances),
            instances_started: get(&self.instances_started),
            warm_starts: get(&self.warm_starts),
            interrupts: get(&self.interrupts),
            bytes_in: get(&self.bytes_in),
            bytes_out: get(&self.bytes_out),
            cpu_us: get(&self.cpu_ns) / 1000,
            peak_memory_bytes: get(&self.peak_memory_bytes),
            latency: self.latency.cumulative(),
            latency_us_p50: self.latency.quantile_us(0.5),
            latency_us_p99: self.latency.quantile_us(0.99),
            instantiate_us_p50: self.instantiate.quantile_us(0.5),
            instantiate_us_p99: self.instantiate.quantile_us(0.99),
            policy_us_p50: self.decide.quantile_us(0.5),
            policy_us_p99: self.decide.quantile_us(0.99),
            decisions: self.tally.read(),
            errors: self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            egress: self.egress.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Counts one request as in flight while it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Counters>);

impl InFlight {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one instance as alive while it lives.
#[derive(Debug)]
pub(crate) struct Alive(Arc<Counters>);

impl Alive {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        counters.instances.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters of all workloads, and those of the process.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    workloads: RwLock<HashMap<String, Arc<Counters>>>,
    pub(crate) connections: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) cache_hashed: AtomicU64,
    pub(crate) cache_write_failures: AtomicU64,
    pub(crate) mesh_refused: AtomicU64,
    pub(crate) unrouted: AtomicU64,
    cut_off: Mutex<BTreeMap<&'static str, u64>>,
}

impl Registry {
    /// Count a client's connection that ended otherwise than by its client's will.
    pub(crate) fn cut_off(&self, reason: &'static str) {
        let mut cut_off = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        *cut_off.entry(reason).or_default() += 1;
    }

    /// Return the counters of `workload`, made on first use.
    pub(crate) fn workload(&self, workload: &str) -> Arc<Counters> {
        if let Some(known) = self
            .workloads
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(workload)
        {
            return known.clone();
        }
        self.workloads
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(workload.to_owned())
            .or_insert_with(|| Arc::new(Counters::new()))
            .clone()
    }

    /// Return a copy of every count, workloads in the order of their names.
    pub(crate) fn read(&self, replicas: Vec<ReplicaStats>, sight: SightStats) -> EngineStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut workloads: Vec<WorkloadStats> = self
            .workloads
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(name, counters)| counters.read(name))
            .collect();
        workloads.sort_by(|a, b| a.workload.cmp(&b.workload));
        EngineStats {
            workloads,
            replicas,
            connections: get(&self.connections),
            cache_hits: get(&self.cache_hits),
            cache_misses: get(&self.cache_misses),
            cache_hashed: get(&self.cache_hashed),
            cache_write_failures: get(&self.cache_write_failures),
            mesh_refused: get(&self.mesh_refused),
            unrouted: get(&self.unrouted),
            trust_classes: 0,
            workers: Vec::new(),
            sight,
            cut_off: self.cut_off.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Bytes exchanged with destinations of one jurisdiction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EgressBytes {
    /// Body bytes sent.
    pub sent: u64,
    /// Body bytes received.
    pub received: u64,
}

/// Counts of one workload on this node since the engine started.
#[derive(Debug, Clone)]
pub struct WorkloadStats {
    /// Name of the workload.
    pub workload: String,
    /// Requests that reached this node, from clients and from other nodes.
    pub requests: u64,
    /// Those of them that other nodes had passed on.
    pub from_mesh: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// Requests that another node answered.
    pub forwarded: u64,
    /// Attempts beyond the first.
    pub retried: u64,
    /// Attempts that the retry budget did not allow.
    pub retries_denied: u64,
    /// Requests asked of a second replica because the first took long.
    pub hedged: u64,
    /// Those of them that the second answered first.
    pub hedges_won: u64,
    /// Requests refused at the front because the route held as many as it may.
    pub shed: u64,
    /// Requests the front may hold at once by the latency it measured; 0 before the first.
    pub in_flight_limit: u64,
    /// Instances alive now.
    pub instances: u64,
    /// Instances made (cold starts).
    pub instances_started: u64,
    /// Requests given to an instance that had served others.
    pub warm_starts: u64,
    /// Times a guest had computed for a whole interval and let others run.
    pub interrupts: u64,
    /// Request body bytes.
    pub bytes_in: u64,
    /// Response body bytes.
    pub bytes_out: u64,
    /// Time guests spent running, in microseconds.
    pub cpu_us: u64,
    /// Largest linear memory an instance had, in bytes.
    pub peak_memory_bytes: u64,
    /// Times from arrival to response header.
    pub latency: Durations,
    /// Median time from arrival to response header, in microseconds.
    pub latency_us_p50: u64,
    /// 99th percentile of the same.
    pub latency_us_p99: u64,
    /// Median time to make an instance, in microseconds.
    pub instantiate_us_p50: u64,
    /// 99th percentile of the same.
    pub instantiate_us_p99: u64,
    /// Median time of a policy decision, in whole microseconds.
    pub policy_us_p50: u64,
    /// 99th percentile of the same.
    pub policy_us_p99: u64,
    /// What was decided about who may invoke it, by kind.
    pub decisions: Vec<DecisionCount>,
    /// Failed requests by error code.
    pub errors: BTreeMap<&'static str, u64>,
    /// Body bytes by jurisdiction of the destination.
    pub egress: BTreeMap<String, EgressBytes>,
}

/// What this node knows about one replica on another node.
#[derive(Debug, Clone)]
pub struct ReplicaStats {
    /// Node that holds the replica.
    pub node: String,
    /// `host:port` of its mesh listener.
    pub address: String,
    /// Measured time to response header (peak-sensitive moving average) in microseconds; the modelled one at first.
    pub rtt_us: u64,
    /// Requests sent and not yet answered.
    pub in_flight: u64,
    /// Whether it is skipped for now because it could not be reached.
    pub ejected: bool,
}

/// One worker process of this node.
#[derive(Debug, Clone, Default)]
pub struct WorkerStats {
    /// Whose it is: namespace and classes of data.
    pub tenant: String,
    /// Process id; 0 while there is none.
    pub pid: u32,
    /// Times it was started anew after it had died.
    pub restarts: u64,
    /// How it ended the last time; empty before the first.
    pub last_end: String,
    /// Version of Landlock in force; 0 where the kernel has none, and seccomp stands alone.
    pub landlock: u32,
    /// Time from the start of the process to its first word, in microseconds.
    pub start_us: u64,
    /// Memory of the process that is resident, in bytes.
    pub rss_bytes: u64,
    /// Processor time of the process by the kernel's account, in microseconds.
    pub cpu_us: u64,
    /// Its workloads, sorted.
    pub workloads: Vec<String>,
}

/// Everything the engine counts.
#[derive(Debug, Clone)]
pub struct EngineStats {
    /// Per workload, in the order of their names.
    pub workloads: Vec<WorkloadStats>,
    /// Per replica in the route table, in the order of (node, address).
    pub replicas: Vec<ReplicaStats>,
    /// Client connections open now.
    pub connections: u64,
    /// Components taken from the cache of compiled code.
    pub cache_hits: u64,
    /// Components compiled.
    pub cache_misses: u64,
    /// Compiled components that were read whole to compare their digest.
    pub cache_hashed: u64,
    /// Compiled components that could not be stored.
    pub cache_write_failures: u64,
    /// Mesh connections refused for lack of a valid identity on either side.
    pub mesh_refused: u64,
    /// Requests for which there was no route.
    pub unrouted: u64,
    /// Trust classes in use, each with a wasmtime engine of its own.
    pub trust_classes: u64,
    /// Worker processes, in the order of their tenants.
    pub workers: Vec<WorkerStats>,
    /// Spans and access log.
    pub sight: SightStats,
    /// Connections of clients that were refused or cut off, by reason.
    pub cut_off: BTreeMap<&'static str, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_value_within_a_sixteenth() {
        for us in (0..100_000).chain([1 << 20, u32::MAX / 3, u32::MAX]) {
            let edge = upper_edge_us(bucket_of(us));
            assert!(edge >= u64::from(us), "{us} above its bucket {edge}");
            assert!(edge - u64::from(us) <= u64::from(us) / 16 + 1, "{us} far below {edge}");
        }
    }

    #[test]
    fn quantiles_come_from_the_records() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantile_us(0.5), 0);
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us));
        }
        assert!((50..=53).contains(&histogram.quantile_us(0.5)));
        assert!((99..=105).contains(&histogram.quantile_us(0.99)));
    }
}
