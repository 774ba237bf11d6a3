//! What the requests of one principal to one resource depend on: `slice, facts of a request -> decision`.

use std::borrow::Cow;
use std::sync::Arc;

use cedar_policy::{Context, Effect, Entities, EntityUid, EvalResult, Expression, Request, eval_expression};

use crate::decision::{Decision, Erred, Verdicts};
use crate::term::{Stop, Term};
use crate::value::{Text, Value};
use crate::{PolicyError, bad_request};

/// What a request says of itself, in the two ways in which it is asked.
pub trait Facts {
    /// The attribute of the context, if it is there and a text. `None` where that is not sure: Cedar is asked then.
    fn text(&self, attribute: &str) -> Option<Cow<'_, str>>;

    /// The same context for Cedar, which is asked for it only where texts do not suffice.
    ///
    /// # Errors
    /// `policy.request_invalid`.
    fn context(&self) -> Result<Context, PolicyError>;
}

impl Facts for Context {
    fn text(&self, attribute: &str) -> Option<Cow<'_, str>> {
        match self.get(attribute) {
            Some(EvalResult::String(text)) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    fn context(&self) -> Result<Context, PolicyError> {
        Ok(self.clone())
    }
}

/// What the requests of one principal to one resource depend on; see [`crate::Cedar::slice`].
#[derive(Debug)]
pub struct Slice {
    /// What the policies say that no request can change.
    pub(crate) fixed: Decision,
    /// The others, in order.
    pub(crate) open: Vec<Open>,
    /// Attributes of the context by number; `None` for those that matter to none of these.
    pub(crate) attributes: Vec<Option<String>>,
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
    pub(crate) condition: Term,
    /// The whole condition, for Cedar.
    pub(crate) whole: Arc<Expression>,
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
        let names = self.attributes.iter();
        let text = |name: &str| facts.text(name).map(|text| Value::Text(Text(text)));
        let texts: Vec<_> = names.map(|name| name.as_deref().and_then(text)).collect();
        let mut request = None;
        let mut ask = |expression: &Expression| {
            let request = match &mut request {
                Some(made) => &*made,
                none => &*none.insert(self.request(facts.context()?)?),
            };
            Ok(match eval_expression(request, &self.entities, expression) {
                Ok(EvalResult::Bool(truth)) => Ok(truth),
                _ => Err(Erred),
            })
        };
        let mut verdicts = Verdicts::default();
        for policy in &self.open {
            let truth = match policy.condition.truth(&texts) {
                Ok(truth) => Ok(truth),
                Err(Stop::Erred) => Err(Erred),
                Err(Stop::Cedars) => ask(&policy.whole)?,
            };
            verdicts.note(&policy.id, policy.effect, truth);
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
