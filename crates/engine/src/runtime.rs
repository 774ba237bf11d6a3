//! The wasmtime engines and their clock: one set of features, one pool of instances per trust class, one epoch thread.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{
    Config, Enabled, EngineWeak, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy, WasmFeatures,
};
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::{p2, p3};

use crate::component::features;
use crate::error::EngineError;
use crate::host::GuestState;
use crate::worker::code::Publisher;

/// What a component of WASI 0.3 exports; one of a later 0.3 is found by it as well.
const HANDLER_P3: &str = "wasi:http/handler@0.3.0";
/// A guest that computes is interrupted this often: it yields to others, and its deadline is looked at.
const TICK: Duration = Duration::from_millis(2);
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
/// A slot that held an instance of the same component before needs no new mapping and no page faults, so there are many
/// more of them than instances at once, enough for a thousand functions on each of two threads (wasmtime deals them out to
/// threads). Each takes 4 GiB of address space, of which there are 128 TiB, and once used some five of the 65,530 mappings
/// that Linux gives a process: only the first classes get so many.
const ROOMY_SLOTS: u32 = 2_560;
const ROOMY_CLASSES: usize = 3;

/// Compiles components and links them to what a guest may import. One per trust class: its instances share a pool of
/// memories, tables and stacks with each other, and with no other class.
pub(crate) struct Runtime {
    engine: wasmtime::Engine,
    p2: Linker<GuestState>,
    /// Made when the first component needs it: most nodes have none.
    p3: OnceLock<Linker<GuestState>>,
}

impl Runtime {
    /// Set up an engine with `slots` places for instances.
    ///
    /// # Errors
    /// `engine.setup` when the address space cannot be reserved or a thread cannot be started.
    pub(crate) fn new(slots: u32) -> Result<Self, EngineError> {
        Self::of(&config(slots))
    }

    /// The same for a process that may open no file: compiled code comes as memory, which is made executable here.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub(crate) fn confined(slots: u32) -> Result<Self, EngineError> {
        let mut config = config(slots);
        config.with_custom_code_memory(Some(Arc::new(Publisher::new())));
        Self::of(&config)
    }

    fn of(config: &Config) -> Result<Self, EngineError> {
        let engine = wasmtime::Engine::new(config).map_err(EngineError::setup)?;
        Ok(Self {
            p2: linker_p2(&engine).map_err(EngineError::setup)?,
            p3: OnceLock::new(),
            engine,
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

    /// Of two that ask at once for the first time one's is kept.
    fn linker_p3(&self) -> wasmtime::Result<&Linker<GuestState>> {
        match self.p3.get() {
            Some(made) => Ok(made),
            None => linker_p3(&self.engine).map(|made| self.p3.get_or_init(|| made)),
        }
    }

    /// Resolve the imports of `component` once for all its instances, for the version of `wasi:http` it exports.
    ///
    /// # Errors
    /// `component.unsupported_import` when one cannot be satisfied.
    pub(crate) fn link(&self, component: &Component) -> Result<ProxyPre<GuestState>, EngineError> {
        let is_p3 = component.get_export_index(None, HANDLER_P3).is_some();
        let link = || {
            Ok(if is_p3 {
                let pre = self.linker_p3()?.instantiate_pre(component)?;
                ProxyPre::P3(p3::bindings::ServicePre::new(pre)?)
            } else {
                let pre = self.p2.instantiate_pre(component)?;
                ProxyPre::P2(p2::bindings::ProxyPre::new(pre)?)
            })
        };
        link().map_err(|cause: wasmtime::Error| {
            EngineError::new(
                "component.unsupported_import",
                format!("the component cannot be linked: {cause:#}"),
                "build it for wasi:http/proxy of WASI 0.2 or wasi:http/service of WASI 0.3",
            )
        })
    }
}

/// What was linked.
pub(crate) fn component_of(pre: &ProxyPre<GuestState>) -> &Component {
    match pre {
        ProxyPre::P2(pre) => pre.instance_pre().component(),
        ProxyPre::P3(pre) => pre.instance_pre().component(),
    }
}

fn config(slots: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_memories(slots)
        .total_stacks(slots)
        .max_unused_warm_slots(slots)
        .total_tables(slots.saturating_mul(POOL_TABLES_PER_INSTANCE))
        .total_core_instances(slots.saturating_mul(POOL_CORE_INSTANCES_PER_INSTANCE))
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
        .shared_memory(false)
        .wasm_features(WasmFeatures::all() & !features(), false)
        .wasm_features(features(), true);
    config
}

/// For components of WASI 0.2: all of it, because languages link against it whether they use it or not; what is granted is
/// in `host`.
fn linker_p2(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    p2::add_only_http_to_linker_async(&mut linker)?;
    Ok(linker)
}

/// For components of WASI 0.3, which may import interfaces of 0.2 through the libraries they are made with.
fn linker_p3(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = linker_p2(engine)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    p3::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// The runtimes of all trust classes in use, and the clock of their guests.
pub(crate) struct Classes {
    max_instances: u32,
    known: Mutex<HashMap<String, Weak<Runtime>>>,
    ticker: Ticker,
}

impl Classes {
    /// # Errors
    /// `engine.setup` when a thread cannot be started.
    pub(crate) fn new(max_instances: u32) -> Result<Self, EngineError> {
        Ok(Self {
            max_instances,
            known: Mutex::default(),
            ticker: Ticker::start().map_err(EngineError::setup)?,
        })
    }

    /// Return the runtime of `class`, made on first use; it goes with the last workload that holds it.
    ///
    /// # Errors
    /// `engine.setup` when there is no address space left for another pool.
    pub(crate) fn runtime(&self, class: &str) -> Result<Arc<Runtime>, EngineError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = known.get(class).and_then(Weak::upgrade) {
            return Ok(runtime);
        }
        known.retain(|_, runtime| runtime.strong_count() > 0);
        let slots = match known.len() {
            ..ROOMY_CLASSES => self.max_instances.max(ROOMY_SLOTS),
            _ => self.max_instances,
        };
        let runtime = Arc::new(Runtime::new(slots)?);
        self.ticker.add(runtime.engine());
        known.insert(class.to_owned(), Arc::downgrade(&runtime));
        Ok(runtime)
    }

    /// How many classes are in use.
    pub(crate) fn len(&self) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().filter(|runtime| runtime.strong_count() > 0).count()
    }
}

/// Advances the epoch of every engine. A thread of its own, since guests may keep every thread of the async runtime busy.
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    engines: Arc<Mutex<Vec<EngineWeak>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start() -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let engines = Arc::new(Mutex::new(Vec::<EngineWeak>::new()));
        let (stopping, ticked) = (stop.clone(), engines.clone());
        let thread = std::thread::Builder::new()
            .name("hanse-epoch".to_owned())
            .spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    let mut engines = ticked.lock().unwrap_or_else(PoisonError::into_inner);
                    engines.retain(|engine| {
                        engine.upgrade().is_some_and(|engine| {
                            engine.increment_epoch();
                            true
                        })
                    });
                }
            })?;
        Ok(Self {
            stop,
            engines,
            thread: Some(thread),
        })
    }

    pub(crate) fn add(&self, engine: &wasmtime::Engine) {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.push(engine.weak());
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
