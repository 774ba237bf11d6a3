//! Values of conditions, compared as Cedar compares them: `what Cedar evaluated, texts of a request -> value`.

use std::borrow::Cow;
use std::cmp::Ordering;

use cedar_policy::{Entity, EntityUid, EvalResult};

/// A value: known for all requests of a slice (`'static`), or one that borrows texts of a request. Two are equal when Cedar's are.
///
/// Values of extensions (`decimal`, `ip`, ...) are none of these: they are compared by what they mean, and only Cedar knows that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value<'a> {
    // First, so that texts are at the front of a set.
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

impl Text<'_> {
    fn against(&self, text: &str) -> Ordering {
        self.0.len().cmp(&text.len()).then_with(|| (*self.0).cmp(text))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.against(&other.0)
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

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(&text.0),
            _ => None,
        }
    }

    pub(crate) fn members(&self) -> Option<&[Self]> {
        match self {
            Self::Set(members) => Some(members),
            _ => None,
        }
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

/// What a term comes to: mostly a text, for which no value need be made, or something a term knows.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Text(&'a str),
    Known(&'a Value<'a>),
    Made(Value<'a>),
}

impl<'a> Found<'a> {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Known(value) => value.text(),
            Self::Made(value) => value.text(),
        }
    }

    /// The value, where it is no text.
    pub(crate) fn other(&self) -> Option<&Value<'a>> {
        match self {
            Self::Text(_) | Self::Known(Value::Text(_)) | Self::Made(Value::Text(_)) => None,
            Self::Known(value) => Some(value),
            Self::Made(value) => Some(value),
        }
    }

    pub(crate) fn members(&self) -> Option<&[Value<'a>]> {
        self.other().and_then(Value::members)
    }

    pub(crate) fn truth(&self) -> Option<bool> {
        match self.other() {
            Some(Value::Bool(truth)) => Some(*truth),
            _ => None,
        }
    }

    pub(crate) fn is(&self, other: &Found<'_>) -> bool {
        match (self.text(), other.text()) {
            (Some(one), Some(two)) => one == two,
            _ => self.other().zip(other.other()).is_some_and(|(one, two)| one == two),
        }
    }

    pub(crate) fn is_in(&self, set: &[Value<'_>]) -> bool {
        let found = match self.text() {
            Some(text) => set.binary_search_by(|member| match member {
                Value::Text(other) => other.against(text),
                _ => Ordering::Greater,
            }),
            None => self.other().map_or(Err(0), |value| set.binary_search(value)),
        };
        found.is_ok()
    }

    /// The field of a record, if it is one and has it.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Known(Value::Record(fields)) => {
                let found = fields.iter().find(|(other, _)| other == name);
                found.map(|(_, field)| Self::Known(field))
            }
            Self::Made(Value::Record(fields)) => {
                let found = fields.into_iter().find(|(other, _)| other == name);
                found.map(|(_, field)| Self::Made(field))
            }
            _ => None,
        }
    }

    pub(crate) fn owned(self) -> Value<'a> {
        match self {
            Self::Text(text) => Value::Text(Text(Cow::Borrowed(text))),
            Self::Known(value) => value.clone(),
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
    pub(crate) fn get(&self, name: &str) -> Option<Option<&Value<'static>>> {
        let found = self.0.binary_search_by(|(other, _)| other.against(name)).ok();
        found.and_then(|at| self.0.get(at)).map(|(_, value)| value.as_ref())
    }
}
