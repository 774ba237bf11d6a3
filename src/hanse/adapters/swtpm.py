"""Software TPMs (`swtpm`) for machines without one: made, endorsed by a pretended maker, and run as child processes.

`folder -> TPM state, endorsement certificate, ChildSpec`. What comes of them is real in form and proves nothing about
hardware: their maker's root is known to the domain as an anchor of origin ``simulated``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from hanse.adapters.processes import ChildSpec
from hanse.core.errors import AttestorError

SETUP_DEADLINE_S = 60.0
SOCKET_BYTES_MAX = 100
"""A Unix socket's path has at most 108 bytes; swtpm adds ``.ctrl``."""


class SoftTpmMaker:
    """The pretended maker of one machine's software TPMs: a local certificate authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()

    @property
    def issuers(self) -> tuple[bytes, ...]:
        """DER of the issuing certificate and of the root; made with the first TPM."""
        files = (self._folder / "issuercert.pem", self._folder / "swtpm-localca-rootca-cert.pem")
        return tuple(_der(file.read_bytes()) for file in files)

    async def make(self, state: Path) -> None:
        """Make a TPM in `state` with an endorsement key and certificate; one that is there already is kept.

        Raises AttestorError ``attestor.no_swtpm``.
        """
        if (state / "tpm2-00.permall").exists():
            return
        if shutil.which("swtpm_setup") is None or shutil.which("swtpm") is None:
            raise AttestorError(
                "swtpm is not installed",
                code="attestor.no_swtpm",
                hint="install swtpm, swtpm-tools and tpm2-tools, or leave --tpm out",
                retry=False,
            )
        async with self._lock:  # one authority, one serial number after the other
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            await _run(
                "swtpm_setup", "--tpm2", "--tpm-state", str(state), "--config", str(self._configure()),
                "--create-ek-cert", "--pcr-banks", "sha256", "--lock-nvram",
            )  # fmt: skip

    def _configure(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority, options, setup = (self._folder / name for name in ("ca.conf", "ca.options", "setup.conf"))
        authority.write_text(
            f"statedir = {self._folder}\nsigningkey = {self._folder}/signkey.pem\n"
            f"issuercert = {self._folder}/issuercert.pem\ncertserial = {self._folder}/certserial\n"
        )
        options.write_text("--platform-manufacturer hanse\n--platform-version 1\n--platform-model simulated\n")
        setup.write_text(
            f"create_certs_tool = {shutil.which('swtpm_localca')}\ncreate_certs_tool_config = {authority}\n"
            f"create_certs_tool_options = {options}\nactive_pcr_banks = sha256\n"
        )
        return setup


def soft_tpm_process(name: str, state: Path, socket: Path, log: Path) -> ChildSpec:
    """How to run a TPM: each start is a reboot of it. It listens on `socket`, which must be short."""
    if len(os.fsencode(socket)) > SOCKET_BYTES_MAX:
        raise AttestorError(
            f"the path of the TPM's socket is too long: {socket}", hint="use a shorter state directory", retry=False
        )
    pid = state / "pid"
    return ChildSpec(
        name=f"tpm {name}",
        argv=(
            shutil.which("swtpm") or "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
            "--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl",
            "--flags", "not-need-init,startup-clear", "--pid", f"file={pid}",
        ),
        env=dict(os.environ),
        log_path=log,
        ready_file=pid,
    )  # fmt: skip


def soft_tpm_tcti(socket: Path) -> str:
    """How tpm2-tools reach it."""
    return f"swtpm:path={socket}"


async def _run(*argv: str) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.timeout(SETUP_DEADLINE_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AttestorError(f"{argv[0]} did not end within {SETUP_DEADLINE_S:.0f} s") from None
    if process.returncode:
        raise AttestorError(f"{argv[0]} failed: {said.decode(errors='replace')[-300:]}", retry=False)


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
