//! The counts in Prometheus text format 0.0.4.

use std::fmt::Write;

use crate::process;

use crate::stats::{BOUNDS_US, EngineStats, WorkerStats, WorkloadStats};

type Read = fn(&WorkloadStats) -> u64;

const PER_WORKLOAD: &[(&str, &str, &str, Read)] = &[
    ("requests_total", "counter", "Requests that reached this node.", |w| {
        w.requests
    }),
    (
        "requests_from_mesh_total",
        "counter",
        "Requests passed on by other nodes.",
        |w| w.from_mesh,
    ),
    (
        "requests_forwarded_total",
        "counter",
        "Requests answered by another node.",
        |w| w.forwarded,
    ),
    ("requests_retried_total", "counter", "Attempts beyond the first.", |w| {
        w.retried
    }),
    (
        "retries_denied_total",
        "counter",
        "Attempts the retry budget did not allow.",
        |w| w.retries_denied,
    ),
    (
        "requests_hedged_total",
        "counter",
        "Requests asked of a second replica.",
        |w| w.hedged,
    ),
    (
        "hedges_won_total",
        "counter",
        "Hedged requests the second replica answered.",
        |w| w.hedges_won,
    ),
    (
        "requests_shed_total",
        "counter",
        "Requests refused by the limit of the route.",
        |w| w.shed,
    ),
    (
        "requests_in_flight_limit",
        "gauge",
        "Requests the front may hold at once.",
        |w| w.in_flight_limit,
    ),
    ("requests_in_flight", "gauge", "Requests being answered.", |w| {
        w.in_flight
    }),
    ("instances", "gauge", "Instances alive.", |w| w.instances),
    ("instances_started_total", "counter", "Instances made.", |w| {
        w.instances_started
    }),
    (
        "warm_starts_total",
        "counter",
        "Requests given to a used instance.",
        |w| w.warm_starts,
    ),
    (
        "guest_interrupts_total",
        "counter",
        "Times a guest had computed for an interval and let others run.",
        |w| w.interrupts,
    ),
    ("request_body_bytes_total", "counter", "Request body bytes.", |w| {
        w.bytes_in
    }),
    ("response_body_bytes_total", "counter", "Response body bytes.", |w| {
        w.bytes_out
    }),
    ("cpu_microseconds_total", "counter", "Processor time of guests.", |w| {
        w.cpu_us
    }),
    ("memory_peak_bytes", "gauge", "Largest memory of an instance.", |w| {
        w.peak_memory_bytes
    }),
];

/// Render `stats`.
pub(crate) fn render(stats: &EngineStats, node: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = about(&mut text, node);
    let _ = write_all(&mut text, stats);
    text
}

/// Which node this is, and what its process takes: by the names that every client library of Prometheus uses.
fn about(out: &mut String, node: &str) -> std::fmt::Result {
    head(out, "node_info", "gauge", "Which node this is.")?;
    writeln!(
        out,
        "hanse_node_info{{node=\"{}\",version=\"{}\"}} 1",
        escape(node),
        env!("CARGO_PKG_VERSION")
    )?;
    let Some(used) = process::read() else { return Ok(()) };
    writeln!(out, "# HELP process_resident_memory_bytes Resident memory.")?;
    writeln!(out, "# TYPE process_resident_memory_bytes gauge")?;
    writeln!(out, "process_resident_memory_bytes {}", used.resident_bytes)?;
    writeln!(out, "# HELP process_cpu_seconds_total Processor time, user and system.")?;
    writeln!(out, "# TYPE process_cpu_seconds_total counter")?;
    writeln!(out, "process_cpu_seconds_total {:.3}", used.cpu.as_secs_f64())
}

fn write_all(out: &mut String, stats: &EngineStats) -> std::fmt::Result {
    for (name, kind, help, read) in PER_WORKLOAD {
        head(out, name, kind, help)?;
        for workload in &stats.workloads {
            writeln!(
                out,
                "hanse_{name}{{workload=\"{}\"}} {}",
                escape(&workload.workload),
                read(workload)
            )?;
        }
    }
    quantiles(
        out,
        "request_duration_microseconds",
        "Time to response header.",
        stats,
        |w| (w.latency_us_p50, w.latency_us_p99),
    )?;
    histogram(out, stats)?;
    quantiles(
        out,
        "instance_start_microseconds",
        "Time to make an instance.",
        stats,
        |w| (w.instantiate_us_p50, w.instantiate_us_p99),
    )?;
    quantiles(
        out,
        "policy_decision_microseconds",
        "Time to decide whether a request may reach its workload.",
        stats,
        |w| (w.policy_us_p50, w.policy_us_p99),
    )?;
    workers(out, stats)?;
    head(out, "errors_total", "counter", "Failed requests by code.")?;
    for workload in &stats.workloads {
        for (code, count) in &workload.errors {
            writeln!(
                out,
                "hanse_errors_total{{workload=\"{}\",code=\"{code}\"}} {count}",
                escape(&workload.workload)
            )?;
        }
    }
    let help = "Decisions on the request path, by policies that decided.";
    head(out, "policy_decisions_total", "counter", help)?;
    for workload in &stats.workloads {
        for row in &workload.decisions {
            let outcome = match (row.is_error, row.is_allowed) {
                (true, _) => "error",
                (false, true) => "allow",
                (false, false) => "deny",
            };
            let (name, policies) = (escape(&workload.workload), escape(&row.policies.join(",")));
            writeln!(
                out,
                "hanse_policy_decisions_total{{workload=\"{name}\",outcome=\"{outcome}\",policies=\"{policies}\",principal=\"{}\"}} {}",
                row.principal, row.count
            )?;
        }
    }
    head(
        out,
        "egress_bytes_total",
        "counter",
        "Body bytes by jurisdiction of the destination.",
    )?;
    for workload in &stats.workloads {
        let name = escape(&workload.workload);
        for (jurisdiction, bytes) in &workload.egress {
            let labels = format!("workload=\"{name}\",jurisdiction=\"{}\"", escape(jurisdiction));
            writeln!(
                out,
                "hanse_egress_bytes_total{{{labels},direction=\"sent\"}} {}",
                bytes.sent
            )?;
            writeln!(
                out,
                "hanse_egress_bytes_total{{{labels},direction=\"received\"}} {}",
                bytes.received
            )?;
        }
    }
    head(
        out,
        "replica_rtt_microseconds",
        "gauge",
        "Expected time to response header of a replica.",
    )?;
    for replica in &stats.replicas {
        let labels = format!(
            "node=\"{}\",address=\"{}\"",
            escape(&replica.node),
            escape(&replica.address)
        );
        writeln!(out, "hanse_replica_rtt_microseconds{{{labels}}} {}", replica.rtt_us)?;
    }
    let help = "Connections of clients refused or cut off, by reason.";
    head(out, "connections_cut_off_total", "counter", help)?;
    for (reason, count) in &stats.cut_off {
        writeln!(out, "hanse_connections_cut_off_total{{reason=\"{reason}\"}} {count}")?;
    }
    for (name, kind, help, value) in [
        ("connections", "gauge", "Client connections open.", stats.connections),
        (
            "cache_hits_total",
            "counter",
            "Components taken from the cache.",
            stats.cache_hits,
        ),
        (
            "cache_misses_total",
            "counter",
            "Components compiled.",
            stats.cache_misses,
        ),
        (
            "cache_hashed_total",
            "counter",
            "Compiled components read whole to compare their digest.",
            stats.cache_hashed,
        ),
        (
            "cache_write_failures_total",
            "counter",
            "Compiled components not stored.",
            stats.cache_write_failures,
        ),
        (
            "mesh_refused_total",
            "counter",
            "Mesh connections refused.",
            stats.mesh_refused,
        ),
        ("unrouted_total", "counter", "Requests without a route.", stats.unrouted),
        (
            "trace_spans_exported_total",
            "counter",
            "Spans the collector took.",
            stats.sight.spans_exported,
        ),
        (
            "trace_spans_dropped_total",
            "counter",
            "Spans dropped for lack of room or of a collector.",
            stats.sight.spans_dropped,
        ),
        (
            "trace_export_failures_total",
            "counter",
            "Failed attempts to reach the collector.",
            stats.sight.export_failures,
        ),
        (
            "access_log_lines_total",
            "counter",
            "Lines written to the access log.",
            stats.sight.access_lines,
        ),
        (
            "access_log_lines_lost_total",
            "counter",
            "Lines of the access log lost.",
            stats.sight.access_lines_lost,
        ),
    ] {
        head(out, name, kind, help)?;
        writeln!(out, "hanse_{name} {value}")?;
    }
    Ok(())
}

/// A gauge or counter of a worker process: name, kind, help and where it is read.
type OfWorker = (&'static str, &'static str, &'static str, fn(&WorkerStats) -> u64);

const PER_WORKER: &[OfWorker] = &[
    (
        "worker_up",
        "gauge",
        "Whether the tenant has its worker process.",
        |w| u64::from(w.pid != 0),
    ),
    (
        "worker_restarts_total",
        "counter",
        "Times a worker process was started anew.",
        |w| w.restarts,
    ),
    (
        "worker_resident_bytes",
        "gauge",
        "Resident memory of a worker process.",
        |w| w.rss_bytes,
    ),
    (
        "worker_cpu_microseconds_total",
        "counter",
        "Processor time of a worker process, by the kernel's account.",
        |w| w.cpu_us,
    ),
    (
        "worker_landlock_version",
        "gauge",
        "Version of Landlock around a worker process; 0 without.",
        |w| u64::from(w.landlock),
    ),
];

fn workers(out: &mut String, stats: &EngineStats) -> std::fmt::Result {
    for (name, kind, help, read) in PER_WORKER {
        head(out, name, kind, help)?;
        for worker in &stats.workers {
            writeln!(
                out,
                "hanse_{name}{{tenant=\"{}\"}} {}",
                escape(&worker.tenant),
                read(worker)
            )?;
        }
    }
    Ok(())
}

/// In seconds, as Prometheus asks of all durations; the bounds are exact to a sixteenth.
fn histogram(out: &mut String, stats: &EngineStats) -> std::fmt::Result {
    let name = "request_duration_seconds";
    head(out, name, "histogram", "Time to response header.")?;
    for workload in &stats.workloads {
        let (label, durations) = (escape(&workload.workload), &workload.latency);
        for (bound_us, count) in BOUNDS_US.iter().zip(durations.counts) {
            let bound_s = *bound_us as f64 / 1e6;
            writeln!(
                out,
                "hanse_{name}_bucket{{workload=\"{label}\",le=\"{bound_s}\"}} {count}"
            )?;
        }
        let (total, sum_s) = (durations.total, durations.sum_us as f64 / 1e6);
        writeln!(out, "hanse_{name}_bucket{{workload=\"{label}\",le=\"+Inf\"}} {total}")?;
        writeln!(out, "hanse_{name}_sum{{workload=\"{label}\"}} {sum_s}")?;
        writeln!(out, "hanse_{name}_count{{workload=\"{label}\"}} {total}")?;
    }
    Ok(())
}

fn quantiles(
    out: &mut String,
    name: &str,
    help: &str,
    stats: &EngineStats,
    read: fn(&WorkloadStats) -> (u64, u64),
) -> std::fmt::Result {
    head(out, name, "gauge", help)?;
    for workload in &stats.workloads {
        let label = escape(&workload.workload);
        let (p50, p99) = read(workload);
        writeln!(out, "hanse_{name}{{workload=\"{label}\",quantile=\"0.5\"}} {p50}")?;
        writeln!(out, "hanse_{name}{{workload=\"{label}\",quantile=\"0.99\"}} {p99}")?;
    }
    Ok(())
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP hanse_{name} {help}\n# TYPE hanse_{name} {kind}")
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
