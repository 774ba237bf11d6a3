//! The wasmtime engine and its clock: one set of features, one pool of instances, one epoch thread.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy, WasmFeatures,
};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::error::EngineError;
use crate::host::GuestState;

/// A guest that computes is interrupted this often: it yields to others, and its deadline is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Memory of an instance that stays resident between requests; more would be kept from the system, less means page faults.
const KEEP_MEMORY_BYTES: usize = 128 << 10;
const KEEP_TABLE_BYTES: usize = 32 << 10;
const MAX_WASM_STACK_BYTES: usize = 512 << 10;
const ASYNC_STACK_BYTES: usize = 1 << 20;
/// Upper bounds of the pool; the limits of a workload lie below.
const POOL_TABLE_ELEMENTS: usize = 100_000;
const POOL_TABLES_PER_INSTANCE: u32 = 4;
const POOL_CORE_INSTANCES_PER_INSTANCE: u32 = 50;
const POOL_INSTANCE_BYTES: usize = 10 << 20;

/// Compiles components and links them to what a guest may import.
pub(crate) struct Runtime {
    engine: wasmtime::Engine,
    linker: Linker<GuestState>,
    _ticker: Ticker,
}

impl Runtime {
    /// Set up an engine for at most `max_instances` instances at once.
    ///
    /// # Errors
    /// `engine.setup` when the address space cannot be reserved or a thread cannot be started.
    pub(crate) fn new(max_instances: u32) -> Result<Self, EngineError> {
        let engine = wasmtime::Engine::new(&config(max_instances)).map_err(EngineError::setup)?;
        let linker = linker(&engine).map_err(EngineError::setup)?;
        let ticker = Ticker::start(engine.clone()).map_err(EngineError::setup)?;
        Ok(Self {
            engine,
            linker,
            _ticker: ticker,
        })
    }

    pub(crate) fn engine(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// A number that differs when compiled code of one engine cannot be run by another.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Resolve the imports of `component` once for all its instances.
    ///
    /// # Errors
    /// `component.unsupported_import` when one cannot be satisfied.
    pub(crate) fn link(&self, component: &Component) -> Result<ProxyPre<GuestState>, EngineError> {
        self.linker
            .instantiate_pre(component)
            .and_then(ProxyPre::new)
            .map_err(|cause| {
                EngineError::new(
                    "component.unsupported_import",
                    format!("the component cannot be linked: {cause:#}"),
                    "build it for the world wasi:http/proxy of WASI 0.2",
                )
            })
    }
}

fn config(max_instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(max_instances)
        .total_memories(max_instances)
        .total_stacks(max_instances)
        .total_tables(max_instances.saturating_mul(POOL_TABLES_PER_INSTANCE))
        .total_core_instances(max_instances.saturating_mul(POOL_CORE_INSTANCES_PER_INSTANCE))
        .table_elements(POOL_TABLE_ELEMENTS)
        .max_core_instance_size(POOL_INSTANCE_BYTES)
        .max_component_instance_size(POOL_INSTANCE_BYTES)
        .linear_memory_keep_resident(KEEP_MEMORY_BYTES)
        .table_keep_resident(KEEP_TABLE_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_init_cow(true)
        .epoch_interruption(true)
        .max_wasm_stack(MAX_WASM_STACK_BYTES)
        .async_stack_size(ASYNC_STACK_BYTES)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_features(WasmFeatures::THREADS, false)
        .wasm_features(WasmFeatures::GC, false)
        .wasm_features(WasmFeatures::EXCEPTIONS, false);
    config
}

fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    // All of WASI 0.2, because languages link against it whether they use it or not; what is granted is in `host`.
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Ok(linker)
}

/// Advances the epoch. A thread of its own, since guests may keep every thread of the async runtime busy.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::Builder::new()
            .name("hanse-epoch".to_owned())
            .spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}
