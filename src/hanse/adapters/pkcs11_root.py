"""A root key in a hardware token: `PKCS#11 URI + PIN -> key that signs and cannot be taken out`.

Needs the package ``python-pkcs11`` (extra ``hsm``) and the library of the token's maker. The key is made in the token,
sensitive and not extractable, if there is none under its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hanse.identity import IdentityError
from hanse.identity.pkcs11_uri import Pkcs11Uri

DEFAULT_LABEL = "hanse-root"
_COORDINATE_BYTES = 32


class TokenKey:
    """A P-256 key in an open session."""

    def __init__(self, private: Any, public: ec.EllipticCurvePublicKey) -> None:
        self._private = private
        self._public = public

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its public half."""
        return self._public

    def sign_message(self, message: bytes) -> bytes:
        """Have the token sign SHA-256 of `message`. Raises IdentityError ``identity.token``."""
        import pkcs11

        try:
            # CKM_ECDSA takes the digest: every token has it, CKM_ECDSA_SHA256 not.
            raw = self._private.sign(hashlib.sha256(message).digest(), mechanism=pkcs11.Mechanism.ECDSA)
        except pkcs11.PKCS11Error as error:
            raise _failed(f"the token did not sign: {type(error).__name__}") from error
        return encode_dss_signature(
            int.from_bytes(raw[:_COORDINATE_BYTES], "big"), int.from_bytes(raw[_COORDINATE_BYTES:], "big")
        )


@contextmanager
def open_token_key(uri: Pkcs11Uri, pin: str, *, may_make: bool) -> Iterator[TokenKey]:
    """Open the key that `uri` names; with `may_make` it is made where there is none.

    Raises IdentityError: ``identity.no_pkcs11`` (package or library missing), ``identity.token`` (wrong PIN, no such
    token or key, no P-256).
    """
    try:
        import pkcs11
    except ImportError as error:
        raise IdentityError(
            "PKCS#11 needs the package python-pkcs11", code="identity.no_pkcs11", hint="pip install 'hanse[hsm]'"
        ) from error
    if not uri.module_path:
        raise IdentityError(
            "the URI names no library", code="identity.no_pkcs11", hint="add ?module-path=/path/of/the/token's/library"
        )
    try:
        library = pkcs11.lib(uri.module_path)
    except (RuntimeError, pkcs11.PKCS11Error) as error:
        raise IdentityError(
            f"{uri.module_path} is no PKCS#11 library that can be loaded", code="identity.no_pkcs11",
            hint="install the library of the token's maker",
        ) from error  # fmt: skip
    try:
        with _token(library, uri).open(rw=may_make, user_pin=pin) as session:
            yield _key(session, uri, may_make=may_make)
    except pkcs11.PKCS11Error as error:
        raise _failed(f"{type(error).__name__} {error}".strip()) from error


def _token(library: Any, uri: Pkcs11Uri) -> Any:
    found = [
        slot.get_token()
        for slot in library.get_slots(token_present=True)
        if uri.slot_id is None or slot.slot_id == uri.slot_id
    ]
    wanted = (
        ("label", uri.token), ("serial", uri.serial.encode()), ("manufacturer_id", uri.manufacturer),
        ("model", uri.model),
    )  # fmt: skip
    fitting = [one for one in found if all(not value or getattr(one, name) == value for name, value in wanted)]
    if len(fitting) != 1:
        raise _failed(f"{len(fitting)} of {len(found)} tokens fit the URI; it must be one")
    return fitting[0]


def _key(session: Any, uri: Pkcs11Uri, *, may_make: bool) -> TokenKey:
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    label = uri.object or (DEFAULT_LABEL if not uri.id else None)
    named = {"label": label, "id": uri.id or None}
    query = {pkcs11.Attribute.LABEL: label, pkcs11.Attribute.ID: uri.id or None}
    wanted = {name: value for name, value in query.items() if value is not None}
    found = list(session.get_objects({**wanted, pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}))
    if len(found) > 1:
        raise _failed(f"{len(found)} private keys have this name; give the id, too")
    if not found:
        if not may_make:
            raise _failed("the token holds no such key")
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
        )
        private = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
        parameters.generate_keypair(store=True, private_template=private, **named)
        return _key(session, uri, may_make=False)
    publics = list(session.get_objects({**wanted, pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PUBLIC_KEY}))
    if len(publics) != 1:
        raise _failed("the token holds no public key of this name beside the private one")
    return TokenKey(found[0], _public(bytes(publics[0][pkcs11.Attribute.EC_POINT])))


def _public(point: bytes) -> ec.EllipticCurvePublicKey:
    # CKA_EC_POINT is a DER OCTET STRING around the point of SEC 1 (PKCS #11 v3.1 section 6.3.3).
    raw = point[2:] if point[:2] == b"\x04\x41" else point
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError as error:
        raise _failed("the key is not ECDSA P-256") from error


def _failed(what: str) -> IdentityError:
    return IdentityError(
        f"the token cannot be used: {what}",
        code="identity.token",
        hint="compare the URI and the PIN with what `pkcs11-tool --list-slots` and `--list-objects` say",
    )
