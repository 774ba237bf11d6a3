"""What every test shares: importable helpers beside the tests, and one substrate per worker.

`tests/aio.py` runs coroutines with a deadline; `tests/substrate.py` starts a real nats-server. Properties are judged by
what they find and never by how long one example took: that says how busy the machine is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from guests import guests
from substrate import NatsFixture

__all__ = ["guests", "nats"]

settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsFixture]:
    """One real nats-server for all tests of this worker; tests keep apart by unique bucket and subject names."""
    fixture = NatsFixture(tmp_path_factory.mktemp("nats"))
    fixture.start()
    yield fixture
    fixture.stop()
