"""Tell whether bytes are a component that handles HTTP by WASI 0.2 or 0.3, without an engine.

`bytes -> nothing, or an error that names the fault`. It reads the outer sections (Component Model, Binary.md) so that a
wrong file is refused where it is given and not where it would run; the engine validates the rest when it loads it.
"""

from __future__ import annotations

from hanse.core.errors import HanseError

MAX_COMPONENT_BYTES = 64 * 2**20
"""What the engine loads at most: a Python function is some 18 MiB, a JavaScript one 12 MiB."""

_MAGIC = b"\0asm"
_CORE_MODULE = b"\x01\0\0\0"
_COMPONENT = b"\x0d\0\x01\0"
_EXPORT_SECTION = 11
_HANDLERS = (b"wasi:http/incoming-handler@0.2.", b"wasi:http/handler@0.3.")


class BuildError(HanseError):
    """Raised when a source cannot be turned into a component, or a component is not one that can serve."""

    code = "build.failed"


def check_component(name: str, data: bytes) -> None:
    """Refuse what is no `wasi:http` component of WASI 0.2 or 0.3.

    Raises BuildError with code ``build.not_component``, ``build.truncated``, ``build.not_http`` or ``build.too_large``.
    """
    if len(data) > MAX_COMPONENT_BYTES:
        raise BuildError(
            f"{name} is too large: {len(data):,} bytes",
            code="build.too_large",
            hint=f"the limit is {MAX_COMPONENT_BYTES:,} bytes; strip debug information and unused dependencies",
        )
    if data[:4] != _MAGIC:
        raise BuildError(
            f"{name} is not WebAssembly", code="build.not_component", hint="give a .wasm component, a .py or a .js file"
        )
    if data[4:8] == _CORE_MODULE:
        raise BuildError(
            f"{name} is a core module, not a component",
            code="build.not_component",
            hint="build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`",
        )
    if data[4:8] != _COMPONENT:
        raise BuildError(
            f"{name} has an unknown version of the component format",
            code="build.not_component",
            hint="build it with tools for the component model of WASI 0.2 or 0.3",
        )
    exports = [payload for kind, payload in sections(name, data) if kind == _EXPORT_SECTION]
    if not any(handler in payload for payload in exports for handler in _HANDLERS):
        raise BuildError(
            f"{name} exports neither {_HANDLERS[0].decode()}x nor {_HANDLERS[1].decode()}x",
            code="build.not_http",
            hint="target the world wasi:http/proxy of WASI 0.2 or wasi:http/service of WASI 0.3",
        )


def sections(name: str, data: bytes) -> list[tuple[int, bytes]]:
    """Split the outer level into (section id, payload), leaving out the payload of what it only wraps.

    Raises BuildError (``build.truncated``) where a length does not fit.
    """
    sections: list[tuple[int, bytes]] = []
    at = 8
    while at < len(data):
        kind = data[at]
        size, start = _leb128(name, data, at + 1)
        at = start + size
        if at > len(data):
            raise _truncated(name)
        # Core modules and nested components (1 and 4) are most of the bytes and never looked at.
        sections.append((kind, b"" if kind in {1, 4} else data[start:at]))
    return sections


def _leb128(name: str, data: bytes, at: int) -> tuple[int, int]:
    """Read an unsigned 32-bit LEB128 number: (value, position after it)."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            raise _truncated(name)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BuildError(f"{name} is damaged: a length has too many bytes", code="build.truncated", hint="build it again")


def _truncated(name: str) -> BuildError:
    return BuildError(f"{name} is truncated", code="build.truncated", hint="copy or build it again")
