"""The `Attestor` port on a TPM 2.0, real or software, through tpm2-tools.

`nonce -> quote`. The tools of the TPM2 Software Stack project are used as programs: they know every transport
(``device:/dev/tpmrm0``, ``swtpm:path=...``), ship with each distribution, and keep a C library out of the agent's
address space; `tpm2-pytss` has no wheels and needs the stack's headers. Three calls of some 30 ms every few minutes do
not matter. Keys stay in the TPM: the attestation key is made once and kept there under a handle of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from hanse.adapters.tpm_boot import BootRecord
from hanse.attest.event_log import SHA256
from hanse.attest.evidence import PcrValue, TpmEvidence, TpmIdentity
from hanse.attest.tpm import NONCE_BYTES
from hanse.core.errors import AttestorError
from hanse.wire import canonical

HARDWARE_TCTI = "device:/dev/tpmrm0"
"""The kernel's resource manager: other users of the TPM are not disturbed."""
EK_HANDLE = "0x81010001"
"""RSA 2048 endorsement key (TCG EK Credential Profile 2.0, section 7.8)."""
EK_CERTIFICATE_INDEX = "0x01c00002"
AK_HANDLE = "0x8101aa01"
FIRMWARE_REGISTERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
DIGEST_BYTES = 32
TOOL_DEADLINE_S = 20.0
CREDENTIAL_HEADER = bytes.fromhex("badcc0de00000001")
"""How tpm2-tools begins its credential files: magic and version."""


class Tpm:
    """Quotes of one TPM. Calls are made one after the other: a TPM has room for three objects."""

    def __init__(self, tcti: str, folder: Path, boot: BootRecord, issuers: tuple[bytes, ...]) -> None:
        """`folder` is for the tools' files; `issuers`: DER of the endorsement's issuers, up to the maker's root."""
        self._tcti = tcti
        self._folder = folder
        self._boot = boot
        self._issuers = issuers
        self._lock = asyncio.Lock()

    @property
    def kind(self) -> str:
        """``tpm``."""
        return "tpm"

    async def identity(self) -> bytes:
        """The endorsement certificate and the attestation key, which is made at the first call."""
        async with self._lock:
            await self._tool("tpm2_nvread", "-C", "o", EK_CERTIFICATE_INDEX, "-o", "ek.der")
            if AK_HANDLE not in await self._tool("tpm2_getcap", "handles-persistent"):
                await self._make_key()
            await self._tool("tpm2_readpublic", "-Q", "-c", AK_HANDLE, "-f", "tss", "-o", "ak.pub")
            return canonical.encode(
                TpmIdentity(
                    ek_certificate=first_der(self._read("ek.der")),
                    ek_issuers=self._issuers,
                    ak_public=self._read("ak.pub")[2:],
                )
            )

    async def activate(self, credential: bytes, seed: bytes) -> bytes:
        """TPM2_ActivateCredential under the endorsement key's own policy."""
        async with self._lock:
            (self._folder / "credential").write_bytes(CREDENTIAL_HEADER + credential + seed)
            await self._tool("tpm2_startauthsession", "-Q", "--policy-session", "-S", "session")
            try:
                await self._tool("tpm2_policysecret", "-Q", "-S", "session", "-c", "e")
                await self._tool(
                    "tpm2_activatecredential", "-Q", "-c", AK_HANDLE, "-C", EK_HANDLE,
                    "-i", "credential", "-o", "secret", "-P", "session:session",
                )  # fmt: skip
            finally:
                await self._tool("tpm2_flushcontext", "-Q", "session")
            secret = self._read("secret")
            (self._folder / "secret").unlink()
            return secret

    async def evidence(self, nonce: bytes) -> tuple[str, bytes]:
        """Quote the registers of firmware and of hanse, over the first 32 bytes of the nonce."""
        registers = sorted({*FIRMWARE_REGISTERS, self._boot.register})
        selection = "sha256:" + ",".join(str(index) for index in registers)
        async with self._lock:
            await self._tool(
                "tpm2_quote", "-Q", "-c", AK_HANDLE, "-l", selection, "-q", nonce[:NONCE_BYTES].hex(),
                "-m", "quote", "-s", "signature", "-f", "tss", "-g", "sha256",
            )  # fmt: skip
            await self._tool("tpm2_pcrread", "-Q", selection, "-o", "registers")
            values = self._read("registers")
            if len(values) != DIGEST_BYTES * len(registers):
                raise AttestorError("the TPM has no SHA-256 bank for all registers", code="attestor.no_bank")
            pcrs = tuple(
                PcrValue(bank=SHA256, index=index, value=values[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES])
                for at, index in enumerate(registers)
            )
            evidence = TpmEvidence(
                attest=self._read("quote"), signature=self._read("signature"), pcrs=pcrs, event_log=self._boot.log()
            )
            return "tpm", canonical.encode(evidence)

    async def measure_boot(self) -> None:
        """Measure what runs here, once per boot of the TPM. Raises AttestorError."""
        async with self._lock:
            register = self._boot.register
            await self._tool("tpm2_pcrread", "-Q", f"sha256:{register}", "-o", "registers")
            if any(self._read("registers")):
                return  # measured since the TPM started: what runs may have been replaced, what was measured was not
            for digest in self._boot.begin():
                await self._tool("tpm2_pcrextend", "-Q", f"{register}:sha256={digest.hex()}")

    async def _make_key(self) -> None:
        """A restricted ECDSA P-256 key below the endorsement key, kept in the TPM."""
        await self._tool(
            "tpm2_createak", "-Q", "-C", EK_HANDLE, "-c", "ak.ctx", "-G", "ecc", "-g", "sha256", "-s", "ecdsa"
        )
        await self._tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", "ak.ctx", AK_HANDLE)
        if not self._tcti.startswith("device:"):
            await self._tool("tpm2_flushcontext", "-Q", "-t")

    def _read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    async def _tool(self, *argv: str) -> str:
        """Run one tool in the folder; returns what it printed. Raises AttestorError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if shutil.which(argv[0]) is None:
            raise AttestorError(
                f"{argv[0]} is not installed",
                code="attestor.no_tools",
                hint="install tpm2-tools (Debian: apt-get install tpm2-tools)",
                retry=False,
            )
        env = {"PATH": os.environ.get("PATH", ""), "TPM2TOOLS_TCTI": self._tcti, "TSS2_LOG": "all+ERROR"}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*argv, cwd=self._folder, env=env, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(TOOL_DEADLINE_S):
                said, failed = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AttestorError(f"{argv[0]} did not end within {TOOL_DEADLINE_S:.0f} s") from None
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            why = failed.decode(errors="replace").strip().splitlines()
            raise AttestorError(f"{argv[0]} failed: {why[0][:200] if why else process.returncode}")
        return said.decode(errors="replace").lower()


def first_der(data: bytes) -> bytes:
    """The DER value that an index begins with: some makers fill it up with 0xFF, in which a signature may end, too."""
    long_form = data[1] - 0x80 if len(data) > 1 and data[1] > 0x80 else 0
    header = 2 + long_form
    size = int.from_bytes(data[2:header], "big") if long_form else (data[1] if len(data) > 1 else 0)
    return data[: header + size]
