//! The one error the engine's owner sees: a stable code, a sentence, and what to do about it.

use std::fmt;

use hanse_policy::PolicyError;

/// An operation of the engine failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    /// Stable identifier, `<room>.<what>`, listed in the error reference.
    pub code: &'static str,
    /// What happened, with the values that matter.
    pub message: String,
    /// The next step for the person who reads it.
    pub hint: &'static str,
}

impl EngineError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, hint: &'static str) -> Self {
        Self {
            code,
            message: message.into(),
            hint,
        }
    }

    pub(crate) fn stopped() -> Self {
        Self::new(
            "engine.stopped",
            "the engine is not running",
            "start an engine; one that was stopped cannot be started again",
        )
    }

    pub(crate) fn setup(cause: impl fmt::Display) -> Self {
        Self::new(
            "engine.setup",
            format!("the engine cannot be set up: {cause}"),
            "the address space or the number of threads may be limited (ulimit -v, ulimit -u)",
        )
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.code, self.message, self.hint)
    }
}

impl std::error::Error for EngineError {}

impl From<PolicyError> for EngineError {
    fn from(error: PolicyError) -> Self {
        Self::new(error.code, error.message, error.hint)
    }
}
