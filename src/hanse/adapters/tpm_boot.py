"""What a node measures of itself into its TPM before it runs anything, and the log of it.

`files, texts -> digests -> PCR 13 and a TCG event log`. A firmware's own log, where the kernel shows one, comes first:
registers 0 to 9 are its business, 13 is ours (systemd uses 11, 12 and 15, shim 14, IMA 10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from hanse.adapters.keys import write_private
from hanse.attest.event_log import EV_IPL, SHA256, Event, write_log
from hanse.attest.tpm import EVENT_PREFIX

REGISTER = 13
FIRMWARE_LOG = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
HEADER_END_OFFSET = 28
"""Bytes of a log's header before its data: index, type, SHA-1 digest."""


class BootRecord:
    """What is measured at this boot, and the log of the boot that the TPM knows of."""

    def __init__(self, path: Path, measured: Mapping[str, bytes], firmware_log: Path | None = None) -> None:
        """`measured`: name of an event -> SHA-256 of what it stands for; `path` keeps the log until the next boot."""
        self._path = path
        self._measured = measured
        self._firmware_log = firmware_log

    @property
    def register(self) -> int:
        """PCR index of hanse's own measurements."""
        return REGISTER

    def begin(self) -> tuple[bytes, ...]:
        """Write the log of a boot that begins now; returns the digests to extend, in order."""
        events = tuple(
            Event(register=REGISTER, type=EV_IPL, digests={SHA256: digest}, data=EVENT_PREFIX + name.encode())
            for name, digest in self._measured.items()
        )
        write_private(self._path, write_log(events))
        return tuple(event.digests[SHA256] for event in events)

    def log(self) -> bytes:
        """The firmware's events and ours, as one log; ours alone where the kernel shows no other."""
        own = self._path.read_bytes() if self._path.exists() else write_log(())
        if self._firmware_log is None or not self._firmware_log.exists():
            return own
        size = int.from_bytes(own[HEADER_END_OFFSET : HEADER_END_OFFSET + 4], "little")
        return self._firmware_log.read_bytes() + own[HEADER_END_OFFSET + 4 + size :]


def digest_of_files(*files: Path) -> bytes:
    """SHA-256 over the names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.name.encode()).digest() + hashlib.sha256(file.read_bytes()).digest())
    return digest.digest()
