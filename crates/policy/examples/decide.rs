//! How long one decision takes, with 100 policies and 1,000 entities: one JSON line.
//!
//! `cargo run --release -p hanse-policy --example decide -- [rounds]`. Shapes: all policies about other workloads but one
//! (`few apply`), all about the one asked for (`all apply`), and conditions on the request in each: its path, compared with
//! a text (`all read the request`); patterns, sets, and attributes of the workload beside them (`all read it in several ways`);
//! tags that the request names, whether they are there and what is in them (`all look up`, `all look into`); sets and choices that
//! texts of the request are put into (`all make sets and choices of it`); and the worst case, conditions that Cedar itself must
//! evaluate at each request, here the whole context in one comparison (`all need Cedar`). Every request has another path. Each is
//! asked by way of a slice that is kept, as the engine does for a principal it has seen, and the first request of a principal is
//! measured as well.

use std::borrow::Cow;
use std::error::Error;
use std::time::Instant;

use hanse_policy::cedar_policy::{Context, EntityUid, RestrictedExpression};
use hanse_policy::{Cedar, Facts, PolicyError, uid};

const POLICIES: usize = 100;
const ENTITIES: usize = 1000;
const SCHEMA: &str = "
entity Group in [Group];
entity User in [Group] tags Set<String>;
entity Workload in [Group] = { namespace: String } tags String;
action invoke appliesTo { principal: [User], resource: [Workload], context: { method: String, path: String } };
";

fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(20_000), |rounds| rounds.parse())?;
    let other = |n: usize| {
        format!("permit (principal in Group::\"g{n}\", action == Action::\"invoke\", resource == Workload::\"w{n}\");")
    };
    let all = |n: usize| {
        format!(
            "permit (principal in Group::\"g{n}\", action == Action::\"invoke\", resource) when {{ resource.namespace == \"n{n}\" }};"
        )
    };
    let request = |n: usize| {
        format!("permit (principal, action == Action::\"invoke\", resource) when {{ context.path == \"/p{n}\" }};")
    };
    let several = |n: usize| {
        format!(
            "permit (principal, action == Action::\"invoke\", resource) when {{ [\"GET\", \"HEAD\"].contains(context.method) && resource.namespace != \"n{n}\" && context.path like \"/p{n}/*/items\" }};"
        )
    };
    let tag = |n: usize| {
        format!(
            "permit (principal, action == Action::\"invoke\", resource) when {{ resource.hasTag(context.path) && resource.namespace == \"n{n}\" }};"
        )
    };
    let tagged = |n: usize| {
        format!(
            "permit (principal is User, action == Action::\"invoke\", resource) when {{ principal.hasTag(context.method) && principal.getTag(context.method).contains(context.path) && resource.namespace != \"n{n}\" }};"
        )
    };
    let made = |n: usize| {
        format!(
            "permit (principal, action == Action::\"invoke\", resource) when {{ [context.method, \"n{n}\"].contains(if context.path like \"/p{n}/*\" then \"GET\" else \"PUT\") }};"
        )
    };
    let cedars = |n: usize| {
        format!(
            "permit (principal, action == Action::\"invoke\", resource) when {{ context == {{method: \"GET\", path: \"/p{n}\"}} }};"
        )
    };
    let shapes: [(&str, &dyn Fn(usize) -> String); 8] = [
        ("few apply", &other),
        ("all apply", &all),
        ("all read the request", &request),
        ("all read it in several ways", &several),
        ("all look up a tag named by the path", &tag),
        ("all look into a tag named by the method", &tagged),
        ("all make sets and choices of it", &made),
        ("all need Cedar", &cedars),
    ];
    let mut cases = Vec::new();
    for (what, policy) in shapes {
        let text: String = (0..POLICIES).map(|n| policy(n) + "\n").collect();
        let cedar = Cedar::new(&text, &entities(), Some(SCHEMA))?;
        cedar.validate()?;
        cases.push(measure(what, &cedar, rounds)?);
    }
    println!(
        "{}",
        serde_json::json!({"policies": POLICIES, "entities": ENTITIES, "rounds": rounds, "cases": cases})
    );
    Ok(())
}

/// A hundred groups of groups, and workloads and users in them.
fn entities() -> String {
    let one = |n: usize| {
        let group = serde_json::json!({"type": "Group", "id": format!("g{}", n % POLICIES)});
        let (none, namespace) = (serde_json::json!({}), format!("n{}", n % POLICIES));
        let (kind, attrs, tags) = match n {
            0..POLICIES => ("Group", none.clone(), none),
            n if n % 2 == 0 => ("Workload", serde_json::json!({"namespace": namespace}), none),
            _ => (
                "User",
                none,
                serde_json::json!({"GET": ["/p", "/p/items"], "team": ["shop"]}),
            ),
        };
        let parents = if n < POLICIES { vec![] } else { vec![group] };
        let prefix = kind.get(..1).unwrap_or_default().to_lowercase();
        serde_json::json!({
            "uid": {"type": kind, "id": format!("{prefix}{n}")}, "attrs": attrs, "parents": parents, "tags": tags,
        })
    };
    serde_json::Value::from((0..ENTITIES).map(one).collect::<Vec<_>>()).to_string()
}

fn measure(what: &str, cedar: &Cedar, rounds: usize) -> Result<serde_json::Value, Box<dyn Error>> {
    let names: [EntityUid; 3] = [uid("User", "u201")?, uid("Action", "invoke")?, uid("Workload", "w202")?];
    let [principal, action, resource] = &names;
    let mut first = Vec::new();
    for _ in 0..rounds.div_ceil(100) {
        let began = Instant::now();
        cedar.slice(principal, action, resource, Vec::new())?;
        first.push(began.elapsed().as_nanos());
    }
    let slice = cedar.slice(principal, action, resource, Vec::new())?;
    let mut took = Vec::new();
    for number in 0..rounds {
        let asked = Asked(format!("/p{}/{number}/items", number % POLICIES));
        let began = Instant::now();
        slice.decide(&asked)?;
        took.push(began.elapsed().as_nanos());
    }
    let us = |sorted: &[u128], percent: usize| {
        let ns = sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
        (ns as f64 / 10.0).round() / 100.0
    };
    took.sort_unstable();
    first.sort_unstable();
    Ok(serde_json::json!({
        "what": what, "p50_us": us(&took, 50), "p99_us": us(&took, 99), "first_us_p50": us(&first, 50),
    }))
}

/// A request with this path.
struct Asked(String);

impl Facts for Asked {
    fn text(&self, attribute: &str) -> Option<Cow<'_, str>> {
        match attribute {
            "method" => Some(Cow::Borrowed("GET")),
            "path" => Some(Cow::Borrowed(&self.0)),
            _ => None,
        }
    }

    fn context(&self) -> Result<Context, PolicyError> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let fields = [("method".to_owned(), text("GET")), ("path".to_owned(), text(&self.0))];
        Context::from_pairs(fields).map_err(|cause| hanse_policy::bad_request(&cause))
    }
}
