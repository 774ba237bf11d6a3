//! Which replica answers: `replicas, what was tried, key -> replica`.
//!
//! By default the nearest that is quick. Replicas stand in bands by their modelled round trip (site, region, elsewhere); in
//! each band two are drawn at random and all that were drawn are compared by their measured latency times the requests
//! they hold (peak-EWMA). Two draws instead of the minimum keep fronts that learned the same from all choosing the same
//! replica (Mitzenmacher, "The power of two choices", 2001); the bands keep a draw from leaving the neighbourhood while it is
//! well. A route may be hashed instead: the same key finds the same replica (rendezvous hashing, Thaler and Ravishankar,
//! 1998), unless that one holds a quarter more than its share (bounded loads, Mirrokni and others, 2018).

use std::cmp::Reverse;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Uri};
use tokio::time::Instant;

use crate::error::EngineError;
use crate::peer::Peer;
use crate::router::Entry;
use crate::stream::{Stream, hash};

const SITE_US: u64 = 1_500;
const REGION_US: u64 = 15_000;
/// Share of the average that a replica may hold, in quarters.
const LOAD_BOUND_QUARTERS: u64 = 5;

/// Replicas that are about equally far.
pub(crate) type Band = Vec<Arc<Peer>>;

/// What of a request finds its replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HashOn {
    Path,
    Header(HeaderName),
}

impl HashOn {
    /// Read `path` or `header:<name>`.
    ///
    /// # Errors
    /// `route.invalid`.
    pub(crate) fn parse(text: &str) -> Result<Self, EngineError> {
        if text == "path" {
            return Ok(Self::Path);
        }
        text.strip_prefix("header:")
            .and_then(|name| name.parse().ok())
            .map(Self::Header)
            .ok_or_else(|| {
                EngineError::new(
                    "route.invalid",
                    format!("a route cannot be hashed on {text:?}"),
                    "write `path` or `header:<name>`",
                )
            })
    }

    /// The key of a request; `None` when it lacks the header, and any replica will do.
    pub(crate) fn key(&self, uri: &Uri, headers: &HeaderMap) -> Option<u64> {
        match self {
            Self::Path => Some(hash(0, uri.path().as_bytes())),
            Self::Header(name) => headers.get(name).map(|value| hash(0, value.as_bytes())),
        }
    }
}

/// Sort replicas into bands, nearest first.
pub(crate) fn bands(peers: Vec<Arc<Peer>>) -> Vec<Band> {
    let mut bands: [Band; 3] = Default::default();
    let [site, region, elsewhere] = &mut bands;
    for peer in peers {
        match peer.modelled_us() {
            ..SITE_US => site.push(peer),
            SITE_US..REGION_US => region.push(peer),
            REGION_US.. => elsewhere.push(peer),
        }
    }
    bands.into_iter().filter(|band| !band.is_empty()).collect()
}

/// Return the replica on another node to ask next; `None` when all were tried.
pub(crate) fn next(entry: &Entry, tried: &[Arc<Peer>], key: Option<u64>, now: Instant) -> Option<Arc<Peer>> {
    let is_untried = |peer: &Arc<Peer>| !tried.iter().any(|other| Arc::ptr_eq(peer, other));
    if let Some(key) = key {
        return owner(entry.peers().filter(|peer| is_untried(peer)), key, now).cloned();
    }
    let is_usable = |peer: &Arc<Peer>| is_untried(peer) && !peer.is_ejected(now);
    entry
        .bands
        .iter()
        .flat_map(|band| two(band, is_usable, &entry.traffic.choice))
        // None is well: the one that is expected back first.
        .chain(entry.peers().filter(|peer| is_untried(peer) && peer.is_ejected(now)))
        .min_by_key(|peer| (peer.rank(now), &peer.node))
        .cloned()
}

/// Whether this node, which runs the workload, owns `key`.
pub(crate) fn is_ours(entry: &Entry, node: &str, key: u64, now: Instant) -> bool {
    let well = entry.peers().filter(|peer| !peer.is_ejected(now));
    well.map(|peer| score(&peer.node, key))
        .all(|other| other <= score(node, key))
}

fn two<'a>(band: &'a Band, is_usable: impl Fn(&Arc<Peer>) -> bool, choice: &Stream) -> Vec<&'a Arc<Peer>> {
    let mut usable: Vec<_> = band.iter().filter(|peer| is_usable(peer)).collect();
    if usable.len() > 2 {
        let first = choice.below(usable.len());
        usable.swap(0, first);
        let second = 1 + choice.below(usable.len() - 1);
        usable.swap(1, second);
        usable.truncate(2);
    }
    usable
}

/// By score, but those that hold more than their share after those that do not, and ejected ones last.
fn owner<'a>(peers: impl Iterator<Item = &'a Arc<Peer>>, key: u64, now: Instant) -> Option<&'a Arc<Peer>> {
    let peers: Vec<_> = peers.collect();
    let held: u64 = peers.iter().map(|peer| peer.in_flight()).sum();
    let count = peers.len() as u64;
    let most = ((held + 1) * LOAD_BOUND_QUARTERS).div_ceil(4 * count.max(1));
    peers.into_iter().min_by_key(|peer| {
        let is_full = peer.in_flight() >= most;
        (
            peer.is_ejected(now),
            is_full,
            Reverse(score(&peer.node, key)),
            &peer.node,
        )
    })
}

fn score(node: &str, key: u64) -> u64 {
    hash(key, node.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::jwt::Auth;
    use crate::peer::Peers;
    use crate::router::{Replica, Route, Table};
    use crate::stats::Registry;

    struct Fixture {
        table: Table,
        _peers: Peers,
    }

    /// A route to replicas, each with its modelled round trip.
    fn fixture(replicas: &[(&str, u64)]) -> Fixture {
        let peers = Peers::default();
        let route = Route {
            replicas: replicas
                .iter()
                .map(|(node, rtt_us)| Replica {
                    node: (*node).to_owned(),
                    address: format!("{node}:1"),
                    spiffe_id: format!("spiffe://t/node/{node}"),
                    rtt_us: *rtt_us,
                })
                .collect(),
            ..Route::new("w", "/")
        };
        let table = Table::new(
            &[route],
            "here",
            1,
            &peers,
            &Registry::default(),
            &Auth::default(),
            &Table::default(),
        )
        .unwrap();
        Fixture { table, _peers: peers }
    }

    impl Fixture {
        fn entry(&self) -> &Entry {
            self.table.find("x", "/").unwrap()
        }

        fn peer(&self, node: &str) -> Arc<Peer> {
            self.entry().peers().find(|peer| peer.node == node).unwrap().clone()
        }

        fn counts(&self, draws: u64, key: impl Fn(u64) -> Option<u64>) -> BTreeMap<String, u32> {
            let mut counts = BTreeMap::new();
            for draw in 0..draws {
                let peer = next(self.entry(), &[], key(draw), Instant::now()).unwrap();
                *counts.entry(peer.node.clone()).or_default() += 1;
            }
            counts
        }
    }

    #[test]
    fn replicas_of_one_site_share_the_requests_and_far_ones_get_none() {
        let fixture = fixture(&[("a", 500), ("b", 500), ("c", 500), ("d", 500), ("far", 80_000)]);
        let asked: Vec<_> = (0..400)
            .map(|_| {
                let peer = next(fixture.entry(), &[], None, Instant::now()).unwrap();
                (peer.node.clone(), peer.begin())
            })
            .collect();
        for node in ["a", "b", "c", "d"] {
            let held = asked.iter().filter(|(name, _)| name == node).count();
            assert!((60..140).contains(&held), "{node} holds {held}");
        }
        assert_eq!(fixture.peer("far").in_flight(), 0);
    }

    #[test]
    fn a_near_replica_that_turned_slow_loses_to_a_far_one() {
        let fixture = fixture(&[("near", 500), ("far", 20_000)]);
        assert_eq!(fixture.counts(10, |_| None)["near"], 10);
        fixture.peer("near").answered(Duration::from_secs(1), Instant::now());
        assert_eq!(fixture.counts(10, |_| None)["far"], 10);
    }

    #[test]
    fn an_ejected_replica_is_never_chosen_while_another_is_well() {
        let fixture = fixture(&[("a", 1), ("b", 1), ("c", 1)]);
        fixture.peer("a").failed(Instant::now());
        assert!(!fixture.counts(200, |_| None).contains_key("a"));
        assert!(!fixture.counts(200, Some).contains_key("a"));
        let tried = [fixture.peer("b"), fixture.peer("c")];
        assert_eq!(next(fixture.entry(), &tried, None, Instant::now()).unwrap().node, "a");
        let all = [fixture.peer("a"), fixture.peer("b"), fixture.peer("c")];
        assert!(next(fixture.entry(), &all, None, Instant::now()).is_none());
    }

    #[test]
    fn a_key_keeps_its_replica_when_another_one_goes() {
        let before = fixture(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        let after = fixture(&[("a", 1), ("b", 1), ("c", 1)]);
        let place = |fixture: &Fixture, key: u64| {
            next(fixture.entry(), &[], Some(key), Instant::now())
                .unwrap()
                .node
                .clone()
        };
        let mut moved = 0;
        for key in 0..1_000 {
            let (old, new) = (place(&before, key), place(&after, key));
            assert!(old == new || old == "d", "{key} left {old}");
            moved += u32::from(old != new);
        }
        assert!((180..320).contains(&moved), "{moved}");
    }

    #[test]
    fn a_hot_key_spills_when_its_replica_holds_more_than_its_share() {
        let fixture = fixture(&[("a", 1), ("b", 1), ("c", 1)]);
        let mut held = Vec::new();
        for _ in 0..90 {
            let peer = next(fixture.entry(), &[], Some(7), Instant::now()).unwrap();
            held.push(peer.begin());
        }
        for node in ["a", "b", "c"] {
            assert!(fixture.peer(node).in_flight() <= 39, "{node}");
        }
    }

    #[test]
    fn what_a_route_is_hashed_on() {
        assert_eq!(HashOn::parse("path").unwrap(), HashOn::Path);
        let by_user = HashOn::parse("header:X-User").unwrap();
        let uri = Uri::from_static("/a?b");
        let mut headers = HeaderMap::new();
        assert_eq!(by_user.key(&uri, &headers), None);
        headers.insert("x-user", "ada".parse().unwrap());
        assert!(by_user.key(&uri, &headers).is_some());
        assert_eq!(HashOn::parse("cookie").err().unwrap().code, "route.invalid");
    }
}
