//! Conditions, worked out as far as one principal allows: `condition -> form -> residual -> true, false or an error`.
//!
//! A condition that reads the request has parts that do not (`resource.namespace == "shop"`), and those that do mostly compare
//! a text of the context with something known. A [`Form`], made when policies are pushed, tells them apart; a [`Residual`],
//! made per principal and resource, has the former evaluated by Cedar and holds the latter as comparisons of texts.
//! Everything else stays an expression for Cedar to evaluate at each request. Order, short cuts and errors are Cedar's: the
//! right side of `&&` is not looked at when the left one is false, an error anywhere on the way is an error of the policy.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;

use cedar_policy::{Context, Entities, EvalResult, Expression, Policy, Request, eval_expression};
use serde_json::{Value, json};

use crate::{PolicyError, invalid, mentions_context};

/// What a request says of itself, in the two ways in which it is asked.
pub trait Facts {
    /// The attribute of the context, if it is there and a text. `None` where that is not sure: Cedar is asked then.
    fn text(&self, attribute: &str) -> Option<Cow<'_, str>>;

    /// The same context for Cedar, which is asked for it only where comparing texts does not suffice.
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

/// The policy could not be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Erred;

/// What a condition comes to.
pub(crate) type Truth = Result<bool, Erred>;

/// A condition in which the parts that read the context are told from those that do not.
#[derive(Debug)]
pub(crate) enum Form {
    /// Reads nothing of the request.
    Free(Expression),
    /// Compares a text of the context.
    Test {
        attribute: String,
        test: Test<Expression>,
        whole: Expression,
    },
    /// Reads the context in another way.
    Open(Expression),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    If(Box<[Self; 3]>),
}

/// With what a text is compared.
#[derive(Debug, Clone)]
pub(crate) enum Test<T> {
    Is(T),
    Among(T),
    Like(Vec<Piece>),
    Present,
}

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Any,
    Text(String),
}

impl Form {
    /// Read the conditions of a policy in Cedar's JSON form: all that are `when`, none that are `unless`.
    pub(crate) fn of(policy: &Value) -> Result<Self, PolicyError> {
        let mut all = Vec::new();
        for condition in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let body = Self::read(condition.get("body").unwrap_or(&Value::Null))?;
            match condition.get("kind").and_then(Value::as_str) {
                Some("unless") => all.push(Self::Not(Box::new(body))),
                _ => all.push(body),
            }
        }
        Ok(Self::And(all))
    }

    fn read(json: &Value) -> Result<Self, PolicyError> {
        if !mentions_context(json) {
            return Ok(Self::Free(expression(json)?));
        }
        let Some((operator, body)) = json.as_object().filter(|fields| fields.len() == 1).and_then(only) else {
            return Ok(Self::Open(expression(json)?));
        };
        let part = |name: &str| body.get(name).unwrap_or(&Value::Null);
        Ok(match operator {
            "!" => Self::Not(Box::new(Self::read(part("arg"))?)),
            "&&" => Self::And(vec![Self::read(part("left"))?, Self::read(part("right"))?]),
            "||" => Self::Or(vec![Self::read(part("left"))?, Self::read(part("right"))?]),
            "if-then-else" => Self::If(Box::new([
                Self::read(part("if"))?,
                Self::read(part("then"))?,
                Self::read(part("else"))?,
            ])),
            "!=" => {
                let equal = json!({"==": body});
                Self::Not(Box::new(Self::test(&equal, "==", &part)?))
            }
            _ => Self::test(json, operator, &part)?,
        })
    }

    fn test<'a>(json: &Value, operator: &str, part: &dyn Fn(&str) -> &'a Value) -> Result<Self, PolicyError> {
        let (left, right) = (part("left"), part("right"));
        let known = |json: &Value| match mentions_context(json) {
            true => Ok(None),
            false => expression(json).map(Some),
        };
        let found = match operator {
            "==" => match (attribute(left), attribute(right)) {
                (Some(attribute), None) => known(right)?.map(|other| (attribute, Test::Is(other))),
                (None, Some(attribute)) => known(left)?.map(|other| (attribute, Test::Is(other))),
                _ => None,
            },
            "contains" => match attribute(right) {
                Some(attribute) => known(left)?.map(|set| (attribute, Test::Among(set))),
                None => None,
            },
            "like" => attribute(left).zip(pieces(part("pattern")).map(Test::Like)),
            "has" if is_context(left) => part("attr").as_str().map(|attribute| (attribute, Test::Present)),
            _ => None,
        };
        let whole = expression(json)?;
        Ok(match found {
            Some((attribute, test)) => Self::Test {
                attribute: attribute.to_owned(),
                test,
                whole,
            },
            None => Self::Open(whole),
        })
    }

    /// Work out what `request`, whose context is empty, and `entities` decide already. Attributes that matter are numbered in
    /// `attributes`.
    pub(crate) fn reduce(&self, request: &Request, entities: &Entities, attributes: &mut Vec<String>) -> Residual {
        match self {
            Self::Free(expression) => Residual::Known(truth(eval_expression(request, entities, expression).ok())),
            Self::Open(expression) => Residual::Open(expression.clone()),
            Self::Test { attribute, test, whole } => {
                let Some(test) = worked_out(test, request, entities) else {
                    // What it is compared with cannot be evaluated. Whether the attribute is there is Cedar's to say.
                    return Residual::Open(whole.clone());
                };
                let number = attributes
                    .iter()
                    .position(|known| known == attribute)
                    .unwrap_or_else(|| {
                        attributes.push(attribute.clone());
                        attributes.len() - 1
                    });
                Residual::Test {
                    attribute: number,
                    test,
                    whole: whole.clone(),
                }
            }
            Self::Not(inner) => match inner.reduce(request, entities, attributes) {
                Residual::Known(truth) => Residual::Known(truth.map(|truth| !truth)),
                other => Residual::Not(Box::new(other)),
            },
            Self::And(all) => chain(all, false, |form| form.reduce(request, entities, attributes)),
            Self::Or(all) => chain(all, true, |form| form.reduce(request, entities, attributes)),
            Self::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                match condition.reduce(request, entities, attributes) {
                    Residual::Known(Err(erred)) => Residual::Known(Err(erred)),
                    Residual::Known(Ok(true)) => then.reduce(request, entities, attributes),
                    Residual::Known(Ok(false)) => otherwise.reduce(request, entities, attributes),
                    condition => Residual::If(Box::new([
                        condition,
                        then.reduce(request, entities, attributes),
                        otherwise.reduce(request, entities, attributes),
                    ])),
                }
            }
        }
    }
}

/// What is left of a condition for one principal and resource.
#[derive(Debug)]
pub(crate) enum Residual {
    Known(Truth),
    Test {
        /// Number of the attribute.
        attribute: usize,
        test: Test<HashSet<String>>,
        whole: Expression,
    },
    Open(Expression),
    Not(Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    If(Box<[Self; 3]>),
}

impl Residual {
    /// Evaluate for one request: `texts` are its attributes by number, `ask` is Cedar.
    pub(crate) fn truth(
        &self,
        texts: &[Option<Cow<'_, str>>],
        ask: &mut dyn FnMut(&Expression) -> Result<Truth, PolicyError>,
    ) -> Result<Truth, PolicyError> {
        match self {
            Self::Known(truth) => Ok(*truth),
            Self::Open(expression) => ask(expression),
            Self::Test { attribute, test, whole } => match texts.get(*attribute) {
                Some(Some(text)) => Ok(Ok(test.holds(text))),
                _ => ask(whole),
            },
            Self::Not(inner) => Ok(inner.truth(texts, ask)?.map(|truth| !truth)),
            Self::And(all) => first(all, false, texts, ask),
            Self::Or(all) => first(all, true, texts, ask),
            Self::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                match condition.truth(texts, ask)? {
                    Err(erred) => Ok(Err(erred)),
                    Ok(true) => then.truth(texts, ask),
                    Ok(false) => otherwise.truth(texts, ask),
                }
            }
        }
    }
}

impl Test<HashSet<String>> {
    fn holds(&self, text: &str) -> bool {
        match self {
            // A text equals nothing that is no text: then the set is empty.
            Self::Is(one) | Self::Among(one) => one.contains(text),
            Self::Like(pattern) => is_like(text, pattern),
            Self::Present => true,
        }
    }
}

/// The first of a chain that is `end`, or errs, decides it.
fn first(
    all: &[Residual],
    end: bool,
    texts: &[Option<Cow<'_, str>>],
    ask: &mut dyn FnMut(&Expression) -> Result<Truth, PolicyError>,
) -> Result<Truth, PolicyError> {
    for one in all {
        match one.truth(texts, ask)? {
            Ok(truth) if truth != end => {}
            decided => return Ok(decided),
        }
    }
    Ok(Ok(!end))
}

/// Shorten a chain of `&&` (`end` is false) or `||` (true): what cannot end it is left out, what surely ends it is its last.
fn chain<'a>(all: &'a [Form], end: bool, mut reduce: impl FnMut(&'a Form) -> Residual) -> Residual {
    let mut left = Vec::new();
    for form in all {
        match reduce(form) {
            Residual::Known(Ok(truth)) if truth != end => {}
            Residual::Known(decided) => {
                left.push(Residual::Known(decided));
                break;
            }
            open => left.push(open),
        }
    }
    match left.pop() {
        None => Residual::Known(Ok(!end)),
        Some(only) if left.is_empty() => only,
        Some(last) => {
            left.push(last);
            if end { Residual::Or(left) } else { Residual::And(left) }
        }
    }
}

/// Evaluate what a text is compared with; `None` when that errs.
fn worked_out(test: &Test<Expression>, request: &Request, entities: &Entities) -> Option<Test<HashSet<String>>> {
    let value = |expression| eval_expression(request, entities, expression).ok();
    Some(match test {
        Test::Is(other) => Test::Is(match value(other)? {
            EvalResult::String(text) => HashSet::from([text]),
            _ => HashSet::new(),
        }),
        Test::Among(set) => match value(set)? {
            EvalResult::Set(set) => Test::Among(
                set.iter()
                    .filter_map(|member| match member {
                        EvalResult::String(text) => Some(text.clone()),
                        _ => None,
                    })
                    .collect(),
            ),
            _ => return None,
        },
        Test::Like(pattern) => Test::Like(pattern.clone()),
        Test::Present => Test::Present,
    })
}

/// A condition that is no truth value is an error.
pub(crate) fn truth(value: Option<EvalResult>) -> Truth {
    match value {
        Some(EvalResult::Bool(truth)) => Ok(truth),
        _ => Err(Erred),
    }
}

/// Whether a text fits a pattern. Greedy: what follows the last wildcard that was passed is tried further and further on.
fn is_like(text: &str, pattern: &[Piece]) -> bool {
    let Some((begin, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    let (mut ahead, mut left) = match begin {
        Piece::Any => (text, rest),
        Piece::Text(begin) => match (text.strip_prefix(begin.as_str()), rest) {
            (Some(ahead), []) => return ahead.is_empty(),
            (Some(ahead), rest) => (ahead, rest),
            (None, _) => return false,
        },
    };
    let mut after_any = *begin == Piece::Any;
    while let Some((piece, rest)) = left.split_first() {
        match piece {
            Piece::Any => after_any = true,
            Piece::Text(end) if rest.is_empty() && after_any => return ahead.ends_with(end.as_str()),
            Piece::Text(next) => {
                let found = match after_any {
                    true => ahead.find(next.as_str()),
                    false => ahead.starts_with(next.as_str()).then_some(0),
                };
                let Some(at) = found else { return false };
                ahead = ahead.get(at + next.len()..).unwrap_or_default();
                after_any = false;
            }
        }
        left = rest;
    }
    after_any || ahead.is_empty()
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

fn only(fields: &serde_json::Map<String, Value>) -> Option<(&str, &Value)> {
    fields.iter().next().map(|(name, value)| (name.as_str(), value))
}

fn is_context(json: &Value) -> bool {
    json.get("Var").and_then(Value::as_str) == Some("context")
}

/// The name in `context.name`.
fn attribute(json: &Value) -> Option<&str> {
    let access = json.get(".")?;
    is_context(access.get("left")?)
        .then(|| access.get("attr")?.as_str())
        .flatten()
}

fn pieces(pattern: &Value) -> Option<Vec<Piece>> {
    let mut all = Vec::new();
    for piece in pattern.as_array()? {
        match (piece.get("Literal").and_then(Value::as_str), all.last_mut()) {
            // Two texts in a row are one, or the search for the first would pass over the place where both are.
            (Some(text), Some(Piece::Text(before))) => before.push_str(text),
            (Some(text), _) => all.push(Piece::Text(text.to_owned())),
            (None, _) if piece == "Wildcard" => all.push(Piece::Any),
            (None, _) => return None,
        }
    }
    Some(all)
}
