//! One engine with its listeners, for the time of a test.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use hanse_engine::{Addresses, EgressRule, Engine, EngineConfig, Limits, Replica, Route, WorkloadStats};

use crate::client::{Reply, get};
use crate::pki::{Authority, TRUST_DOMAIN, spiffe_id};

/// One authority for all nodes: making keys takes time.
pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);

pub struct Node {
    pub name: String,
    pub engine: Engine,
    pub addresses: Addresses,
}

/// Settings for a test: everything on free ports of the loopback, one cache for all.
pub fn config(name: &str) -> EngineConfig {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let mut config = EngineConfig::new(name, TRUST_DOMAIN, "127.0.0.1:0", "127.0.0.1:0", cache);
    config.max_instances = 32;
    config.worker_command = vec![env!("CARGO_BIN_EXE_hanse-worker").to_owned()];
    config
}

impl Node {
    /// A running node without identity.
    pub fn local(name: &str) -> Self {
        Self::with(config(name))
    }

    pub fn with(config: EngineConfig) -> Self {
        let name = config.node.clone();
        let engine = Engine::new(config).unwrap();
        let addresses = engine.start().unwrap();
        Self {
            name,
            engine,
            addresses,
        }
    }

    /// A running node that others believe.
    pub fn member(name: &str) -> Self {
        let node = Self::local(name);
        node.renew();
        node
    }

    /// Give it a new certificate.
    pub fn renew(&self) {
        self.renew_refusing(&[]);
    }

    /// Give it a new certificate and names that it refuses from now on.
    pub fn renew_refusing(&self, names: &[&str]) {
        let revoked: Vec<_> = names.iter().map(|name| spiffe_id(name)).collect();
        let credential = AUTHORITY.node(&self.name);
        self.engine
            .set_identity(
                credential.chain_pem.as_bytes(),
                credential.key_pem.as_bytes(),
                AUTHORITY.bundle_pem.as_bytes(),
                &revoked,
            )
            .unwrap();
    }

    /// Load `guest` under its own name and route `/<guest>` to it.
    pub fn serve(&self, guest: &str, limits: Limits) {
        self.serve_with(guest, limits, &[]);
    }

    pub fn serve_with(&self, guest: &str, limits: Limits, egress: &[EgressRule]) {
        self.load(guest, limits, egress);
        self.engine.set_routes(&[route(guest, &[])]).unwrap();
    }

    pub fn load(&self, guest: &str, limits: Limits, egress: &[EgressRule]) {
        let component = hanse_guests::build(guest).unwrap();
        self.engine.load(guest, &component, limits, egress, Vec::new()).unwrap();
    }

    pub fn get(&self, path: &str) -> Reply {
        get(&self.addresses.front, path)
    }

    /// This node as others see it, `rtt_us` away.
    pub fn replica(&self, rtt_us: u64) -> Replica {
        Replica {
            node: self.name.clone(),
            address: self.addresses.mesh.clone(),
            spiffe_id: spiffe_id(&self.name),
            rtt_us,
        }
    }

    pub fn stats(&self, workload: &str) -> WorkloadStats {
        let stats = self.engine.stats();
        stats
            .workloads
            .into_iter()
            .find(|stats| stats.workload == workload)
            .unwrap()
    }

    pub fn faults(&self, workload: &str) -> Vec<String> {
        let lines = self.engine.logs(workload, 0, 1000);
        lines
            .into_iter()
            .filter(|line| line.stream == "fault")
            .map(|line| line.text)
            .collect()
    }
}

/// A route `/<guest>` to these replicas.
pub fn route(guest: &str, replicas: &[Replica]) -> Route {
    Route {
        replicas: replicas.to_vec(),
        ..Route::new(guest, format!("/{guest}"))
    }
}

/// A replica where nobody listens.
pub fn dead_replica(name: &str, rtt_us: u64) -> Replica {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Replica {
        node: name.to_owned(),
        address: listener.local_addr().unwrap().to_string(),
        spiffe_id: spiffe_id(name),
        rtt_us,
    }
}

/// Wait until `is_so`, which other threads bring about.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
