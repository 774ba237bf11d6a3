//! One instance for several requests at once, where the workload asks for that and its component is of WASI 0.3.
//!
//! `request -> desk with room, or a new one -> answer`. A desk is an instance in a task of its own with the requests it
//! holds. A request past its time ends its own client's wait; the desk takes no more then, and ends with its last request.
//! When the guest computes past the time of one of its requests the instance is stopped, and all its requests with it.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use wasmtime::component::Accessor;
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::p3::bindings::Service;

use crate::answer::Fault;
use crate::aside::Aside;
use crate::blame::{DeadlineReached, classify};
use crate::body::{Body, RequestBody};
use crate::call::{Answer, call_p3};
use crate::config::Reuse;
use crate::guest_body::GuestBody;
use crate::host::{Clock, GuestState, Signs};
use crate::instance::{settle, start};
use crate::workload::{Permit, Workload};

/// A request past its time gets this long until its instance is stopped: time for the guest's other tasks to have a turn.
const SLACK: Duration = Duration::from_millis(100);

/// The desks of one workload that may have room.
#[derive(Default)]
pub(crate) struct Shared(Mutex<Vec<Arc<Desk>>>);

/// One instance and the requests it holds.
pub(crate) struct Desk {
    jobs: mpsc::UnboundedSender<Job>,
    held: Mutex<Held>,
    /// A request ended, or no more may come.
    changed: Notify,
}

#[derive(Default)]
struct Held {
    served: u32,
    is_closed: bool,
    running: Vec<Running>,
}

/// One request at a desk. Its answer is kept here and not with the work, which goes before anybody knows why.
struct Running {
    number: u32,
    due: Instant,
    signs: Arc<Signs>,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Held {
    fn has_room(&self, reuse: &Reuse) -> bool {
        !self.is_closed && self.running.len() < reuse.concurrency as usize
    }
}

struct Job {
    number: u32,
    request: Request<RequestBody>,
    signs: Arc<Signs>,
    deadline: Instant,
}

/// A request's place at a desk, from its admission to the end of its body.
pub(crate) struct Place {
    workload: Arc<Workload>,
    desk: Arc<Desk>,
    number: u32,
    _running: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.desk.lock();
        held.running.retain(|one| one.number != self.number);
        let has_room = held.has_room(&self.workload.limits.reuse);
        drop(held);
        self.desk.changed.notify_one();
        if has_room {
            self.workload.admission.has_room_for_one();
        }
    }
}

impl Desk {
    /// Whether the guest held a request past its time without giving way.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.lock().running.iter().any(|one| now >= one.due + SLACK)
    }

    /// Whether nothing is left to do and nothing will come, with `is_idle` for too long a while.
    fn is_over(&self, is_idle: bool) -> bool {
        let mut held = self.lock();
        let is_over = held.running.is_empty() && (held.is_closed || is_idle);
        held.is_closed |= is_over;
        is_over
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Take no more, and tell every request why.
    fn fail(&self, fault: &Fault) {
        let mut held = self.lock();
        held.is_closed = true;
        for one in &mut held.running {
            one.signs.fail(fault.clone());
            one.answer = None;
        }
    }

    fn answer(&self, number: u32, given: Answer) {
        let mut held = self.lock();
        let asked = held.running.iter_mut().find(|one| one.number == number);
        if let Some(answer) = asked.and_then(|one| one.answer.take()) {
            // Nobody waits for the answer of a request that was given up.
            let _ = answer.send(given);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(crate) fn has_room(&self, reuse: &Reuse) -> bool {
        let desks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desks.iter().any(|desk| desk.lock().has_room(reuse))
    }

    /// Take a place at a desk with room, or at a new one on `permit`'s seat; the answer comes through the second. Without
    /// either the permit comes back.
    fn place(
        &self,
        workload: &Arc<Workload>,
        signs: &Arc<Signs>,
        due: Instant,
        permit: Permit,
    ) -> Result<(Place, oneshot::Receiver<Answer>), Permit> {
        let reuse = &workload.limits.reuse;
        let (sender, receiver) = oneshot::channel();
        let one = |number| Running {
            number,
            due,
            signs: signs.clone(),
            answer: Some(sender),
        };
        let mut desks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desks.retain(|desk| !desk.lock().is_closed);
        for desk in desks.iter() {
            let mut held = desk.lock();
            if held.has_room(reuse) {
                held.served += 1;
                let number = held.served;
                held.is_closed |= held.served >= reuse.count;
                held.running.push(one(number));
                drop(held);
                workload.counters.warm_starts.fetch_add(1, Ordering::Relaxed);
                signs.is_warm.store(true, Ordering::Relaxed);
                let place = Place {
                    workload: workload.clone(),
                    desk: desk.clone(),
                    number,
                    _running: permit.running,
                };
                return Ok((place, receiver));
            }
        }
        let Permit { running, seat } = permit;
        let Some(seat) = seat else {
            return Err(Permit { running, seat });
        };
        let (jobs, waiting) = mpsc::unbounded_channel();
        let desk = Arc::new(Desk {
            jobs,
            held: Mutex::new(Held {
                served: 1,
                is_closed: false,
                running: vec![one(1)],
            }),
            changed: Notify::new(),
        });
        desks.push(desk.clone());
        drop(desks);
        workload.admission.has_room_for_some();
        let signs = Arc::new(Signs::default());
        let work = Box::pin(attend(workload.clone(), desk.clone(), waiting, seat, signs.clone()));
        tokio::spawn(Aside::of_many(work, workload.clone(), signs));
        let place = Place {
            workload: workload.clone(),
            desk,
            number: 1,
            _running: running,
        };
        Ok((place, receiver))
    }
}

/// Answer `request` at a desk of `workload`.
///
/// # Errors
/// A [`Fault`] while nothing has been answered yet.
pub(crate) async fn answer(
    workload: &Arc<Workload>,
    request: Request<RequestBody>,
    signs: Arc<Signs>,
    deadline: Instant,
    permit: Permit,
) -> Result<Response<Body>, Fault> {
    let (place, receiver) = tokio::select! {
        biased;
        placed = placed(workload, &signs, deadline, permit) => placed?,
        () = sleep_until(deadline) => return Err(Fault::deadline()),
        () = workload.admission.killed() => return Err(Fault::unloaded()),
    };
    let job = Job {
        number: place.number,
        request,
        signs: signs.clone(),
        deadline,
    };
    // A desk that broke meanwhile has told its reason already.
    let _ = place.desk.jobs.send(job);
    let answer = tokio::select! {
        biased;
        answer = receiver => answer.ok(),
        () = sleep_until(deadline) => return Err(Fault::deadline()),
        () = workload.admission.killed() => return Err(Fault::unloaded()),
    };
    let response = settle(workload, &signs, answer)?;
    Ok(response.map(|inner| GuestBody::shared(inner, workload.clone(), signs, place, deadline).boxed_unsync()))
}

/// Take a place at a desk, as soon as there is one or room for one.
async fn placed(
    workload: &Arc<Workload>,
    signs: &Arc<Signs>,
    due: Instant,
    mut permit: Permit,
) -> Result<(Place, oneshot::Receiver<Answer>), Fault> {
    loop {
        permit = match workload.shared.place(workload, signs, due, permit) {
            Ok(placed) => return Ok(placed),
            Err(permit) => permit,
        };
        // Somebody else took the room that was there.
        permit.seat = workload.seat_or_room().await?;
    }
}

/// Run one instance until it is not needed any more, or stopped.
async fn attend(
    workload: Arc<Workload>,
    desk: Arc<Desk>,
    jobs: mpsc::UnboundedReceiver<Job>,
    seat: OwnedSemaphorePermit,
    signs: Arc<Signs>,
) {
    let mut instance = match start(&workload, &signs, Clock::Desk(desk.clone()), seat).await {
        Ok(instance) => instance,
        Err(cause) => return desk.fail(&classify(&cause, &signs, &workload)),
    };
    let ended = {
        let Proxy::P3(service) = &instance.proxy else {
            return desk.fail(&Fault::unloaded());
        };
        let mut run = pin!(
            instance
                .store
                .run_concurrent(async |accessor| work(service, accessor, &workload, &desk, jobs).await)
        );
        loop {
            tokio::select! {
                biased;
                ended = &mut run => break ended.and_then(|ended| ended),
                () = workload.admission.killed() => break Ok(()),
                // A guest that waits in a host call is interrupted by no epoch.
                () = sleep(SLACK) => if desk.is_overdue(Instant::now()) {
                    break Err(DeadlineReached.into());
                },
            }
        }
    };
    match ended {
        // Before the instance goes: its end closes the bodies, whose readers then look for a fault.
        Err(cause) => desk.fail(&classify(&cause, &signs, &workload)),
        Ok(()) => desk.fail(&Fault::unloaded()),
    }
    drop(instance);
}

async fn work(
    service: &Service,
    accessor: &Accessor<GuestState>,
    workload: &Arc<Workload>,
    desk: &Desk,
    mut jobs: mpsc::UnboundedReceiver<Job>,
) -> wasmtime::Result<()> {
    let idle = workload.limits.reuse.idle();
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(ended) = open.next(), if !open.is_empty() => ended?,
            Some(job) = jobs.recv() => {
                let Job { number, request, signs, deadline } = job;
                accessor.with(|mut store| store.get().begin(workload, &signs));
                open.push(async move {
                    tokio::select! {
                        biased;
                        given = call_p3(service, accessor, request) => {
                            desk.answer(number, given?);
                            wasmtime::error::Ok(())
                        }
                        () = sleep_until(deadline) => {
                            desk.close();
                            Ok(())
                        }
                    }
                });
            }
            () = desk.changed.notified() => if desk.is_over(false) {
                return Ok(());
            },
            () = workload.admission.crowded() => if desk.is_over(true) {
                return Ok(());
            },
            () = sleep(idle), if open.is_empty() => if desk.is_over(true) {
                return Ok(());
            },
        }
    }
}
