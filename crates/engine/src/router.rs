//! The route table: `host, path -> workload and its replicas`, immutable, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::budget::RetryBudget;
use crate::choice::{Band, HashOn, bands};
use crate::error::EngineError;
use crate::jwt::{Auth, JwtRule, Verifier};
use crate::peer::{Peer, Peers};
use crate::recent::Recent;
use crate::shedding::Shedding;
use crate::stats::{Counters, Registry};
use crate::stream::Stream;

/// Requests of one route that a front holds at once, whatever their latency.
const MAX_IN_FLIGHT: u32 = 4096;

/// A path of the front and the workload behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name of the workload.
    pub workload: String,
    /// Prefix of the path, whole segments, beginning with `/`.
    pub path_prefix: String,
    /// Host it holds for, without port; `None` for every host. A route with a host wins over one without.
    pub host: Option<String>,
    /// Where the workload runs; this node may be among them.
    pub replicas: Vec<Replica>,
    /// `path` or `header:<name>`: equal values go to the same replica. `None`: the nearest that is quick.
    pub hash_on: Option<String>,
    /// Whether a GET, HEAD or OPTIONS, or a request with an Idempotency-Key, that another node takes long to answer is
    /// asked of a second one as well.
    pub hedge: bool,
    /// Requests that this front holds at once at most; the limit in force may be lower when answers take long.
    pub max_in_flight: u32,
    /// Which tokens a request must carry; refused at the front before it takes anybody's time.
    pub auth: Option<JwtRule>,
}

impl Route {
    /// A route of every host, with defaults and no replicas.
    pub fn new(workload: impl Into<String>, path_prefix: impl Into<String>) -> Self {
        Self {
            workload: workload.into(),
            path_prefix: path_prefix.into(),
            host: None,
            replicas: Vec::new(),
            hash_on: None,
            hedge: true,
            max_in_flight: MAX_IN_FLIGHT,
            auth: None,
        }
    }
}

/// A node that runs a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Id of the node.
    pub node: String,
    /// `host:port` of its mesh listener.
    pub address: String,
    /// SPIFFE ID it must show.
    pub spiffe_id: String,
    /// Modelled round trip from here, in microseconds, until it is measured.
    pub rtt_us: u64,
}

/// What a request is routed to.
pub(crate) struct Entry {
    /// Prefix of the path, as it was given.
    pub(crate) prefix: String,
    pub(crate) workload: String,
    pub(crate) counters: Arc<Counters>,
    /// Replicas on other nodes, nearest band first.
    pub(crate) bands: Vec<Band>,
    /// Whether this node is among the replicas.
    pub(crate) is_here: bool,
    pub(crate) hash_on: Option<HashOn>,
    pub(crate) hedge: bool,
    pub(crate) auth: Option<Arc<Verifier>>,
    pub(crate) traffic: Arc<Traffic>,
}

impl Entry {
    pub(crate) fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.bands.iter().flatten()
    }
}

/// What a route has learned, handed on from one table to the next.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) retries: RetryBudget,
    pub(crate) shedding: Arc<Shedding>,
    /// Of requests that other nodes answered.
    pub(crate) recent: Recent,
    pub(crate) choice: Stream,
}

impl Traffic {
    fn new(route: &Route, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            retries: RetryBudget::new(now),
            shedding: Arc::new(Shedding::new(route.max_in_flight, now)),
            recent: Recent::new(),
            choice: Stream::new(seed, &format!("router.choice/{}{}", route.workload, route.path_prefix)),
        }
    }
}

type Prefixes = HashMap<String, Arc<Entry>>;

/// One generation of routes.
#[derive(Default)]
pub(crate) struct Table {
    hosts: HashMap<String, Prefixes>,
    any_host: Prefixes,
    /// Segments of the longest prefix, so that a path of a thousand slashes costs no thousand look-ups.
    depth: usize,
}

impl Table {
    /// Build a table for `node` that goes on with what the routes of `before` have learned.
    ///
    /// # Errors
    /// `route.invalid` for a prefix without leading slash or an unknown hash key, `route.duplicate` for two routes with equal
    /// host and prefix, `engine.jwks_invalid`.
    pub(crate) fn new(
        routes: &[Route],
        node: &str,
        seed: u64,
        peers: &Peers,
        stats: &Registry,
        auth: &Auth,
        before: &Self,
    ) -> Result<Self, EngineError> {
        let mut table = Self::default();
        for route in routes {
            let prefix = normal(&route.path_prefix)?;
            table.depth = table.depth.max(segments(&prefix));
            let others = route.replicas.iter().filter(|replica| replica.node != node);
            let learned = before.exact(route.host.as_deref(), &prefix).filter(|entry| {
                entry.workload == route.workload && entry.traffic.shedding.most() == route.max_in_flight.max(1)
            });
            let entry = Arc::new(Entry {
                prefix: route.path_prefix.clone(),
                workload: route.workload.clone(),
                counters: stats.workload(&route.workload),
                bands: bands(others.map(|replica| peers.get(replica)).collect()),
                is_here: route.replicas.iter().any(|replica| replica.node == node),
                hash_on: route.hash_on.as_deref().map(HashOn::parse).transpose()?,
                hedge: route.hedge,
                auth: route.auth.as_ref().map(|rule| auth.verifier(rule)).transpose()?,
                traffic: learned.map_or_else(|| Arc::new(Traffic::new(route, seed)), |entry| entry.traffic.clone()),
            });
            let prefixes = match &route.host {
                Some(host) => table.hosts.entry(host.to_ascii_lowercase()).or_default(),
                None => &mut table.any_host,
            };
            if let Some(other) = prefixes.insert(prefix, entry) {
                return Err(EngineError::new(
                    "route.duplicate",
                    format!(
                        "{} and {} both claim {}",
                        other.workload, route.workload, route.path_prefix
                    ),
                    "give every workload a path of its own",
                ));
            }
        }
        Ok(table)
    }

    /// Return the entry for a request, by the longest prefix; routes of `host` come before those of every host.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Arc<Entry>> {
        let of_host = self.hosts.get(host).or_else(|| {
            let lower = host.to_ascii_lowercase();
            self.hosts.get(&lower)
        });
        of_host
            .and_then(|prefixes| self.longest(prefixes, path))
            .or_else(|| self.longest(&self.any_host, path))
    }

    fn exact(&self, host: Option<&str>, prefix: &str) -> Option<&Arc<Entry>> {
        match host {
            Some(host) => self.hosts.get(&host.to_ascii_lowercase())?.get(prefix),
            None => self.any_host.get(prefix),
        }
    }

    fn longest<'a>(&self, prefixes: &'a Prefixes, path: &str) -> Option<&'a Arc<Entry>> {
        if prefixes.is_empty() {
            return None;
        }
        let mut prefix = first_segments(path, self.depth);
        loop {
            if let Some(entry) = prefixes.get(prefix) {
                return Some(entry);
            }
            prefix = match prefix.rfind('/') {
                Some(slash) => prefix.get(..slash)?,
                None => return None,
            };
        }
    }
}

/// A prefix as it is stored: no slash at the end, so that the root is the empty one.
fn normal(prefix: &str) -> Result<String, EngineError> {
    if !prefix.starts_with('/') || prefix.contains(['?', '#']) {
        return Err(EngineError::new(
            "route.invalid",
            format!("the path prefix {prefix:?} does not begin with a slash, or is more than a path"),
            "write it like /orders",
        ));
    }
    Ok(prefix.trim_end_matches('/').to_owned())
}

fn segments(prefix: &str) -> usize {
    prefix.bytes().filter(|byte| *byte == b'/').count()
}

/// The first `count` segments of a path.
fn first_segments(path: &str, count: usize) -> &str {
    let end = path.match_indices('/').nth(count).map_or(path.len(), |(at, _)| at);
    path.get(..end).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(workload: &str, prefix: &str, host: Option<&str>) -> Route {
        Route {
            host: host.map(str::to_owned),
            ..Route::new(workload, prefix)
        }
    }

    fn table(routes: &[Route]) -> Result<Table, EngineError> {
        Table::new(
            routes,
            "here",
            0,
            &Peers::default(),
            &Registry::default(),
            &Auth::default(),
            &Table::default(),
        )
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        let table = table(&[
            route("root", "/", None),
            route("a", "/a", None),
            route("ab", "/a/b/", None),
            route("hosted", "/a", Some("Shop.Example")),
        ])
        .unwrap();
        let find = |host: &str, path: &str| table.find(host, path).map(|entry| entry.workload.as_str());
        assert_eq!(find("x", "/"), Some("root"));
        assert_eq!(find("x", "/ab"), Some("root"));
        assert_eq!(find("x", "/a"), Some("a"));
        assert_eq!(find("x", "/a/"), Some("a"));
        assert_eq!(find("x", "/a/bc"), Some("a"));
        assert_eq!(find("x", "/a/b"), Some("ab"));
        assert_eq!(find("x", "/a/b/c/d//e"), Some("ab"));
        assert_eq!(find("shop.example", "/a/b"), Some("hosted"));
        assert_eq!(find("SHOP.example", "/a/b"), Some("hosted"));
        assert_eq!(find("shop.example", "/z"), Some("root"));
    }

    #[test]
    fn without_a_route_there_is_no_entry() {
        assert!(table(&[]).unwrap().find("x", "/").is_none());
        assert!(table(&[route("a", "/a", None)]).unwrap().find("x", "/b/a").is_none());
    }

    #[test]
    fn what_a_route_has_learned_outlives_the_table_but_not_the_workload() {
        let (peers, stats) = (Peers::default(), Registry::default());
        let table = |workload: &str, before: &Table| {
            let auth = Auth::default();
            Table::new(&[route(workload, "/a", None)], "here", 0, &peers, &stats, &auth, before).unwrap()
        };
        let first = table("w", &Table::default());
        let (same, other) = (table("w", &first), table("v", &first));
        let traffic = |table: &Table| table.find("x", "/a").unwrap().traffic.clone();
        assert!(Arc::ptr_eq(&traffic(&first), &traffic(&same)));
        assert!(!Arc::ptr_eq(&traffic(&first), &traffic(&other)));
    }

    #[test]
    fn two_claims_on_one_path_are_refused() {
        let duplicate = table(&[route("a", "/a", None), route("b", "/a/", None)]);
        assert_eq!(duplicate.err().unwrap().code, "route.duplicate");
        assert_eq!(table(&[route("a", "a", None)]).err().unwrap().code, "route.invalid");
    }
}
