//! Conditions, worked out as far as one principal and resource allow: `term, request without a context, entities -> term`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cedar_policy::{Entities, EntityUid, Expression, Request, eval_expression};

use crate::term::{One, Stop, Term, Two};
use crate::value::{Tags, Value};

/// What is known before there is a context.
pub(crate) struct Ground<'a> {
    request: &'a Request,
    entities: &'a Entities,
    tags: HashMap<EntityUid, Arc<Tags>>,
    /// Attributes that matter.
    pub(crate) attributes: BTreeSet<usize>,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(request: &'a Request, entities: &'a Entities) -> Self {
        Self {
            request,
            entities,
            tags: HashMap::new(),
            attributes: BTreeSet::new(),
        }
    }

    /// Work out what is decided already.
    pub(crate) fn reduce(&mut self, term: &Term) -> Term {
        match term {
            Term::Free(expression) => self.worked_out(expression),
            Term::Known(_) | Term::Erred | Term::Cedars => term.clone(),
            Term::Attribute(number) | Term::Present(number) => {
                self.attributes.insert(*number);
                term.clone()
            }
            Term::And(all) => self.chain(all, false),
            Term::Or(all) => self.chain(all, true),
            Term::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                match self.reduce(condition) {
                    Term::Known(Value::Bool(true)) => self.reduce(then),
                    Term::Known(Value::Bool(false)) => self.reduce(otherwise),
                    Term::Known(_) | Term::Erred => Term::Erred,
                    Term::Cedars => Term::Cedars,
                    open => Term::If(Box::new([open, self.reduce(then), self.reduce(otherwise)])),
                }
            }
            Term::Set(members) => settled(Term::Set(self.all(members))),
            Term::Record(record) => {
                let (names, fields) = record.as_ref();
                settled(Term::Record(Box::new((names.clone(), self.all(fields)))))
            }
            Term::One(what, operand) => settled(Term::One(what.clone(), Box::new(self.reduce(operand)))),
            Term::Two(what, operands) => {
                let [left, right] = operands.as_ref();
                let (left, right) = (self.reduce(left), self.reduce(right));
                settled(self.two(*what, left, right))
            }
        }
    }

    fn all(&mut self, terms: &[Term]) -> Vec<Term> {
        terms.iter().map(|term| self.reduce(term)).collect()
    }

    fn worked_out(&self, expression: &Expression) -> Term {
        match eval_expression(self.request, self.entities, expression) {
            Ok(value) => Value::of(&value).map_or(Term::Cedars, Term::Known),
            Err(_) => Term::Erred,
        }
    }

    /// Shorten a chain of `&&` (`end` is false) or `||` (true): what cannot end it is left out, what surely ends it is its last.
    fn chain(&mut self, all: &[Term], end: bool) -> Term {
        let mut left = Vec::new();
        for term in all {
            let (is_last, term) = match self.reduce(term) {
                Term::Known(Value::Bool(truth)) if truth != end => continue,
                Term::Known(Value::Bool(_)) => (true, Term::Known(Value::Bool(end))),
                Term::Known(_) | Term::Erred => (true, Term::Erred),
                Term::Cedars => (true, Term::Cedars),
                open => (false, open),
            };
            left.push(term);
            if is_last {
                break;
            }
        }
        match left.as_slice() {
            [] => Term::Known(Value::Bool(!end)),
            // What is no truth value must stay in the chain, where it is an error.
            [only] if only.is_truth() => only.clone(),
            _ if end => Term::Or(left),
            _ => Term::And(left),
        }
    }

    /// With the tags of an entity that is known, in place of the entity.
    fn two(&mut self, what: Two, left: Term, right: Term) -> Term {
        let one = match (what, &left) {
            (Two::HasTag, Term::Known(Value::Entity(uid))) => One::HasTag(self.tags(uid)),
            (Two::GetTag, Term::Known(Value::Entity(uid))) => One::GetTag(self.tags(uid)),
            (Two::HasTag | Two::GetTag, Term::Known(_)) => return Term::Erred,
            _ => return Term::Two(what, Box::new([left, right])),
        };
        Term::One(one, Box::new(right))
    }

    fn tags(&mut self, uid: &EntityUid) -> Arc<Tags> {
        let entities = self.entities;
        let tags = self.tags.entry(uid.clone());
        tags.or_insert_with(|| Arc::new(Tags::of(entities.get(uid)))).clone()
    }
}

/// What a term comes to when its operands allow no more than one outcome.
fn settled(term: Term) -> Term {
    let operands = term.operands();
    if operands.iter().any(|operand| matches!(operand, Term::Erred)) {
        return Term::Erred;
    }
    if operands.iter().any(|operand| matches!(operand, Term::Cedars)) {
        return Term::Cedars;
    }
    if !operands.iter().all(|operand| matches!(operand, Term::Known(_))) {
        return term;
    }
    match term.value(&[]) {
        Ok(value) => Term::Known(value.owned().lasting()),
        Err(Stop::Erred) => Term::Erred,
        Err(Stop::Cedars) => Term::Cedars,
    }
}
