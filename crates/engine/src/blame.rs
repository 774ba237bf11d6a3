//! Why a guest did not answer: `trap, error or silence -> fault with a reason its owner can read`.

use std::sync::atomic::Ordering;

use http::StatusCode;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::Error;

use crate::answer::Fault;
use crate::host::Signs;
use crate::workload::Workload;

/// The epoch callback found the request's time used up.
#[derive(Debug)]
pub(crate) struct DeadlineReached;

impl std::fmt::Display for DeadlineReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request's time is used up")
    }
}

impl std::error::Error for DeadlineReached {}

pub(crate) fn classify(cause: &wasmtime::Error, signs: &Signs, workload: &Workload) -> Fault {
    if cause.is::<DeadlineReached>() || cause.downcast_ref() == Some(&Trap::Interrupt) {
        return Fault::deadline();
    }
    if cause.is::<PoolConcurrencyLimitError>() {
        return Fault::overloaded("the node");
    }
    if signs.memory_denied.load(Ordering::Relaxed) {
        return Fault::new(
            "guest.memory",
            StatusCode::INSUFFICIENT_STORAGE,
            format!(
                "the guest wanted more than {} bytes of memory or too large a table",
                workload.limits.memory_bytes
            ),
            "raise the workload's memory limit, or use less",
        );
    }
    let message = match cause.downcast_ref::<I32Exit>() {
        Some(exit) => format!("the guest left with status {} instead of answering", exit.0),
        None => format!("the guest was stopped: {}", cause.root_cause()),
    };
    Fault::new(
        "guest.trap",
        StatusCode::INTERNAL_SERVER_ERROR,
        message,
        "the workload's log has what it wrote before",
    )
}

pub(crate) fn refused_by_guest(code: &Error, signs: &Signs) -> Fault {
    if signs.egress_denied.load(Ordering::Relaxed) {
        return Fault::new(
            "guest.egress_denied",
            StatusCode::BAD_GATEWAY,
            format!("the guest called a destination it may not call, and gave up with {code:?}"),
            "add the destination to the workload's egress rules; its log names it",
        );
    }
    Fault::new(
        "guest.error",
        StatusCode::BAD_GATEWAY,
        format!("the guest gave up with {code:?}"),
        "the workload's log has what it wrote before",
    )
}

pub(crate) fn no_answer() -> Fault {
    Fault::new(
        "guest.no_response",
        StatusCode::INTERNAL_SERVER_ERROR,
        "the guest returned without an answer",
        "the handler must set its response on every path",
    )
}

pub(crate) fn broken_body(cause: &Error) -> Fault {
    Fault::new(
        "guest.error",
        StatusCode::BAD_GATEWAY,
        format!("the guest did not finish its response body: {cause}"),
        "the body must be as long as its content-length says, and be finished",
    )
}
