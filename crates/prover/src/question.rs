//! The two questions: does one rule set allow what another denies, can a rule err.

use std::fmt;
use std::str::FromStr;

use cedar_policy::{EntityTypeName, EntityUid, Policy, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env};

use crate::solver::{Scripted, Solve};

/// Which requests are meant: all that this schema allows for one action between these types.
pub struct Scope<'a> {
    /// A Cedar schema in its own syntax.
    pub schema: &'a str,
    /// Type of the principal.
    pub principal: &'a str,
    /// The action as Cedar writes it: `Action::"place"`.
    pub action: &'a str,
    /// Type of the resource.
    pub resource: &'a str,
}

/// What came of a question.
#[derive(Debug)]
pub enum Finding {
    /// No request that the schema allows does it: this is a proof.
    Never,
    /// This one does.
    Counterexample(Counterexample),
    /// The solver gave up within its limits.
    Undecided,
}

/// A request with the entities it is about.
#[derive(Debug)]
pub struct Counterexample {
    /// Id of the principal, without its type.
    pub principal: String,
    /// Id of the resource, without its type.
    pub resource: String,
    /// Every entity in Cedar's JSON form.
    pub entities: String,
}

/// Why a question has no answer.
#[derive(Debug)]
pub enum ProveError {
    /// The schema, a rule or the property is not well formed.
    Input(String),
    /// The rules use what cannot be compiled to the solver's language.
    Unsupported(String),
    /// The solver failed, or answered what cannot be read.
    Solver(String),
}

impl fmt::Display for ProveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(why) | Self::Unsupported(why) | Self::Solver(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ProveError {}

/// Find a request that `wide` allows and `narrow` denies. Rules that err count as not satisfied, as Cedar counts them.
pub fn escapes(scope: &Scope<'_>, wide: &str, narrow: &str, solve: impl Solve) -> Result<Finding, ProveError> {
    let (schema, env) = resolve(scope)?;
    let wide = compile_set(wide, &env, &schema)?;
    let narrow = compile_set(narrow, &env, &schema)?;
    ask(solve, async |compiler| {
        compiler.check_implies_with_counterexample_opt(&wide, &narrow).await
    })
}

/// Find a request on which this one policy errs.
pub fn can_err(scope: &Scope<'_>, policy: &str, solve: impl Solve) -> Result<Finding, ProveError> {
    let (schema, env) = resolve(scope)?;
    let policy = compile(policy, &env, &schema)?;
    ask(solve, async |compiler| {
        compiler.check_never_errors_with_counterexample_opt(&policy).await
    })
}

fn resolve(scope: &Scope<'_>) -> Result<(Schema, RequestEnv), ProveError> {
    let (schema, _) = Schema::from_cedarschema_str(scope.schema).map_err(input)?;
    let principal = EntityTypeName::from_str(scope.principal).map_err(input)?;
    let action = EntityUid::from_str(scope.action).map_err(input)?;
    let resource = EntityTypeName::from_str(scope.resource).map_err(input)?;
    Ok((schema, RequestEnv::new(principal, action, resource)))
}

fn compile_set(text: &str, env: &RequestEnv, schema: &Schema) -> Result<CompiledPolicySet, ProveError> {
    let rules = PolicySet::from_str(text).map_err(input)?;
    CompiledPolicySet::compile(&rules, env, schema).map_err(sort)
}

fn compile(text: &str, env: &RequestEnv, schema: &Schema) -> Result<CompiledPolicy, ProveError> {
    let policy = Policy::from_str(text).map_err(input)?;
    CompiledPolicy::compile(&policy, env, schema).map_err(sort)
}

fn ask<S, F>(solve: S, question: F) -> Result<Finding, ProveError>
where
    S: Solve,
    F: AsyncFnOnce(&mut CedarSymCompiler<Scripted<S>>) -> Result<Option<Env>, Error>,
{
    let mut compiler = CedarSymCompiler::new(Scripted::new(solve)).map_err(sort)?;
    // The compiler's interface is asynchronous; this solver answers at once, so nothing ever waits here.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| ProveError::Solver(error.to_string()))?;
    match runtime.block_on(question(&mut compiler)) {
        Ok(None) => Ok(Finding::Never),
        Ok(Some(found)) => concrete(&found).map(Finding::Counterexample),
        Err(Error::SolverUnknown) => Ok(Finding::Undecided),
        Err(error) => Err(sort(error)),
    }
}

fn concrete(found: &Env) -> Result<Counterexample, ProveError> {
    let mut entities = Vec::new();
    found
        .entities
        .write_to_json(&mut entities)
        .map_err(|error| ProveError::Solver(error.to_string()))?;
    Ok(Counterexample {
        principal: id(found.request.principal()),
        resource: id(found.request.resource()),
        entities: String::from_utf8(entities).map_err(|error| ProveError::Solver(error.to_string()))?,
    })
}

fn id(uid: Option<&EntityUid>) -> String {
    uid.map_or_else(String::new, |uid| uid.id().unescaped().to_owned())
}

fn input(error: impl fmt::Display) -> ProveError {
    ProveError::Input(error.to_string())
}

fn sort(error: Error) -> ProveError {
    match error {
        Error::CompileError(_) | Error::EncodeError(_) => ProveError::Unsupported(error.to_string()),
        Error::ActionNotInSchema(_) | Error::NoPolicies => ProveError::Input(error.to_string()),
        Error::PolicyNotWellTyped { ref errs } => {
            let all: Vec<String> = errs.iter().map(ToString::to_string).collect();
            ProveError::Input(format!("{error}: {}", all.join("; ")))
        }
        _ => ProveError::Solver(error.to_string()),
    }
}
