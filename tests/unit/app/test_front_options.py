"""Options of the front, checked against each other before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hanse.app.cli.fronts import BadFrontOption, front_options
from hanse.app.options import UNSEEN

ONE, TWO = Path("a.pem"), Path("b.pem")


def options(**given: Any) -> Any:
    return front_options(**({"sight": UNSEEN} | given))


def test_nothing_given_is_plain_http() -> None:
    assert options().tls() is None


def test_a_certificate_implies_tls_and_pairs_stand_in_their_order() -> None:
    tls = options(front_cert=[ONE, TWO], front_key=[TWO, ONE], client_auth="request", client_ca=ONE).tls()
    assert tls.certificates == (("a.pem", "b.pem"), ("b.pem", "a.pem"))
    assert (tls.client_auth, tls.client_ca) == ("request", "a.pem")


def test_an_issuer_is_an_address_that_may_hold_an_equals_sign() -> None:
    issuers = options(issuer=["https://id.example/?tenant=a=keys.json", "b=https://b.example/jwks"]).issuers
    assert issuers == {"https://id.example/?tenant=a": "keys.json", "b": "https://b.example/jwks"}


@pytest.mark.parametrize(
    "given",
    [
        {"front_cert": [ONE]},
        {"front_key": [ONE]},
        {"front_tls": True, "client_auth": "sometimes"},
        {"front_tls": True, "client_auth": "require"},
        {"front_tls": True, "client_ca": ONE},
        {"client_auth": "require", "client_ca": ONE},
        {"issuer": ["https://id.example"]},
        {"issuer": ["=keys.json"]},
    ],
)
def test_what_contradicts_itself_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadFrontOption) as caught:
        options(**given)
    assert caught.value.code == "front.options_invalid"
