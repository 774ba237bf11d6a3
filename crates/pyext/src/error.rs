//! `EngineError`, with its code, message and hint as attributes.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(
    hanse._engine,
    EngineError,
    PyException,
    "An operation of the engine failed: code, message and hint say how, what and what to do."
);

/// Add the exception to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let class = module.py().get_type::<EngineError>();
    // Set on the class as well, so that an error made in Python has them.
    for attribute in ["code", "message", "hint"] {
        class.setattr(attribute, "")?;
    }
    module.add("EngineError", class)
}

/// Turn an engine's error into its Python form.
pub(crate) fn to_python(py: Python<'_>, error: &hanse_engine::EngineError) -> PyErr {
    let raised = EngineError::new_err(error.to_string());
    let value = raised.value(py);
    let attributes = [
        ("code", error.code),
        ("message", error.message.as_str()),
        ("hint", error.hint),
    ];
    for (attribute, text) in attributes {
        if let Err(failed) = value.setattr(attribute, text) {
            return failed;
        }
    }
    raised
}
