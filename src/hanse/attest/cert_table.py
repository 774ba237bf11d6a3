"""The certificates that a host gives to its SEV-SNP guests: `auxiliary blob -> certificates by what they are`.

A table of GUID, offset and length, ended by zeros, then the DER itself (GHCB specification, AMD 56421 rev. 2.03,
section 4.1.8.1, table 8). The host is not believed: what it gives has to lead to AMD's root.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from hanse.attest.errors import refused

MAX_TABLE_BYTES = 65_536
ENTRY_BYTES = 24
MAX_ENTRIES = 16
NAMES: Mapping[UUID, str] = {
    UUID("63da758d-e664-4564-adc5-f4b93be8accd"): "vcek",
    UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"): "vlek",
    UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"): "ask",
    UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"): "ark",
    UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea"): "crl",
}


def read_certificate_table(data: bytes) -> Mapping[str, bytes]:
    """Read the table: DER by ``vcek``, ``vlek``, ``ask``, ``ark``, ``crl``; other entries are left out.

    Raises EvidenceRefused ``attest.malformed`` (no end, an entry twice or outside the blob) or ``attest.too_large``.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise refused("too_large", f"a certificate table takes {len(data)} bytes, over the limit of {MAX_TABLE_BYTES}")
    found: dict[str, bytes] = {}
    for at in range(0, ENTRY_BYTES * (MAX_ENTRIES + 1), ENTRY_BYTES):
        entry = data[at : at + ENTRY_BYTES]
        if len(entry) < ENTRY_BYTES:
            break
        if not any(entry):
            return found
        name = NAMES.get(UUID(bytes=entry[:16])) or NAMES.get(UUID(bytes_le=entry[:16]))
        offset, length = int.from_bytes(entry[16:20], "little"), int.from_bytes(entry[20:24], "little")
        if offset + length > len(data) or name in found:
            raise refused("malformed", "an entry of the certificate table is outside of it, or there twice")
        if name is not None:
            found[name] = data[offset : offset + length]
    raise refused("malformed", "the certificate table has no end")
