"""Every parser of foreign bytes under mutation: it reads or refuses by name, never crashes, and has one spelling.

Samples are real; mutations flip, cut, double and splice them, so that they get past the first check. The parsers are
listed in `foreign_bytes`; `make fuzz` runs the same list under atheris. Bytes that once broke a parser are kept in
``tests/fuzz/found`` and run for ever.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from foreign_bytes import CASES, check, every_case
from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.core.errors import HanseError

EVERY = every_case()
FOUND = sorted((Path(__file__).parents[1] / "fuzz" / "found").glob("*.bin"))
"""``PARSER.DIGEST.bin``: bytes that once ended in anything but a value or a HanseError."""


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """The sample after one to four changes, half of the time inside its base64 or PEM payload's own bytes."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        upto = min(len(data), at + draw(st.integers(1, 40)))
        match draw(st.sampled_from(["flip", "cut", "drop", "double", "splice", "insert"])):
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:]
            case "drop":
                del data[at:upto]
            case "double":
                data[at:at] = data[at:upto]
            case "splice":
                data[at:upto] = original[-(upto - at) :]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)


@pytest.mark.parametrize("name", EVERY)
def test_the_sample_is_read(name: str) -> None:
    case = EVERY[name]
    if name not in ("envelope", "join request", "join response", "SNP evidence") and not name.startswith("frame "):
        case.read(case.sample)
    check(case, case.sample)


@pytest.mark.parametrize("name", EVERY)
def test_no_mutation_crashes_a_parser_or_is_read_as_something_it_does_not_spell(name: str) -> None:
    case = EVERY[name]

    @settings(max_examples=30 if name.startswith("frame ") else 150, deadline=None)
    @given(st.one_of(mutated(case.sample), st.binary(max_size=200)))
    def fuzz(data: bytes) -> None:
        check(case, data)

    fuzz()


@pytest.mark.parametrize("name", ["svid chain", "trust bundle", "certificate request"])
def test_no_mutation_inside_the_der_of_a_certificate_crashes(name: str) -> None:
    """Base64 stops most mutations of a PEM file; these change the DER beneath it."""
    case = CASES[name]
    head, *body, tail = case.sample.strip().split(b"\n")
    der = base64.b64decode(b"".join(body))

    @settings(max_examples=300, deadline=None)
    @given(mutated(der))
    def fuzz(changed: bytes) -> None:
        check(case, head + b"\n" + base64.encodebytes(changed) + tail + b"\n")

    fuzz()


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.stem)
def test_what_was_found_stays_mended(file: Path) -> None:
    name = file.name.split(".")[0].replace("_", " ")
    if name not in EVERY:
        pytest.skip(f"needs the shared samples of {name} (HANSE_SHARED)")
    check(EVERY[name], file.read_bytes())


def test_a_parser_that_raises_anything_else_is_caught() -> None:
    from foreign_bytes import Case

    def broken(_: bytes) -> object:
        raise KeyError("x")

    with pytest.raises(KeyError):
        check(Case(broken, b""), b"")
    with pytest.raises(AssertionError):
        check(Case(lambda _: 1, b"", lambda _: b"other"), b"data")
    assert issubclass(HanseError, Exception)
