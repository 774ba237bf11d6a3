//! The threads that serve: each a runtime of its own, and a connection stays on one of them.
//!
//! In one runtime over all threads nearly every request wakes a second thread, which looks for work to take over and finds
//! none. Here a request wakes the thread of its connection and nobody else. What evens out the load instead is where
//! connections go (to the thread with the fewest), where the streams of an HTTP/2 connection go (elsewhere when they pile up),
//! and that guests which compute for long leave the thread (`aside`).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::EngineError;

/// After so many tasks a thread looks for news from its sockets. Tasks here may take tens of microseconds each, so the
/// usual 61 would let a new request wait for milliseconds behind busy streams.
const EVENT_INTERVAL: u32 = 13;
/// A stream leaves the thread of its connection when that has this many more than another: the change costs a wake-up.
const AHEAD: usize = 2;

thread_local! {
    /// Which of the crew this thread is.
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The threads and their owner.
pub(crate) struct Workers {
    first: Runtime,
    others: Vec<Runtime>,
    crew: Crew,
}

/// The threads as those see them who have work.
#[derive(Clone)]
pub(crate) struct Crew(Arc<[Worker]>);

struct Worker {
    handle: Handle,
    connections: AtomicUsize,
    streams: AtomicUsize,
}

impl Workers {
    /// Start `threads` of them, at least one.
    ///
    /// # Errors
    /// `engine.setup` when a thread cannot be started.
    pub(crate) fn start(threads: usize) -> Result<Self, EngineError> {
        let first = runtime(0)?;
        let others = (1..threads).map(runtime).collect::<Result<Vec<_>, _>>()?;
        let workers = std::iter::once(&first).chain(&others).map(|runtime| Worker {
            handle: runtime.handle().clone(),
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
        });
        let crew = Crew(workers.collect());
        Ok(Self { first, others, crew })
    }

    pub(crate) fn crew(&self) -> Crew {
        self.crew.clone()
    }

    /// The runtime for what belongs to no connection.
    pub(crate) fn first(&self) -> &Runtime {
        &self.first
    }

    /// End all threads; each has `moment` for what it is doing.
    pub(crate) fn end(self, moment: Duration) {
        for runtime in std::iter::once(self.first).chain(self.others) {
            runtime.shutdown_timeout(moment);
        }
    }
}

impl Crew {
    /// Have a connection served by the thread that has the fewest.
    pub(crate) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.run(self.least(connections), connections, connection);
    }

    fn run(
        &self,
        place: usize,
        count: fn(&Worker) -> &AtomicUsize,
        work: impl Future<Output: Send + 'static> + Send + 'static,
    ) {
        let Some(worker) = self.0.get(place) else {
            return;
        };
        count(worker).fetch_add(1, Ordering::Relaxed);
        let counted = Counted {
            crew: self.clone(),
            place,
            count,
        };
        worker.handle.spawn(async move {
            let _counted = counted;
            work.await;
        });
    }

    /// Where the next stream of a connection on this thread goes.
    fn place_of_stream(&self) -> usize {
        let (here, other) = (PLACE.get(), self.least(streams));
        let streams_of = |place: usize| self.0.get(place).map(|worker| load(&worker.streams));
        match (streams_of(here), streams_of(other)) {
            (Some(own), Some(least)) if own < least + AHEAD => here,
            _ => other,
        }
    }

    /// The thread that has the least of something.
    fn least(&self, count: fn(&Worker) -> &AtomicUsize) -> usize {
        let all = self.0.iter().map(|worker| load(count(worker))).enumerate();
        all.min_by_key(|(_, load)| *load).map_or(0, |(place, _)| place)
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Crew {
    /// Run a stream of an HTTP/2 connection.
    fn execute(&self, stream: F) {
        self.run(self.place_of_stream(), streams, stream);
    }
}

/// One more on a thread, until it is dropped.
struct Counted {
    crew: Crew,
    place: usize,
    count: fn(&Worker) -> &AtomicUsize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(worker) = self.crew.0.get(self.place) {
            (self.count)(worker).fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn connections(worker: &Worker) -> &AtomicUsize {
    &worker.connections
}

fn streams(worker: &Worker) -> &AtomicUsize {
    &worker.streams
}

fn load(count: &AtomicUsize) -> usize {
    count.load(Ordering::Relaxed)
}

fn runtime(place: usize) -> Result<Runtime, EngineError> {
    // "Multi" with one thread: unlike the other kind it runs by itself, not only while somebody waits for it.
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("hanse-engine")
        .on_thread_start(move || PLACE.set(place))
        .event_interval(EVENT_INTERVAL)
        .enable_io()
        .enable_time()
        .build()
        .map_err(EngineError::setup)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn loads(crew: &Crew, count: fn(&Worker) -> &AtomicUsize) -> Vec<usize> {
        crew.0.iter().map(|worker| load(count(worker))).collect()
    }

    #[test]
    fn connections_are_spread_evenly_and_counted_until_they_end() {
        let workers = Workers::start(3).unwrap();
        let crew = workers.crew();
        for _ in 0..7 {
            crew.serve(pending());
        }
        let mut spread = loads(&crew, |worker| &worker.connections);
        spread.sort_unstable();
        assert_eq!(spread, [2, 2, 3]);
        workers.end(Duration::from_secs(5));
        assert_eq!(loads(&crew, |worker| &worker.connections), [0, 0, 0]);
    }

    #[test]
    fn streams_stay_with_their_connection_until_they_pile_up() {
        use hyper::rt::Executor;

        let workers = Workers::start(2).unwrap();
        let (crew, seen) = (workers.crew(), std::sync::mpsc::channel());
        let (own, sender) = (crew.clone(), seen.0);
        crew.0[1].handle.spawn(async move {
            let streams = (0..6).map(|_| {
                own.execute(pending::<()>());
                loads(&own, |worker| &worker.streams)
            });
            sender.send(streams.collect::<Vec<_>>())
        });
        let after_each = seen.1.recv().unwrap();
        let expected = [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [2, 4]];
        assert_eq!(after_each, expected.map(|loads| loads.to_vec()));
        workers.end(Duration::from_secs(5));
    }
}
