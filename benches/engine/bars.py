"""The figures of the engine without a rival: starts, the forwarded hop, memory, many functions."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization

from benches import report
from benches.engine import loads, neighbours, servers
from benches.engine.loads import Load
from benches.engine.rivals import Effort
from benches.engine.servers import Host
from benches.engine.tools import Say, Tools
from hanse.adapters.clock import SystemClock
from hanse.adapters.entropy import SystemEntropy
from hanse.core.ids import NodeId
from hanse.identity import issue_svid, key_from_secret, make_csr, make_root, node_id, serial_from_secret
from hanse.identity.authority import SECRET_BYTES, key_pem

DOMAIN = "bench.hanse"
KIB_PER_MIB = 1_024
MANY, FEW = 1_000, 10


def instance_start(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """Time to make an instance of hello, one request after the other."""
    p50, p99 = [], []
    for _ in range(effort.rounds):
        with (
            tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder,
            servers.engine(Path(folder), {"w": tools.components["hello"]}) as host,
        ):
            loads.put(tools, host.as_server(), Load(seconds=effort.seconds))
            stats = host.ask("stats")["w"]
        p50.append(stats["instantiate_us_p50"])
        p99.append(stats["instantiate_us_p99"])
    figures = {"p50_us": report.spread(p50, 1), "p99_us": report.spread(p99, 1)}
    say(f"instance start: {figures}")
    return figures


def first_answer(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """From `load` of a Python component that was compiled before to its first answer, each time in a new engine."""
    component = tools.components["quote.py"]
    ran = subprocess.run(
        [str(tools.first_answer), str(component), str(10 * effort.rounds)], capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(ran.stdout)
    say(f"first answer: {figures}")
    return figures


def policy_decision(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """One decision of the request path with 100 policies and 1,000 entities, in three shapes."""
    ran = subprocess.run([str(tools.decide), str(10_000 * effort.rounds)], capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(ran.stdout)
    say(f"policy: {figures}")
    return figures


def forwarded_hop(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """What one hop over mutual TLS adds: one client asks the node that runs it, and in turn one that does not."""
    added_p50, added_p99, direct, forwarded = [], [], [], []
    with (
        tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder,
        servers.bare_host() as near,
        servers.bare_host() as far,
    ):
        cache = Path(folder)
        near.start(cache, "near")
        far.start(cache, "far")
        _introduce({"near": near, "far": far})
        far.serve({"w": tools.components["hello"]})
        replica = {"node": "far", "address": far.mesh, "spiffe_id": str(node_id(DOMAIN, NodeId("far"))), "rtt_us": 100}
        near.ask("routes", routes=[{"workload": "w", "path": "/", "replicas": [replica]}])
        load = Load(seconds=effort.seconds)
        for _ in range(effort.rounds + 1):
            direct.append(loads.put(tools, far.as_server(), load))
            forwarded.append(loads.put(tools, near.as_server(), load))
    # The first round makes the connection and warms both.
    direct, forwarded = direct[1:], forwarded[1:]
    for here, there in zip(direct, forwarded, strict=True):
        added_p50.append((there.p50_us - here.p50_us) / 1_000)
        added_p99.append((there.p99_us - here.p99_us) / 1_000)
    figures = {
        "added_p50_ms": report.spread(added_p50),
        "added_p99_ms": report.spread(added_p99),
        "direct": loads.summary(direct),
        "forwarded": loads.summary(forwarded),
    }
    say(f"forwarded hop: adds {figures['added_p50_ms']} p50, {figures['added_p99_ms']} p99")
    return figures


def memory(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """What an engine with one idle function adds to its process. Another one compiles, as on a node."""
    added = []
    for _ in range(effort.rounds):
        with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, servers.bare_host() as host:
            with servers.bare_host() as compiler:
                compiler.ask("precompile", cache=folder, component=str(tools.components["hello"]))
            bare = host.ask("rss")["rss_kib"]
            host.start(Path(folder))
            host.serve({"w": tools.components["hello"]})
            added.append((host.ask("rss")["rss_kib"] - bare) / KIB_PER_MIB)
    figures = {"added_mib": report.spread(added, 1), "bare_mib": round(bare / KIB_PER_MIB, 1)}
    say(f"memory: {figures}")
    return figures


def many_functions(tools: Tools, effort: Effort, say: Say) -> dict[str, Any]:
    """A thousand different small functions on one engine beside ten on another, asked in turn."""
    with (
        tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder,
        servers.bare_host() as many,
        servers.bare_host() as few,
    ):
        components = _variants(tools.components["hello"], Path(folder), MANY)
        loaded = {}
        for host, count in ((many, MANY), (few, FEW)):
            host.start(Path(folder) / "cache", f"with-{count}")
            loaded[count] = host.serve(dict(list(components.items())[:count]))
        rounds: dict[int, list[loads.Sample]] = {MANY: [], FEW: []}
        for _ in range(effort.rounds):
            for host, count in ((many, MANY), (few, FEW)):
                load = Load(path="/f{}", connections=32, seconds=effort.seconds, paths=count)
                rounds[count].append(loads.put(tools, host.as_server(), load))
        rss = many.ask("rss")["rss_kib"] / KIB_PER_MIB
    ratios = [a.requests_per_s / b.requests_per_s for a, b in zip(rounds[MANY], rounds[FEW], strict=True)]
    cpu = [a.cpu_us_per_request / b.cpu_us_per_request for a, b in zip(rounds[MANY], rounds[FEW], strict=True)]
    figures = {
        "rss_mib": round(rss, 1),
        "load_ms_p50": round(statistics.median(loaded[MANY]) * 1_000, 2),
        "of_many": loads.summary(rounds[MANY]),
        "of_few": loads.summary(rounds[FEW]),
        "speed_ratio": report.spread(ratios),
        "cpu_ratio": report.spread(cpu),
    }
    say(f"{MANY} functions: {rss:.0f} MiB, speed of {FEW} x {figures['speed_ratio']}, cpu x {figures['cpu_ratio']}")
    return figures


def _introduce(hosts: dict[str, Host]) -> None:
    """Give each host an SVID of one authority."""
    entropy, now = SystemEntropy(), SystemClock().wall()

    def key_and_serial() -> tuple[Any, int]:
        return key_from_secret(entropy.secret(SECRET_BYTES)), serial_from_secret(entropy.secret(16))

    ca_key, serial = key_and_serial()
    root = make_root(ca_key, DOMAIN, now, serial)
    for name, host in hosts.items():
        key, serial = key_and_serial()
        chain = issue_svid(
            make_csr(key), node_id(DOMAIN, NodeId(name)), ca_key=ca_key, ca_cert=root, now=now, serial=serial
        )
        bundle = root.public_bytes(serialization.Encoding.PEM)
        host.ask("identity", chain=chain.decode(), key=key_pem(key).decode(), bundle=bundle.decode())


def _variants(component: Path, folder: Path, count: int) -> dict[str, Path]:
    """Components that differ: each with a custom section of its own, so that each is compiled and held for itself."""
    base = component.read_bytes()
    made = {}
    for number in range(count):
        content = bytes([4]) + b"hans" + number.to_bytes(4, "big")
        path = folder / f"f{number}.wasm"
        path.write_bytes(base + bytes([0, len(content)]) + content)
        made[f"f{number}"] = path
    return made


BARS = {
    "start": instance_start,
    "answer": first_answer,
    "hop": forwarded_hop,
    "policy": policy_decision,
    "memory": memory,
    "density": many_functions,
    "neighbour": neighbours.noisy_neighbour,
}
