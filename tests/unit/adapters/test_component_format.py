"""Wrong bytes are refused with the fault by name before any engine sees them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.adapters.component_format import MAX_COMPONENT_BYTES, BuildError, check_component

HEADER = b"\0asm\x0d\0\x01\0"
HANDLER = b"wasi:http/incoming-handler@0.2.10"


def section(kind: int, payload: bytes) -> bytes:
    size, head = len(payload), b""
    while size >= 0x80:
        head += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([kind]) + head + bytes([size]) + payload


def export(name: bytes) -> bytes:
    return section(11, b"\x01\x00" + bytes([len(name)]) + name + b"\x05\x00\x00")


def refusal(data: bytes) -> str:
    with pytest.raises(BuildError) as caught:
        check_component("f.wasm", data)
    assert caught.value.hint
    assert "f.wasm" in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("handler", [HANDLER, b"wasi:http/handler@0.3.0"], ids=["0.2", "0.3"])
def test_a_component_that_exports_the_handler_passes(handler: bytes) -> None:
    check_component("f.wasm", HEADER + section(1, b"x" * 300) + export(handler))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "build.not_component"),
        (b"#!/bin/sh\n", "build.not_component"),
        (b"\0asm\x01\0\0\0", "build.not_component"),
        (b"\0asm\x0a\0\x01\0", "build.not_component"),
        (HEADER, "build.not_http"),
        (HEADER + export(b"wasi:cli/run@0.2.10"), "build.not_http"),
        (HEADER + section(1, HANDLER), "build.not_http"),
        (HEADER + export(b"wasi:http/incoming-handler@0.3.0"), "build.not_http"),
        (HEADER + export(HANDLER)[:-1], "build.truncated"),
        (HEADER + b"\x0b", "build.truncated"),
        (HEADER + b"\x0b" + b"\xff" * 6, "build.truncated"),
        (HEADER + bytes(MAX_COMPONENT_BYTES), "build.too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}-bytes",
)
def test_what_cannot_serve_is_refused_by_its_fault(data: bytes, code: str) -> None:
    assert refusal(data) == code


@settings(deadline=None)
@given(st.integers(0, 400))
def test_never_accepts_a_component_that_was_cut_off(kept: int) -> None:
    whole = HEADER + section(1, b"x" * 350) + export(HANDLER)
    if kept < len(whole):
        assert refusal(whole[:kept]) in {"build.truncated", "build.not_component", "build.not_http"}


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_check(tail: bytes) -> None:
    try:
        check_component("f.wasm", HEADER + tail)
    except BuildError as error:
        assert error.code.startswith("build.")
