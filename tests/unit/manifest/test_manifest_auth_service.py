"""Who may ask, and services: from the manifest to the workload, and what is refused."""

from __future__ import annotations

import json

import pytest

from hanse.core.ids import Digest
from hanse.core.work import Kind
from hanse.manifest import ManifestError, load

DIGEST = Digest("sha256:" + "0" * 64)
HEAD = """\
apiVersion: hanse.dev/v1
kind: {kind}
metadata: {{name: {name}, namespace: test}}
spec:
  route: {{path: /{name}}}
"""


def text(kind: str, spec: str, name: str = "x") -> str:
    return HEAD.format(kind=kind, name=name) + "".join(f"  {line}\n" for line in spec.splitlines())


def test_tokens_that_a_function_demands_arrive_in_its_workload() -> None:
    spec = (
        "source: f.py\n"
        "auth:\n  jwt:\n    issuer: https://id.example\n    audience: api\n    optional: true\n"
        "    keys:\n      - {kty: OKP, crv: Ed25519, kid: one, x: AAAA}\n"
    )
    (document,) = load([("f.yaml", text("Function", spec))]).functions
    auth = document.to_workload(DIGEST, 1, 1).auth
    assert auth is not None
    assert (auth.issuer, auth.audience, auth.is_optional) == ("https://id.example", "api", True)
    assert json.loads(auth.jwks) == {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "AAAA"}]}


def test_a_private_key_never_stands_in_a_manifest() -> None:
    spec = "source: f.py\nauth: {jwt: {issuer: i, audience: a, keys: [{kty: EC, crv: P-256, x: A, y: B, d: C}]}}"
    with pytest.raises(ManifestError) as caught:
        load([("f.yaml", text("Function", spec))])
    assert [problem.field for problem in caught.value.problems] == ["spec.auth.jwt.keys[0].d"]


def test_without_keys_of_its_own_the_nodes_keys_count_and_without_auth_anybody_may_ask() -> None:
    (with_auth,) = load([("f.yaml", text("Function", "source: f.py\nauth: {jwt: {issuer: i, audience: a}}"))]).functions
    assert with_auth.auth is not None
    assert with_auth.auth.jwks == ""
    (without,) = load([("f.yaml", text("Function", "source: f.py"))]).functions
    assert without.auth is None


def test_a_service_names_an_address_and_has_neither_source_nor_egress_nor_environment() -> None:
    (document,) = load([("s.yaml", text("Service", "upstream: 127.0.0.1:9000\nreplicas: 2"))]).functions
    workload = document.to_workload(DIGEST, 1, 1)
    assert (workload.kind, workload.upstream, workload.replicas) == (Kind.SERVICE, "127.0.0.1:9000", 2)
    assert (document.source, workload.egress, dict(workload.env)) == ("", (), {})
    for more in ("source: f.py", "egress: []", "env: {A: b}"):
        with pytest.raises(ManifestError):
            load([("s.yaml", text("Service", f"upstream: 127.0.0.1:9000\n{more}"))])


@pytest.mark.parametrize(
    "upstream",
    [
        "localhost:80",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "1.2.3:80",
        "::1:80",
        "http://127.0.0.1:80",
        ":80",
        "https://board.example.org",
        "https://board.example.org:443/",
        "https://Board.example.org:443",
        "https://ada@board.example.org:443",
        "https://1.2.3:443",
        "https://:443",
    ],
)
def test_an_upstream_in_the_clear_is_never_a_name_and_none_is_half_an_address(upstream: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load([("s.yaml", text("Service", f'upstream: "{upstream}"'))])
    assert [problem.field for problem in caught.value.problems] == ["spec.upstream"]


def test_an_address_of_either_family_is_one_and_under_tls_a_name_too() -> None:
    for upstream in ("10.0.0.7:443", "[::1]:9000", "https://board.example.org:8443", "https://[::1]:443"):
        (document,) = load([("s.yaml", text("Service", f'upstream: "{upstream}"'))]).functions
        assert document.upstream == upstream


def test_a_function_and_a_service_never_share_a_name_or_a_route() -> None:
    function, service = text("Function", "source: f.py"), text("Service", "upstream: 127.0.0.1:1")
    with pytest.raises(ManifestError) as caught:
        load([("a.yaml", function), ("b.yaml", service)])
    assert any("duplicate name" in problem.message for problem in caught.value.problems)
    other = text("Service", "upstream: 127.0.0.1:1", name="y").replace("/y", "/x")
    with pytest.raises(ManifestError) as caught:
        load([("a.yaml", function), ("b.yaml", other)])
    assert any("already claimed" in problem.message for problem in caught.value.problems)
