//! Cedar is not needed at a request for what policies of the engine's schema can say, but for the shapes named here: conditions
//! that the schema allows, made at random, and asked without a context that Cedar could read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod random;

use std::borrow::Cow;
use std::cell::Cell;

use hanse_policy::cedar_policy::{Context, EntityUid};
use hanse_policy::{Cedar, Decision, Facts, PolicyError, Uid, bad_request, uid};
use serde_json::{Value, json};

use crate::random::Stream;

const SCHEMA: &str = include_str!("../../engine/src/invoke.cedarschema");
const ATTRIBUTES: [&str; 4] = ["method", "host", "path", "node"];
const TEXTS: [&str; 7] = ["GET", "shop.example", "/a", "/a/b", "team", "eu", "n1"];
const POLICIES: usize = 12_000;
const PER_SET: usize = 8;

fn text(stream: &mut Stream, depth: usize) -> String {
    let end = if depth == 0 { 6 } else { 8 };
    match stream.below(end) {
        0..=3 => format!("context.{}", stream.one(&ATTRIBUTES)),
        4 => format!("\"{}\"", stream.one(&TEXTS)),
        5 => stream
            .one(&["principal.subject", "resource.namespace", "resource.name"])
            .to_owned(),
        6 => format!(
            "{{a: {}, b: {}}}.b",
            condition(stream, depth - 1),
            text(stream, depth - 1)
        ),
        _ => chosen(stream, depth, text),
    }
}

fn set(stream: &mut Stream, depth: usize) -> String {
    match stream.below(if depth == 0 { 2 } else { 3 }) {
        0 => format!("[{}, {}]", text(stream, depth), text(stream, depth)),
        1 => "[\"GET\", \"/a\", \"eu\"]".to_owned(),
        _ => chosen(stream, depth, set),
    }
}

fn entity(stream: &mut Stream, depth: usize) -> String {
    match stream.below(if depth == 0 { 2 } else { 4 }) {
        0 => "principal".to_owned(),
        1 => "User::\"b\"".to_owned(),
        _ => chosen(stream, depth, entity),
    }
}

fn class(stream: &mut Stream, depth: usize) -> String {
    match stream.below(if depth == 0 { 3 } else { 5 }) {
        0 => "DataClass::\"health\"".to_owned(),
        1 => "DataClass::\"special\"".to_owned(),
        2 => "DataClass::\"public\"".to_owned(),
        3 => format!(
            "[{}, {}]",
            chosen(stream, depth, |_, _| "DataClass::\"public\"".to_owned()),
            "DataClass::\"personal\""
        ),
        _ => chosen(stream, depth, |stream, _| class(stream, 0)),
    }
}

fn chosen(stream: &mut Stream, depth: usize, mut one: impl FnMut(&mut Stream, usize) -> String) -> String {
    let condition = condition(stream, depth - 1);
    format!(
        "(if {condition} then {} else {})",
        one(stream, depth - 1),
        one(stream, depth - 1)
    )
}

/// A set among an entity's tags. Cedar demands that `hasTag` is asked before, of the same entity and name.
fn tagged(stream: &mut Stream, depth: usize) -> String {
    let (entity, name) = (entity(stream, depth), text(stream, depth));
    let rest = match stream.below(6) {
        0 | 1 => format!(".contains({})", text(stream, depth)),
        2 => format!(".containsAny({})", set(stream, depth)),
        3 => format!(".containsAll({})", set(stream, depth)),
        4 => ".isEmpty()".to_owned(),
        _ => format!(" == {}", set(stream, depth)),
    };
    format!("({entity}.hasTag({name}) && {entity}.getTag({name}){rest})")
}

fn condition(stream: &mut Stream, depth: usize) -> String {
    if depth == 0 || stream.below(3) == 0 {
        return match stream.below(16) {
            0 | 1 => format!("({} == {})", text(stream, depth), text(stream, depth)),
            2 => format!("({} != {})", text(stream, depth), text(stream, depth)),
            3 => format!(
                "({} like \"{}\")",
                text(stream, depth),
                stream.one(&["/a*", "*a*b", "*", "eu"])
            ),
            4 => format!("{}.contains({})", set(stream, depth), text(stream, depth)),
            5 => format!("{}.containsAny({})", set(stream, depth), set(stream, depth)),
            6 => format!("{}.containsAll({})", set(stream, depth), set(stream, depth)),
            7 => format!("({} == {})", set(stream, depth), set(stream, depth)),
            8 => format!("{}.isEmpty()", set(stream, depth)),
            9..=11 => tagged(stream, depth),
            12 => format!("({}.subject == {})", entity(stream, depth), text(stream, depth)),
            13 => format!("(resource in {})", class(stream, depth)),
            14 => format!(
                "({{a: {}, b: 1}} == {{a: {}, b: 1}})",
                text(stream, depth),
                text(stream, depth)
            ),
            _ => "(context has host)".to_owned(),
        };
    }
    let mut part = || condition(stream, depth - 1);
    let (a, b, c) = (part(), part(), part());
    match stream.below(7) {
        0 => format!("!({a})"),
        1 | 2 => format!("({a} && {b})"),
        3 | 4 => format!("({a} || {b})"),
        5 => format!("({a} == {b})"),
        _ => format!("(if {a} then {b} else {c})"),
    }
}

fn entities() -> String {
    let user = |id: &str, tags: Value| {
        json!({
            "uid": {"type": "User", "id": id}, "parents": [], "tags": tags,
            "attrs": {"issuer": "https://id.example", "subject": id},
        })
    };
    let class =
        |id: &str, parents: Value| json!({"uid": {"type": "DataClass", "id": id}, "attrs": {}, "parents": parents});
    let one_in = |id: &str| json!([{"type": "DataClass", "id": id}]);
    json!([
        user("n1", json!({"team": ["eu", "/a"], "/a": [], "GET": ["GET", "/a/b"], "eu": ["eu"]})),
        user("b", json!({"team": ["n1"], "/a/b": ["/a"]})),
        class("health", one_in("special")), class("special", one_in("personal")), class("personal", json!([])),
        {
            "uid": {"type": "Workload", "id": "shop.web"}, "parents": one_in("health"),
            "attrs": {"namespace": "eu", "name": "team", "access": "open"},
        },
    ])
    .to_string()
}

/// A request that counts how often Cedar wants to see it.
struct Asked {
    texts: Value,
    shown: Cell<usize>,
}

impl Facts for Asked {
    fn text(&self, attribute: &str) -> Option<Cow<'_, str>> {
        self.texts[attribute].as_str().map(Cow::Borrowed)
    }

    fn context(&self) -> Result<Context, PolicyError> {
        self.shown.set(self.shown.get() + 1);
        Context::from_json_value(self.texts.clone(), None).map_err(|cause| bad_request(&cause))
    }
}

fn decided(cedar: &Cedar, texts: &Value) -> (Decision, Decision, usize) {
    let names = [("User", "n1"), ("Action", "invoke"), ("Workload", "shop.web")];
    let [principal, action, resource] = names.map(|(kind, id)| Uid::new(kind, id));
    let whole = cedar.decide(&principal, &action, &resource, texts.clone()).unwrap();
    let [principal, action, resource]: [EntityUid; 3] = names.map(|(kind, id)| uid(kind, id).unwrap());
    let slice = cedar.slice(&principal, &action, &resource, Vec::new()).unwrap();
    let asked = Asked {
        texts: texts.clone(),
        shown: Cell::new(0),
    };
    let sliced = slice.decide(&asked).unwrap();
    (whole, sliced, asked.shown.get())
}

fn parsed(text: &str) -> Cedar {
    let cedar = Cedar::new(text, &entities(), Some(SCHEMA)).unwrap_or_else(|error| panic!("{error}\n{text}"));
    cedar.validate().unwrap_or_else(|error| panic!("{error}\n{text}"));
    cedar
}

fn policy(effect: &str, condition: &str) -> String {
    format!("{effect} (principal is User, action == Action::\"invoke\", resource) when {{ {condition} }};\n")
}

#[test]
fn conditions_of_the_engines_schema_are_decided_as_by_cedar_and_without_it() {
    let mut stream = Stream(3);
    let (mut allowed, mut denied) = (0, 0);
    for _ in 0..POLICIES / PER_SET {
        let mut one = || {
            let depth = stream.below(4);
            let condition = condition(&mut stream, depth);
            policy(stream.one(&["permit", "permit", "permit", "forbid"]), &condition)
        };
        let text: String = (0..PER_SET).map(|_| one()).collect();
        let cedar = parsed(&text);
        for _ in 0..4 {
            let texts = ATTRIBUTES.map(|name| (name.to_owned(), Value::from(stream.one(&TEXTS))));
            let texts = Value::Object(texts.into_iter().collect());
            let (whole, sliced, shown) = decided(&cedar, &texts);
            assert_eq!(whole, sliced, "{texts}\n{text}");
            assert_eq!(shown, 0, "{texts}\n{text}");
            assert!(whole.errors.is_empty());
            allowed += usize::from(whole.is_allowed);
            denied += usize::from(!whole.is_allowed);
        }
    }
    assert!(allowed > 200 && denied > 200, "{allowed} allowed, {denied} denied");
}

#[test]
fn what_still_needs_cedar_at_each_request_is_rare_and_known() {
    let texts = json!({"method": "GET", "host": "shop.example", "path": "/a", "node": "n1"});
    for condition in [
        // The context as a whole.
        "context == {method: \"GET\", host: \"shop.example\", path: \"/a\", node: \"n1\"}",
        // An entity, a number or a value of an extension that is taken out of a record which a text of the request was put into.
        "{who: principal, path: context.path}.who.subject == \"n1\"",
        "{weight: 1, path: context.path}.weight < 2",
        "{net: ip(\"10.0.0.1\"), path: context.path}.net.isIpv4()",
        // Values of extensions that an `if` chose, compared.
        "(if context.path == \"/a\" then decimal(\"1.0\") else decimal(\"2.0\")) == decimal(\"1.00\")",
    ] {
        let (whole, sliced, shown) = decided(&parsed(&policy("permit", condition)), &texts);
        assert_eq!((whole.is_allowed, shown), (true, 1), "{condition}");
        assert_eq!(whole, sliced, "{condition}");
    }
}

#[test]
fn a_condition_that_would_grow_without_end_is_left_to_cedar() {
    let number = |n: usize| format!("(if context.path == \"/{n}\" then {n} else 1)");
    let sum = |end: usize| (0..end).map(number).collect::<Vec<_>>().join(" + ");
    let texts = json!({"method": "GET", "host": "shop.example", "path": "/3", "node": "n1"});
    for (terms, needed) in [(5, 0), (40, 1)] {
        let text = policy("permit", &format!("{} == {}", sum(terms), terms + 2));
        let (whole, sliced, shown) = decided(&parsed(&text), &texts);
        assert_eq!((whole.is_allowed, shown), (true, needed));
        assert_eq!(whole, sliced);
    }
}
