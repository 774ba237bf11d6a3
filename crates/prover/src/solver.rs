//! A solver that is a function of text: the whole script goes out at once, the whole answer comes back.

use cedar_policy_symcc::solver::{Decision, DecisionWithModel, Solver, SolverError};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Answers one SMT-LIB script: `sat`, `unsat` or `unknown` on the first line, and after `sat` the model, if the script
/// asks for one. An error says why there is no answer.
pub trait Solve: Send {
    /// Answer a script.
    fn solve(&mut self, script: &str) -> Result<String, String>;
}

impl<F: FnMut(&str) -> Result<String, String> + Send> Solve for F {
    fn solve(&mut self, script: &str) -> Result<String, String> {
        self(script)
    }
}

/// Collects what the compiler writes until it wants an answer. Every question begins with a fresh script: the compiler
/// resets its solver before each one, so nothing of an earlier question is needed.
pub(crate) struct Scripted<S> {
    script: Vec<u8>,
    solve: S,
}

impl<S: Solve> Scripted<S> {
    pub(crate) fn new(solve: S) -> Self {
        Self {
            script: Vec::new(),
            solve,
        }
    }

    async fn ask(&mut self, last: &str) -> Result<String, SolverError> {
        self.script.write_all(last.as_bytes()).await?;
        let script = String::from_utf8(std::mem::take(&mut self.script))
            .map_err(|error| SolverError::Solver(format!("script is not UTF-8: {error}")))?;
        self.solve.solve(&script).map_err(SolverError::Solver)
    }
}

impl<S: Solve> Solver for Scripted<S> {
    fn smtlib_input(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        &mut self.script
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        self.script.write_all(b"(set-option :produce-models true)\n").await?;
        Ok(())
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        let answer = self.ask("(check-sat)\n").await?;
        match split(&answer).0 {
            "sat" => Ok(Decision::Sat),
            "unsat" => Ok(Decision::Unsat),
            "unknown" => Ok(Decision::Unknown),
            _ => Err(SolverError::UnrecognizedSolverOutput(answer)),
        }
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        let answer = self.ask("(check-sat)\n(get-model)\n").await?;
        match split(&answer) {
            ("sat", model) => Ok(DecisionWithModel::Sat {
                model: model.to_owned(),
            }),
            ("unsat", _) => Ok(DecisionWithModel::Unsat),
            ("unknown", _) => Ok(DecisionWithModel::Unknown),
            _ => Err(SolverError::UnrecognizedSolverOutput(answer)),
        }
    }
}

fn split(answer: &str) -> (&str, &str) {
    let (first, rest) = answer.trim_start().split_once('\n').unwrap_or((answer.trim(), ""));
    (first.trim(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_and_then_a_model() {
        assert_eq!(split("sat\n(\n)\n"), ("sat", "(\n)\n"));
        assert_eq!(split(" unsat \n"), ("unsat", ""));
        assert_eq!(split("unknown"), ("unknown", ""));
    }
}
