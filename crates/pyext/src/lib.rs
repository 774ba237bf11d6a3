//! `hanse._engine`: the Python face of the engine. It converts and maps errors, no more.

mod engine;
mod error;
mod prover;
mod records;
mod reports;

use pyo3::prelude::pymodule;

/// The native engine of a hanse node.
#[pymodule]
mod _engine {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::engine::{Engine, escape_attempts, inspect, precompile, work};
    #[pymodule_export]
    use crate::prover::{Analysis, analyse};
    #[pymodule_export]
    use crate::records::{Access, EgressRule, EngineConfig, JwtRule, Limits, Replica, Route};
    #[pymodule_export]
    use crate::reports::{
        Addresses, ComponentInfo, DecisionCount, EgressBytes, EngineStats, LogLine, ReplicaStats, WorkerStats,
        WorkloadStats,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("INVOKE_SCHEMA", hanse_engine::INVOKE_SCHEMA)?;
        crate::error::register(module)
    }
}
