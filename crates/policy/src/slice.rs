//! What the requests of one principal to one resource depend on: `slice, facts of a request -> decision`.

use cedar_policy::{Context, Effect, Entities, EntityUid, Expression, Request, eval_expression};

use crate::residual::{Facts, Residual, Truth, truth};
use crate::{Decision, PolicyError, bad_request};

/// What the requests of one principal to one resource depend on; see [`crate::Cedar::slice`].
#[derive(Debug)]
pub struct Slice {
    /// What the policies say that no request can change.
    pub(crate) fixed: Decision,
    /// The others, in order.
    pub(crate) open: Vec<Open>,
    /// Attributes of the context that are compared as texts.
    pub(crate) attributes: Vec<String>,
    pub(crate) entities: Entities,
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
}

/// A policy whose scope matches and whose condition depends on the request.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: String,
    pub(crate) effect: Effect,
    pub(crate) residual: Residual,
}

impl Slice {
    /// Decide one request.
    ///
    /// # Errors
    /// What `facts` return.
    pub fn decide(&self, facts: &impl Facts) -> Result<Decision, PolicyError> {
        if self.open.is_empty() {
            return Ok(self.fixed.clone());
        }
        let texts: Vec<_> = self.attributes.iter().map(|name| facts.text(name)).collect();
        let mut request = None;
        let mut ask = |expression: &Expression| {
            let request = match &mut request {
                Some(made) => &*made,
                none => &*none.insert(self.request(facts.context()?)?),
            };
            Ok(truth(eval_expression(request, &self.entities, expression).ok()))
        };
        let mut verdicts = Verdicts::default();
        for policy in &self.open {
            verdicts.note(&policy.id, policy.effect, policy.residual.truth(&texts, &mut ask)?);
        }
        Ok(self.fixed.clone().with(verdicts.decision()))
    }

    fn request(&self, context: Context) -> Result<Request, PolicyError> {
        let [principal, action, resource] = [&self.principal, &self.action, &self.resource].map(Clone::clone);
        Request::new(principal, action, resource, context, None).map_err(|cause| bad_request(&cause))
    }

    /// The decision, if no request can change it.
    pub fn fixed(&self) -> Option<&Decision> {
        self.open.is_empty().then_some(&self.fixed)
    }
}

/// What each policy said.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    permits: Vec<String>,
    forbids: Vec<String>,
    errors: Vec<String>,
}

impl Verdicts {
    pub(crate) fn note(&mut self, id: &str, effect: Effect, truth: Truth) {
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
