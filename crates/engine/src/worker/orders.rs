//! Orders to a worker over its control socket: `load, unload -> done, or why not`.

use std::os::fd::{AsFd, BorrowedFd};

use serde_json::{Value, json};

use crate::worker::channel::{Channel, in_memory};
use crate::worker::ledger::Ledger;

/// Why a worker did not do what it was told.
pub(super) enum Trouble {
    /// It says why.
    Told(String),
    /// It did not answer: nothing that it says later can be told apart from other answers.
    Silent(String),
}

impl Trouble {
    fn here(cause: impl std::fmt::Display) -> Self {
        Self::Told(cause.to_string())
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Told(why) => f.write_str(why),
            Self::Silent(why) => write!(f, "it does not answer: {why}"),
        }
    }
}

/// Have the worker load a version that stands in the ledger.
pub(super) fn load(channel: &Channel, ledger: &Ledger, version: u64) -> Result<(), Trouble> {
    let contents = ledger.contents(version);
    let (spec, code, code_bytes) = contents
        .ok_or_else(|| Trouble::Told("the version is gone".to_owned()))?
        .map_err(Trouble::here)?;
    let spec = in_memory(spec.as_bytes()).map_err(Trouble::here)?;
    let order = json!({"do": "load", "version": version, "code_bytes": code_bytes});
    ask(channel, &order, &[code.as_fd(), spec.as_fd()])
}

/// Have the worker forget a version.
pub(super) fn unload(channel: &Channel, version: u64) -> Result<(), Trouble> {
    ask(channel, &json!({"do": "unload", "version": version}), &[])
}

/// Give an order, and hear whether it was followed.
fn ask(channel: &Channel, order: &Value, files: &[BorrowedFd<'_>]) -> Result<(), Trouble> {
    let answer = channel.send(order, files).and_then(|()| channel.receive());
    match answer {
        Ok(Some((answer, _))) => match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(Trouble::Told(error.to_owned())),
            None => Ok(()),
        },
        Ok(None) => Err(Trouble::Silent("its process has ended".to_owned())),
        Err(cause) => Err(Trouble::Silent(cause.to_string())),
    }
}
