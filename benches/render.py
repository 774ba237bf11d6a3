"""Write docs/performance.md from the benchmarks' JSON lines: no number in it is typed by hand.

`python -m benches.fabric --json | python -m benches.render`. Each line read from standard input is kept as
``benches/results/<bench>.json``; the page is made from what is kept there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches" / "results"
PAGE = ROOT / "docs" / "performance.md"
HEAD = """\
# Performance

Measured, not estimated. This page is generated from the JSON lines that the benchmarks print; run one again and render
the page anew with the command at each table.
"""
Figures = Mapping[str, Any]


def render(results: Path = RESULTS) -> str:
    """Make the page from the kept lines, in the order of their names."""
    sections = [HEAD]
    for name, section in sorted(SECTIONS.items()):
        path = results / f"{name}.json"
        if path.exists():
            sections.append(section(json.loads(path.read_text())))
    return "\n".join(sections)


def fabric(figures: Figures) -> str:
    """The section about a whole fabric of real processes."""
    calls, kill, memory = figures["calls"], figures["kill"], figures["memory_mib"]
    rows = [
        ("`hanse up` to all nodes heard", f"{figures['up_s']} s"),
        ("`hanse up` to the first answer of a function deployed meanwhile", f"{figures['first_answer_s']} s"),
        ("deployment to its first answer", f"{figures['deploy_to_answer_s']} s"),
        ("call served where it arrives", _latency(calls["local_ms"])),
        ("call forwarded to another node (mutual TLS)", _latency(calls["forwarded_ms"])),
        ("`kill -9` of a serving node to detection", _spread(kill["to_detected_s"])),
        ("detection to the lost replica serving elsewhere", _spread(kill["detected_to_restored_s"])),
        ("idempotent requests that failed meanwhile", f"{kill['failed_requests']} of {kill['requests']}"),
    ]
    shares = [(name, f"{one['rss']} MiB", f"{one['pss']} MiB") for name, one in sorted(memory.items())]
    return "\n".join(
        [
            "## A whole fabric on one machine",
            "",
            f"{figures['nodes']} nodes, {figures['controllers']} controller, one substrate server; a small function",
            "with two replicas, a fresh instance for each request, and one client on a connection that stays open.",
            "",
            *_ran(figures),
            "",
            *_table(("what", "measured"), rows),
            "",
            "Memory of each process, idle, after the calls. The proportional share counts a page that several",
            "processes use once among them.",
            "",
            *_table(("process", "resident", "proportional share"), shares),
            "",
        ]
    )


def engine(figures: Figures) -> str:
    """The section about the engine beside its rivals."""
    versions = ", ".join(figures["versions"].values())
    parts = [
        "## The engine beside `wasmtime serve` and `workerd`",
        "",
        "The same handlers on all three, in turn in each round: `hello` answers six bytes, `echo` and `body` send back",
        "1 KiB and 64 KiB, `primes` sieves ten times up to 50,000, `python` and `javascript` make a price list as JSON",
        "(workerd runs no Python from its package alone). The engine and wasmtime make a fresh instance for each",
        "request, workerd keeps its isolate. The load comes from one more process on the same cores; medians of",
        f"{figures['rounds']} rounds of {figures['seconds']} s, spread in brackets. {versions}.",
        "",
        *_ran(figures),
        "",
    ]
    if figures["handlers"]:
        head = ("handler", "server", "1 connection", "32", "256", "processor time each", "p99 at half its peak")
        rows = [
            _rival(name, server, one)
            for name, servers in figures["handlers"].items()
            for server, one in servers.items()
        ]
        parts += [*_table(head, rows), ""]
    bars = [row for name, one in figures["bars"].items() for row in _BARS[name](one)]
    if bars:
        parts += [*_table(("figure", "measured", "bar"), bars), ""]
    return "\n".join(parts)


def _rival(name: str, server: str, one: Figures) -> tuple[str, ...]:
    rates = [f"{_range(row['requests_per_s'], 0)}/s" for row in one["concurrency"].values()]
    cpu = one["concurrency"]["1"]["cpu_us"]["median"]
    half = one["half_peak"]
    return (name, server, *rates, f"{cpu} us", f"{_range(half['p99_ms'], 3)} ms at {half['rate']}/s")


def _start(one: Figures) -> list[tuple[str, ...]]:
    return [
        ("instance start of `hello`, median", f"{_range(one['p50_us'], 1)} us", "under 30 us"),
        ("the same, p99", f"{_range(one['p99_us'], 1)} us", "under 100 us"),
    ]


def _answer(one: Figures) -> list[tuple[str, ...]]:
    size = one["component_bytes"] / 2**20
    took = (
        f"{one['sum_us_p50'] / 1000:.2f} ms median, {one['sum_us_max'] / 1000:.2f} ms at most ({one['rounds']} engines)"
    )
    return [(f"first answer after `load` of a cached Python component of {size:.0f} MiB", took, "under 5 ms")]


def _hop(one: Figures) -> list[tuple[str, ...]]:
    return [
        ("added by a forwarded hop (mutual TLS), p50", f"{_range(one['added_p50_ms'], 3)} ms", "under 0.3 ms"),
        ("the same, p99", f"{_range(one['added_p99_ms'], 3)} ms", "under 1 ms"),
    ]


def _memory(one: Figures) -> list[tuple[str, ...]]:
    return [
        ("resident memory that an engine with one function adds", f"{_range(one['added_mib'], 1)} MiB", "under 20 MiB")
    ]


def _density(one: Figures) -> list[tuple[str, ...]]:
    return [
        ("1,000 different small functions, resident", f"{one['rss_mib']} MiB", "under 512 MiB"),
        ("their speed beside ten", f"{_range(one['speed_ratio'], 3)} of it", "no slower"),
    ]


def _neighbour(one: Figures) -> list[tuple[str, ...]]:
    pauses = one["pauses"]
    rows = [
        (
            "time that this machine takes from a processor that is never idle, in pauses over 0.5 ms; the longest",
            f"{_range(pauses['percent'], 2)} %; {pauses['longest_ms']['max']:.1f} ms",
            "the machine's own",
        )
    ]
    for row in one.values():
        if isinstance(row, dict) and "what" in row:
            text = f"p99 of `hello` beside a neighbour that {row['what']}"
            idle = "in the same rounds beside programs of the lowest priority that only count"
            growth, machine = _range(row["p99_growth"], 2), _range(row["machine_growth"], 2)
            rows.append((f"{text}; {idle}", f"{growth} times; {machine} times", "under 1.2 times"))
    return rows


def _policy(one: Figures) -> list[tuple[str, ...]]:
    return [
        (
            f"policy per request, 100 policies and 1,000 entities, {row['what']}",
            f"p50 {row['p50_us']} us, p99 {row['p99_us']} us",
            "p50 under 10 us",
        )
        for row in one["cases"]
    ]


_BARS: dict[str, Callable[[Figures], list[tuple[str, ...]]]] = {
    "start": _start,
    "answer": _answer,
    "hop": _hop,
    "memory": _memory,
    "density": _density,
    "neighbour": _neighbour,
    "policy": _policy,
}


def _range(one: Figures, digits: int) -> str:
    return f"{one['median']:.{digits}f} ({one['min']:.{digits}f} to {one['max']:.{digits}f})"


def policy(figures: Figures) -> str:
    """The section about the rules."""
    hostile, explained = figures["hostile"], figures["explain_changes"]
    rows = [
        ("first screening of everything", *_both(figures["screen_first"]), ""),
        ("anew after a decision on adequacy fell", *_both(figures["rescreen_decision"]), "under 2 s"),
        ("anew after one operator was bought", *_both(figures["rescreen_operator"]), "under 0.1 s"),
        ("`policy impact` of that purchase", *_both(figures["impact"]), ""),
        (
            f"proof of a shipped property, the slowest of {figures['properties']} ({figures['proved']} proved)",
            f"{figures['prove_slowest_s']} s",
            f"{figures['prove_slowest_cpu_s']} s",
            "under 10 s",
        ),
        (
            f"nearest changes of one workload ({explained['cpu_s']['n']} kinds of workloads; median and worst)",
            *(f"{explained[kind]['median']} s, {explained[kind]['max']} s" for kind in ("wall_s", "cpu_s")),
            "under 0.3 s",
        ),
    ]  # fmt: skip
    lines = [
        "## Policy",
        "",
        f"{figures['workloads']:,} workloads on {figures['nodes']:,} nodes of {figures['operators']} operators, "
        f"{figures['classes']:,} pairs of classes;",
        "best of three runs each. Wall time counts what else the machine was doing, CPU time does not.",
        "",
        *_ran(figures),
        "",
        *_table(("what", "wall", "CPU", "bar"), rows),
        "",
        f"{hostile['sets']:,} hostile policy sets: {hostile['refused']:,} refused before they decided anything, "
        f"{hostile['asked']:,} asked,",
        f"none allowed what was denied without it; {hostile['seconds']} s of CPU in all, the slowest "
        f"{hostile['slowest_ms']} ms.",
    ]
    if "corpus" in figures:
        corpus = figures["corpus"]
        lines += [
            f"The public Cedar corpus through the control plane's path: {corpus['requests']:,} requests of "
            f"{corpus['sets']:,} policy sets,",
            f"{corpus['different']} different; {corpus['errors']:,} of them err and are denials here.",
        ]
    return "\n".join([*lines, ""])


def ledger(figures: Figures) -> str:
    """The section about the ledger."""
    entries = f"{figures['entries']:,}"
    rows = [
        (
            f"durable appends, {figures['entry_bytes']:,} bytes each, {figures['batch']:,} to a batch",
            f"{figures['appends_per_s']:,}/s",
            "10,000/s",
        ),
        (
            "a batch until it is integrated and the checkpoint signed",
            f"p50 {figures['commit_us_p50'] / 1e3:.0f} ms, p99 {figures['commit_us_p99'] / 1e3:.0f} ms",
            "1 s p99",
        ),
        ("opening it again", f"{figures['open_s']} s", ""),
        (f"fsck of {entries} entries", f"{figures['fsck_s']} s", "60 s for 1,000,000"),
        (
            "verifying a receipt offline",
            f"p50 {figures['receipt_verify_us_p50'] / 1e3:.2f} ms, p99 {figures['receipt_verify_us_p99'] / 1e3:.2f} ms",
            "10 ms",
        ),
        (
            "a proof beside its checkpoint",
            f"{figures['proof_hash_bytes']} bytes of hashes; {figures['proof_bytes']} as the C2SP text",
            "700 bytes",
        ),
    ]
    where = "in memory" if figures["store"] == "memory" else "on disk, every write synced"
    return "\n".join(
        [
            "## Ledger",
            "",
            f"One log with its store {where}; {entries} entries.",
            "",
            *_ran(figures),
            "",
            *_table(("what", "measured", "bar"), rows),
            "",
        ]
    )


def identity(figures: Figures) -> str:
    """The section about identities and evidence."""
    rows = [
        ("SVIDs issued", f"{figures['svids_per_s']:,}/s", "500/s"),
        (
            "one SVID",
            f"p50 {figures['issue_us_p50'] / 1e3:.2f} ms, p99 {figures['issue_us_p99'] / 1e3:.2f} ms",
            "",
        ),
        (
            f"{figures['storm_nodes']:,} nodes renew at once",
            f"{figures['storm_s']} s, {figures['storm_failures']} failures",
            f"{figures['storm_limit_s']} s, none",
        ),
        *((f"attestations verified, {name}", f"{figures[key]:,}/s", "200/s") for name, key in _EVIDENCE.items()),
    ]
    return "\n".join(["## Identity", "", *_ran(figures), "", *_table(("what", "measured", "bar"), rows), ""])


def placement(figures: Figures) -> str:
    """The section about the planners beside their references."""
    rows = [
        (line["what"], line["ours"], line["reference"], line["bar"], _MET[line["met"]], str(row["ran"]["load_1min"]))
        for row in figures["results"].values()
        for line in row["lines"]
    ]
    loops = sorted(row["ran"]["loop_ms"] for row in figures["results"].values())
    return "\n".join(
        [
            "## Placement",
            "",
            "The planners beside published figures and known optima, each instance in a run of its own. CPU times and",
            "rates depend on the machine's load at the time, which the last column states: the same fixed loop took",
            f"{loops[0]} to {loops[-1]} ms of CPU time.",
            "",
            *_ran(figures),
            "",
            *_table(("instance", "ours", "reference", "bar", "met", "load"), rows),
            "",
        ]
    )


SECTIONS = {
    "engine": engine,
    "fabric": fabric,
    "identity": identity,
    "ledger": ledger,
    "placement": placement,
    "policy": policy,
}
_MET = {True: "yes", False: "no", None: ""}
_EVIDENCE = {"Intel TDX": "tdx_verified_per_s_wall", "AMD SEV-SNP": "snp_verified_per_s_wall"}


def _both(one: Figures) -> tuple[str, str]:
    return f"{one['wall_s']} s", f"{one['cpu_s']} s"


def _ran(figures: Figures) -> list[str]:
    machine = figures["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}"
    return [
        f"{figures['date']}, commit {figures['commit']}, load {machine['load_1min']} before it began.",
        f"{where}, Python {machine['python']}.",
        "",
        "```sh",
        f"{figures['command']} | python -m benches.render",
        "```",
    ]


def _latency(one: Figures) -> str:
    return f"p50 {one['p50']} ms, p90 {one['p90']} ms, p99 {one['p99']} ms ({one['n']} requests)"


def _spread(one: Figures) -> str:
    return f"{one['median']} s ({one['min']} to {one['max']} s in {one['n']} runs)"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def main() -> None:
    """Keep the lines that come in, then write the page."""
    RESULTS.mkdir(exist_ok=True)
    if not sys.stdin.isatty():
        for line in filter(str.strip, sys.stdin):
            figures = json.loads(line)
            kept = RESULTS / f"{figures['bench']}.json"
            if "results" in figures and kept.exists():
                # Instances that ran apart stand together; each says when it ran.
                figures["results"] = {**json.loads(kept.read_text()).get("results", {}), **figures["results"]}
            kept.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE.write_text(render())


if __name__ == "__main__":
    main()
