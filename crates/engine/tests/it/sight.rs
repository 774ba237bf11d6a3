//! What is seen of requests: traces through nodes, guests and their own requests; the access log; what workloads took.
//!
//! Spans are read as bytes here, by what they must and must not contain; that they are OTLP is checked with the official
//! package in `tests/contracts/test_engine_sight.py`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use hanse_engine::{AccessLog, EgressRule, EngineConfig, Limits, Traces};
use serde_json::Value;

use crate::client::{get_with, open, receive};
use crate::node::{Node, config, eventually, route};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SAID: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1,b=2";

/// A collector that answers `status` and hands on what it got.
fn collector(status: &'static str) -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (bodies, got) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let bodies = bodies.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                loop {
                    let (mut len, mut line) = (0, String::new());
                    while line != "\r\n" {
                        line.clear();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                            len = text.trim().parse().unwrap();
                        }
                    }
                    let mut body = vec![0; len];
                    reader.read_exact(&mut body).unwrap();
                    // The test may be over.
                    let _ = bodies.send(body);
                    let _ = write!(writer, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                }
            });
        }
    });
    (endpoint, got)
}

fn traced(name: &str, endpoint: &str, ratio_ppm: u32) -> EngineConfig {
    let mut config = config(name);
    config.traces = Some(Traces {
        endpoint: endpoint.to_owned(),
        ratio_ppm,
        queue: 64,
    });
    config
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

#[test]
fn a_trace_goes_through_two_nodes_a_guest_and_its_own_request() {
    let (endpoint, got) = collector("200 OK");
    let (upstream, asked) = collector("204 No Content");
    let authority = upstream.trim_start_matches("http://").to_owned();
    // Neither node would record it by itself: who asked has decided.
    let front = Node::with(traced("a", &endpoint, 0));
    let runner = Node::with(traced("b", &endpoint, 0));
    front.renew();
    runner.renew();
    let rule = EgressRule {
        host: authority.clone(),
        jurisdiction: "DE".to_owned(),
        allow_private: true,
    };
    runner.serve_with("egress", Limits::default(), &[rule]);
    front
        .engine
        .set_routes(&[route("egress", &[runner.replica(100)])])
        .unwrap();
    let reply = get_with(&front.addresses.front, &format!("/egress/erika?{authority}"), SAID);
    assert_eq!(reply.status, 200);
    drop(asked);
    eventually("both told it", || {
        [&front, &runner]
            .iter()
            .map(|node| node.engine.stats().sight.spans_exported)
            .sum::<u64>()
            == 5
    });
    let all: Vec<u8> = got.try_iter().flatten().collect();
    let id = u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes();
    let spans = all.windows(16).filter(|window| *window == id).count();
    // Front, hop, its other side, the guest, and what the guest asked.
    assert_eq!(spans, 5);
    for told in [
        "GET /egress",
        "faas.coldstart",
        "faas.trigger",
        "hanse.jurisdiction",
        "a=1,b=2",
    ] {
        assert!(contains(&all, told.as_bytes()), "{told}");
    }
    // Neither the path beyond the route nor the query.
    for secret in ["erika", &format!("?{authority}")] {
        assert!(!contains(&all, secret.as_bytes()), "{secret}");
    }
}

#[test]
fn guests_are_told_where_they_stand_and_an_unsampled_trace_stays_so() {
    let (endpoint, got) = collector("200 OK");
    let node = Node::with(traced("a", &endpoint, 1_000_000));
    node.serve("mirror", Limits::default());
    let told = |header: &str| {
        let reply = get_with(&node.addresses.front, "/mirror", header);
        let body = String::from_utf8(reply.body).unwrap();
        let line = body.lines().find_map(|line| line.strip_prefix("traceparent: "));
        line.map(str::to_owned).unwrap()
    };
    let sampled = told(SAID);
    assert!(
        sampled.starts_with(&format!("00-{TRACE}-")) && sampled.ends_with("-01"),
        "{sampled}"
    );
    assert!(!sampled.contains("b7ad6b7169203331"), "the step is our own: {sampled}");
    let unsampled = told(&SAID.replace("-01\r", "-00\r"));
    assert!(
        unsampled.starts_with(&format!("00-{TRACE}-")) && unsampled.ends_with("-00"),
        "{unsampled}"
    );
    let fresh = told("traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\ntracestate: a=1");
    assert!(fresh.ends_with("-01") && !fresh.contains("0000000000000000"), "{fresh}");
    // Two that are recorded, two spans each.
    eventually("they are told", || node.engine.stats().sight.spans_exported == 4);
    drop(got);
}

#[test]
fn without_tracing_what_clients_say_is_passed_on_untouched() {
    let node = Node::local("a");
    node.serve("mirror", Limits::default());
    let reply = get_with(&node.addresses.front, "/mirror", SAID);
    let body = String::from_utf8(reply.body).unwrap();
    assert!(
        body.contains(&format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\n")),
        "{body}"
    );
}

#[test]
fn a_collector_that_is_away_or_refuses_costs_spans_and_no_request() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (refusing, _got) = collector("400 Bad Request");
    for endpoint in [format!("http://{gone}"), refusing] {
        let node = Node::with(traced("a", &endpoint, 1_000_000));
        node.serve("hello", Limits::default());
        for _ in 0..200 {
            assert_eq!(node.get("/hello").status, 200);
        }
        eventually("spans are dropped", || node.engine.stats().sight.spans_dropped > 0);
        eventually("failures are counted", || node.engine.stats().sight.export_failures > 0);
        assert_eq!(node.engine.stats().sight.spans_exported, 0);
        assert_eq!(node.stats("hello").errors.len(), 0);
        let metrics = String::from_utf8(node.get("/.hanse/metrics").body).unwrap();
        assert!(metrics.contains("hanse_trace_spans_dropped_total "), "{metrics}");
    }
}

#[test]
fn what_is_left_is_told_when_the_engine_stops() {
    let (endpoint, got) = collector("200 OK");
    let node = Node::with(traced("a", &endpoint, 1_000_000));
    node.serve("hello", Limits::default());
    assert_eq!(node.get("/hello").status, 200);
    node.engine.stop(std::time::Duration::from_secs(1));
    assert!(contains(&got.try_iter().flatten().collect::<Vec<_>>(), b"GET /hello"));
}

fn logged(name: &str, ratio_ppm: u32) -> (EngineConfig, PathBuf) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.log", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut config = config(name);
    config.access_log = Some(AccessLog {
        path: path.clone(),
        ratio_ppm,
    });
    (config, path)
}

fn lines(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_access_log_tells_errors_always_and_never_a_person() {
    let (config, path) = logged("errors", 0);
    let node = Node::with(config);
    node.serve("trap", Limits::default());
    node.load("hello", Limits::default(), &[]);
    node.engine
        .set_routes(&[route("trap", &[]), route("hello", &[])])
        .unwrap();
    assert_eq!(node.get("/hello/erika?born=1970").status, 200);
    assert_eq!(node.get("/trap/erika?born=1970").status, 500);
    assert_eq!(node.get("/nowhere/erika").status, 404);
    eventually("both errors are told", || lines(&path).len() == 2);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("erika") && !text.contains("1970") && !text.contains("127.0.0.1"),
        "{text}"
    );
    let told = &lines(&path)[0];
    assert_eq!(
        (
            &told["route"],
            &told["workload"],
            &told["status"],
            &told["error"],
            &told["node"],
            &told["principal"]
        ),
        (
            &"/trap".into(),
            &"trap".into(),
            &500.into(),
            &"guest.trap".into(),
            &"errors".into(),
            &"anonymous".into()
        )
    );
    assert!(told["duration_us"].as_u64().unwrap() > 0);
    assert_eq!(lines(&path)[1]["error"], "route.unknown");
}

#[test]
fn the_access_log_tells_a_share_of_the_rest_and_survives_rotation() {
    let (config, path) = logged("shares", 500_000);
    let node = Node::with(config);
    node.serve("hello", Limits::default());
    for _ in 0..200 {
        assert_eq!(node.get("/hello").status, 200);
    }
    let moved = path.with_extension("old");
    eventually("about half is told", || lines(&path).len() >= 60);
    assert!(lines(&path).len() <= 140, "{}", lines(&path).len());
    assert_eq!(lines(&path)[0]["bytes_out"], 6);
    std::fs::rename(&path, &moved).unwrap();
    eventually("the file is made anew", || {
        let _ = node.get("/hello");
        !lines(&path).is_empty()
    });
    assert_eq!(node.engine.stats().sight.access_lines_lost, 0);
}

#[test]
fn a_body_that_breaks_off_is_an_error_too() {
    let (config, path) = logged("broken", 0);
    let node = Node::with(config);
    let limits = Limits {
        response_body_bytes: 100_000,
        ..Limits::default()
    };
    node.serve("flood", limits);
    let mut stream = open(&node.addresses.front);
    stream
        .write_all(b"GET /flood HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        .unwrap();
    assert!(!receive(stream).is_whole);
    eventually("it is told", || lines(&path).len() == 1);
    assert_eq!(lines(&path)[0]["broken_off"], true);
}

#[test]
fn processor_time_is_charged_to_who_ran_and_not_to_who_waited() {
    let node = Node::local("a");
    let limits = Limits {
        timeout_ms: 300,
        ..Limits::default()
    };
    node.serve("sleep", limits.clone());
    let _ = node.get("/sleep");
    let slept = node.stats("sleep").cpu_us;
    node.serve("loop", limits);
    assert_eq!(node.get("/loop").status, 504);
    eventually("the loop is charged", || node.stats("loop").cpu_us > 20_000);
    assert!(slept < 50_000, "{slept}");
    assert!(node.stats("loop").cpu_us < 600_000);
    assert!(node.stats("sleep").peak_memory_bytes > 0);
    eventually("no instance is left", || node.stats("loop").instances == 0);
}

#[test]
fn metrics_tell_rate_errors_and_duration_of_each_workload_and_the_node() {
    let node = Node::local("a");
    node.serve("trap", Limits::default());
    for _ in 0..3 {
        assert_eq!(node.get("/trap").status, 500);
    }
    let text = String::from_utf8(node.get("/.hanse/metrics").body).unwrap();
    for line in [
        "hanse_requests_total{workload=\"trap\"} 3",
        "hanse_errors_total{workload=\"trap\",code=\"guest.trap\"} 3",
        "hanse_request_duration_seconds_count{workload=\"trap\"} 3",
        "hanse_request_duration_seconds_bucket{workload=\"trap\",le=\"+Inf\"} 3",
        "hanse_instances_started_total{workload=\"trap\"} 3",
        "hanse_node_info{node=\"a\"",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // What one bound counts, every later one does.
    let counts: Vec<u64> = text
        .lines()
        .filter(|line| line.starts_with("hanse_request_duration_seconds_bucket"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(counts.len() == 15 && counts.is_sorted(), "{counts:?}");
}
