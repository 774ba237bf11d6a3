//! The public Cedar corpus (cedar-policy/cedar-integration-tests) through this embedding: every decision, every reason, every
//! error and every verdict of validation is the one stated there, asked whole and by way of slices.
//!
//! It lies outside the repository: `$HANSE_SHARED/data/cedar/*.tar.gz`, or unpacked below `$HANSE_CEDAR_CORPUS`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use hanse_policy::{Cedar, Decision, Uid};
use serde_json::Value;

struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unpack() -> Option<Unpacked> {
    let from = Path::new(&std::env::var_os("HANSE_SHARED")?).join("data/cedar");
    let to = std::env::temp_dir().join(format!("hanse-cedar-corpus-{}", std::process::id()));
    let archives = ["corpus-tests.tar.gz", "handwritten-tests.tar.gz"].map(|name| from.join(name));
    if !archives.iter().all(|archive| archive.exists()) {
        return None;
    }
    std::fs::create_dir_all(&to).unwrap();
    let unpacked = Unpacked(to);
    for archive in archives {
        let done = Command::new("tar")
            .arg("xzf")
            .arg(archive)
            .arg("-C")
            .arg(&unpacked.0)
            .status();
        assert!(done.unwrap().success());
    }
    Some(unpacked)
}

fn cases(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            cases(&path, found);
        } else if name.ends_with(".json") && !name.ends_with("entities.json") {
            found.push(path);
        }
    }
}

fn uid(value: &Value) -> Uid {
    Uid::new(value["type"].as_str().unwrap(), value["id"].as_str().unwrap())
}

fn texts(value: &Value) -> Vec<String> {
    let mut all: Vec<_> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect();
    all.sort();
    all
}

#[derive(Default)]
struct Tally {
    requests: usize,
    sliced: usize,
    validations: usize,
    wrong: Vec<String>,
}

fn run(root: &Path, case: &Path, tally: &mut Tally) {
    let told: Value = serde_json::from_slice(&std::fs::read(case).unwrap()).unwrap();
    let read = |key: &str| std::fs::read_to_string(root.join(told[key].as_str().unwrap())).unwrap();
    let name = case.file_name().unwrap().to_string_lossy();
    let cedar = match Cedar::new(&read("policies"), &read("entities"), Some(&read("schema"))) {
        Ok(cedar) => cedar,
        Err(error) => return tally.wrong.push(format!("{name}: {error}")),
    };
    tally.validations += 1;
    if cedar.validate().is_ok() != told["shouldValidate"].as_bool().unwrap() {
        tally.wrong.push(format!("{name}: validation says otherwise"));
    }
    for request in told["requests"].as_array().unwrap() {
        let (principal, action, resource) = (
            uid(&request["principal"]),
            uid(&request["action"]),
            uid(&request["resource"]),
        );
        let expected = Decision {
            is_allowed: request["decision"] == "allow",
            policies: texts(&request["reason"]),
            errors: texts(&request["errors"]),
        };
        let context = &request["context"];
        let whole = cedar.decide(&principal, &action, &resource, context.clone());
        tally.requests += 1;
        if whole.as_ref().ok() != Some(&expected) {
            tally.wrong.push(format!(
                "{name}: {}: {whole:?} instead of {expected:?}",
                request["description"]
            ));
        }
        // A slice follows no references out of a context; the request path has none there.
        let text = context.to_string();
        if text.contains("__entity") || text.contains("\"type\"") {
            continue;
        }
        let sliced = cedar.decide_by_slice(&principal, &action, &resource, context.clone());
        tally.sliced += 1;
        if sliced.as_ref().ok() != Some(&expected) {
            tally.wrong.push(format!(
                "{name}: {} sliced: {sliced:?} instead of {expected:?}",
                request["description"]
            ));
        }
    }
}

#[test]
fn every_answer_of_the_public_corpus_is_the_stated_one() {
    let given = std::env::var_os("HANSE_CEDAR_CORPUS").map(PathBuf::from);
    let unpacked = if given.is_none() { unpack() } else { None };
    let Some(root) = given.or_else(|| unpacked.as_ref().map(|folder| folder.0.clone())) else {
        eprintln!("skipped: no corpus; set HANSE_SHARED to the folder of shared data");
        return;
    };
    let mut tally = Tally::default();
    for (base, folder) in [(".", "corpus-tests"), ("handwritten-tests", "handwritten-tests/tests")] {
        let mut found = Vec::new();
        cases(&root.join(folder), &mut found);
        found.sort();
        assert!(!found.is_empty());
        for case in found {
            run(&root.join(base), &case, &mut tally);
        }
    }
    eprintln!(
        "{} requests, {} of them sliced as well, {} validations",
        tally.requests, tally.sliced, tally.validations
    );
    let first: Vec<_> = tally.wrong.iter().take(10).collect();
    assert!(
        tally.wrong.is_empty(),
        "{} wrong, among them {first:#?}",
        tally.wrong.len()
    );
}
