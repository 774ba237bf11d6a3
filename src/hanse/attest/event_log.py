"""TCG event logs: read strictly, and replayed to the register values that they explain.

`bytes -> events; events, bank -> index -> value`. TCG PC Client Platform Firmware Profile 1.06, section 10
(crypto-agile log, `TCG_PCR_EVENT2`); the CC event log of a TDX guest has the same shape. A log is only a claim: it is
worth what the quoted registers confirm, so whoever reads it compares `replay` with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hanse.attest.errors import refused
from hanse.attest.reading import Reader

MAX_LOG_BYTES = 262_144
MAX_EVENTS = 4_096
MAX_EVENT_BYTES = 65_536
EV_NO_ACTION = 0x00000003
EV_IPL = 0x0000000D
_SPEC_ID = b"Spec ID Event03\0"
_STARTUP_LOCALITY = b"StartupLocality\0"
SHA1, SHA256, SHA384, SHA512 = 0x0004, 0x000B, 0x000C, 0x000D
_SIZES = {SHA1: 20, SHA256: 32, SHA384: 48, SHA512: 64}
_HASHES: dict[int, Callable[[bytes], Any]] = {
    SHA256: hashlib.sha256,
    SHA384: hashlib.sha384,
    SHA512: hashlib.sha512,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One measurement: into which register, of what type, with one digest per bank."""

    register: int
    """PCR index; in a CC log the measurement register plus one."""
    type: int
    digests: Mapping[int, bytes]
    data: bytes


def read_log(log: bytes) -> tuple[Event, ...]:
    """Read a crypto-agile log, without its header event. Raises EvidenceRefused.

    A log ends where its bytes end, or where an area of a fixed size is filled up with bytes of all ones (ACPI CCEL).
    """
    r = Reader(log, "event log", at_most=MAX_LOG_BYTES)
    banks = _header(r)
    found: list[Event] = []
    while r.left:
        if log[-r.left :].count(0xFF) == r.left:
            break
        if len(found) == MAX_EVENTS:
            raise refused("too_large", f"an event log has at most {MAX_EVENTS} events")
        found.append(_event(r, banks))
    return tuple(found)


def replay(events: tuple[Event, ...], bank: int) -> dict[int, bytes]:
    """Extend registers as the log says, in order; those that it never touches are left out.

    Raises EvidenceRefused if an event has no digest for `bank`.
    """
    digest = _HASHES[bank]
    registers: dict[int, bytes] = {}
    for event in events:
        if event.type == EV_NO_ACTION:
            if event.data.startswith(_STARTUP_LOCALITY) and event.register == 0 and 0 not in registers:
                # PCR 0 begins with the locality of TPM2_Startup (section 10.4.5.3).
                registers[0] = event.data[-1:].rjust(_SIZES[bank], b"\0")
            continue
        if bank not in event.digests:
            raise refused("malformed", f"the event log has no digests for bank {bank:#06x}")
        before = registers.get(event.register, bytes(_SIZES[bank]))
        registers[event.register] = digest(before + event.digests[bank]).digest()
    return registers


def write_log(events: tuple[Event, ...]) -> bytes:
    """Write a log with one bank, SHA-256: what hanse itself measures is logged in the format that it reads."""
    spec = _SPEC_ID + bytes(4) + bytes([0, 2, 0, 2]) + (1).to_bytes(4, "little")
    spec += SHA256.to_bytes(2, "little") + (32).to_bytes(2, "little") + b"\0"
    header = bytes(4) + EV_NO_ACTION.to_bytes(4, "little") + bytes(20) + len(spec).to_bytes(4, "little") + spec
    return header + b"".join(_written(event) for event in events)


def _written(event: Event) -> bytes:
    return b"".join(
        (
            event.register.to_bytes(4, "little"), event.type.to_bytes(4, "little"), (1).to_bytes(4, "little"),
            SHA256.to_bytes(2, "little"), event.digests[SHA256], len(event.data).to_bytes(4, "little"), event.data,
        )
    )  # fmt: skip


def _header(r: Reader) -> dict[int, int]:
    """`TCG_PCR_EVENT` with the Spec ID: which banks the log carries."""
    index, kind, _ = r.little(4), r.little(4), r.take(20)
    spec = Reader(r.take(_bounded(r, 1_024)), "event log header", at_most=1_024)
    # Firmware of TDX guests gives the header index 1: their registers are counted from there.
    if index > 1 or kind != EV_NO_ACTION or spec.take(16) != _SPEC_ID:
        raise refused("malformed", "the event log does not begin with Spec ID Event03")
    spec.take(8)  # platform class, version, errata, size of integers
    count = spec.little(4)
    if not 1 <= count <= 8:
        raise refused("malformed", f"an event log has 1 to 8 banks, not {count}")
    banks: dict[int, int] = {}
    for _ in range(count):
        bank, size = spec.little(2), spec.little(2)
        if _SIZES.get(bank, size) != size or size > 64 or bank in banks:
            raise refused("malformed", f"bank {bank:#06x} has no digests of {size} bytes")
        banks[bank] = size
    spec.take(spec.little(1))
    spec.end()
    return banks


def _event(r: Reader, banks: Mapping[int, int]) -> Event:
    register, kind, count = r.little(4), r.little(4), r.little(4)
    if count > len(banks) or register > 64:
        raise refused("malformed", f"an event for register {register} with {count} digests")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        bank = r.little(2)
        if bank not in banks or bank in digests:
            raise refused("malformed", f"an event has an unannounced or repeated digest of bank {bank:#06x}")
        digests[bank] = r.take(banks[bank])
    return Event(register=register, type=kind, digests=digests, data=r.take(_bounded(r, MAX_EVENT_BYTES)))


def _bounded(r: Reader, at_most: int) -> int:
    size = r.little(4)
    if size > at_most:
        raise refused("malformed", f"an event of {size} bytes is over {at_most}")
    return size
