//! Policies read as terms: `Cedar's JSON form of a policy -> condition`.
//!
//! Parts that mention no context are kept whole, for Cedar to evaluate once per slice. Operators that terms do not have (`in`, `is`,
//! `<`, `+`, functions of extensions) mostly meet the request by way of an `if` that chooses one of their operands: there the
//! `if` is lifted out of them, and both outcomes are free of the context again.

use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{Expression, Policy};
use serde_json::{Value, json};

use crate::pattern::Pattern;
use crate::term::{One, Term, Two};
use crate::{PolicyError, invalid};

/// How often an `if` is lifted out of the operators around it, in one policy: each time they are copied.
const MAX_LIFTS: usize = 64;

/// What a policy demands beside its scope.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) term: Term,
    /// The same for Cedar.
    pub(crate) whole: Arc<Expression>,
}

impl Condition {
    /// Read the conditions of a policy in Cedar's JSON form: all that are `when`, none that are `unless`. Attributes of the
    /// context are numbered in `attributes`.
    pub(crate) fn of(policy: &Value, attributes: &mut Vec<String>) -> Result<Self, PolicyError> {
        let mut all: Option<Value> = None;
        for condition in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let body = condition.get("body").cloned().unwrap_or_default();
            let next = match condition.get("kind").and_then(Value::as_str) {
                Some("unless") => json!({"!": {"arg": body}}),
                _ => body,
            };
            all = Some(match all {
                Some(before) => json!({"&&": {"left": before, "right": next}}),
                None => next,
            });
        }
        let json = all.unwrap_or_else(|| json!({"Value": true}));
        let mut reader = Reader {
            attributes,
            lifts: MAX_LIFTS,
        };
        Ok(match reader.read(&json)? {
            Term::Free(whole) => Self {
                term: Term::Free(whole.clone()),
                whole,
            },
            term => Self {
                term,
                whole: Arc::new(expression(&json)?),
            },
        })
    }
}

struct Reader<'a> {
    attributes: &'a mut Vec<String>,
    lifts: usize,
}

impl Reader<'_> {
    fn read(&mut self, json: &Value) -> Result<Term, PolicyError> {
        if !mentions_context(json) {
            return Ok(Term::Free(Arc::new(expression(json)?)));
        }
        let Some((operator, body)) = operation(json) else {
            return Ok(Term::Cedars);
        };
        let part = |name: &str| body.get(name).unwrap_or(&Value::Null);
        let named = || part("attr").as_str().unwrap_or_default().to_owned();
        Ok(match operator {
            "&&" => Term::And(self.all([part("left"), part("right")])?),
            "||" => Term::Or(self.all([part("left"), part("right")])?),
            "if-then-else" => {
                let [condition, then, otherwise] = ["if", "then", "else"].map(part);
                self.choice(condition, then, otherwise)?
            }
            "Set" => Term::Set(self.all(body.as_array().into_iter().flatten())?),
            "Record" => {
                let fields = || body.as_object().into_iter().flatten();
                let names = fields().map(|(name, _)| name.clone()).collect();
                Term::Record(Box::new((names, self.all(fields().map(|(_, field)| field))?)))
            }
            "." if is_context(part("left")) => Term::Attribute(self.number(named())),
            "has" if is_context(part("left")) => Term::Present(self.number(named())),
            "!" => self.one(One::Not, part("arg"))?,
            "isEmpty" => self.one(One::IsEmpty, part("arg"))?,
            "like" => match Pattern::of(part("pattern")) {
                Some(pattern) => self.one(One::Like(pattern), part("left"))?,
                None => Term::Cedars,
            },
            "==" => self.two(Two::Equal, body)?,
            "!=" => Term::One(One::Not, Box::new(self.two(Two::Equal, body)?)),
            "contains" => self.two(Two::Contains, body)?,
            "containsAll" => self.two(Two::ContainsAll, body)?,
            "containsAny" => self.two(Two::ContainsAny, body)?,
            // Of an entity: which one must not hang on the request, or its tags and attributes are not known beforehand.
            "." | "has" | "getTag" | "hasTag" => {
                let path = choice_in(part("left")).map(|path| format!("/{operator}/left{path}"));
                match (self.lifted(json, path)?, operator) {
                    (Some(term), _) => term,
                    (None, ".") => self.one(One::Get(named()), part("left"))?,
                    (None, "has") => self.one(One::Has(named()), part("left"))?,
                    (None, "getTag") => self.two(Two::GetTag, body)?,
                    (None, _) => self.two(Two::HasTag, body)?,
                }
            }
            _ => self.lifted(json, choice_in(json))?.unwrap_or(Term::Cedars),
        })
    }

    fn all<'a>(&mut self, parts: impl IntoIterator<Item = &'a Value>) -> Result<Vec<Term>, PolicyError> {
        parts.into_iter().map(|part| self.read(part)).collect()
    }

    fn one(&mut self, what: One, operand: &Value) -> Result<Term, PolicyError> {
        Ok(Term::One(what, Box::new(self.read(operand)?)))
    }

    fn two(&mut self, what: Two, body: &Value) -> Result<Term, PolicyError> {
        let side = |name| body.get(name).unwrap_or(&Value::Null);
        let sides = [self.read(side("left"))?, self.read(side("right"))?];
        Ok(Term::Two(what, Box::new(sides)))
    }

    fn choice(&mut self, condition: &Value, then: &Value, otherwise: &Value) -> Result<Term, PolicyError> {
        let parts = [self.read(condition)?, self.read(then)?, self.read(otherwise)?];
        Ok(Term::If(Box::new(parts)))
    }

    /// `f(if c then a else b)` as `if c then f(a) else f(b)`, with the `if` at `path`: operands are all evaluated, so it is no
    /// matter which first.
    fn lifted(&mut self, json: &Value, path: Option<String>) -> Result<Option<Term>, PolicyError> {
        let Some((path, lifts)) = path.zip(self.lifts.checked_sub(1)) else {
            return Ok(None);
        };
        self.lifts = lifts;
        let part = |name| json.pointer(&format!("{path}/if-then-else/{name}")).cloned();
        let with = |name| {
            let mut copy = json.clone();
            *copy.pointer_mut(&path)? = part(name)?;
            Some(copy)
        };
        match (part("if"), with("then"), with("else")) {
            (Some(condition), Some(then), Some(otherwise)) => self.choice(&condition, &then, &otherwise).map(Some),
            _ => Ok(None),
        }
    }

    fn number(&mut self, attribute: String) -> usize {
        let known = self.attributes.iter().position(|known| *known == attribute);
        known.unwrap_or_else(|| {
            self.attributes.push(attribute);
            self.attributes.len() - 1
        })
    }
}

/// Where the first `if` on the request is that is evaluated whenever `json` is, as a JSON pointer.
fn choice_in(json: &Value) -> Option<String> {
    if !mentions_context(json) {
        return None;
    }
    let (operator, body) = operation(json)?;
    let within = |name: &str, part: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        choice_in(part).map(|path| format!("/{operator}/{name}{path}"))
    };
    match (operator, body) {
        ("if-then-else", _) => Some(String::new()),
        // Their right sides are not always evaluated, the others have no operands.
        ("&&" | "||" | "Value" | "Var" | "Slot", _) => None,
        ("Record", Value::Object(fields)) => fields.iter().find_map(|(name, field)| within(name, field)),
        (_, Value::Array(items)) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(number, item)| within(&number.to_string(), item))
        }
        // Not the `in` of `is`, which is a right side as well.
        _ => ["left", "right", "arg"]
            .iter()
            .find_map(|name| within(name, body.get(*name)?)),
    }
}

/// Operator and body of an expression in Cedar's JSON form.
fn operation(json: &Value) -> Option<(&str, &Value)> {
    let fields = json.as_object().filter(|fields| fields.len() == 1)?;
    fields.iter().next().map(|(name, value)| (name.as_str(), value))
}

fn is_context(json: &Value) -> bool {
    json.get("Var").and_then(Value::as_str) == Some("context")
}

/// Whether an expression has the variable `context` in it.
fn mentions_context(json: &Value) -> bool {
    match json {
        Value::Array(items) => items.iter().any(mentions_context),
        Value::Object(fields) => is_context(json) || fields.values().any(mentions_context),
        _ => false,
    }
}

/// The expression of Cedar's JSON form. Cedar reads policies from it and no expressions, hence the way round.
fn expression(json: &Value) -> Result<Expression, PolicyError> {
    let all = json!({"op": "All"});
    let policy = json!({
        "effect": "permit", "principal": all, "action": all, "resource": all,
        "conditions": [{"kind": "when", "body": json}],
    });
    let policy = Policy::from_json(None, policy).map_err(|cause| invalid("a policy", &cause))?;
    let text = policy.to_cedar().unwrap_or_default();
    let inner = text
        .strip_prefix("permit(\n  principal,\n  action,\n  resource\n) when {\n")
        .and_then(|text| text.strip_suffix("\n};"))
        .ok_or_else(|| invalid("a policy", &"its condition cannot be read by itself"))?;
    Expression::from_str(inner).map_err(|cause| invalid("a policy", &cause))
}
