"""Names on the substrate: buckets, keys and subjects, in one place so that permissions can be read off.

A node with id N may publish `hanse.v1.heartbeat.N`, `hanse.v1.ask.N.*` and `hanse.v1.tell.*.ping`, answer
`hanse.v1.tell.N.*`, write
`reports`/`N.>` and `presence`/`N`, and read `orders`/`N.>`, `routes`/`>`, `trust`/`>` and artifacts: nothing else.
"""

from __future__ import annotations

from hanse.core.ids import InstanceId, NodeId, WorkloadId

SPECS = "specs"
"""Accepted manifests: key ``<kind>.<namespace>.<name>``, sealed `SpecRecord`."""
NODES = "nodes"
"""Enrolled nodes: key node id, sealed `NodeRecord` (by the controller) ."""
PRESENCE = "presence"
"""What a node says of itself at start: key node id, sealed `Presence` (by the node)."""
ORDERS = "orders"
"""Desired state: key ``<node>.<instance>``, sealed `Order` (by the controller)."""
REPORTS = "reports"
"""Observed state: key ``<node>.<instance>``, sealed `Report` (by the node)."""
ROUTES = "routes"
"""Route table: key workload id, sealed `RouteRecord` (by the controller)."""
PLANS = "plans"
"""Key ``current``: sealed `PlanRecord`; history is in the ledger."""
BASIS = "basis"
"""Key ``current``: what the last screening rested on, sealed `BasisRecord` (by the controller)."""
LEASES = "leases"
"""Key ``controller``: `Lease`."""
TRUST = "trust"
"""Key ``revocations``: sealed `Revocations` (by the controller)."""
APPRAISAL = "appraisal"
"""What evidence is held against: ``reference.<name>``, ``anchor.<name>``, sealed `AppraisalRecord` (controller)."""
ATTESTED = "attested"
"""What evidence showed: key node id, sealed `Attestation` (by the controller)."""
MEASURED = "measured"
"""What landmarks measured: key is the node at the landmark, sealed `Survey` (by the controller)."""
DISTANCES = "distances"
"""What sites measured of one another: key is the site that measures, sealed `SiteTrips` (by the controller)."""
DEMAND = "demand"
"""Where requests enter: key is the site, sealed `SiteDemand` (by the controller)."""
REVOCATIONS = "revocations"
"""The one key of `TRUST`."""

FEDERATION = "federation"
"""Other trust domains: key is the domain, sealed `FederatedBundle` (by the controller)."""

WITNESS = "witness"
"""Witnessing and mirroring: ``log.<origin>`` (`WitnessedLog`), ``head.<origin>`` (`WitnessedHead`), the same as
``mirror-log`` and ``mirror-head`` for logs that are mirrored here, ``asked`` and ``mirrors`` (`Witnesses`), and
``alarm.<url>`` (`WitnessAlarm`); origins and addresses by SHA-256. All sealed by the controller."""

SECRETS = "secrets"
"""Values of secrets: key ``<namespace>.<name>``, `SecretValue` sealed by the controller; the value itself is sealed to
the domain."""
RELEASES = "releases"
"""Who was told which secret: key ``<node>.<namespace>.<name>``, sealed `ReleaseRecord` (by the controller)."""

ACTIONS = "actions"
"""What users did and the ledger has not said yet: key is the hex digest of the record, sealed `ActionRecord`."""
ACTORS = "actors"
"""Who did it: key is the hex digest that stands in the ledger, sealed `ActorRecord`. Erased by deleting the key."""

CREDENTIALS = "credentials"
"""Certificates that the domain took in: key ``<operator>.<hex digest>``, sealed `CredentialRecord` (controller)."""

SPENDING = "spending"
"""What work cost this month: key is a namespace, sealed `SpendRecord` (by the controller)."""

JOBS = "jobs"
"""How far work that may wait has come: key is a workload id, sealed `JobRecord` (by the controller)."""

HISTORY = "history"
"""What was seen of outages: key ``outages``, sealed `HistoryRecord` (by the controller)."""

FEEDS = "feeds"
"""Data from outside: key ``carbon``, sealed `CarbonFeed` (by the controller)."""

TOKENS = "tokens"
"""Join tokens: key is the token's hash, sealed `JoinToken` (by the controller)."""

API_TOKENS = "api-tokens"
"""Named tokens of users: key is the token's name, sealed `ApiToken` (by the controller)."""

BUCKETS = (
    SPECS, NODES, PRESENCE, ORDERS, REPORTS, ROUTES, PLANS, LEASES, TRUST, WITNESS, ACTIONS, ACTORS, TOKENS,
    APPRAISAL, ATTESTED, SPENDING, FEEDS, MEASURED, CREDENTIALS, BASIS, SECRETS, RELEASES, FEDERATION, API_TOKENS,
    JOBS, HISTORY, DISTANCES, DEMAND,
)  # fmt: skip
ARTIFACTS = "artifacts"
"""Object store of components, by digest."""

HEARTBEATS = "hanse.v1.heartbeat.*"
ASKS = "hanse.v1.ask.*.*"
PINGS = "hanse.v1.tell.*.ping"
"""Where a landmark asks any node for a signed sign of life."""


def heartbeat(node: NodeId) -> str:
    """Subject of a node's heartbeats."""
    return f"hanse.v1.heartbeat.{node}"


def ask(node: NodeId, what: str) -> str:
    """Subject of a node's requests to the controller, for example ``renew``."""
    return f"hanse.v1.ask.{node}.{what}"


def tell(node: NodeId, what: str) -> str:
    """Subject of requests to a node, for example ``logs`` or ``stats``."""
    return f"hanse.v1.tell.{node}.{what}"


def instance_key(node: NodeId, instance: InstanceId) -> str:
    """Key of an order or report."""
    return f"{node}.{instance}"


def spec_key(workload: WorkloadId) -> str:
    """Key of an accepted manifest of work: one per workload, so that a Service may take the place of a Function."""
    return f"function.{workload}"
