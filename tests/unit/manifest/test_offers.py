"""What `--resource` says about a node, and what it refuses."""

from __future__ import annotations

import pytest

from hanse.core.errors import UnitError
from hanse.core.fabric import Gpus, Node
from hanse.manifest import load
from hanse.manifest.offers import with_offers

NODE = """
apiVersion: hanse.dev/v1
kind: Node
metadata: {name: edge-1}
spec:
  site: fra
  operator: hansa
  tier: edge
  capacity: {cpu: 4, memory: 8Gi, disk: 10Gi, gpu: {model: L4, count: 1, memory: 24Gi}, custom: {licence: 1}}
  overhead: {cpu: 200m, memory: 512Mi}
  price: {cpu: 0.03 EUR/core-hour, memory: 0.004 EUR/GiB-hour, gpu: 0.60 EUR/GPU-hour}
  power: {idle: 20W, perCore: 4W, perGpu: 60W}
"""


def node() -> Node:
    return load([("node.yaml", NODE)]).nodes[0]


def test_offers_replace_what_the_document_says_and_leave_the_rest() -> None:
    found = with_offers(node(), ["disk=200Gi", "bandwidth=1Gbit/s", "gpu=L4:2", "licence=4", "sdr=1"])
    assert found.capacity.disk_bytes == 200 * 2**30
    assert found.capacity.bandwidth_bps == 10**9
    assert found.capacity.custom == (("licence", 4), ("sdr", 1))
    assert found.gpus == Gpus(model="L4", count=2, memory_bytes=24 * 2**30)
    assert found.capacity.cpu_milli == 4_000
    assert found.allocatable.cpu_milli == 3_800


def test_nothing_said_changes_nothing_and_zero_withdraws() -> None:
    assert with_offers(node(), []) == node()
    found = with_offers(node(), ["gpu=0", "licence=0", "disk=0"])
    assert (found.gpus, found.capacity.custom, found.capacity.disk_bytes) == (None, (), 0)


@pytest.mark.parametrize("text", ["disk", "=4", "disk=", "gpu=L4:0", "gpu=:2", "gpu=L4:many", "licence=2.5", "disk=3x"])
def test_what_is_no_offer_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        with_offers(node(), [text])


def test_a_shared_gpu_is_one_gpu() -> None:
    from hanse.manifest import ManifestError

    function = """
apiVersion: hanse.dev/v1
kind: Function
metadata: {name: infer}
spec:
  source: ./infer.py
  route: {path: /infer}
  resources: {disk: 1Gi, bandwidth: 10Mbit/s, gpu: {count: 2, share: 25%}, custom: {licence: 1}}
"""
    with pytest.raises(ManifestError, match="only one GPU can be shared"):
        load([("f.yaml", function)])
    spec = load([("f.yaml", function.replace("count: 2, ", "models: [L4], "))]).functions[0]
    assert spec.gpu is not None and (spec.gpu.share_milli, spec.gpu.models) == (250, ("L4",))
    assert spec.resources.names == ("cpu", "memory", "disk", "bandwidth", "licence")
