//! What one guest sees of its host: granted next to nothing, metered in all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::answer::Fault;
use crate::aside::{LONG, has_computed_for};
use crate::config::Limits;
use crate::egress::Egress;
use crate::logs::GuestOutput;
use crate::shared::Desk;
use crate::sight::Trace;
use crate::stats::Counters;
use crate::workload::Workload;

/// What happened to one request, told by the parts that noticed to the one that answers.
#[derive(Default)]
pub(crate) struct Signs {
    /// Where the request stands in its trace.
    pub(crate) trace: Option<Trace>,
    /// It was given to an instance that had served others.
    pub(crate) is_warm: AtomicBool,
    pub(crate) memory_denied: AtomicBool,
    pub(crate) egress_denied: AtomicBool,
    pub(crate) request_too_large: Arc<AtomicBool>,
    /// It computed until it was interrupted.
    pub(crate) is_long: AtomicBool,
    fault: OnceLock<Fault>,
}

impl Signs {
    pub(crate) fn of(trace: Option<Trace>) -> Self {
        Self {
            trace,
            ..Self::default()
        }
    }

    /// Keep the first fault; what follows is its consequence.
    pub(crate) fn fail(&self, fault: Fault) {
        let _ = self.fault.set(fault);
    }

    /// One of its calls went where the workload may not call.
    pub(crate) fn deny_egress(&self) {
        self.egress_denied.store(true, Ordering::Relaxed);
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }
}

/// The state of one instance.
pub(crate) struct GuestState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    egress: Egress,
    meter: Meter,
    /// What its streams may still write for the request at hand, in bytes.
    log_budget: Arc<AtomicUsize>,
    clock: Clock,
}

/// When an instance has run for too long.
pub(crate) enum Clock {
    /// At the end of the time of its one request.
    At(Instant),
    /// When it held one of its requests for too long.
    Desk(Arc<Desk>),
}

impl Clock {
    pub(crate) fn is_over(&self) -> bool {
        let now = Instant::now();
        match self {
            Self::At(deadline) => now >= *deadline,
            Self::Desk(desk) => desk.is_overdue(now),
        }
    }
}

impl GuestState {
    /// For a new instance, and its first request.
    pub(crate) fn new(workload: &Workload, signs: &Arc<Signs>, clock: Clock) -> Self {
        let limits = &workload.limits;
        let log_budget = Arc::new(AtomicUsize::new(limits.log_bytes));
        let output = |stream| GuestOutput::new(workload.logs.clone(), stream, log_budget.clone());
        let mut wasi = WasiCtx::builder();
        wasi.envs(&workload.env)
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .max_random_size(limits.random_bytes)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits.header_bytes);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        Self {
            wasi: wasi.build(),
            http,
            table,
            egress: Egress::new(workload, signs.clone()),
            meter: Meter::new(limits, signs.clone(), workload.counters.clone()),
            log_budget,
            clock,
        }
    }

    /// For the next request on the same instance: what is counted per request begins anew, memory is what it is.
    pub(crate) fn begin(&mut self, workload: &Workload, signs: &Arc<Signs>) {
        self.log_budget.store(workload.limits.log_bytes, Ordering::Relaxed);
        self.egress = Egress::new(workload, signs.clone());
        self.meter.signs = signs.clone();
    }

    /// The epoch clock found the guest computing: whether it has done so for long and must let others run. Counted in
    /// processor time, since on a busy machine the clock also strikes for a guest that was hardly run.
    pub(crate) fn must_yield(&self) -> bool {
        if has_computed_for(LONG) {
            self.interrupted();
            return true;
        }
        false
    }

    fn interrupted(&self) {
        for signs in [&self.meter.signs, &self.meter.instance] {
            signs.is_long.store(true, Ordering::Relaxed);
        }
        self.meter.counters.interrupts.fetch_add(1, Ordering::Relaxed);
    }

    /// Memory of the instance, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.meter.memory_limit - self.meter.memory_left
    }

    /// When the instance must end from now on.
    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn meter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.meter
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.egress,
        }
    }
}

/// Grants memory and tables up to the limits, and remembers when it refused.
struct Meter {
    memory_left: usize,
    memory_limit: usize,
    table_elements: usize,
    tables: usize,
    core_instances: usize,
    /// Of the request that came last.
    signs: Arc<Signs>,
    /// Of the instance: those of its first request, unless it serves several at once.
    instance: Arc<Signs>,
    counters: Arc<Counters>,
}

impl Meter {
    fn deny(&self) {
        for signs in [&self.signs, &self.instance] {
            signs.memory_denied.store(true, Ordering::Relaxed);
        }
    }

    fn new(limits: &Limits, signs: Arc<Signs>, counters: Arc<Counters>) -> Self {
        Self {
            memory_left: limits.memory_bytes,
            memory_limit: limits.memory_bytes,
            table_elements: limits.table_elements,
            tables: limits.tables,
            core_instances: limits.core_instances,
            instance: signs.clone(),
            signs,
            counters,
        }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let Some(left) = self.memory_left.checked_sub(desired.saturating_sub(current)) else {
            self.deny();
            return Ok(false);
        };
        self.memory_left = left;
        let used = (self.memory_limit - left) as u64;
        self.counters.peak_memory_bytes.fetch_max(used, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            self.deny();
            return Ok(false);
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        self.core_instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.core_instances
    }
}
