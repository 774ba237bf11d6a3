//! One replica on another node: its connection, how fast it answers, and whether it is worth asking now.
//!
//! The measure is a peak-sensitive moving average: a slower answer counts at once, a faster one slowly, and without traffic it
//! returns to the modelled round trip, so that one bad moment does not ban a replica for ever.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::body::Body;
use crate::identity::{Identity, svid};
use crate::router::Replica;
use crate::stats::ReplicaStats;

const DECAY: Duration = Duration::from_secs(10);
const FIRST_EJECTION: Duration = Duration::from_millis(250);
const LONGEST_EJECTION: Duration = Duration::from_secs(10);
/// A peer that lets a ping go unanswered is gone, whatever TCP believes.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_STREAMS_AT_FIRST: usize = 1000;

/// A replica on another node.
pub(crate) struct Peer {
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) spiffe_id: String,
    modelled_rtt_us: AtomicU64,
    in_flight: AtomicU64,
    health: Mutex<Health>,
    connection: Mutex<Option<Connection>>,
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Health {
    measured: Option<(f64, Instant)>,
    failures: u32,
    ejected_until: Option<Instant>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<Body>,
    identity: Arc<Identity>,
}

/// A connection to send one request on.
pub(crate) struct Lease {
    pub(crate) sender: SendRequest<Body>,
    /// It had been open before: it may have died unnoticed.
    pub(crate) is_reused: bool,
}

impl Peer {
    fn new(replica: &Replica) -> Self {
        Self {
            node: replica.node.clone(),
            address: replica.address.clone(),
            spiffe_id: replica.spiffe_id.clone(),
            modelled_rtt_us: AtomicU64::new(replica.rtt_us),
            in_flight: AtomicU64::new(0),
            health: Mutex::default(),
            connection: Mutex::default(),
            dialling: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn modelled_us(&self) -> u64 {
        self.modelled_rtt_us.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.health().is_ejected(now)
    }

    /// Order of preference at `now`, lowest first: reachable ones by expected time, ejected ones last.
    pub(crate) fn rank(&self, now: Instant) -> (bool, u64) {
        let waiting = self.in_flight.load(Ordering::Relaxed) + 1;
        let health = self.health();
        (
            health.is_ejected(now),
            (self.expected_us(&health, now) as u64).saturating_mul(waiting),
        )
    }

    fn expected_us(&self, health: &Health, now: Instant) -> f64 {
        let modelled = self.modelled_rtt_us.load(Ordering::Relaxed) as f64;
        health.measured.map_or(modelled, |(measured, at)| {
            let kept = decay(now.saturating_duration_since(at));
            modelled + (measured - modelled) * kept
        })
    }

    /// Count a request as in flight while the guard lives.
    pub(crate) fn begin(self: &Arc<Self>) -> Asked {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Asked {
            peer: self.clone(),
            sent_at: Instant::now(),
            has_answered: false,
        }
    }

    /// A response header came after `took`.
    pub(crate) fn answered(&self, took: Duration, now: Instant) {
        let mut health = self.health();
        health.failures = 0;
        health.ejected_until = None;
        health.measure(took, now);
    }

    /// Nobody waits any longer for an answer: it took at least so long.
    fn given_up(&self, after: Duration, now: Instant) {
        let mut health = self.health();
        if after.as_micros() as f64 > self.expected_us(&health, now) {
            health.measure(after, now);
        }
    }

    /// It could not be reached: leave it alone for a while, longer each time.
    pub(crate) fn failed(&self, now: Instant) {
        let mut health = self.health();
        let pause = FIRST_EJECTION * 2_u32.saturating_pow(health.failures.min(10));
        health.failures = health.failures.saturating_add(1);
        health.ejected_until = Some(now + pause.min(LONGEST_EJECTION));
        drop(health);
        self.disconnect();
    }

    /// Forget the connection; the next request dials anew.
    pub(crate) fn disconnect(&self) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Return a connection under `identity`, dialling when there is none.
    ///
    /// # Errors
    /// Why the peer cannot be reached or is not who it should be.
    pub(crate) async fn connect(&self, identity: &Arc<Identity>, limit: Duration) -> Result<Lease, String> {
        if let Some(sender) = self.open(identity) {
            return Ok(Lease {
                sender,
                is_reused: true,
            });
        }
        let _dialling = self.dialling.lock().await;
        if let Some(sender) = self.open(identity) {
            return Ok(Lease {
                sender,
                is_reused: true,
            });
        }
        let sender = timeout(limit, self.dial(identity))
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {} ms", limit.as_millis())))?;
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(Connection {
            sender: sender.clone(),
            identity: identity.clone(),
        });
        Ok(Lease {
            sender,
            is_reused: false,
        })
    }

    fn open(&self, identity: &Arc<Identity>) -> Option<SendRequest<Body>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection
            .as_ref()
            .filter(|connection| Arc::ptr_eq(&connection.identity, identity) && !connection.sender.is_closed())
            .map(|connection| connection.sender.clone())
    }

    async fn dial(&self, identity: &Identity) -> Result<SendRequest<Body>, String> {
        let stream = TcpStream::connect(self.address.as_str())
            .await
            .map_err(|cause| cause.to_string())?;
        stream.set_nodelay(true).map_err(|cause| cause.to_string())?;
        // The name is of no consequence: the SPIFFE ID is what is checked.
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
        let stream = TlsConnector::from(identity.client.clone())
            .connect(name, stream)
            .await
            .map_err(|cause| format!("TLS: {cause}"))?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let trust_domain = self.trust_domain();
        let shown = leaf
            .ok_or("no certificate")
            .and_then(|leaf| svid(leaf, trust_domain).map_err(|_| "no SPIFFE ID"))?;
        if shown.id != self.spiffe_id {
            return Err(format!("it is {}, not {}", shown.id, self.spiffe_id));
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_max_send_streams(MAX_STREAMS_AT_FIRST)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|cause| cause.to_string())?;
        // Ends with the connection; those who wait for answers hear of it themselves.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn trust_domain(&self) -> &str {
        self.spiffe_id
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self, now: Instant) -> ReplicaStats {
        let health = self.health();
        ReplicaStats {
            node: self.node.clone(),
            address: self.address.clone(),
            rtt_us: self.expected_us(&health, now) as u64,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            ejected: health.is_ejected(now),
        }
    }
}

impl Health {
    /// A slower answer counts at once, a faster one slowly.
    fn measure(&mut self, took: Duration, now: Instant) {
        let sample = took.as_micros() as f64;
        let average = match self.measured {
            None => sample,
            Some((average, _)) if sample >= average => sample,
            Some((average, at)) => {
                let kept = decay(now.saturating_duration_since(at)).min(0.9);
                sample + (average - sample) * kept
            }
        };
        self.measured = Some((average, now));
    }

    fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }
}

/// Share of an old value that is left after `age`.
fn decay(age: Duration) -> f64 {
    (-age.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

/// A request that a peer is working on.
pub(crate) struct Asked {
    peer: Arc<Peer>,
    sent_at: Instant,
    has_answered: bool,
}

impl Asked {
    /// A response header came.
    pub(crate) fn answered(mut self) {
        self.has_answered = true;
        self.peer.answered(self.sent_at.elapsed(), Instant::now());
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.peer.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.has_answered {
            self.peer.given_up(self.sent_at.elapsed(), Instant::now());
        }
    }
}

/// Every peer in use; a new route table finds its connections here.
#[derive(Default)]
pub(crate) struct Peers {
    known: Mutex<HashMap<(String, String), Arc<Peer>>>,
}

impl Peers {
    /// Return the peer behind `replica`, made when unknown.
    pub(crate) fn get(&self, replica: &Replica) -> Arc<Peer> {
        let key = (replica.address.clone(), replica.spiffe_id.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = known.entry(key).or_insert_with(|| Arc::new(Peer::new(replica)));
        peer.modelled_rtt_us.store(replica.rtt_us, Ordering::Relaxed);
        peer.clone()
    }

    /// Forget the peers that only this registry still holds.
    pub(crate) fn forget_unused(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, peer| Arc::strong_count(peer) > 1);
    }

    /// Return what is known of every peer, in the order of (node, address).
    pub(crate) fn stats(&self, now: Instant) -> Vec<ReplicaStats> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats: Vec<_> = known.values().map(|peer| peer.stats(now)).collect();
        stats.sort_by(|a, b| (&a.node, &a.address).cmp(&(&b.node, &b.address)));
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Arc<Peer> {
        Peers::default().get(&Replica {
            node: "a".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            spiffe_id: "spiffe://t/node/a".to_owned(),
            rtt_us: 1000,
        })
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_with_time() {
        let (peer, now) = (peer(), Instant::now());
        assert_eq!(peer.rank(now), (false, 1000));
        peer.answered(Duration::from_millis(50), now);
        assert_eq!(peer.rank(now), (false, 50_000));
        peer.answered(Duration::from_millis(10), now);
        assert!((10_000..50_000).contains(&peer.rank(now).1));
        assert!(peer.rank(now + Duration::from_secs(100)).1 < 1_010);
    }

    #[test]
    fn a_request_that_is_given_up_teaches_how_slow_the_peer_is_at_least() {
        let (peer, now) = (peer(), Instant::now());
        peer.given_up(Duration::from_micros(10), now);
        assert_eq!(peer.rank(now), (false, 1000));
        peer.given_up(Duration::from_millis(30), now);
        assert_eq!(peer.rank(now), (false, 30_000));
    }

    #[test]
    fn requests_in_flight_make_a_peer_dearer() {
        let (peer, now) = (peer(), Instant::now());
        // Far enough that the guard's own short life is no slow answer.
        peer.modelled_rtt_us.store(1_000, Ordering::Relaxed);
        let asked = peer.begin();
        assert_eq!(peer.rank(now).1, 2000);
        drop(asked);
        assert_eq!(peer.rank(now).1, 1000);
    }

    #[test]
    fn an_unreachable_peer_is_left_alone_longer_each_time_but_never_for_good() {
        let (peer, now) = (peer(), Instant::now());
        peer.failed(now);
        assert!(peer.rank(now + Duration::from_millis(249)).0);
        assert!(!peer.rank(now + Duration::from_millis(251)).0);
        peer.failed(now);
        assert!(peer.rank(now + Duration::from_millis(499)).0);
        for _ in 0..20 {
            peer.failed(now);
        }
        assert!(!peer.rank(now + Duration::from_millis(10_001)).0);
        peer.answered(Duration::ZERO, now);
        assert!(!peer.rank(now).0);
    }
}
