//! The route table: `host, path -> workload and its replicas`, immutable, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::EngineError;
use crate::peer::{Peer, Peers};
use crate::stats::{Counters, Registry};

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
    pub(crate) workload: String,
    pub(crate) counters: Arc<Counters>,
    /// Replicas on other nodes.
    pub(crate) peers: Vec<Arc<Peer>>,
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
    /// Build a table for `node`.
    ///
    /// # Errors
    /// `route.invalid` for a prefix without leading slash, `route.duplicate` for two routes with equal host and prefix.
    pub(crate) fn new(routes: &[Route], node: &str, peers: &Peers, stats: &Registry) -> Result<Self, EngineError> {
        let mut table = Self::default();
        for route in routes {
            let prefix = normal(&route.path_prefix)?;
            table.depth = table.depth.max(segments(&prefix));
            let entry = Arc::new(Entry {
                workload: route.workload.clone(),
                counters: stats.workload(&route.workload),
                peers: route
                    .replicas
                    .iter()
                    .filter(|replica| replica.node != node)
                    .map(|replica| peers.get(replica))
                    .collect(),
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
            workload: workload.to_owned(),
            path_prefix: prefix.to_owned(),
            host: host.map(str::to_owned),
            replicas: Vec::new(),
        }
    }

    fn table(routes: &[Route]) -> Result<Table, EngineError> {
        Table::new(routes, "here", &Peers::default(), &Registry::default())
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
    fn two_claims_on_one_path_are_refused() {
        let duplicate = table(&[route("a", "/a", None), route("b", "/a/", None)]);
        assert_eq!(duplicate.err().unwrap().code, "route.duplicate");
        assert_eq!(table(&[route("a", "a", None)]).err().unwrap().code, "route.invalid");
    }
}
