//! Conditions as terms, evaluated for one request without Cedar: `term, texts of a request -> value, an error, or Cedar's to say`.
//!
//! Terms are read from policies ([`crate::reading`]) and worked out as far as one principal and resource allow
//! ([`crate::reduction`]). Order, short cuts and errors are Cedar's: the right side of `&&` is not looked at when the left one is
//! false, an error anywhere on the way is an error of the policy. What is not sure here, a text that is not there above all, is Cedar's to say.

use std::borrow::Cow;
use std::sync::Arc;

use cedar_policy::Expression;

use crate::pattern::Pattern;
use crate::value::{Found, Tags, Value};

/// A part of a condition.
#[derive(Debug, Clone)]
pub(crate) enum Term {
    /// Reads nothing of the request: Cedar evaluates it for each slice.
    Free(Arc<Expression>),
    Known(Value<'static>),
    /// Errs, whatever the request.
    Erred,
    /// Cedar evaluates the whole condition at each request that comes here.
    Cedars,
    /// A text of the context, by its number.
    Attribute(usize),
    /// Whether the context has it.
    Present(usize),
    And(Vec<Self>),
    Or(Vec<Self>),
    If(Box<[Self; 3]>),
    Set(Vec<Self>),
    /// Names and fields.
    Record(Box<(Vec<String>, Vec<Self>)>),
    One(One, Box<Self>),
    Two(Two, Box<[Self; 2]>),
}

/// What is done with one operand.
#[derive(Debug, Clone)]
pub(crate) enum One {
    Not,
    IsEmpty,
    Like(Pattern),
    Get(String),
    Has(String),
    /// `hasTag` and `getTag` of an entity that is known, with the tag's name as operand.
    HasTag(Arc<Tags>),
    GetTag(Arc<Tags>),
}

/// What is done with two operands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Two {
    Equal,
    Contains,
    ContainsAll,
    ContainsAny,
    HasTag,
    GetTag,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The policy could not be evaluated.
    Erred,
    /// Cedar must be asked.
    Cedars,
}

/// The texts of a request by number; `None` where it is not sure that there is one.
pub(crate) type Texts<'a> = [Option<Value<'a>>];

impl Term {
    /// Evaluate where only a truth value will do.
    pub(crate) fn truth(&self, texts: &Texts<'_>) -> Result<bool, Stop> {
        match self {
            Self::Present(number) => text(texts, *number).map(|_| true),
            Self::And(all) => first(all, false, texts),
            Self::Or(all) => first(all, true, texts),
            Self::If(parts) => chosen(parts, texts)?.truth(texts),
            Self::One(One::Get(_) | One::GetTag(_), _) => self.value(texts).and_then(|value| is_true(&value)),
            Self::One(One::Not, operand) => operand.truth(texts).map(|truth| !truth),
            Self::One(what, operand) => one(what, &*operand.found(texts)?),
            Self::Two(what, operands) => match (what, operands.as_ref()) {
                (Two::Contains, [Self::Set(members), member]) => is_among(&*member.found(texts)?, members, texts),
                (what, [left, right]) => two(*what, &*left.found(texts)?, &*right.found(texts)?),
            },
            Self::Free(_)
            | Self::Known(_)
            | Self::Erred
            | Self::Cedars
            | Self::Attribute(_)
            | Self::Set(_)
            | Self::Record(_) => self.value(texts).and_then(|value| is_true(&value)),
        }
    }

    /// Evaluate for one request.
    pub(crate) fn value<'a>(&'a self, texts: &'a Texts<'a>) -> Result<Found<'a>, Stop> {
        match self {
            Self::Free(_) | Self::Cedars => Err(Stop::Cedars),
            Self::Erred => Err(Stop::Erred),
            Self::Known(value) => Ok(Found::Known(value)),
            Self::Attribute(number) => text(texts, *number).map(Found::Known),
            Self::If(parts) => chosen(parts, texts)?.value(texts),
            Self::Set(members) => {
                let mut made = Vec::with_capacity(members.len());
                for one in members {
                    made.push(one.found(texts)?.owned());
                }
                Ok(Found::made(Value::set(made)))
            }
            Self::Record(record) => {
                let (names, fields) = record.as_ref();
                let mut made = Vec::with_capacity(fields.len());
                for (name, field) in names.iter().zip(fields) {
                    made.push((Cow::Borrowed(name.as_str()), field.found(texts)?.owned()));
                }
                Ok(Found::made(Value::record(made)))
            }
            Self::One(One::Get(name), operand) => {
                let operand = operand.found(texts)?;
                let otherwise = no_record(&operand);
                operand.field(name).ok_or(otherwise)
            }
            Self::One(One::GetTag(tags), operand) => {
                let operand = operand.found(texts)?;
                let Value::Text(name) = &*operand else {
                    return Err(Stop::Erred);
                };
                match tags.get(name) {
                    Some(Some(value)) => Ok(Found::Known(value)),
                    Some(None) => Err(Stop::Cedars),
                    None => Err(Stop::Erred),
                }
            }
            Self::Present(_) | Self::And(_) | Self::Or(_) | Self::One(..) | Self::Two(..) => {
                self.truth(texts).map(Found::of)
            }
        }
    }

    /// As [`Term::value`], in line for what most operands are.
    #[inline(always)]
    fn found<'a>(&'a self, texts: &'a Texts<'a>) -> Result<Found<'a>, Stop> {
        match self {
            Self::Attribute(number) => text(texts, *number).map(Found::Known),
            Self::Known(value) => Ok(Found::Known(value)),
            _ => self.value(texts),
        }
    }

    /// The operands that are all evaluated whenever the term is.
    pub(crate) fn operands(&self) -> &[Self] {
        match self {
            Self::Set(all) => all,
            Self::Record(record) => &record.1,
            Self::One(_, operand) => std::slice::from_ref(operand),
            Self::Two(_, operands) => operands.as_slice(),
            _ => &[],
        }
    }

    /// Whether it is a truth value, if it is a value at all.
    pub(crate) fn is_truth(&self) -> bool {
        match self {
            Self::Known(value) => matches!(value, Value::Bool(_)),
            Self::Erred | Self::Cedars | Self::Present(_) | Self::And(_) | Self::Or(_) => true,
            Self::One(what, _) => !matches!(what, One::Get(_) | One::GetTag(_)),
            Self::Two(what, _) => !matches!(what, Two::GetTag),
            Self::Free(_) | Self::Attribute(_) | Self::If(_) | Self::Set(_) | Self::Record(_) => false,
        }
    }
}

fn text<'a>(texts: &'a Texts<'a>, number: usize) -> Result<&'a Value<'a>, Stop> {
    texts.get(number).and_then(Option::as_ref).ok_or(Stop::Cedars)
}

fn is_true(value: &Value<'_>) -> Result<bool, Stop> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        _ => Err(Stop::Erred),
    }
}

/// The first of a chain that is `end`, or errs, decides it.
fn first(all: &[Term], end: bool, texts: &Texts<'_>) -> Result<bool, Stop> {
    for one in all {
        if one.truth(texts)? == end {
            return Ok(end);
        }
    }
    Ok(!end)
}

/// `contains` of a set that is written out, without making it. All members are evaluated, for they may err.
fn is_among(member: &Value<'_>, members: &[Term], texts: &Texts<'_>) -> Result<bool, Stop> {
    let mut is_in = false;
    for one in members {
        is_in |= *one.found(texts)? == *member;
    }
    Ok(is_in)
}

fn chosen<'a>(parts: &'a [Term; 3], texts: &Texts<'_>) -> Result<&'a Term, Stop> {
    let [condition, then, otherwise] = parts;
    condition.truth(texts).map(|truth| if truth { then } else { otherwise })
}

/// `isEmpty`, `like`, `has` and `hasTag`.
fn one(what: &One, operand: &Value<'_>) -> Result<bool, Stop> {
    match (what, operand) {
        (One::Like(pattern), Value::Text(text)) => Ok(pattern.fits(&text.0)),
        (One::HasTag(tags), Value::Text(name)) => Ok(tags.get(name).is_some()),
        (One::IsEmpty, Value::Set(members)) => Ok(members.is_empty()),
        (One::Has(name), Value::Record(fields)) => Ok(fields.iter().any(|(other, _)| other == name)),
        (One::Has(_), other) => Err(no_record(other)),
        _ => Err(Stop::Erred),
    }
}

fn two(what: Two, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Stop> {
    match (what, left, right) {
        (Two::Equal, _, _) => Ok(left == right),
        (Two::Contains, Value::Set(all), one) => Ok(is_in(one, all)),
        (Two::ContainsAll, Value::Set(all), Value::Set(some)) => Ok(some.iter().all(|one| is_in(one, all))),
        (Two::ContainsAny, Value::Set(all), Value::Set(some)) => Ok(some.iter().any(|one| is_in(one, all))),
        // Of an entity that is known they are [`One`].
        (Two::HasTag | Two::GetTag, _, _) => Err(no_record(left)),
        _ => Err(Stop::Erred),
    }
}

fn is_in(member: &Value<'_>, set: &[Value<'_>]) -> bool {
    set.binary_search(member).is_ok()
}

/// Why there is no attribute or tag of what is no record. Those of an entity that the request chose are not known here.
fn no_record(found: &Value<'_>) -> Stop {
    match found {
        Value::Entity(_) => Stop::Cedars,
        _ => Stop::Erred,
    }
}
