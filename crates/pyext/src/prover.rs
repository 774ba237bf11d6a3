//! Symbolic analysis of Cedar rules; the interpreter is let go while the compiler works, and taken to ask the solver.

use hanse_prover::{Finding, ProveError, Scope};
use pyo3::prelude::*;

use crate::error::EngineError;

/// What came of a question to the solver.
#[pyclass(frozen, module = "hanse._engine")]
pub(crate) struct Analysis {
    outcome: &'static str,
    principal: String,
    resource: String,
    entities: String,
}

#[pymethods]
impl Analysis {
    /// `never`, `counterexample` or `undecided`.
    #[getter]
    fn outcome(&self) -> &'static str {
        self.outcome
    }

    /// Id of the principal of the counterexample; empty without one.
    #[getter]
    fn principal(&self) -> &str {
        &self.principal
    }

    /// Id of the resource of the counterexample; empty without one.
    #[getter]
    fn resource(&self) -> &str {
        &self.resource
    }

    /// Every entity of the counterexample in Cedar's JSON form; empty without one.
    #[getter]
    fn entities(&self) -> &str {
        &self.entities
    }
}

/// Ask whether some request is allowed by `rules` and denied by `other` (`escapes`), or whether the one policy `rules` can
/// err (`errs`). `solve` answers one SMT-LIB script.
#[pyfunction]
#[pyo3(signature = (question, schema, principal, action, resource, rules, other, solve))]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
pub(crate) fn analyse(
    py: Python<'_>,
    question: &str,
    schema: &str,
    principal: &str,
    action: &str,
    resource: &str,
    rules: &str,
    other: &str,
    solve: Py<PyAny>,
) -> PyResult<Analysis> {
    let scope = Scope {
        schema,
        principal,
        action,
        resource,
    };
    // An error of the solver's own is the one to show, and not that there was no answer.
    let mut raised = None;
    let answer = |script: &str| {
        Python::attach(|py| {
            let answered = solve.call1(py, (script,)).and_then(|text| text.extract::<String>(py));
            answered.map_err(|error| {
                let told = error.to_string();
                raised = Some(error);
                told
            })
        })
    };
    let found = py.detach(|| match question {
        "escapes" => hanse_prover::escapes(&scope, rules, other, answer),
        "errs" => hanse_prover::can_err(&scope, rules, answer),
        _ => Err(ProveError::Input(format!("no such question: {question}"))),
    });
    if let Some(error) = raised {
        return Err(error);
    }
    found.map(Analysis::from).map_err(|error| to_python(py, &error))
}

impl From<Finding> for Analysis {
    fn from(finding: Finding) -> Self {
        let (outcome, found) = match finding {
            Finding::Never => ("never", None),
            Finding::Undecided => ("undecided", None),
            Finding::Counterexample(found) => ("counterexample", Some(found)),
        };
        found.map_or_else(
            || Self {
                outcome,
                principal: String::new(),
                resource: String::new(),
                entities: String::new(),
            },
            |found| Self {
                outcome,
                principal: found.principal,
                resource: found.resource,
                entities: found.entities,
            },
        )
    }
}

fn to_python(py: Python<'_>, error: &ProveError) -> PyErr {
    let (code, hint) = match error {
        ProveError::Input(_) => ("prove.input", "mend the rules or the property"),
        ProveError::Unsupported(_) => ("prove.unsupported", "leave out what cannot be compiled for a solver"),
        ProveError::Solver(_) => ("prove.solver", "see that the solver is installed and runs"),
    };
    let raised = EngineError::new_err(error.to_string());
    let value = raised.value(py);
    let message = error.to_string();
    for (attribute, text) in [("code", code), ("message", message.as_str()), ("hint", hint)] {
        if let Err(failed) = value.setattr(attribute, text) {
            return failed;
        }
    }
    raised
}
