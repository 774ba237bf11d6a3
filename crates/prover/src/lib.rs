//! Symbolic analysis of Cedar rules. `schema, rules, property -> holds | counterexample | undecided`.
//!
//! The compiler of `cedar-policy-symcc` turns the question into SMT-LIB, a solver somewhere else answers the text, and
//! the compiler turns its model back into a request with entities. This crate knows neither which solver answers nor what
//! the rules are about.

mod question;
mod solver;

pub use question::{Counterexample, Finding, ProveError, Scope, can_err, escapes};
pub use solver::Solve;
