"""Names of keys in hardware tokens: `pkcs11: URI -> Pkcs11Uri -> text` (RFC 7512).

Knows names only; the token is opened by `hanse.adapters.pkcs11_root`. A PIN in the URI itself (``pin-value``) is
refused: arguments of programs are seen by everybody on a machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hanse.identity.errors import IdentityError

SCHEME = "pkcs11:"
MAX_URI_CHARACTERS = 2_048
_PATH = ("token", "manufacturer", "serial", "model", "object", "id", "type", "slot-id")
_QUERY = ("module-path", "pin-source")
_ESCAPED = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/&?]|%[0-9A-Fa-f]{2})*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """Where a key is. Empty means: whatever the token has."""

    token: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""
    object: str = ""
    id: bytes = b""
    slot_id: int | None = None
    module_path: str = ""
    """Library of the token's maker."""
    pin_source: str = ""
    """File that holds the PIN."""

    def __str__(self) -> str:
        path = (
            ("token", self.token), ("serial", self.serial), ("manufacturer", self.manufacturer), ("model", self.model),
            ("slot-id", "" if self.slot_id is None else str(self.slot_id)), ("object", self.object),
        )  # fmt: skip
        parts = [f"{name}={_escape(value)}" for name, value in path if value]
        if self.id:
            parts.append("id=" + "".join(f"%{octet:02x}" for octet in self.id))
        query = (("module-path", self.module_path), ("pin-source", self.pin_source))
        told = "&".join(f"{name}={_escape(value, '/:')}" for name, value in query if value)
        return SCHEME + ";".join(parts) + (f"?{told}" if told else "")


def parse_pkcs11_uri(text: str) -> Pkcs11Uri:
    """Read a PKCS#11 URI.

    Raises IdentityError ``identity.pkcs11_uri`` on another scheme, an attribute that is unknown or given twice, wrong
    escapes, a PIN in the URI, another type than ``private``, or neither a token nor a slot.
    """
    if not text.startswith(SCHEME) or len(text) > MAX_URI_CHARACTERS:
        raise _refused(f"it does not begin with {SCHEME} or is longer than {MAX_URI_CHARACTERS} characters")
    path, _, query = text[len(SCHEME) :].partition("?")
    found = {**_attributes(path, ";", _PATH), **_attributes(query, "&", _QUERY)}
    if found.get("type", b"private") != b"private":
        raise _refused("the type of a key that signs is private")
    try:
        named = {name: value.decode() for name, value in found.items() if name not in ("id", "type")}
    except UnicodeDecodeError as error:
        raise _refused("it holds an escape that is no UTF-8") from error
    slot = named.pop("slot-id", None)
    if slot is not None and not (slot.isascii() and slot.isdigit()):
        raise _refused(f"slot-id is no number: {slot[:40]!r}")
    if slot is None and not any(named.get(name) for name in ("token", "serial")):
        raise _refused("it names no token: give token=, serial= or slot-id=")
    source = named.pop("pin-source", "").removeprefix("file:")
    return Pkcs11Uri(
        token=named.get("token", ""),
        serial=named.get("serial", ""),
        manufacturer=named.get("manufacturer", ""),
        model=named.get("model", ""),
        object=named.get("object", ""),
        id=found.get("id", b""),
        slot_id=None if slot is None else int(slot),
        module_path=named.get("module-path", ""),
        pin_source=source,
    )


def _attributes(text: str, between: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(between) if text else ():
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise _refused("it holds the PIN, which everybody on this machine could read")
        if not equals or name not in known or name in found:
            raise _refused(f"{name[:40]!r} is unknown, without a value, or there twice")
        if _ESCAPED.match(value) is None:
            raise _refused(f"the value of {name} is not escaped as RFC 3986 asks")
        found[name] = _plain(value)
    return found


def _escape(value: str, safe: str = "") -> str:
    """RFC 3986 section 2.1; `_plain` is its inverse."""
    return "".join(
        chr(octet) if octet < 0x80 and (chr(octet).isalnum() or chr(octet) in f"-._~{safe}") else f"%{octet:02X}"
        for octet in value.encode()
    )


def _plain(value: str) -> bytes:
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), value.encode())


def _refused(what: str) -> IdentityError:
    return IdentityError(
        f"not a PKCS#11 URI for a signing key: {what}",
        code="identity.pkcs11_uri",
        hint="pkcs11:token=NAME;object=NAME?module-path=/path/of/library.so&pin-source=/path/of/file (RFC 7512)",
    )
