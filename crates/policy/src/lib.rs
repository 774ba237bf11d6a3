//! Cedar, ready to be asked: `policies, entities, schema -> decisions, with the policies that decided`.
//!
//! Everything is parsed and validated once. [`Cedar::decide`] asks all policies about all entities; [`Cedar::slice`] keeps only
//! what requests of one principal to one resource can depend on, and has evaluated the part that no request changes:
//!
//! - a policy whose scope cannot match never applies;
//! - an expression reaches only the entities it names, the principal, the resource, and what those refer to;
//! - without `context` in it, a policy or a part of one answers the same each time, for Cedar has no clock and no state;
//! - what is left of the others reads texts of the request, for which Cedar need not be asked (`term`), but for the rarest shapes.
//!
//! Both ways give equal decisions and reasons, which the public Cedar corpus proves.
//!
//! Cedar itself skips a policy that errs, so that a `forbid` that errs would fail open. [`Decision::is_closed_allow`] closes that: any error
//! is a denial.

mod decision;
mod pattern;
mod reading;
mod reduction;
mod scope;
mod slice;
mod term;
mod value;

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    Schema, ValidationMode, Validator,
};

use serde_json::Value as Json;

use crate::decision::{Erred, Verdicts};
use crate::reading::Condition;
use crate::reduction::Ground;
use crate::scope::may_apply;
use crate::slice::Open;
use crate::term::Term;
use crate::value::Value;

pub use crate::decision::Decision;
pub use crate::slice::{Facts, Slice};
pub use cedar_policy;

/// Something is no policy, or cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// `policy.invalid` or `policy.request_invalid`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The next step for the person who reads it.
    pub hint: &'static str,
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for PolicyError {}

/// One policy and what decides where it may apply.
#[derive(Debug)]
struct Rule {
    policy: Policy,
    condition: Condition,
    /// Entities it names.
    names: Vec<EntityUid>,
}

/// Parsed policies, entities and schema.
#[derive(Debug)]
pub struct Cedar {
    rules: Vec<Rule>,
    /// Attributes of the context that conditions read, by number.
    attributes: Vec<String>,
    all: PolicySet,
    entities: Entities,
    /// What each entity refers to: its parents, and entities in its attributes and tags.
    refers: HashMap<EntityUid, Vec<EntityUid>>,
    schema: Option<Schema>,
}

impl Cedar {
    /// Parse everything. A schema says how entities and contexts are read and which requests there are; policies are held against
    /// it by [`Cedar::validate`].
    ///
    /// `entities` is Cedar's JSON form, empty for none. Policies are named by their position: `policy0`.
    ///
    /// # Errors
    /// `policy.invalid`.
    pub fn new(policies: &str, entities: &str, schema: Option<&str>) -> Result<Self, PolicyError> {
        let schema = match schema {
            Some(text) => {
                let (read, _) = Schema::from_cedarschema_str(text).map_err(|cause| invalid("the schema", &cause))?;
                Some(read)
            }
            None => None,
        };
        let parsed = PolicySet::from_str(policies).map_err(|cause| invalid("a policy", &cause))?;
        let mut in_order: Vec<_> = parsed.policies().collect();
        in_order.sort_by_key(|policy| position(policy.id()));
        let mut attributes = Vec::new();
        let rules = in_order
            .into_iter()
            .cloned()
            .map(|policy| rule(policy, &mut attributes));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let text = if entities.is_empty() { "[]" } else { entities };
        let entities = Entities::from_json_str(text, schema.as_ref()).map_err(|cause| invalid("an entity", &cause))?;
        let refers = entities
            .iter()
            .map(|entity| Ok((entity.uid(), refers(entity)?)))
            .collect::<Result<_, PolicyError>>()?;
        Ok(Self {
            rules,
            attributes,
            all: parsed,
            entities,
            refers,
            schema,
        })
    }

    /// Hold the policies against the schema, strictly: none may be able to err on what the schema allows.
    ///
    /// # Errors
    /// `policy.invalid`, also without a schema.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let schema = self
            .schema
            .clone()
            .ok_or_else(|| invalid("a policy", &"there is no schema"))?;
        let checked = Validator::new(schema).validate(&self.all, ValidationMode::Strict);
        match checked.validation_errors().next() {
            Some(error) => Err(invalid("a policy", error)),
            None => Ok(()),
        }
    }

    /// Number of policies.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no policy at all: then everything is denied.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The annotation `key` of the policy called `id`.
    pub fn annotation(&self, id: &str, key: &str) -> Option<&str> {
        self.all.annotation(&PolicyId::new(id), key)
    }

    /// Ask all policies about all entities. `context` is a JSON object, in Cedar's form.
    ///
    /// # Errors
    /// `policy.request_invalid` when a name is none, or the request breaks the schema.
    pub fn decide(
        &self,
        principal: &Uid,
        action: &Uid,
        resource: &Uid,
        context: Json,
    ) -> Result<Decision, PolicyError> {
        let request = self.request(principal, action, resource, context)?;
        Ok(Decision::of(&Authorizer::new().is_authorized(
            &request,
            &self.all,
            &self.entities,
        )))
    }

    /// As [`Cedar::decide`], by way of a slice: what the request path does. The context must refer to no entity.
    ///
    /// # Errors
    /// As `decide`.
    pub fn decide_by_slice(
        &self,
        principal: &Uid,
        action: &Uid,
        resource: &Uid,
        context: Json,
    ) -> Result<Decision, PolicyError> {
        let (principal, action, resource) = (principal.parse()?, action.parse()?, resource.parse()?);
        let slice = self.slice(&principal, &action, &resource, Vec::new())?;
        let parsed = Context::from_json_value(context, self.schema.as_ref().map(|schema| (schema, &action)));
        slice.decide(&parsed.map_err(|cause| bad_request(&cause))?)
    }

    fn request(&self, principal: &Uid, action: &Uid, resource: &Uid, context: Json) -> Result<Request, PolicyError> {
        let (principal, action, resource) = (principal.parse()?, action.parse()?, resource.parse()?);
        let schema = self.schema.as_ref();
        let context = Context::from_json_value(context, schema.map(|schema| (schema, &action)))
            .map_err(|cause| bad_request(&cause))?;
        Request::new(principal, action, resource, context, schema).map_err(|cause| bad_request(&cause))
    }

    /// What requests of `principal` for `action` on `resource` can depend on. `more` are entities that are known for these requests
    /// only, such as the principal with its claims.
    ///
    /// # Errors
    /// `policy.request_invalid` when the schema does not foresee such requests or entities.
    pub fn slice(
        &self,
        principal: &EntityUid,
        action: &EntityUid,
        resource: &EntityUid,
        more: Vec<Entity>,
    ) -> Result<Slice, PolicyError> {
        let mut reached = Reached::default();
        for entity in &more {
            reached.refer(entity.uid());
            refers(entity)?.into_iter().for_each(|uid| reached.refer(uid));
        }
        let own: HashSet<_> = more.iter().map(Entity::uid).collect();
        [principal, action, resource]
            .into_iter()
            .for_each(|uid| reached.refer(uid.clone()));
        for uid in self.rules.iter().flat_map(|rule| &rule.names) {
            reached.refer(uid.clone());
        }
        while let Some(uid) = reached.next() {
            for other in self.refers.get(&uid).into_iter().flatten() {
                reached.refer(other.clone());
            }
        }
        let known = reached.seen.iter().filter(|uid| !own.contains(*uid));
        let known = known.filter_map(|uid| self.entities.get(uid).cloned());
        let is_action = |entity: &Entity| entity.uid().type_name().basename() == "Action";
        // Actions come with the schema; given twice they would be refused.
        let known: Vec<_> = known.filter(|one| self.schema.is_none() || !is_action(one)).collect();
        let entities = Entities::from_entities(known.into_iter().chain(more), self.schema.as_ref())
            .map_err(|cause| bad_request(&cause))?;
        let request = Request::new(
            principal.clone(),
            action.clone(),
            resource.clone(),
            Context::empty(),
            None,
        )
        .map_err(|cause| bad_request(&cause))?;
        let mut ground = Ground::new(&request, &entities);
        let (mut verdicts, mut open) = (Verdicts::default(), Vec::new());
        for rule in &self.rules {
            if !may_apply(&rule.policy, &entities, principal, action, resource) {
                continue;
            }
            let (id, effect) = (rule.policy.id().to_string(), rule.policy.effect());
            match ground.reduce(&rule.condition.term) {
                Term::Known(Value::Bool(truth)) => verdicts.note(&id, effect, Ok(truth)),
                Term::Known(_) | Term::Erred => verdicts.note(&id, effect, Err(Erred)),
                condition => open.push(Open {
                    id,
                    effect,
                    condition,
                    whole: rule.condition.whole.clone(),
                }),
            }
        }
        let numbered = self.attributes.iter().enumerate();
        let attributes = numbered
            .map(|(number, name)| ground.attributes.contains(&number).then(|| name.clone()))
            .collect();
        Ok(Slice {
            fixed: verdicts.decision(),
            open,
            attributes,
            entities,
            principal: principal.clone(),
            action: action.clone(),
            resource: resource.clone(),
        })
    }

    /// Whether this entity is among those given.
    pub fn knows(&self, uid: &EntityUid) -> bool {
        self.entities.get(uid).is_some()
    }
}

/// Type and id of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uid {
    /// Type, with its namespace if it has one.
    pub type_name: String,
    /// Id, unescaped.
    pub id: String,
}

impl Uid {
    /// Name an entity.
    pub fn new(type_name: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            type_name: type_name.into(),
            id: id.into(),
        }
    }

    fn parse(&self) -> Result<EntityUid, PolicyError> {
        uid(&self.type_name, &self.id)
    }
}

/// Name an entity.
///
/// # Errors
/// `policy.request_invalid` when the type is no name.
pub fn uid(type_name: &str, id: &str) -> Result<EntityUid, PolicyError> {
    let type_name = EntityTypeName::from_str(type_name).map_err(|cause| bad_request(&cause))?;
    Ok(EntityUid::from_type_name_and_id(type_name, EntityId::new(id)))
}

/// Entities found so far, and those whose references are still to be followed.
#[derive(Default)]
struct Reached {
    seen: HashSet<EntityUid>,
    ahead: Vec<EntityUid>,
}

impl Reached {
    fn refer(&mut self, uid: EntityUid) {
        if self.seen.insert(uid.clone()) {
            self.ahead.push(uid);
        }
    }

    fn next(&mut self) -> Option<EntityUid> {
        self.ahead.pop()
    }
}

fn rule(policy: Policy, attributes: &mut Vec<String>) -> Result<Rule, PolicyError> {
    let json = policy.to_json().map_err(|cause| invalid("a policy", &cause))?;
    let mut names = Vec::new();
    named_in(&json, &mut names);
    Ok(Rule {
        condition: Condition::of(&json, attributes)?,
        names,
        policy,
    })
}

/// Where the policy stood in the text; policies are numbered in order.
fn position(id: &PolicyId) -> usize {
    let text: &str = id.as_ref();
    text.trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}

fn refers(entity: &Entity) -> Result<Vec<EntityUid>, PolicyError> {
    let json = entity.to_json_value().map_err(|cause| invalid("an entity", &cause))?;
    let mut names = Vec::new();
    named_in(&json, &mut names);
    Ok(names)
}

/// Every entity named anywhere in Cedar's JSON: an object with a type and an id. A record that looks like one costs nothing but room.
fn named_in(json: &Json, names: &mut Vec<EntityUid>) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| named_in(item, names)),
        Json::Object(fields) => {
            if let (Some(type_name), Some(id)) = (
                fields.get("type").and_then(Json::as_str),
                fields.get("id").and_then(Json::as_str),
            ) && let Ok(uid) = uid(type_name, id)
            {
                names.push(uid);
            }
            fields.values().for_each(|field| named_in(field, names));
        }
        _ => {}
    }
}

fn invalid(what: &str, cause: &dyn std::fmt::Display) -> PolicyError {
    PolicyError {
        code: "policy.invalid",
        message: format!("{what} is refused: {cause}"),
        hint: "mend the policy; what was in force before stays",
    }
}

/// The error of what cannot be asked.
pub fn bad_request(cause: &dyn std::fmt::Display) -> PolicyError {
    PolicyError {
        code: "policy.request_invalid",
        message: format!("the policy cannot be asked: {cause}"),
        hint: "principal, action, resource and context must be what the schema declares",
    }
}
