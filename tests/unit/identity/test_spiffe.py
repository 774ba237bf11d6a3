"""SPIFFE IDs: what the specification's own examples accept and refuse."""

from __future__ import annotations

import pytest

from hanse.core.ids import ControllerId, NodeId
from hanse.identity import IdentityError, SpiffeId, controller_id, domain_id, node_id, workload_spiffe_id
from hanse.identity.spiffe import parse


def test_builds_and_reads_the_names_of_the_fabric() -> None:
    assert str(node_id("hanse.local", NodeId("berlin-1"))) == "spiffe://hanse.local/node/berlin-1"
    assert str(controller_id("hanse.local", ControllerId("c1"))) == "spiffe://hanse.local/controller/c1"
    assert str(workload_spiffe_id("hanse.local", "clinic", "triage")) == "spiffe://hanse.local/ns/clinic/triage"
    assert parse("spiffe://hanse.local/ns/clinic/triage") == SpiffeId("hanse.local", "/ns/clinic/triage")
    assert domain_id("hanse.local").is_domain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://hanse.local/node/a",
        "SPIFFE://hanse.local/node/a",
        "spiffe:hanse.local",
        "spiffe://",
        "spiffe:///node/a",
        "spiffe://Hanse.local/node/a",
        "spiffe://hanse.local:443/node/a",
        "spiffe://user@hanse.local/node/a",
        "spiffe://hanse.local/",
        "spiffe://hanse.local/node/",
        "spiffe://hanse.local//node",
        "spiffe://hanse.local/./node",
        "spiffe://hanse.local/node/..",
        "spiffe://hanse.local/no%64e",
        "spiffe://hanse.local/node/a?x=1",
        "spiffe://hanse.local/node/a#f",
        "spiffe://hanse.local/node/ä",
        "spiffe://hanse.local/node/a\n",
        "spiffe://hanse.local\n",
        "spiffe://" + "d" * 256,
        "spiffe://hanse.local/" + "p" * 2_048,
    ],
)
def test_refuses_what_the_specification_refuses(text: str) -> None:
    with pytest.raises(IdentityError) as refused:
        parse(text)
    assert refused.value.code == "identity.malformed_id"


def test_takes_the_longest_id_allowed() -> None:
    start = "spiffe://" + "d" * 255 + "/"
    assert str(parse(start + "p" * (2_048 - len(start)))).startswith(start)


def test_a_refusal_can_be_read() -> None:
    with pytest.raises(IdentityError) as refused:
        parse("spiffe://hanse.local/node/..")
    assert str(refused.value) == "not a SPIFFE ID: path segment '..' is relative"
    assert refused.value.hint == "write it like `spiffe://hanse.example/node/berlin-1`"
