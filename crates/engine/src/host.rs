//! What one guest sees of its host: granted next to nothing, metered in all.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::answer::Fault;
use crate::config::Limits;
use crate::egress::Egress;
use crate::logs::GuestOutput;
use crate::stats::Counters;
use crate::workload::Workload;

/// What happened to one request, told by the parts that noticed to the one that answers.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    pub(crate) memory_denied: AtomicBool,
    pub(crate) egress_denied: AtomicBool,
    pub(crate) request_too_large: Arc<AtomicBool>,
    fault: OnceLock<Fault>,
}

impl Signs {
    /// Keep the first fault; what follows is its consequence.
    pub(crate) fn fail(&self, fault: Fault) {
        let _ = self.fault.set(fault);
    }

    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }
}

/// The state of one instance, made for one request.
pub(crate) struct GuestState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    egress: Egress,
    meter: Meter,
}

impl GuestState {
    pub(crate) fn new(workload: &Workload, signs: &Arc<Signs>) -> Self {
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
        }
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
    signs: Arc<Signs>,
    counters: Arc<Counters>,
}

impl Meter {
    fn new(limits: &Limits, signs: Arc<Signs>, counters: Arc<Counters>) -> Self {
        Self {
            memory_left: limits.memory_bytes,
            memory_limit: limits.memory_bytes,
            table_elements: limits.table_elements,
            tables: limits.tables,
            core_instances: limits.core_instances,
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
            self.signs.memory_denied.store(true, Ordering::Relaxed);
            return Ok(false);
        };
        self.memory_left = left;
        let used = (self.memory_limit - left) as u64;
        self.counters.peak_memory_bytes.fetch_max(used, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements {
            self.signs.memory_denied.store(true, Ordering::Relaxed);
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
