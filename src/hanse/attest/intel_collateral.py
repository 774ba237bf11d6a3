"""When DCAP collateral ends: `JSON -> moments`. Whether it is valid and whole is judged by `dcap-qvl`."""

from __future__ import annotations

import datetime
import json
from functools import lru_cache

from cryptography import x509

from hanse.attest.errors import refused
from hanse.core.time import WallTime, from_datetime


@lru_cache(maxsize=64)
def next_updates(collateral: str) -> tuple[WallTime, ...]:
    """The next update of TCB info, QE identity, and both CRLs, in no order. Raises EvidenceRefused ``.malformed``."""
    try:
        given = json.loads(collateral)
        dated = [json.loads(given[name])["nextUpdate"] for name in ("tcb_info", "qe_identity")]
        lists = [x509.load_der_x509_crl(bytes.fromhex(given[name])) for name in ("root_ca_crl", "pck_crl")]
        moments = [datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) for text in dated]
        moments += [one.next_update_utc for one in lists if one.next_update_utc is not None]
        return tuple(from_datetime(at) for at in moments)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise refused("malformed", f"collateral cannot be read: {error}") from error
