//! What is worked out beforehand never decides otherwise than Cedar: conditions made at random, well typed or not, asked whole and
//! by slice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod random;

use hanse_policy::{Cedar, Decision, Uid};
use serde_json::{Value, json};

use crate::random::Stream;

const CONDITIONS: usize = 8_000;
const PER_SET: usize = 8;
const TEXTS: [&str; 9] = ["", "a", "ab", "aab", "/p/a", "ü/ä*", "GET", "a\\\"b", "n1"];

/// A value: mostly texts, some of them not there or of another type.
fn value(stream: &mut Stream, depth: usize) -> String {
    let end = if depth == 0 { 16 } else { 24 };
    let depth = depth.saturating_sub(1);
    match stream.below(end) {
        0..=5 => format!(
            "context.{}",
            stream.one(&["path", "method", "number", "gone", "path", "path"])
        ),
        6..=11 => format!("\"{}\"", stream.one(&TEXTS)),
        12 | 13 => stream
            .one(&["principal.name", "principal.gone", "resource.name"])
            .to_owned(),
        14 => stream
            .one(&[
                "1",
                "true",
                "[\"a\", \"ab\"]",
                "{a: \"a\"}",
                "principal",
                "User::\"x\"",
                "User::\"ghost\"",
                "principal.rate",
                "context",
            ])
            .to_owned(),
        15 => truth(stream).to_owned(),
        16..=18 => format!(
            "(if {} then {} else {})",
            truth(stream),
            value(stream, depth),
            value(stream, depth)
        ),
        19 | 20 => format!("{}.getTag({})", entity(stream, depth), value(stream, depth)),
        21 => format!("{}.{}", record(stream, depth), stream.one(&["a", "b", "gone"])),
        22 => set(stream, depth),
        _ => format!("({})", condition(stream, depth)),
    }
}

fn truth<'a>(stream: &mut Stream) -> &'a str {
    stream.one(&[
        "true",
        "context.flag",
        "principal.is_x",
        "(context.path == \"a\")",
        "(context.path like \"*a\")",
        "(context.method == context.path)",
        "(true && context.path)",
        "(false || context.flag)",
    ])
}

fn entity(stream: &mut Stream, depth: usize) -> String {
    match stream.below(9) {
        0..=3 => "principal".to_owned(),
        4 => stream
            .one(&["resource", "User::\"ghost\"", "principal.friend"])
            .to_owned(),
        5 => stream
            .one(&["context", "context.path", "\"a\"", "principal.name"])
            .to_owned(),
        6 => format!("{{e: principal, p: {}}}.e", value(stream, depth.saturating_sub(1))),
        _ => format!(
            "(if {} then {} else {})",
            truth(stream),
            stream.one(&["principal", "principal", "1", "User::\"ghost\""]),
            stream.one(&["resource", "principal.friend", "principal.gone", "User::\"ghost\""]),
        ),
    }
}

fn record(stream: &mut Stream, depth: usize) -> String {
    match stream.below(6) {
        0 => format!("principal.{}", stream.one(&["both", "name", "gone"])),
        1 => format!(
            "(if {} then {{b: {}}} else principal.both)",
            truth(stream),
            value(stream, depth)
        ),
        _ => format!("{{b: {}, a: {}}}", value(stream, depth), value(stream, depth)),
    }
}

fn set(stream: &mut Stream, depth: usize) -> String {
    let inner = depth.saturating_sub(1);
    match stream.below(12) {
        0 => stream
            .one(&["principal.names", "principal.gone", "principal.rates"])
            .to_owned(),
        1 => stream.one(&["\"a\"", "context.names", "context.path", "[]"]).to_owned(),
        2..=4 => format!("{}.getTag({})", entity(stream, inner), value(stream, inner)),
        5 if depth > 0 => format!(
            "(if {} then {} else {})",
            truth(stream),
            set(stream, inner),
            set(stream, inner)
        ),
        6 if depth > 0 => format!("[{}, {}]", set(stream, inner), value(stream, inner)),
        6 => format!("[{}, {}, resource]", entity(stream, inner), entity(stream, inner)),
        7 => format!("[{}]", value(stream, inner)),
        8 => format!("[{}, 1, {}]", value(stream, inner), value(stream, inner)),
        _ => format!("[{}, {}]", value(stream, inner), value(stream, inner)),
    }
}

fn test(stream: &mut Stream, depth: usize) -> String {
    match stream.below(24) {
        0..=2 => format!("({} == {})", value(stream, depth), value(stream, depth)),
        3 => format!("({} != {})", value(stream, depth), value(stream, depth)),
        4 => {
            let pattern = stream.one(&[
                "", "*", "a*", "*b", "a*b", "*a*", "/p/*", "*a*b", "ü*\\*", "a**b", "\\\"*",
            ]);
            format!("({} like \"{pattern}\")", value(stream, depth))
        }
        5..=7 => format!("{}.contains({})", set(stream, depth), value(stream, depth)),
        8 => format!("{}.containsAll({})", set(stream, depth), set(stream, depth)),
        9 => format!("{}.containsAny({})", set(stream, depth), set(stream, depth)),
        10 => format!("{}.isEmpty()", set(stream, depth)),
        11 => format!("({} == {})", set(stream, depth), set(stream, depth)),
        12 => format!("({} == {})", record(stream, depth), record(stream, depth)),
        13 | 14 => format!("{}.hasTag({})", entity(stream, depth), value(stream, depth)),
        15 => format!(
            "({} has {})",
            entity(stream, depth),
            stream.one(&["name", "friend.name", "gone"])
        ),
        16 => format!(
            "({}.{} == \"a\")",
            entity(stream, depth),
            stream.one(&["name", "friend.name", "gone"])
        ),
        17 => format!("({} in {})", entity(stream, depth), entity(stream, depth)),
        18 => format!(
            "({} is User{})",
            entity(stream, depth),
            stream.one(&[
                "",
                " in resource",
                " in (if context.path == 3 then resource else principal.gone)"
            ]),
        ),
        19 => format!("(context has {})", stream.one(&["path", "gone", "number", "path.x"])),
        20 => format!("({} has {})", record(stream, depth), stream.one(&["a", "b", "a.b"])),
        21 => format!(
            "({} {} {})",
            number(stream, depth),
            stream.one(&["<", "<=", ">", "=="]),
            number(stream, depth)
        ),
        22 => truth(stream).to_owned(),
        _ => stream
            .one(&[
                "ip(context.path).isIpv4()",
                "(if context.path like \"a*\" then ip(\"10.0.0.1\") else ip(\"::1\")).isIpv4()",
                "((if context.flag then decimal(\"1.0\") else principal.rate) == decimal(\"1.00\"))",
                "(context == {path: \"a\", method: context.method, names: [\"a\"], number: 7, flag: true})",
                "context.gone",
                "\"a\"",
            ])
            .to_owned(),
    }
}

fn number(stream: &mut Stream, depth: usize) -> String {
    match stream.below(5) {
        0 => "context.number".to_owned(),
        1 => stream.one(&["7", "9223372036854775807", "principal.gone"]).to_owned(),
        2 if depth > 0 => format!("({} + {})", number(stream, depth - 1), number(stream, depth - 1)),
        3 => format!("{{n: 7, p: {}}}.n", value(stream, depth.saturating_sub(1))),
        _ => format!(
            "(if {} then {} else 8)",
            truth(stream),
            stream.one(&["1", "\"a\"", "-(3)"])
        ),
    }
}

fn condition(stream: &mut Stream, depth: usize) -> String {
    if depth == 0 || stream.below(3) == 0 {
        let depth = stream.below(3).min(depth + 1);
        return test(stream, depth);
    }
    let mut part = || condition(stream, depth - 1);
    let (a, b, c) = (part(), part(), part());
    match stream.below(6) {
        0 => format!("!({a})"),
        1 | 2 => format!("({a} && {b})"),
        3 | 4 => format!("({a} || {b})"),
        _ => format!("(if {a} then {b} else {c})"),
    }
}

fn policies(stream: &mut Stream) -> String {
    let policy = |stream: &mut Stream| {
        let effect = stream.one(&["permit", "permit", "forbid"]);
        let depth = stream.below(4);
        let clause = |stream: &mut Stream| {
            format!(
                "{} {{ {} }}",
                stream.one(&["when", "when", "unless"]),
                condition(stream, depth)
            )
        };
        let clauses: Vec<_> = (0..1 + stream.below(2)).map(|_| clause(stream)).collect();
        format!("{effect} (principal, action, resource) {};\n", clauses.join(" "))
    };
    (0..PER_SET).map(|_| policy(stream)).collect()
}

fn entities() -> Value {
    let decimal = |text: &str| json!({"__extn": {"fn": "decimal", "arg": text}});
    let entity = |kind: &str, tags: Value| {
        json!({
            "uid": {"type": kind, "id": "x"}, "parents": [], "tags": tags,
            "attrs": {
                "name": "a", "names": ["a", "ab", "GET"], "is_x": true, "both": {"a": "ab", "b": "a"},
                "friend": {"__entity": {"type": "Workload", "id": "x"}},
                "rate": decimal("1.0"), "rates": [decimal("1.0"), decimal("2.0")],
            },
        })
    };
    let tags = json!({
        "": "", "a": "b", "ab": ["a", "ab"], "GET": ["GET"], "/p/a": [], "n1": decimal("1.000"),
        "aab": {"a": "a"}, "ü/ä*": 7,
    });
    json!([
        entity("User", tags),
        entity("Workload", json!({"a": ["a"], "ab": ["ab", "a", "a"]}))
    ])
}

fn context(stream: &mut Stream) -> Value {
    let mut fields = json!({"number": 7, "flag": stream.below(2) == 0, "names": ["a"]});
    for name in ["path", "method"] {
        match stream.below(16) {
            0 => {}
            1 => fields[name] = json!(3),
            _ => fields[name] = json!(stream.one(&TEXTS).replace("\\\"", "\"")),
        }
    }
    fields
}

fn ask(cedar: &Cedar, context: &Value) -> (Decision, Decision) {
    let uids = [
        Uid::new("User", "x"),
        Uid::new("Action", "invoke"),
        Uid::new("Workload", "x"),
    ];
    let [principal, action, resource] = &uids;
    (
        cedar.decide(principal, action, resource, context.clone()).unwrap(),
        cedar
            .decide_by_slice(principal, action, resource, context.clone())
            .unwrap(),
    )
}

#[test]
fn a_slice_never_decides_otherwise_than_cedar() {
    let mut stream = Stream(21);
    let (mut errors, mut allowed, mut asked) = (0, 0, 0);
    for _ in 0..CONDITIONS / PER_SET {
        let text = policies(&mut stream);
        let cedar = Cedar::new(&text, &entities().to_string(), None).unwrap_or_else(|error| panic!("{error}\n{text}"));
        for _ in 0..6 {
            let context = context(&mut stream);
            let (whole, sliced) = ask(&cedar, &context);
            assert_eq!(whole, sliced, "{context}\n{text}");
            errors += whole.errors.len();
            allowed += usize::from(whole.is_allowed);
            asked += 1;
        }
    }
    // The comparison would be worth little if all were alike.
    assert!(
        errors > asked && errors < 6 * asked && allowed > asked / 20,
        "{errors} errors, {allowed} allowed of {asked}"
    );
}

#[test]
fn a_right_side_that_errs_is_not_looked_at_and_a_left_side_is() {
    let decide = |condition: &str, path: &str| {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let cedar = Cedar::new(&text, &entities().to_string(), None).unwrap();
        let (whole, sliced) = ask(&cedar, &json!({"path": path}));
        assert_eq!(whole, sliced);
        (sliced.is_allowed, sliced.errors.len())
    };
    assert_eq!(decide("context.path == \"/a\" && principal.gone", "/b"), (false, 0));
    assert_eq!(decide("context.path == \"/a\" && principal.gone", "/a"), (false, 1));
    assert_eq!(decide("principal.gone && context.path == \"/a\"", "/b"), (false, 1));
    assert_eq!(decide("context.path like \"/a*\" || principal.gone", "/a/b"), (true, 0));
    assert_eq!(decide("context.path == principal.gone", "/a"), (false, 1));
    assert_eq!(decide("[context.path, \"/b\"].contains(context.path)", "/a"), (true, 0));
    assert_eq!(decide("principal.getTag(context.path) == \"b\"", "a"), (true, 0));
    assert_eq!(decide("principal.getTag(context.path) == \"b\"", "/a"), (false, 1));
    assert_eq!(
        decide(
            "principal.hasTag(context.path) && principal.getTag(context.path) == \"b\"",
            "/a"
        ),
        (false, 0)
    );
    assert_eq!(decide("User::\"ghost\".hasTag(context.path)", "a"), (false, 0));
    assert_eq!(
        decide("[context.path, principal.gone].contains(\"a\")", "a"),
        (false, 1)
    );
    assert_eq!(
        decide("{a: context.path, b: principal.gone}.a == \"a\"", "a"),
        (false, 1)
    );
    let who = "(if context.path == \"a\" then User::\"ghost\" else principal)";
    assert_eq!(
        decide(&format!("[principal, User::\"ghost\", resource].contains({who})"), "a"),
        (true, 0)
    );
    assert_eq!(
        decide(&format!("[User::\"x\", resource, context.path].contains({who})"), "b"),
        (true, 0)
    );
    assert_eq!(decide("[context.path, \"a\"] == [\"a\"]", "a"), (true, 0));
    // What is no truth value is an error, also where `&&` leaves nothing else.
    assert_eq!(decide("(true && context.path) == \"a\"", "a"), (false, 1));
    // Lifting the `if` must not have it evaluated where Cedar does not get to it.
    let of_a_type = "principal is Workload in (if context.path == principal.gone then resource else principal)";
    assert_eq!(decide(of_a_type, "a"), (false, 0));
    let right = "(context.path == \"b\" && (if principal.gone then context.path else \"a\") == \"a\")";
    assert_eq!(decide(&format!("{{n: 7, p: {right}}}.n < 8"), "a"), (true, 0));
    assert_eq!(decide(&format!("{{n: 7, p: {right}}}.n < 8"), "b"), (false, 1));
}
