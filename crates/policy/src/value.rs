//! Values of conditions, compared as Cedar compares them: `what Cedar evaluated, texts of a request -> value`.

use std::borrow::Cow;
use std::cmp::Ordering;

use cedar_policy::{Entity, EntityUid, EvalResult};

/// A value: known for all requests of a slice (`'static`), or one that borrows texts of a request. Two are equal when Cedar's are.
///
/// Values of extensions (`decimal`, `ip`, ...) are none of these: they are compared by what they mean, and only Cedar knows that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value<'a> {
    Text(Text<'a>),
    Bool(bool),
    Long(i64),
    Entity(Box<EntityUid>),
    /// In order, each once.
    Set(Vec<Self>),
    /// By name, in order.
    Record(Vec<(Cow<'a, str>, Self)>),
}

/// A text. Shorter ones come first: most others are then told from it by their length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (&*self.0, &*other.0);
        one.len().cmp(&two.len()).then_with(|| one.cmp(two))
    }
}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(Ord::cmp(self, other))
    }
}

impl Value<'static> {
    /// The same value; `None` where an extension's is in it.
    pub(crate) fn of(evaluated: &EvalResult) -> Option<Self> {
        Some(match evaluated {
            EvalResult::Bool(truth) => Self::Bool(*truth),
            EvalResult::Long(number) => Self::Long(*number),
            EvalResult::String(text) => Self::Text(Text(Cow::Owned(text.clone()))),
            EvalResult::EntityUid(uid) => Self::Entity(Box::new(uid.clone())),
            EvalResult::Set(set) => Self::set(set.iter().map(Self::of).collect::<Option<_>>()?),
            EvalResult::Record(record) => Self::record(
                record
                    .iter()
                    .map(|(name, field)| Some((Cow::Owned(name.clone()), Self::of(field)?)))
                    .collect::<Option<_>>()?,
            ),
            EvalResult::ExtensionValue(_) => return None,
        })
    }
}

impl<'a> Value<'a> {
    pub(crate) fn set(mut members: Vec<Self>) -> Self {
        members.sort_unstable();
        members.dedup();
        Self::Set(members)
    }

    /// The names must differ, as Cedar demands of a record that is written out.
    pub(crate) fn record(mut fields: Vec<(Cow<'a, str>, Self)>) -> Self {
        fields.sort_unstable();
        Self::Record(fields)
    }

    /// The same value, borrowing nothing.
    pub(crate) fn lasting(self) -> Value<'static> {
        let text = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Bool(truth) => Value::Bool(truth),
            Self::Long(number) => Value::Long(number),
            Self::Text(one) => Value::Text(Text(text(one.0))),
            Self::Entity(uid) => Value::Entity(uid),
            Self::Set(members) => Value::Set(members.into_iter().map(Self::lasting).collect()),
            Self::Record(fields) => Value::Record(
                fields
                    .into_iter()
                    .map(|(name, field)| (text(name), field.lasting()))
                    .collect(),
            ),
        }
    }
}

/// What a term comes to: mostly something that is there already.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Known(&'a Value<'a>),
    Made(Box<Value<'a>>),
}

static TRUE: Value<'static> = Value::Bool(true);
static FALSE: Value<'static> = Value::Bool(false);

impl<'a> Found<'a> {
    pub(crate) fn of(truth: bool) -> Self {
        Self::Known(if truth { &TRUE } else { &FALSE })
    }

    pub(crate) fn made(value: Value<'a>) -> Self {
        Self::Made(Box::new(value))
    }

    /// The field of a record, if it is one and has it.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Known(Value::Record(fields)) => {
                let mut fields = fields.iter();
                fields
                    .find(|(other, _)| other == name)
                    .map(|(_, field)| Self::Known(field))
            }
            Self::Known(_) => None,
            Self::Made(value) => match *value {
                Value::Record(fields) => {
                    let mut fields = fields.into_iter();
                    fields
                        .find(|(other, _)| other == name)
                        .map(|(_, field)| Self::made(field))
                }
                _ => None,
            },
        }
    }

    pub(crate) fn owned(self) -> Value<'a> {
        match self {
            Self::Known(value) => value.clone(),
            Self::Made(value) => *value,
        }
    }
}

impl<'a> std::ops::Deref for Found<'a> {
    type Target = Value<'a>;

    fn deref(&self) -> &Value<'a> {
        match self {
            Self::Known(value) => value,
            Self::Made(value) => value,
        }
    }
}

/// What an entity is tagged with, by name, in order.
#[derive(Debug)]
pub(crate) struct Tags(Vec<(Text<'static>, Option<Value<'static>>)>);

impl Tags {
    /// Nothing when there is no such entity, which Cedar treats alike.
    pub(crate) fn of(entity: Option<&Entity>) -> Self {
        let tags = entity.into_iter().flat_map(Entity::tags);
        let named = tags.map(|(name, value)| {
            let value = value.ok().as_ref().and_then(Value::of);
            (Text(Cow::Owned(name.to_owned())), value)
        });
        let mut tags: Vec<_> = named.collect();
        tags.sort_unstable();
        Self(tags)
    }

    /// What is tagged so, if anything is; within, `None` where that is Cedar's to compare.
    pub(crate) fn get(&self, name: &Text<'_>) -> Option<Option<&Value<'static>>> {
        let found = self.0.binary_search_by(|(other, _)| Ord::cmp(other, name)).ok();
        found.and_then(|at| self.0.get(at)).map(|(_, value)| value.as_ref())
    }
}
