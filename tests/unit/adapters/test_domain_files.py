"""Key files and the domain's folder: made once, loaded the same, damage named, nothing overwritten."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from hanse.adapters.domain_files import (
    RECORD,
    DomainError,
    init_domain,
    issue_server,
    load_domain,
    write_context,
)
from hanse.adapters.keys import ed25519_signer, private_pem, write_private
from hanse.adapters.node_files import NodeFiles
from hanse.app.context import context_path, read_context
from hanse.core.fabric import Node, Operator, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, NodeId, OperatorId, SiteId
from hanse.core.rng import Rng
from hanse.core.time import WallTime
from hanse.identity import IdentityError, key_from_secret, make_csr, verify_svid
from hanse.identity.enrol import answer_join
from hanse.wire.envelope import open_sealed, seal
from hanse.wire.messages import JoinRequest, Revocations

NOW = WallTime(1_795_000_000_000_000)


class SeededEntropy:
    """The same secrets at every run."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)

    def stream(self, *names: str | int) -> random.Random:
        return Rng(1).stream(*names)

    def secret(self, count: int) -> bytes:
        return self._rng.randbytes(count)


def test_signers_sign_what_their_public_keys_verify_and_load_again(tmp_path: Path) -> None:
    classic = ed25519_signer(tmp_path / "keys" / "a.key", SeededEntropy())
    quantum = init_domain(tmp_path / "state", "hanse.local", NOW, SeededEntropy()).ledger_signers[1]
    Ed25519PublicKey.from_public_bytes(classic.public_key).verify(classic.sign(b"m"), b"m")
    MLDSA44PublicKey.from_public_bytes(quantum.public_key).verify(quantum.sign(b"m"), b"m")
    assert (classic.algorithm, len(classic.public_key), len(classic.sign(b"m"))) == ("ed25519", 32, 64)
    assert (quantum.algorithm, len(quantum.public_key), len(quantum.sign(b"m"))) == ("ml-dsa-44", 1_312, 2_420)
    assert ed25519_signer(tmp_path / "keys" / "a.key", SeededEntropy(2)).key_id == classic.key_id


def test_key_files_are_private_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    ed25519_signer(tmp_path / "keys" / "a.key", SeededEntropy())
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["a.key"]
    assert (tmp_path / "keys" / "a.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=r"a\.key") as refused:
        ed25519_signer(path, SeededEntropy())
    assert refused.value.code == "identity.bad_key_file"
    assert path.read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "a.key", private_pem(key_from_secret(b"\x02" * 48)))
    with pytest.raises(IdentityError) as refused:
        ed25519_signer(tmp_path / "a.key", SeededEntropy())
    assert refused.value.code == "identity.bad_key_file"


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    ed25519_signer(tmp_path / "a.key", SeededEntropy())
    (tmp_path / "a.key").chmod(0o640)
    with pytest.raises(IdentityError, match="mode 0640") as refused:
        ed25519_signer(tmp_path / "a.key", SeededEntropy())
    assert refused.value.code == "identity.open_key_file"


def test_the_domain_is_made_once_and_loaded_ever_after(tmp_path: Path) -> None:
    made = init_domain(tmp_path, "hanse.local", NOW, SeededEntropy(1))
    again = init_domain(tmp_path, "hanse.local", WallTime(NOW + 1), SeededEntropy(2))
    assert again.api_token == made.api_token
    assert again.bundle_pem == made.bundle_pem
    assert again.controller_signer.key_id == made.controller_signer.key_id
    assert [s.algorithm for s in again.ledger_signers] == ["ed25519", "ml-dsa-44"]
    assert again.nats_trust() == made.nats_trust()
    assert again.controller_jwt == made.controller_jwt
    sealed = seal(Revocations(nodes=(), generation=1), made.controller_signer)
    trusted = {again.controller_signer.key_id: again.controller_signer.public_key}
    assert open_sealed(sealed, Revocations, trusted).key_id == made.controller_signer.key_id
    assert [path.name for path in tmp_path.iterdir()] == ["domain"]


def test_every_file_of_the_domain_is_private(tmp_path: Path) -> None:
    domain = init_domain(tmp_path, "hanse.local", NOW, SeededEntropy())
    write_context(tmp_path, ["https://127.0.0.1:7000"])
    assert {path.stat().st_mode & 0o777 for path in domain.folder.iterdir()} == {0o600}
    assert domain.folder.stat().st_mode & 0o777 == 0o700
    for secret in (domain.api_token, domain.operator.seed, domain.authority.account.seed):
        assert secret not in repr(domain)


def test_any_missing_or_changed_file_is_named_and_never_made_anew(tmp_path: Path) -> None:
    folder = init_domain(tmp_path, "hanse.local", NOW, SeededEntropy()).folder
    for path in sorted(folder.iterdir()):
        kept = path.read_bytes()
        for damage in (None, b"", kept[:-1], kept + b"\n", kept.swapcase()):
            path.unlink()
            if damage is not None:
                path.write_bytes(damage)
                path.chmod(0o600)
            if damage == kept + b"\n" and path.name == RECORD:
                continue  # white space after the record is no damage
            with pytest.raises(DomainError) as refused:
                init_domain(tmp_path, "hanse.local", NOW, SeededEntropy(9))
            assert refused.value.code == "domain.damaged"
            assert path.name in str(refused.value)
            assert path.exists() is (damage is not None)
            path.write_bytes(kept)
            path.chmod(0o600)
    load_domain(tmp_path)


def test_a_half_made_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "domain").mkdir()
    with pytest.raises(DomainError, match=r"domain\.json: no such file") as refused:
        init_domain(tmp_path, "hanse.local", NOW, SeededEntropy())
    assert refused.value.code == "domain.damaged"


def test_a_crash_while_making_leaves_no_domain(tmp_path: Path) -> None:
    class Failing(SeededEntropy):
        def secret(self, count: int) -> bytes:
            if count == 48:
                return super().secret(count)
            raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        init_domain(tmp_path, "hanse.local", NOW, Failing())
    assert list(tmp_path.iterdir()) == []
    assert init_domain(tmp_path, "hanse.local", NOW, SeededEntropy()).name == "hanse.local"


def test_another_domain_is_not_overwritten(tmp_path: Path) -> None:
    init_domain(tmp_path, "hanse.local", NOW, SeededEntropy())
    with pytest.raises(DomainError) as refused:
        init_domain(tmp_path, "other.example", NOW, SeededEntropy())
    assert (refused.value.code, str(refused.value)) == (
        "domain.other",
        f"{tmp_path} holds the domain hanse.local, not other.example",
    )
    with pytest.raises(IdentityError):
        init_domain(tmp_path / "new", "Not A Domain", NOW, SeededEntropy())
    assert not (tmp_path / "new").exists()


def test_the_context_tells_a_client_where_to_go(tmp_path: Path) -> None:
    domain = init_domain(tmp_path, "hanse.local", NOW, SeededEntropy())
    write_context(tmp_path, ["https://127.0.0.1:7000"])
    path = write_context(tmp_path, ["https://127.0.0.1:7001"])
    context = read_context(path)
    assert path == context_path(tmp_path, None)
    assert (context.domain, context.api_urls) == ("hanse.local", ("https://127.0.0.1:7001",))
    assert context.ca_path.read_bytes() == domain.bundle_pem
    assert context.token == domain.api_token


def test_servers_get_svids_for_their_host_names(tmp_path: Path) -> None:
    domain = init_domain(tmp_path, "hanse.local", NOW, SeededEntropy())
    chain, key = issue_server(domain, "nats", now=NOW, entropy=SeededEntropy(3))
    assert str(verify_svid(chain, domain.bundle_pem, NOW, domain="hanse.local")) == "spiffe://hanse.local/server/nats"
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")


SITE = Site(
    id=SiteId("berlin"),
    country=CountryCode("DE"),
    place=Place(city="Berlin", latitude_deg=52.5, longitude_deg=13.4),
    grid_zone="DE",
)
OPERATOR = Operator(id=OperatorId("acme"), name="Acme", seat=CountryCode("DE"))


def _join(tmp_path: Path, files: NodeFiles) -> JoinRequest:
    domain = init_domain(tmp_path / "domain-state", "hanse.local", NOW, SeededEntropy())
    keys, svid_key = files.keys(SeededEntropy(4)), key_from_secret(b"\x02" * 48)
    node = Node(
        id=NodeId("berlin-1"),
        site=SiteId("berlin"),
        operator=OperatorId("acme"),
        tier=Tier.EDGE,
        capacity=Resources(),
        price=Price(cpu_core_hour_microeur=1, memory_gib_hour_microeur=1),
        power=Power(idle_mw=1, per_core_mw=1),
    )
    request = JoinRequest(
        token="t",
        node=node,
        csr_pem=make_csr(svid_key),
        public_key=keys.signer.public_key,
        nats_public_key=keys.nats_user.public,
    )
    response = answer_join(
        domain.authority,
        request,
        NOW,
        5,
        nats_urls=["tls://h:1"],
        controller_keys=[b"k" * 32],
        site=SITE,
        operator=OPERATOR,
    )
    files.save_enrolment(response)
    return request


def test_a_node_restarts_with_its_identity_and_no_uplink(tmp_path: Path) -> None:
    files = NodeFiles(tmp_path / "node")
    assert files.enrolment() is None
    request = _join(tmp_path, files)
    restarted = NodeFiles(tmp_path / "node")
    keys, enrolment = restarted.keys(SeededEntropy(99)), restarted.enrolment()
    assert enrolment is not None
    assert keys.signer.public_key == request.public_key
    assert keys.nats_user.public == request.nats_public_key
    assert enrolment.nats_jwt.count(".") == 2
    svid = enrolment.svid
    name = verify_svid(svid.certificate_chain_pem, svid.bundle_pem, NOW, domain=enrolment.domain)
    assert name.path == "/node/berlin-1"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "node").iterdir()} == {0o600}
