"""Each contract suite takes one of these fixtures: a factory of a backend, memory, disk and real NATS alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import (
    BlobStores,
    Buses,
    Stores,
    disk_blobs,
    disk_stores,
    memory_blobs,
    memory_buses,
    memory_stores,
    nats_blobs,
    nats_buses,
    nats_stores,
)

REAL = pytest.param("nats", marks=pytest.mark.substrate)


@pytest.fixture(params=["memory", "disk", REAL])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Stores]]:
    match request.param:
        case "memory":
            return memory_stores
        case "disk":
            return lambda: disk_stores(tmp_path)
        case _:
            nats = request.getfixturevalue("nats")
            return lambda: nats_stores(nats)


@pytest.fixture(params=["memory", REAL])
def remote_stores(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[Stores]]:
    """Stores behind a wire that can be cut."""
    if request.param == "memory":
        return memory_stores
    nats = request.getfixturevalue("nats")
    return lambda: nats_stores(nats)


@pytest.fixture(params=["memory", REAL])
def buses(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[Buses]]:
    if request.param == "memory":
        return memory_buses
    nats = request.getfixturevalue("nats")
    return lambda: nats_buses(nats)


@pytest.fixture(params=["memory", "disk", REAL])
def blob_stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], AbstractAsyncContextManager[BlobStores]]:
    match request.param:
        case "memory":
            return memory_blobs
        case "disk":
            return lambda: disk_blobs(tmp_path)
        case _:
            nats = request.getfixturevalue("nats")
            return lambda: nats_blobs(nats)
