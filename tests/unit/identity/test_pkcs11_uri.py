"""PKCS#11 URIs: what RFC 7512 means, and that a PIN never stands in one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.identity import IdentityError
from hanse.identity.pkcs11_uri import Pkcs11Uri, parse_pkcs11_uri

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def test_the_parts_of_a_uri_are_read() -> None:
    uri = parse_pkcs11_uri(
        "pkcs11:token=The%20Software;serial=DECC0401648;object=my-root;id=%69%95;type=private"
        "?module-path=/usr/lib/p11.so&pin-source=file:/etc/pin"
    )
    assert uri == Pkcs11Uri(
        token="The Software", serial="DECC0401648", object="my-root", id=b"i\x95",
        module_path="/usr/lib/p11.so", pin_source="/etc/pin",
    )  # fmt: skip


@given(
    token=TEXT.filter(bool),
    object_=TEXT,
    key_id=st.binary(max_size=8),
    slot=st.none() | st.integers(0, 2**32),
    path=TEXT,
)
def test_a_uri_is_read_as_it_was_written(token: str, object_: str, key_id: bytes, slot: int | None, path: str) -> None:
    uri = Pkcs11Uri(token=token, object=object_, id=key_id, slot_id=slot, module_path=path)
    assert parse_pkcs11_uri(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "", "pkcs11", "pkcs12:token=a", "pkcs11:", "pkcs11:object=root", "pkcs11:token=a;token=b", "pkcs11:token=a;x=y",
        "pkcs11:token=a?pin-value=1234", "pkcs11:token=a;pin-value=1234", "pkcs11:token=%zz", "pkcs11:token=a b",
        "pkcs11:token=%ff", "pkcs11:token=a;type=public", "pkcs11:slot-id=x", "pkcs11:token=a;object",
        "pkcs11:token=" + "a" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_name_of_a_signing_key_is_refused(text: str) -> None:
    with pytest.raises(IdentityError) as refused:
        parse_pkcs11_uri(text)
    assert refused.value.code == "identity.pkcs11_uri"
    assert "1234" not in refused.value.message


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parse_pkcs11_uri("pkcs11:" + text)
    except IdentityError as refused:
        assert refused.code == "identity.pkcs11_uri"
