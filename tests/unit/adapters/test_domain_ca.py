"""The domain's authorities: an issuing one below a root whose key may be elsewhere; old domains find their way."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from hanse.adapters.domain_ca import (
    export_root,
    is_rotation_due,
    read_root_file,
    root_kept_at,
    rotate_issuing,
    view_ca,
    write_root_file,
)
from hanse.adapters.domain_files import (
    RECORD,
    Domain,
    DomainError,
    DomainRecord,
    init_domain,
    issue_server,
    load_domain,
    load_record,
    write_record,
)
from hanse.adapters.keys import private_pem, write_private
from hanse.app.cli.root import app
from hanse.core.rng import Rng
from hanse.core.time import DAY_US, HOUR_US, WallTime
from hanse.identity import IdentityError, key_from_secret, make_root, verify_svid
from hanse.wire import canonical

NOW = WallTime(1_795_000_000_000_000)
PASSPHRASE = "correct horse battery staple"
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


class SeededEntropy:
    """The same secrets at every run."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)

    def stream(self, *names: str | int) -> random.Random:
        return Rng(1).stream(*names)

    def secret(self, count: int) -> bytes:
        return self._rng.randbytes(count)


def domain_at(root: Path) -> Domain:
    return init_domain(root, "hanse.local", NOW, SeededEntropy())


def first_version(root: Path) -> Path:
    """A domain as version 0.1 made it: the root issues leaves itself and may have no authority below."""
    folder = domain_at(root).folder
    record = load_record(folder)
    key = key_from_secret(b"\x07" * 48)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hanse.local root")])
    new = make_root(key, "hanse.local", NOW, 5)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 5, new.not_valid_before_utc, new.not_valid_after_utc
    )
    for extension in new.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            value = x509.BasicConstraints(ca=True, path_length=0)
        builder = builder.add_extension(value, extension.critical)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    files = {"root.key": private_pem(key), "root.pem": pem}
    for file, data in files.items():
        write_private(folder / file, data)
    kept = {file: digest for file, digest in record.files.items() if not file.startswith("issuing-")}
    digests = {file: canonical.digest_bytes(data) for file, data in files.items()}
    write_record(folder, DomainRecord(name=record.name, created_us=record.created_us, files={**kept, **digests}))
    for path in folder.glob("issuing-*"):
        path.unlink()
    return folder


def served(domain: Domain, now: WallTime = NOW) -> bytes:
    chain, _ = issue_server(domain, "nats", now=now, entropy=SeededEntropy(3))
    verify_svid(chain, domain.bundle_pem, now, domain=domain.name)
    return chain


def test_members_carry_the_issuing_certificate_and_only_the_root_is_in_the_bundle(tmp_path: Path) -> None:
    domain = domain_at(tmp_path)
    leaf, issuing = x509.load_pem_x509_certificates(served(domain))
    (root,) = x509.load_pem_x509_certificates(domain.bundle_pem)
    assert leaf.issuer == issuing.subject
    assert issuing.issuer == root.subject == root.issuer
    assert [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length for one in (issuing, root)
    ] == [0, 1]
    with pytest.raises(IdentityError) as refused:
        verify_svid(leaf.public_bytes(serialization.Encoding.PEM), domain.bundle_pem, NOW, domain=domain.name)
    assert refused.value.code == "identity.untrusted"


def test_a_rotation_changes_who_issues_and_nothing_that_is_believed(tmp_path: Path) -> None:
    before = domain_at(tmp_path)
    chain, at = served(before), WallTime(NOW + 60 * DAY_US)
    assert not is_rotation_due(before, WallTime(at - 1_000_000))
    assert is_rotation_due(before, at)
    after = rotate_issuing(tmp_path, at, SeededEntropy(9))
    assert after.bundle_pem == before.bundle_pem
    assert after.authority.ca_cert != before.authority.ca_cert
    assert not is_rotation_due(after, at)
    assert sorted(path.name for path in after.folder.glob("issuing-*")) == ["issuing-2.key", "issuing-2.pem"]
    served(after, at)
    verify_svid(chain, after.bundle_pem, NOW, domain=after.name)


def test_an_issuing_authority_never_outlives_the_root_nor_a_leaf_it(tmp_path: Path) -> None:
    domain = init_domain(tmp_path, "hanse.local", NOW, SeededEntropy(), issuing_us=HOUR_US // 2)
    leaf = x509.load_pem_x509_certificate(served(domain))
    assert leaf.not_valid_after_utc == domain.authority.ca_cert.not_valid_after_utc
    late = WallTime(NOW + 3_640 * DAY_US)
    after = rotate_issuing(tmp_path, late, SeededEntropy(9))
    assert after.authority.root_cert is not None
    assert after.authority.ca_cert.not_valid_after_utc == after.authority.root_cert.not_valid_after_utc


def test_a_root_key_that_was_taken_away_is_asked_for_and_another_is_refused(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "root.p12"
    domain_at(state)
    exported = export_root(state, file, PASSPHRASE)
    assert exported.root_at == "file"
    assert not (exported.folder / "root.key").exists()
    assert b"PRIVATE KEY" not in file.read_bytes()
    with pytest.raises(DomainError) as missing:
        rotate_issuing(state, NOW, SeededEntropy(2))
    assert missing.value.code == "domain.root_elsewhere"
    with pytest.raises(IdentityError) as closed:
        read_root_file(file, PASSPHRASE + "x")
    assert closed.value.code == "identity.passphrase"
    write_root_file(tmp_path / "other.p12", key_from_secret(b"\x09" * 48), PASSPHRASE)
    for name, code in (("other.p12", "identity.root_key"), ("root.p12", "")):
        with root_kept_at(str(tmp_path / name), PASSPHRASE, SeededEntropy(), may_make=False) as kept:
            if code:
                with pytest.raises(IdentityError) as refused:
                    rotate_issuing(state, NOW, SeededEntropy(2), kept=kept)
                assert refused.value.code == code
            else:
                served(rotate_issuing(state, NOW, SeededEntropy(2), kept=kept))
    with pytest.raises(DomainError) as again:
        export_root(state, tmp_path / "more.p12", PASSPHRASE)
    assert again.value.code == "domain.root_elsewhere"


def test_openssl_opens_the_exported_key(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    write_root_file(tmp_path / "root.p12", key_from_secret(b"\x09" * 48), PASSPHRASE)
    shown = subprocess.run(
        ["openssl", "pkcs12", "-in", "root.p12", "-nodes", "-nocerts", "-passin", f"pass:{PASSPHRASE}"],
        cwd=tmp_path, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert "BEGIN PRIVATE KEY" in shown.stdout


def test_a_short_passphrase_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    domain_at(tmp_path / "state")
    with pytest.raises(IdentityError) as refused:
        export_root(tmp_path / "state", tmp_path / "root.p12", "short")
    assert refused.value.code == "identity.passphrase"
    assert not (tmp_path / "root.p12").exists()
    assert load_domain(tmp_path / "state").root_at == "folder"


def test_a_domain_of_the_first_version_starts_and_gets_an_issuing_authority_in_two_steps(tmp_path: Path) -> None:
    first_version(tmp_path)
    old = load_domain(tmp_path)
    assert x509.load_pem_x509_certificates(served(old))[1:] == []
    assert view_ca(old, NOW).issuing_serial == ""
    widened = rotate_issuing(tmp_path, NOW, SeededEntropy(4))
    # Same key, same name: whoever has the old certificate believes what is issued now, and the other way round.
    verify_svid(served(widened), old.bundle_pem, NOW, domain=old.name)
    verify_svid(served(old), widened.bundle_pem, NOW, domain=old.name)
    with pytest.raises(DomainError) as refused:
        rotate_issuing(tmp_path, WallTime(NOW + HOUR_US - 1), SeededEntropy(5))
    assert refused.value.code == "domain.root_too_young"
    at = WallTime(NOW + HOUR_US)
    issuing = rotate_issuing(tmp_path, at, SeededEntropy(5))
    assert len(x509.load_pem_x509_certificates(served(issuing, at))) == 2
    verify_svid(served(old, at), issuing.bundle_pem, at, domain=old.name)
    assert load_domain(tmp_path).bundle_pem == widened.bundle_pem
    assert not list(issuing.folder.glob("*.before"))


def test_what_an_interrupted_rotation_left_behind_does_not_count(tmp_path: Path) -> None:
    """The record is written last: new files that it does not list change nothing, and are replaced next time."""
    domain = domain_at(tmp_path)
    for name in ("issuing-2.key", "issuing-2.pem"):
        write_private(domain.folder / name, b"half")
    assert load_domain(tmp_path).authority.ca_cert == domain.authority.ca_cert
    assert rotate_issuing(tmp_path, NOW, SeededEntropy(2)).authority.ca_cert != domain.authority.ca_cert


def test_the_record_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    folder = domain_at(tmp_path).folder
    raw = msgspec.json.decode((folder / RECORD).read_bytes())
    raw.pop("root_at", None)
    write_private(folder / RECORD, msgspec.json.encode(raw))
    assert load_domain(tmp_path).root_at == "folder"


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A PKCS#11 URI of a fresh SoftHSM2 token, with its PIN in a file."""
    if not SOFTHSM.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (Debian package softhsm2)")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "hanse ca", "--so-pin", "5678", "--pin", "1234"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "pin").write_text("1234\n")
    return f"pkcs11:token=hanse%20ca;object=root?module-path={SOFTHSM}&pin-source=file:{tmp_path / 'pin'}"


def run(state: Path, *arguments: str) -> str:
    """Run `hanse ... --output json` in a process of its own: the token's library reads its settings once."""
    done = subprocess.run(
        [sys.executable, "-m", "hanse", *arguments, "--state", str(state), "--output", "json"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else f"{done.returncode} {done.stderr}"


def test_a_root_in_a_token_signs_without_its_key_ever_being_here(tmp_path: Path, token: str) -> None:
    state = tmp_path / "state"
    assert "pkcs11:token=hanse%20ca" in run(state, "init", "--root", token)
    domain = load_domain(state)
    assert not (domain.folder / "root.key").exists()
    assert domain.root_at.startswith("pkcs11:token=hanse%20ca;object=root?module-path=")
    now = WallTime(domain.created_us)
    first = served(domain, now)
    assert "root_elsewhere" in run(state, "ca", "rotate")
    rotated = run(state, "ca", "rotate", "--root", token, "--days", "30")
    assert '"is_rotation_due": false' in rotated, rotated
    after = load_domain(state)
    assert after.bundle_pem == domain.bundle_pem
    assert served(after, WallTime(now + 120_000_000)) != first
    (tmp_path / "pin").write_text("4321\n")
    assert "PinIncorrect" in run(state, "ca", "rotate", "--root", token)
    assert "token" in run(state, "ca", "rotate", "--root", token.replace("hanse%20ca", "none"))


def test_the_commands_show_rotate_and_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANSE_ROOT_PASSPHRASE", PASSPHRASE)
    state, runner = ["--state", str(tmp_path / "state")], CliRunner()

    def answer(*arguments: str) -> dict[str, object]:
        done = runner.invoke(app, [*arguments, *state, "--output", "json"])
        assert done.exit_code == 0, done.output
        told: dict[str, object] = msgspec.json.decode(done.stdout)
        return told

    made = answer("init", "--root", str(tmp_path / "root.p12"), "--days", "30")
    assert made["root_key"] == "file"
    shown = answer("ca", "show")
    assert shown["advice"] == ""
    rotated = answer("ca", "rotate", "--root", str(tmp_path / "root.p12"))
    assert rotated["issuing_serial"] != shown["issuing_serial"]
    table = runner.invoke(app, ["ca", "show", *state]).stdout
    assert "issuing" in table
    key = read_root_file(tmp_path / "root.p12", PASSPHRASE)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
