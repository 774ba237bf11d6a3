"""Properties of names and certificates: round trips, and never believing what was changed."""

from __future__ import annotations

import base64
import string

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import example, given
from hypothesis import strategies as st

from hanse.core.ids import NodeId
from hanse.core.time import WallTime
from hanse.identity import (
    NODE_API,
    NODE_INGEST,
    IdentityError,
    SpiffeId,
    issue_svid,
    key_from_secret,
    make_csr,
    make_root,
    node_id,
    node_permissions,
    verify_svid,
)
from hanse.identity.authority import requested_key
from hanse.identity.spiffe import parse

NOW = WallTime(1_795_000_000_000_000)
CA_KEY = key_from_secret(b"\x01" * 48)
CA = make_root(CA_KEY, "hanse.local", NOW, 1)
BUNDLE = CA.public_bytes(serialization.Encoding.PEM)
NAME = node_id("hanse.local", NodeId("berlin-1"))
CHAIN = issue_svid(make_csr(key_from_secret(b"\x02" * 48)), NAME, ca_key=CA_KEY, ca_cert=CA, now=NOW, serial=7)
CSR = x509.load_pem_x509_csr(make_csr(key_from_secret(b"\x02" * 48))).public_bytes(serialization.Encoding.DER)
DER = x509.load_pem_x509_certificate(CHAIN).public_bytes(serialization.Encoding.DER)

domains = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=255)
segments = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=20).filter(
    lambda text: text not in {".", ".."}
)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z", fullmatch=True)


@given(domains, st.lists(segments, max_size=8))
def test_names_survive_the_round_trip(domain: str, path: list[str]) -> None:
    name = SpiffeId(domain, "".join(f"/{segment}" for segment in path))
    assert parse(str(name)) == name


@given(st.text(max_size=60))
@example("spiffe://a/b%2fc")
@example("spiffe://a/b/")
def test_reading_never_repairs(text: str) -> None:
    for candidate in (text, f"spiffe://{text}", f"spiffe://hanse.local/{text}"):
        try:
            name = parse(candidate)
        except IdentityError:
            continue
        assert str(name) == candidate


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
@example(12, 1)  # version 4 is not a ValueError
@example(14, 7)  # serial number 0 is a warning
@example(377, 1)  # unused bits of the signature, which nothing signs
def test_a_changed_certificate_never_verifies(position: int, change: int) -> None:
    changed = bytearray(DER)
    changed[position] ^= change
    pem = b"-----BEGIN CERTIFICATE-----\n" + _base64_lines(bytes(changed)) + b"-----END CERTIFICATE-----\n"
    try:
        verify_svid(pem, BUNDLE, NOW, domain="hanse.local")
    except IdentityError:
        return
    raise AssertionError(f"byte {position} changed by {change:#x} was believed")


@given(st.integers(0, len(CSR) - 1), st.integers(1, 255))
@example(117, 1)  # unused bits of the signature
def test_a_changed_request_is_never_granted(position: int, change: int) -> None:
    changed = bytearray(CSR)
    changed[position] ^= change
    pem = (
        b"-----BEGIN CERTIFICATE REQUEST-----\n"
        + _base64_lines(bytes(changed))
        + b"-----END CERTIFICATE REQUEST-----\n"
    )
    try:
        requested_key(pem)
    except IdentityError:
        return
    raise AssertionError(f"byte {position} changed by {change:#x} was granted")


@given(st.binary(max_size=400))
def test_foreign_bytes_never_crash_the_verifier(data: bytes) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\n" + _base64_lines(data) + b"-----END CERTIFICATE-----\n"
    for chain in (data, pem):
        try:
            verify_svid(chain, BUNDLE, NOW, domain="hanse.local")
        except IdentityError:
            continue
        raise AssertionError("believed")


@given(labels, labels)
def test_no_permission_of_a_node_covers_another_nodes_keys(node: str, other: str) -> None:
    if node == other:
        return
    permissions = node_permissions(NodeId(node))
    private = (
        f"$KV.orders.{other}.x",
        f"$KV.orders.{other}.>",
        f"$KV.reports.{other}.x",
        f"$KV.presence.{other}",
        f"{NODE_INGEST}.KV.reports.{other}.x",
        f"{NODE_INGEST}.KV.presence.{other}",
        f"{NODE_API}.DIRECT.GET.KV_orders.$KV.orders.{other}.x",
        f"{NODE_API}.CONSUMER.CREATE.KV_orders.c.$KV.orders.{other}.>",
        f"{NODE_API}.CONSUMER.CREATE.KV_orders.c.$KV.orders.>",
        f"{NODE_API}.CONSUMER.CREATE.KV_orders.c",
        f"hanse.v1.heartbeat.{other}",
        f"hanse.v1.ask.{other}.renew",
        f"$JS.API.DIRECT.GET.KV_orders.$KV.orders.{other}.x",
        f"$JS.API.CONSUMER.CREATE.KV_orders.c.$KV.orders.{other}.>",
        "$JS.API.CONSUMER.CREATE.KV_orders.c.$KV.orders.>",
        "$JS.API.CONSUMER.CREATE.KV_orders.c.>",
        "$JS.API.CONSUMER.CREATE.KV_orders.c",
        "$JS.API.CONSUMER.CREATE.KV_orders",
    )
    for subject in private:
        assert not any(_covers(pattern, subject) for pattern in permissions.publish), subject
    heard = (
        f"_INBOX.{other}.x", f"hanse.v1.deliver.{other}.x", f"hanse.v1.tell.{other}.logs", f"$KV.orders.{other}.x", ">",
        "_INBOX.>",
    )  # fmt: skip
    for subject in heard:
        assert not any(_covers(pattern, subject) for pattern in permissions.subscribe), subject


def _covers(pattern: str, subject: str) -> bool:
    wanted, tokens = pattern.split("."), subject.split(".")
    for position, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > position
        if position >= len(tokens) or (token not in {"*", tokens[position]}):
            return False
    return len(wanted) == len(tokens)


def _base64_lines(data: bytes) -> bytes:
    return base64.encodebytes(data)
