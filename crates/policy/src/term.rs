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
pub(crate) type Texts<'a> = [Option<Cow<'a, str>>];

impl Term {
    /// Evaluate where only a truth value will do.
    pub(crate) fn truth(&self, texts: &Texts<'_>) -> Result<bool, Stop> {
        match self {
            Self::Present(number) => text(texts, *number).map(|_| true),
            Self::And(all) => first(all, false, texts),
            Self::Or(all) => first(all, true, texts),
            Self::If(parts) => chosen(parts, texts)?.truth(texts),
            Self::One(One::Get(_) | One::GetTag(_), _) => self.value(texts)?.truth().ok_or(Stop::Erred),
            Self::One(One::Not, operand) => operand.truth(texts).map(|truth| !truth),
            Self::One(what, operand) => one(what, &operand.found(texts)?),
            Self::Two(what, operands) => match (what, operands.as_ref()) {
                (Two::Contains, [Self::Set(members), member]) => is_among(&member.found(texts)?, members, texts),
                (what, [left, right]) => two(*what, &left.found(texts)?, &right.found(texts)?),
            },
            Self::Free(_)
            | Self::Known(_)
            | Self::Erred
            | Self::Cedars
            | Self::Attribute(_)
            | Self::Set(_)
            | Self::Record(_) => self.value(texts)?.truth().ok_or(Stop::Erred),
        }
    }

    /// Evaluate for one request.
    pub(crate) fn value<'a>(&'a self, texts: &'a Texts<'_>) -> Result<Found<'a>, Stop> {
        match self {
            Self::Free(_) | Self::Cedars => Err(Stop::Cedars),
            Self::Erred => Err(Stop::Erred),
            Self::Known(value) => Ok(Found::Known(value)),
            Self::Attribute(number) => text(texts, *number).map(Found::Text),
            Self::If(parts) => chosen(parts, texts)?.value(texts),
            Self::Set(members) => {
                let mut made = Vec::with_capacity(members.len());
                for one in members {
                    made.push(one.found(texts)?.owned());
                }
                Ok(Found::Made(Value::set(made)))
            }
            Self::Record(record) => {
                let (names, fields) = record.as_ref();
                let mut made = Vec::with_capacity(fields.len());
                for (name, field) in names.iter().zip(fields) {
                    made.push((Cow::Borrowed(name.as_str()), field.found(texts)?.owned()));
                }
                Ok(Found::Made(Value::record(made)))
            }
            Self::One(One::Get(name), operand) => {
                let operand = operand.found(texts)?;
                let otherwise = no_record(&operand);
                operand.field(name).ok_or(otherwise)
            }
            Self::One(One::GetTag(tags), operand) => {
                let operand = operand.found(texts)?;
                match tags.get(operand.text().ok_or(Stop::Erred)?) {
                    Some(Some(value)) => Ok(Found::Known(value)),
                    Some(None) => Err(Stop::Cedars),
                    None => Err(Stop::Erred),
                }
            }
            Self::Present(_) | Self::And(_) | Self::Or(_) | Self::One(..) | Self::Two(..) => {
                self.truth(texts).map(|truth| Found::Made(Value::Bool(truth)))
            }
        }
    }

    /// As [`Term::value`], in line for what most operands are.
    #[inline(always)]
    fn found<'a>(&'a self, texts: &'a Texts<'_>) -> Result<Found<'a>, Stop> {
        match self {
            Self::Attribute(number) => text(texts, *number).map(Found::Text),
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

fn text<'a>(texts: &'a Texts<'_>, number: usize) -> Result<&'a str, Stop> {
    texts.get(number).and_then(Option::as_deref).ok_or(Stop::Cedars)
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
fn is_among(member: &Found<'_>, members: &[Term], texts: &Texts<'_>) -> Result<bool, Stop> {
    let mut is_in = false;
    for one in members {
        is_in |= one.found(texts)?.is(member);
    }
    Ok(is_in)
}

fn chosen<'a>(parts: &'a [Term; 3], texts: &Texts<'_>) -> Result<&'a Term, Stop> {
    let [condition, then, otherwise] = parts;
    condition.truth(texts).map(|truth| if truth { then } else { otherwise })
}

/// `isEmpty`, `like`, `has` and `hasTag`.
fn one(what: &One, operand: &Found<'_>) -> Result<bool, Stop> {
    let text = || operand.text().ok_or(Stop::Erred);
    match what {
        One::Like(pattern) => text().map(|text| pattern.fits(text)),
        One::HasTag(tags) => text().map(|name| tags.get(name).is_some()),
        One::IsEmpty => members(operand).map(<[_]>::is_empty),
        One::Has(name) => match operand.other() {
            Some(Value::Record(fields)) => Ok(fields.iter().any(|(other, _)| other == name)),
            _ => Err(no_record(operand)),
        },
        One::Not | One::Get(_) | One::GetTag(_) => Err(Stop::Cedars),
    }
}

fn two(what: Two, left: &Found<'_>, right: &Found<'_>) -> Result<bool, Stop> {
    match what {
        Two::Equal => Ok(left.is(right)),
        Two::Contains => members(left).map(|all| right.is_in(all)),
        Two::ContainsAll | Two::ContainsAny => {
            let (all, some) = (members(left)?, members(right)?);
            let mut are_in = some.iter().map(|one| Found::Known(one).is_in(all));
            Ok(match what {
                Two::ContainsAll => are_in.all(|is_in| is_in),
                _ => are_in.any(|is_in| is_in),
            })
        }
        // Of an entity that is known they are [`One`].
        Two::HasTag | Two::GetTag => Err(no_record(left)),
    }
}

fn members<'f, 'a>(found: &'f Found<'a>) -> Result<&'f [Value<'a>], Stop> {
    found.members().ok_or(Stop::Erred)
}

/// Why there is no attribute or tag of what is no record. Those of an entity that the request chose are not known here.
fn no_record(found: &Found<'_>) -> Stop {
    match found.other() {
        Some(Value::Entity(_)) => Stop::Cedars,
        _ => Stop::Erred,
    }
}
