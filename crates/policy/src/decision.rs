//! Decisions, and what single policies add to them: `what each policy said -> decision`.

use cedar_policy::{AuthorizationError, Effect, Response};

/// What Cedar said of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Cedar's own decision, which leaves policies that erred out of account.
    pub is_allowed: bool,
    /// Policies that decided, sorted: the permits of an allowed request, the forbids of a denied one (none: no permit applied).
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, sorted.
    pub errors: Vec<String>,
}

impl Decision {
    /// Whether the request may go on: allowed, and nothing went wrong on the way there.
    pub fn is_closed_allow(&self) -> bool {
        self.is_allowed && self.errors.is_empty()
    }

    pub(crate) fn of(response: &Response) -> Self {
        let mut policies: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
        let mut errors: Vec<_> = response.diagnostics().errors().map(policy_of).collect();
        policies.sort_unstable();
        errors.sort_unstable();
        Self {
            is_allowed: response.decision() == cedar_policy::Decision::Allow,
            policies,
            errors,
        }
    }

    /// The decision over the policies of both.
    pub(crate) fn with(self, other: Self) -> Self {
        let merged = |a: Vec<String>, b: Vec<String>| {
            let mut all: Vec<_> = a.into_iter().chain(b).collect();
            all.sort_unstable();
            all
        };
        let errors = merged(self.errors, other.errors);
        let is_forbidden = |one: &(bool, Vec<String>)| !one.0 && !one.1.is_empty();
        let (a, b) = ((self.is_allowed, self.policies), (other.is_allowed, other.policies));
        let (is_allowed, policies) = match (is_forbidden(&a), is_forbidden(&b)) {
            (true, true) => (false, merged(a.1, b.1)),
            (true, false) => (false, a.1),
            (false, true) => (false, b.1),
            (false, false) => (a.0 || b.0, merged(a.1, b.1)),
        };
        Self {
            is_allowed,
            policies,
            errors,
        }
    }
}

/// The policy could not be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Erred;

/// What each policy said.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    permits: Vec<String>,
    forbids: Vec<String>,
    errors: Vec<String>,
}

impl Verdicts {
    pub(crate) fn note(&mut self, id: &str, effect: Effect, truth: Result<bool, Erred>) {
        match (truth, effect) {
            (Ok(true), Effect::Permit) => self.permits.push(id.to_owned()),
            (Ok(true), Effect::Forbid) => self.forbids.push(id.to_owned()),
            (Ok(false), _) => {}
            (Err(_), _) => self.errors.push(id.to_owned()),
        }
    }

    pub(crate) fn decision(mut self) -> Decision {
        let is_allowed = self.forbids.is_empty() && !self.permits.is_empty();
        let mut policies = if self.forbids.is_empty() {
            self.permits
        } else {
            self.forbids
        };
        policies.sort_unstable();
        self.errors.sort_unstable();
        Decision {
            is_allowed,
            policies,
            errors: self.errors,
        }
    }
}

fn policy_of(error: &AuthorizationError) -> String {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    }
}
