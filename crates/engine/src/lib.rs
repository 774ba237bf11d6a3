//! The data plane of a hanse node.
//!
//! One [`Engine`] runs the functions of a node (`wasi:http` components on wasmtime, a fresh instance per request), is an
//! ingress for every function of the fabric (the front), and passes requests on to the nodes that run them (the mesh).
//! It decides nothing about placement: what runs here and who runs what is told to it by the agent, through
//! [`Engine::load`], [`Engine::set_routes`] and [`Engine::set_identity`], and swapped while traffic flows.
//!
//! ```text
//! client -> front -> router -> instance            (this node runs the workload)
//!                           -> mesh client ~~~ mutual TLS ~~~> mesh listener -> instance   (another one does)
//! ```
//!
//! A tenant that asks for it has its guests in a worker process of its own (`worker`), with neither files nor network.
//!
//! Guests are hostile until shown otherwise: every limit that wasmtime leaves open is set in [`Limits`], there is no file
//! system and no socket, and the only way out is the egress hook.

mod access;
mod answer;
mod aside;
mod audit;
mod blame;
mod body;
mod budget;
mod bulk;
mod cache;
mod call;
mod choice;
mod component;
mod config;
mod core;
mod crew;
mod destination;
mod egress;
mod engine;
mod error;
mod forward;
mod front;
mod front_tls;
mod guest_body;
mod host;
mod identity;
mod instance;
mod jwt;
mod kept;
mod lane;
mod listener;
mod logs;
mod mesh;
mod metrics;
mod peer;
mod principal;
mod process;
mod recent;
mod router;
mod runtime;
mod scheme;
mod service;
mod shared;
mod shedding;
mod sight;
mod sockets;
mod stall;
mod stats;
mod stream;
#[cfg(test)]
mod testing;
mod trust;
mod upgrade;
mod upstream;
mod warm;
mod worker;
mod workload;

pub use access::{Access, INVOKE_SCHEMA};
pub use audit::DecisionCount;
pub use component::{ComponentInfo, inspect};
pub use config::{AccessLog, EgressRule, EngineConfig, Isolation, Limits, Reuse, Traces};
pub use engine::{Engine, precompile};
pub use error::EngineError;
pub use front_tls::{ClientAuth, FrontCertificate, FrontTls};
pub use jwt::JwtRule;
pub use logs::LogLine;
pub use principal::{ClientCertificate, Principal, User};
pub use router::{Replica, Route};
pub use sight::SightStats;
pub use sockets::Addresses;
pub use stats::{Durations, EgressBytes, EngineStats, ReplicaStats, WorkerStats, WorkloadStats};
pub use worker::{Attempt, try_to_escape, work};
