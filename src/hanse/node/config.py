"""Settings of a node agent, each with unit, range and the reason for its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hanse.core.fabric import Node, Operator, Site
from hanse.core.ports import Addresses
from hanse.core.time import HOUR_US, US_PER_MS, US_PER_S
from hanse.core.traffic import COUNT_US

ATTEST_US = 600 * US_PER_S
ACCOUNT_US = 300 * US_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """One node's settings and what it learned when it joined; read once in `app`."""

    domain: str
    node: Node
    site: Site
    operator: Operator
    controller_keys: Mapping[str, bytes]
    """Key id -> raw Ed25519 key whose orders count."""
    addresses: Addresses
    """Where the runtime listens, told to the fabric in every heartbeat."""
    version: str
    packs: Mapping[str, str]
    """Policy packs by which an order is screened again here: path -> text."""
    owner_policy: str = ""
    """Cedar rules of the node's owner; they can only narrow."""
    guardrails: tuple[str, ...] = ()
    """Packs that bind every order here, whatever its spec names."""
    heartbeat_us: int = 1 * US_PER_S
    """0.2..10 s. Must be well under the controller's `unreachable_after_us`."""
    settle_us: int = 200 * US_PER_MS
    """Longest wait before the agent looks again at what it holds after something failed; doubles up to
    `retry_us_max`."""
    retry_us_max: int = 10 * US_PER_S
    """Ceiling of the back-off: a node that is cut off tries six times a minute."""
    tick_us: int = 5 * US_PER_S
    """How often levels are compared even when nothing was heard (expiry of orders, reports not yet delivered)."""
    fetch_deadline_us: int = 60 * US_PER_S
    """For one artifact over the uplink; 40 MB at 6 Mbit/s."""
    renew_deadline_us: int = 5 * US_PER_S
    """For one request for a new SVID."""
    account_us: int = ACCOUNT_US
    """1 s..1 h. How often what was done and decided is told: an entry of the ledger for each node with traffic."""
    count_us: int = COUNT_US
    """1 s..1 h. How often it looks at how many requests entered at its front; a rate is a mean over ten looks."""
    secrets_deadline_us: int = 5 * US_PER_S
    """For one request for secrets; the ledger is written before it is answered."""
    attest_us: int = ATTEST_US
    """10 s..1 d. How often a platform with evidence attests again: a third of what a result lasts."""
    attest_deadline_us: int = 20 * US_PER_S
    """For one answer of the verifier: after an outage all nodes ask at once."""
    svid_lifetime_us: int = HOUR_US
    """Expected life of an SVID; asked for anew at half of it."""
