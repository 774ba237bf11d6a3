//! May this request reach this workload? `principal, request -> go on, or a fault`.
//!
//! Asked once per request, by the node that runs the workload, before the request waits for its turn. Policies and entities come
//! with the workload and are swapped with it. What a principal's requests depend on is worked out at its first request and
//! kept (`Cedar::slice`); most decisions after that are a look-up. Denied without a permit; an error is a denial.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use hanse_policy::cedar_policy::{Context, Entity, EntityUid, RestrictedExpression};
use hanse_policy::{Cedar, Decision, Facts, PolicyError, Slice, bad_request, uid};
use http::{Request, StatusCode};
use serde_json::Value;

use crate::answer::Fault;
use crate::core::Core;
use crate::principal::{Principal, User};
use crate::sight::Trace;

/// Types, attributes and the one action that policies of the request path may speak of.
pub const INVOKE_SCHEMA: &str = include_str!("invoke.cedarschema");
/// Principals whose slice is kept; beyond it all are worked out again. A slice takes some KiB.
const MAX_SLICES: usize = 1024;
/// Claims about the token, not its holder: they change with each token.
const OF_THE_TOKEN: [&str; 4] = ["exp", "iat", "jti", "nbf"];
/// Denials per workload and second that are written into its owner's log; all are counted.
const LOGGED_PER_S: u32 = 10;

static GATES: AtomicU64 = AtomicU64::new(0);

/// The rules about who may invoke one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Policies in the Cedar language; `@id` and `@message` are shown to whom a `forbid` turns away.
    pub policies: String,
    /// Entities in Cedar's JSON form; the workload itself, `Workload::"<name>"`, must be among them.
    pub entities: String,
}

/// The rules of one workload, ready to be asked.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) source: Access,
    cedar: Cedar,
    action: EntityUid,
    resource: EntityUid,
    node: String,
    told: Bounded,
    /// Tells it from the gates before and after it.
    number: u64,
    slices: RwLock<HashMap<Who, Known>>,
}

/// A principal as it was when it asked last, and what its requests depend on.
type Known = (Arc<Principal>, Arc<Slice>);

/// What tells principals apart, but for what their tokens claim.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Who(&'static str, String);

impl Gate {
    /// Parse the rules of `workload`, as they are asked on `node`.
    ///
    /// # Errors
    /// `policy.invalid`.
    pub(crate) fn new(workload: &str, node: &str, source: &Access) -> Result<Self, PolicyError> {
        let cedar = Cedar::new(&source.policies, &source.entities, Some(INVOKE_SCHEMA))?;
        cedar.validate()?;
        Ok(Self {
            cedar,
            action: uid("Action", "invoke")?,
            resource: uid("Workload", workload)?,
            node: node.to_owned(),
            told: Bounded::default(),
            number: GATES.fetch_add(1, Ordering::Relaxed),
            slices: RwLock::default(),
            source: source.clone(),
        })
    }

    /// Decide about a request of `principal`.
    pub(crate) fn decide<B>(&self, principal: &Arc<Principal>, request: &Request<B>) -> Decision {
        let asked = self.slice(principal).and_then(|slice| {
            slice.decide(&Asked {
                request,
                node: &self.node,
            })
        });
        asked.unwrap_or_else(|error| Decision {
            errors: vec![error.message],
            ..Decision::default()
        })
    }

    fn slice(&self, principal: &Arc<Principal>) -> Result<Arc<Slice>, PolicyError> {
        let who = Who(principal.kind(), principal.id().into_owned());
        let known = self
            .slices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&who)
            .cloned();
        if let Some((known, slice)) = known
            && (Arc::ptr_eq(&known, principal) || is_same(&known, principal))
        {
            return Ok(slice);
        }
        let entity = entity_of(principal)?;
        let name = entity.uid();
        // A workload that calls itself is described by its own node, not by its certificate.
        let more = if self.cedar.knows(&name) { vec![] } else { vec![entity] };
        let slice = Arc::new(self.cedar.slice(&name, &self.action, &self.resource, more)?);
        let mut slices = self.slices.write().unwrap_or_else(PoisonError::into_inner);
        if slices.len() >= MAX_SLICES && !slices.contains_key(&who) {
            slices.clear();
        }
        slices.insert(who, (principal.clone(), slice.clone()));
        Ok(slice)
    }

    /// The answer to a request that was denied; it tells what the policies' authors wrote for the caller, and no more.
    fn fault(&self, decision: &Decision, principal: &Principal) -> Fault {
        if !decision.errors.is_empty() {
            return Fault::new(
                "policy.error",
                StatusCode::FORBIDDEN,
                "the policy could not be evaluated, which denies",
                "the owner's log of the workload names the policy",
            );
        }
        let told = decision.policies.first().map(|policy| {
            let say = |key| self.cedar.annotation(policy, key).filter(|text| !text.is_empty());
            let id = say("id").unwrap_or("a policy");
            format!("{id}: {}", say("message").unwrap_or("denied"))
        });
        let hint = match principal {
            Principal::Anonymous => "show who you are: a bearer token or a client certificate",
            _ => "ask the workload's owner for access",
        };
        let message = told.unwrap_or_else(|| "no policy permits this request".to_owned());
        Fault::new("policy.denied", StatusCode::FORBIDDEN, message, hint)
    }

    /// Write a denial into the owner's log: who, what, by which policy.
    fn tell<B>(&self, core: &Core, workload: &str, decision: &Decision, principal: &Principal, request: &Request<B>) {
        if !self.told.may(Instant::now()) {
            return;
        }
        let because = match self.names(decision) {
            names if names.is_empty() => "no policy permits it".to_owned(),
            names if decision.errors.is_empty() => names.join(", "),
            names => format!("error in {}", names.join(", ")),
        };
        let (kind, id) = (principal.kind(), principal.id());
        let text = format!(
            "{} {}: {kind} {id} denied: {because}",
            request.method(),
            request.uri().path()
        );
        if let Some(workload) = core.workloads.get(workload) {
            workload.logs.push("policy", text.as_bytes());
        }
    }

    /// The `@id`s of the policies that decided, for the owner's eyes.
    fn names(&self, decision: &Decision) -> Vec<String> {
        let policies = if decision.errors.is_empty() {
            &decision.policies
        } else {
            &decision.errors
        };
        let named = policies.iter().map(|policy| match self.cedar.annotation(policy, "id") {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => policy.clone(),
        });
        named.collect()
    }
}

/// What policies may read of a request.
struct Asked<'a, B> {
    request: &'a Request<B>,
    node: &'a str,
}

/// The context of the schema.
const ATTRIBUTES: [&str; 4] = ["method", "host", "path", "node"];

impl<B> Asked<'_, B> {
    fn host(&self) -> Option<&str> {
        match self.request.uri().authority() {
            Some(authority) => Some(authority.as_str()),
            None => self.request.headers().get(http::header::HOST)?.to_str().ok(),
        }
    }
}

impl<B> Facts for Asked<'_, B> {
    fn text(&self, attribute: &str) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match attribute {
            "method" => self.request.method().as_str(),
            "host" => self.host().unwrap_or_default(),
            "path" => self.request.uri().path(),
            "node" => self.node,
            _ => return None,
        }))
    }

    fn context(&self) -> Result<Context, PolicyError> {
        let pairs = ATTRIBUTES.iter().filter_map(|name| {
            let text = self.text(name)?.into_owned();
            Some(((*name).to_owned(), RestrictedExpression::new_string(text)))
        });
        Context::from_pairs(pairs).map_err(|cause| bad_request(&cause))
    }
}

/// The gates of one engine by workload.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    current: ArcSwap<HashMap<String, Arc<Gate>>>,
    writer: Mutex<()>,
}

impl Gates {
    /// Put the gate of a workload in place, or take it away.
    pub(crate) fn set(&self, workload: &str, gate: Option<Gate>) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = HashMap::clone(&self.current.load());
        match gate {
            Some(gate) => next.insert(workload.to_owned(), Arc::new(gate)),
            None => next.remove(workload),
        };
        self.current.store(Arc::new(next));
    }

    /// Whether the gate of a workload stands by these rules.
    pub(crate) fn stands(&self, workload: &str, source: &Access) -> bool {
        self.current
            .load()
            .get(workload)
            .is_some_and(|gate| gate.source == *source)
    }
}

/// Ask whether a request may reach `workload`, where it has rules.
///
/// # Errors
/// `policy.denied` or `policy.error`, counted, and told to the owner at a bounded rate.
pub(crate) fn enter<B>(core: &Core, workload: &str, request: &Request<B>) -> Result<(), Fault> {
    let gates = core.gates.current.load();
    let Some(gate) = gates.get(workload) else {
        return Ok(());
    };
    let began = Instant::now();
    let principal = request
        .extensions()
        .get::<Arc<Principal>>()
        .cloned()
        .unwrap_or_default();
    let decision = gate.decide(&principal, request);
    let counters = core.stats.workload(workload);
    counters.decide.record(began.elapsed());
    let trace = || request.extensions().get::<Trace>().map(Trace::id);
    counters
        .tally
        .note(gate.number, &decision, principal.kind(), trace, || {
            gate.names(&decision)
        });
    if decision.is_closed_allow() {
        return Ok(());
    }
    let fault = gate.fault(&decision, &principal);
    gate.tell(core, workload, &decision, &principal, request);
    Err(fault)
}

/// So many in a second, and no more.
#[derive(Debug, Default)]
struct Bounded(Mutex<Option<(Instant, u32)>>);

impl Bounded {
    fn may(&self, now: Instant) -> bool {
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *second {
            Some((began, count)) if now.duration_since(*began).as_secs() < 1 => {
                *count += 1;
                *count <= LOGGED_PER_S
            }
            _ => {
                *second = Some((now, 1));
                true
            }
        }
    }
}

/// Whether two principals of one id are alike in all that policies can see.
fn is_same(a: &Principal, b: &Principal) -> bool {
    match (a, b) {
        (Principal::User(a), Principal::User(b)) => lasting(a).eq(lasting(b)),
        _ => a == b,
    }
}

fn lasting(user: &User) -> impl Iterator<Item = (&String, &Value)> {
    user.claims
        .iter()
        .filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()))
}

/// The principal as an entity of the schema.
fn entity_of(principal: &Principal) -> Result<Entity, PolicyError> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let (uid, attributes, parents, tags) = match principal {
        Principal::Anonymous => (uid("Anonymous", "anonymous")?, vec![], vec![], vec![]),
        Principal::Node { spiffe_id } => (uid("Node", spiffe_id)?, vec![], vec![], vec![]),
        Principal::Workload { spiffe_id } => return workload_entity(spiffe_id),
        Principal::ClientCertificate(certificate) => (
            uid("Certificate", &certificate.fingerprint)?,
            vec![
                ("subject".to_owned(), text(&certificate.subject)),
                ("issuer".to_owned(), text(&certificate.issuer)),
                (
                    "names".to_owned(),
                    RestrictedExpression::new_set(certificate.names.iter().map(|name| text(name))),
                ),
            ],
            vec![],
            vec![],
        ),
        Principal::User(user) => (
            uid("User", &format!("{}#{}", user.issuer, user.subject))?,
            vec![
                ("issuer".to_owned(), text(&user.issuer)),
                ("subject".to_owned(), text(&user.subject)),
            ],
            vec![uid("Issuer", &user.issuer)?],
            lasting(user)
                .filter_map(|(name, claim)| Some((name.clone(), texts(claim)?)))
                .collect(),
        ),
    };
    Entity::new_with_tags(uid, attributes, parents, tags).map_err(|cause| bad_request(&cause))
}

/// `spiffe://<domain>/ns/<namespace>/<name>` as the workload `namespace.name`; its shape was checked when it was read.
fn workload_entity(spiffe_id: &str) -> Result<Entity, PolicyError> {
    let mut path = spiffe_id.rsplit('/');
    let (name, namespace) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let attributes = [("namespace", namespace), ("name", name), ("access", "")];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), text(value)));
    Entity::new_with_tags(
        uid("Workload", &format!("{namespace}.{name}"))?,
        attributes,
        [uid("Namespace", namespace)?],
        [],
    )
    .map_err(|cause| bad_request(&cause))
}

/// A claim as a set of texts; what is nested deeper is left out.
fn texts(claim: &Value) -> Option<RestrictedExpression> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    let all: Vec<String> = match claim {
        Value::Array(items) => items.iter().filter_map(plain).collect(),
        one => vec![plain(one)?],
    };
    Some(RestrictedExpression::new_set(
        all.into_iter().map(RestrictedExpression::new_string),
    ))
}
