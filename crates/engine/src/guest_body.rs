//! The body of a guest that still writes it: counted, cut off at its limit, and never ended as if whole when it is not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::WasiBody;

use crate::answer::Fault;
use crate::blame::broken_body;
use crate::body::BoxError;
use crate::host::Signs;
use crate::shared::Place;
use crate::workload::Workload;

/// A response body and the run that writes it.
pub(crate) struct GuestBody {
    inner: WasiBody,
    left: u64,
    workload: Arc<Workload>,
    signs: Arc<Signs>,
    writer: Writer,
}

/// Who writes the body.
enum Writer {
    /// A run for this request alone.
    Own(AbortOnDrop),
    /// An instance that serves other requests as well, and when this one must be over.
    Shared(Option<Place>, Pin<Box<Sleep>>),
}

impl GuestBody {
    pub(crate) fn new(inner: WasiBody, workload: Arc<Workload>, signs: Arc<Signs>, rest: JoinHandle<()>) -> Self {
        Self::of(inner, workload, signs, Writer::Own(AbortOnDrop(Some(rest))))
    }

    pub(crate) fn shared(
        inner: WasiBody,
        workload: Arc<Workload>,
        signs: Arc<Signs>,
        place: Place,
        deadline: Instant,
    ) -> Self {
        let until = Box::pin(sleep_until(deadline));
        Self::of(inner, workload, signs, Writer::Shared(Some(place), until))
    }

    fn of(inner: WasiBody, workload: Arc<Workload>, signs: Arc<Signs>, writer: Writer) -> Self {
        Self {
            inner,
            left: workload.limits.response_body_bytes,
            workload,
            signs,
            writer,
        }
    }

    fn broken_off(&mut self, fault: &Fault) -> BoxError {
        match &mut self.writer {
            Writer::Own(rest) => rest.abort(),
            Writer::Shared(place, _) => *place = None,
        }
        format!("{}: {}", fault.code, fault.message).into()
    }

    /// The end of the channel: of a whole body, or because the guest was stopped.
    fn ended(&mut self) -> Option<Result<Frame<Bytes>, BoxError>> {
        let fault = self.signs.fault().cloned();
        if let Writer::Shared(Some(_), _) = &self.writer
            && let Some(fault) = &fault
        {
            // Of a run for one request its own task tells.
            self.workload.report(fault);
        }
        if let Some(fault) = fault {
            return Some(Err(self.broken_off(&fault)));
        }
        match &mut self.writer {
            Writer::Own(rest) => rest.let_go(),
            Writer::Shared(place, _) => *place = None,
        }
        None
    }
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Writer::Shared(Some(_), until) = &mut self.writer
            && until.as_mut().poll(context).is_ready()
        {
            let fault = Fault::deadline();
            self.workload.report(&fault);
            return Poll::Ready(Some(Err(self.broken_off(&fault))));
        }
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
            return Poll::Ready(self.ended());
        };
        let frame = frame.map_err(|cause| self.broken_off(&broken_body(&cause)))?;
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = self.left.checked_sub(len) else {
            let fault = Fault::response_too_large(self.workload.limits.response_body_bytes);
            self.workload.report(&fault);
            return Poll::Ready(Some(Err(self.broken_off(&fault))));
        };
        self.left = left;
        self.workload.counters.bytes_out.fetch_add(len, Ordering::Relaxed);
        Poll::Ready(Some(Ok(frame)))
    }
}

/// The rest of a guest's run; ended when its answer is dropped half-way, left alone when the answer is complete.
struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    fn let_go(&mut self) {
        self.0 = None;
    }

    fn abort(&mut self) {
        if let Some(rest) = self.0.take() {
            rest.abort();
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.abort();
    }
}
