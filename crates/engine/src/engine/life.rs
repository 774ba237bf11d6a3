//! From the first socket to the last request: bind, start, hand over, stop.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::core::Stopping;
use crate::crew::Workers;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::sockets::{Addresses, Sockets};
use crate::{listener, mesh};

/// After the grace is over, tasks get this long to notice.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// How far an engine has come.
pub(super) enum State {
    New,
    Bound(Arc<Workers>, Sockets),
    /// The last one is for guests that compute for long.
    Running(Arc<Workers>, Sockets, tokio::runtime::Runtime),
    Stopped,
}

impl Engine {
    /// Bind both listeners, or take up those that were inherited, without accepting yet: clients wait in the kernel's queue.
    ///
    /// # Errors
    /// `engine.address_in_use`, `engine.address_invalid`, `engine.setup`, or `engine.stopped` when it ran before.
    pub fn bind(&self) -> Result<Addresses, EngineError> {
        let mut state = self.state();
        if !matches!(*state, State::New) {
            return Err(EngineError::stopped());
        }
        let config = &self.core.config;
        let sockets = Sockets::of(config)?;
        let addresses = sockets.addresses()?;
        let workers = Workers::start(config.worker_threads)?;
        *state = State::Bound(Arc::new(workers), sockets);
        Ok(addresses)
    }

    /// Begin to serve, binding first if that has not been done. Other nodes are refused until there is an identity.
    ///
    /// # Errors
    /// As [`Engine::bind`].
    pub fn start(&self) -> Result<Addresses, EngineError> {
        if matches!(*self.state(), State::New) {
            self.bind()?;
        }
        let mut state = self.state();
        let State::Bound(workers, sockets) = std::mem::replace(&mut *state, State::Stopped) else {
            return Err(EngineError::stopped());
        };
        let addresses = sockets.addresses()?;
        let listener = |socket: &TcpListener| {
            let _inside = workers.first().enter();
            let own = socket.try_clone().map_err(EngineError::setup)?;
            tokio::net::TcpListener::from_std(own).map_err(EngineError::setup)
        };
        let lane = self
            .core
            .long_lane
            .start(self.core.config.worker_threads, workers.first().handle())?;
        let (front, mesh) = (listener(&sockets.front)?, listener(&sockets.mesh)?);
        let (first, crew) = (workers.first(), workers.crew());
        if let Some(exporter) = self.exporter.lock().unwrap_or_else(PoisonError::into_inner).take() {
            first.spawn(exporter.run());
        }
        first.spawn(listener::listen(self.core.clone(), front, crew.clone()));
        first.spawn(mesh::listen(self.core.clone(), mesh, crew));
        *state = State::Running(workers, sockets, lane);
        Ok(addresses)
    }

    /// Return the descriptors of the listening sockets of front and mesh, to be sent to a process that takes over. They stay
    /// this engine's own.
    ///
    /// # Errors
    /// `engine.stopped` when it does not listen.
    pub fn sockets(&self) -> Result<(RawFd, RawFd), EngineError> {
        match &*self.state() {
            State::Bound(_, sockets) | State::Running(_, sockets, _) => {
                Ok((sockets.front.as_raw_fd(), sockets.mesh.as_raw_fd()))
            }
            State::New | State::Stopped => Err(EngineError::stopped()),
        }
    }

    /// Accept no more, because another process does, and end when every client has gone or `grace` is over.
    ///
    /// Each answer tells its HTTP/1 client to connect anew, HTTP/2 clients are told at once; a connection on which nobody asks
    /// is closed at three quarters of the grace, so that no request meets a closing one.
    pub fn hand_over(&self, grace: Duration) {
        let idle_until = Instant::now() + grace * 3 / 4;
        self.end(Stopping::HandedOver(idle_until), grace);
    }

    /// Stop listening, give requests in flight `grace`, then end everything. Stopping twice does nothing.
    pub fn stop(&self, grace: Duration) {
        self.end(Stopping::Now, grace);
    }

    fn end(&self, how: Stopping, grace: Duration) {
        let (workers, lane) = match std::mem::replace(&mut *self.state(), State::Stopped) {
            State::Running(workers, _, lane) => (workers, Some(lane)),
            State::Bound(workers, _) => (workers, None),
            State::New | State::Stopped => return,
        };
        self.core.stopping.send_replace(how);
        let all = u32::try_from(self.core.config.max_connections).unwrap_or(u32::MAX);
        workers.first().block_on(async {
            // Connections that are still open after the grace are cut when the threads go.
            let _ = timeout(grace, self.core.places.acquire_many(all)).await;
            if let Some(tracer) = &self.core.sight.tracer {
                // What a collector does not take by then is lost.
                let _ = timeout(LAST_MOMENT, tracer.flush()).await;
            }
        });
        self.core.tenants.stop();
        // Nobody else holds them but calls that are about to end; dropped there they would block an async thread.
        if let Ok(workers) = Arc::try_unwrap(workers) {
            workers.end(LAST_MOMENT);
        }
        if let Some(lane) = lane {
            lane.shutdown_timeout(LAST_MOMENT);
        }
    }

    pub(super) fn workers(&self) -> Result<Arc<Workers>, EngineError> {
        match &*self.state() {
            State::Running(workers, _, _) | State::Bound(workers, _) => Ok(workers.clone()),
            State::New | State::Stopped => Err(EngineError::stopped()),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
