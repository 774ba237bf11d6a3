"""Reading what a TPM's index holds: a certificate ends where its own length says."""

from __future__ import annotations

import pytest

from hanse.adapters.tpm import first_der


@pytest.mark.parametrize("ending", [b"\x00", b"\xff", b"\xff\xff"])
@pytest.mark.parametrize("padding", [b"", b"\xff" * 40])
def test_a_certificate_is_cut_out_of_its_index_by_its_own_length(ending: bytes, padding: bytes) -> None:
    """A signature ends in 0xFF once in 256 times; so does the filling of an index."""
    for body in (b"\x30" + bytes([len(ending)]) + ending, b"\x30\x82\x01\x00" + b"x" * (256 - len(ending)) + ending):
        assert first_der(body + padding) == body
    assert first_der(b"") == b""
