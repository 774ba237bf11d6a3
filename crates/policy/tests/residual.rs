//! What is worked out beforehand never decides otherwise than Cedar: conditions made at random, asked whole and by slice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use hanse_policy::{Cedar, Decision, Uid};
use serde_json::{Value, json};

const CONDITIONS: usize = 4_000;
const PER_SET: usize = 8;

/// A stream of numbers that is the same each time (splitmix64).
struct Stream(u64);

impl Stream {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const TEXTS: [&str; 9] = ["", "a", "ab", "aab", "/p/a", "ü/ä*", "GET", "a\\\"b", "n1"];

/// A value: mostly texts, some of them not there or of another type.
fn value(stream: &mut Stream) -> String {
    match stream.below(12) {
        0..=4 => format!("context.{}", stream.one(&["path", "method", "number", "gone", "path"])),
        5..=8 => format!("\"{}\"", stream.one(&TEXTS)),
        9 => stream
            .one(&["principal.name", "principal.gone", "resource.name"])
            .to_owned(),
        10 => stream
            .one(&["1", "true", "[\"a\", \"ab\"]", "{a: \"a\"}", "principal"])
            .to_owned(),
        _ => format!(
            "(if {} then \"a\" else context.path)",
            stream.one(&["true", "context.flag", "principal.is_x"])
        ),
    }
}

fn set(stream: &mut Stream) -> String {
    match stream.below(6) {
        0 => "principal.names".to_owned(),
        1 => "principal.gone".to_owned(),
        2 => "\"a\"".to_owned(),
        3 => "context.names".to_owned(),
        4 => "[]".to_owned(),
        _ => format!("[{}, 1, {}]", value(stream), value(stream)),
    }
}

fn condition(stream: &mut Stream, depth: usize) -> String {
    if depth == 0 || stream.below(4) == 0 {
        return match stream.below(12) {
            0..=2 => format!("({} == {})", value(stream), value(stream)),
            3 => format!("({} != {})", value(stream), value(stream)),
            4 | 5 => {
                let pattern = stream.one(&[
                    "", "*", "a*", "*b", "a*b", "*a*", "/p/*", "*a*b", "ü*\\*", "a**b", "\\\"*",
                ]);
                format!("({} like \"{pattern}\")", value(stream))
            }
            6 | 7 => format!("{}.contains({})", set(stream), value(stream)),
            8 => format!("(context has {})", stream.one(&["path", "gone", "number", "path.x"])),
            9 => format!("(principal has {})", stream.one(&["name", "gone"])),
            10 => stream
                .one(&[
                    "true",
                    "false",
                    "principal.is_x",
                    "context.flag",
                    "1 == 1",
                    "(1 < context.number)",
                ])
                .to_owned(),
            _ => stream
                .one(&[
                    "principal.hasTag(context.path)",
                    "(context.number + 1 == 8)",
                    "ip(context.path).isIpv4()",
                    "(principal in resource)",
                    "context.gone",
                    "\"a\"",
                ])
                .to_owned(),
        };
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
        let depth = 1 + stream.below(3);
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
    let entity = |kind: &str, tags: Value| {
        json!({
            "uid": {"type": kind, "id": "x"}, "parents": [], "tags": tags,
            "attrs": {"name": "a", "names": ["a", "ab", "GET"], "is_x": true},
        })
    };
    json!([entity("User", json!({"a": "b"})), entity("Workload", json!({}))])
}

fn context(stream: &mut Stream) -> Value {
    let mut fields = json!({"number": 7, "flag": stream.below(2) == 0, "names": ["a"]});
    for name in ["path", "method"] {
        match stream.below(12) {
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
        errors > asked && allowed > asked / 20,
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
}
