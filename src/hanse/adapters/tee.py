"""The `Attestor` port of a confidential guest: Intel TDX and AMD SEV-SNP through Linux' configfs-tsm.

`nonce -> report with its endorsements`. One interface for both since Linux 6.7 (Documentation/ABI/testing/
configfs-tsm): make a folder, write 64 bytes, read the report. Endorsements come with it: what the host gave (SNP), or a
file that the operator keeps fresh (TDX collateral; AMD's chain where the host gives none). No device, no evidence:
what is not there is never pretended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hanse.attest import EvidenceRefused, IntelEvidence, SnpEvidence
from hanse.attest.cert_table import read_certificate_table
from hanse.attest.snp import VLEK, read_report
from hanse.core.errors import AttestorError
from hanse.wire import canonical

REPORTS: Final = Path("/sys/kernel/config/tsm/report")
CCEL: Final = Path("/sys/firmware/acpi/tables/data/CCEL")
"""The CC event log of a TDX guest's firmware."""
PROVIDERS: Final = {"tdx_guest": "tdx", "sev_guest": "snp"}
NONCE_BYTES: Final = 64
MAX_FILE_BYTES: Final = 262_144


class Tee:
    """Reports of the confidential guest that this process runs in. Calls are made one after the other."""

    def __init__(
        self, kind: str, endorsements: Path | None, *, reports: Path = REPORTS, event_log: Path = CCEL
    ) -> None:
        self._kind = kind
        self._endorsements = endorsements
        self._reports = reports
        self._event_log = event_log
        self._lock = asyncio.Lock()

    @property
    def kind(self) -> str:
        """``tdx`` or ``snp``."""
        return self._kind

    async def identity(self) -> bytes:
        """Nothing: a TEE's report names its own platform."""
        return b""

    async def activate(self, credential: bytes, seed: bytes) -> bytes:
        """Open nothing: no secret is sealed to a TEE."""
        del credential, seed
        return b""

    async def evidence(self, nonce: bytes) -> tuple[str, bytes]:
        """Have the hardware sign `nonce` (64 bytes). Raises AttestorError."""
        async with self._lock:
            return self._kind, await asyncio.to_thread(self._evidence, nonce)

    def _evidence(self, nonce: bytes) -> bytes:
        report, auxiliary = self._report(nonce)
        try:
            if self._kind == "tdx":
                return canonical.encode(self._intel(report))
            return canonical.encode(self._amd(report, auxiliary))
        except EvidenceRefused as error:
            raise _failed(f"what the platform gave cannot be read: {error.message}") from error

    def _report(self, nonce: bytes) -> tuple[bytes, bytes]:
        folder = self._reports / f"hanse-{os.getpid()}"
        try:
            folder.mkdir(exist_ok=True)
            try:
                (folder / "inblob").write_bytes(nonce[:NONCE_BYTES])
                provider = (folder / "provider").read_text(encoding="ascii").strip()
                report = _read(folder / "outblob")
                auxiliary = _read(folder / "auxblob") if (folder / "auxblob").exists() else b""
            finally:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        except OSError as error:
            raise _failed(f"{error.filename or folder}: {error.strerror}") from error
        if PROVIDERS.get(provider) != self._kind:
            raise _failed(f"the platform reports as {provider}, not as {self._kind}")
        return report, auxiliary

    def _intel(self, quote: bytes) -> IntelEvidence:
        if self._endorsements is None:
            raise _failed(
                "a TDX quote needs collateral", hint="fetch it from Intel's PCS or a PCCS; --tee-endorsements"
            )
        log = _read(self._event_log) if self._event_log.exists() else b""
        return IntelEvidence(quote=quote, collateral=_text(self._endorsements), event_log=log)

    def _amd(self, report: bytes, auxiliary: bytes) -> SnpEvidence:
        given = read_certificate_table(auxiliary) if auxiliary else {}
        leaf = given.get("vlek" if read_report(report).signing_key == VLEK else "vcek")
        issuers = tuple(given[name] for name in ("ask", "ark") if name in given)
        crls = (given["crl"],) if "crl" in given else ()
        if leaf is not None and len(issuers) == 2:
            return SnpEvidence(report=report, certificate=leaf, issuers=issuers, crls=crls)
        if self._endorsements is None:
            raise _failed(
                "the host gives this guest no certificates",
                hint="fetch VCEK, ASK and ARK from AMD's key distribution service; --tee-endorsements",
            )
        chain = _chain(self._endorsements)
        return SnpEvidence(report=report, certificate=chain[0], issuers=chain[1:], crls=crls)


def tee_of(endorsements: Path | None, *, reports: Path = REPORTS) -> Tee:
    """The confidential guest that this process runs in. Raises AttestorError where it runs in none."""
    devices = {Path("/dev/tdx_guest"): "tdx", Path("/dev/sev-guest"): "snp"}
    found = next((kind for device, kind in devices.items() if device.exists()), None)
    if found is None or not reports.is_dir():
        raise _failed(
            "this machine is no TDX or SEV-SNP guest with configfs-tsm",
            hint="needs Linux 6.7 or later, the module tsm, and configfs mounted at /sys/kernel/config",
        )
    return Tee(found, endorsements, reports=reports)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise _failed(f"{path} holds over {MAX_FILE_BYTES:,} bytes")
    return data


def _text(path: Path) -> str:
    try:
        return _read(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(f"{path} cannot be read: {error}") from error


def _chain(path: Path) -> tuple[bytes, ...]:
    try:
        return tuple(one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(_read(path)))
    except (OSError, ValueError) as error:
        raise _failed(f"{path} holds no certificates: {error}") from error


def _failed(what: str, *, hint: str = "") -> AttestorError:
    return AttestorError(what, hint=hint or "see docs/attestation.md, confidential guests")
