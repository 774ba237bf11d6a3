"""What one process of the fabric is told at its start. Light to import: a node loads nothing of the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hanse.core.fabric import Node
from hanse.core.traffic import COUNT_US

GUARDRAILS = ("gdpr",)
"""Packs that bind every workload of a domain unless told otherwise: data of people in the EEA is theirs wherever the
manifest is silent about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """What the command line says."""

    state: str
    id: str
    api_host: str
    api_port: int
    substrate_url: str
    node_substrate_urls: tuple[str, ...]
    guardrails: tuple[str, ...] = GUARDRAILS
    optimise_every_us: int = 600_000_000
    """How often the leader runs the global solver; 0 never."""
    count_us: int = COUNT_US
    """How often the leader looks at what fronts count."""
    latency_table: str | None = None
    """File of measured round trips between sites (`hanse.adapters.latency`); missing pairs are modelled."""
    access: str | None = None
    """File of providers, roles and limits (`hanse.app.access_file`); None: the administrators' token, named tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontTls:
    """Files of a node's public front; read again when they change."""

    certificates: tuple[tuple[str, str], ...]
    """Chain and key, PEM; the first pair is for clients that name no server or an unknown one."""
    client_auth: str = "none"
    """``none``, ``request`` or ``require`` a certificate of clients."""
    client_ca: str | None = None
    """Authorities of clients, PEM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SightOptions:
    """What can be seen of a node's requests from outside."""

    otlp_endpoint: str | None = None
    """Base address of a collector of OpenTelemetry spans (OTLP over HTTP); None: requests are not traced."""
    trace_ratio_ppm: int = 10_000
    """Of a million traces that begin here, so many are recorded."""
    access_log: str | None = None
    """File of lines about requests at the front; None: there is none."""
    access_log_ratio_ppm: int = 1_000_000
    """Of a million requests without error, so many are written; those with an error always are."""
    tells_paths: bool = False
    """Whether spans and access log name paths, which may name people."""
    account_us: int | None = None
    """How often the node accounts for its work to the domain; the agent's default if None."""
    count_us: int = COUNT_US
    """How often it looks at how many requests entered at its front."""


UNSEEN = SightOptions()
"""Metrics, but neither traces nor an access log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontOptions:
    """What the command line says about fronts."""

    is_tls: bool = False
    certificates: tuple[tuple[str, str], ...] = ()
    """Chain and key, PEM; none: one of the domain's own authority for each node, where that is at hand."""
    client_auth: str = "none"
    client_ca: str | None = None
    issuers: Mapping[str, str] = field(default_factory=dict)
    upstreams: Mapping[str, str] = field(default_factory=dict)
    """As in `NodeOptions`."""
    sight: SightOptions = UNSEEN

    def tls(self) -> FrontTls | None:
        """The files of one front; None for plain HTTP."""
        if not self.is_tls:
            return None
        return FrontTls(certificates=self.certificates, client_auth=self.client_auth, client_ca=self.client_ca)


PLAIN_FRONT = FrontOptions()
"""HTTP on the loopback, which is what `hanse demo` and `hanse up` start unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmOptions:
    """How a node reaches its TPM."""

    tcti: str
    """Transport of tpm2-tools: ``device:/dev/tpmrm0``, ``swtpm:path=...``."""
    issuers: tuple[bytes, ...]
    """DER of the endorsement certificate's issuers, up to the maker's root."""
    attest_us: int | None = None
    """How often to attest again; the agent's default if None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """What the command line says."""

    state: str
    node: Node
    front: str = "127.0.0.1:0"
    mesh: str = "127.0.0.1:0"
    compiled: str | None = None
    """Cache of compiled components; the node's own if None."""
    substrate_url: str | None = None
    """Overrides where the join answer says the substrate is: a relay, a leaf server."""
    owner_policy: str = ""
    front_tls: FrontTls | None = None
    """None: plain HTTP, for the loopback and behind a proxy of one's own."""
    issuers: Mapping[str, str] = field(default_factory=dict)
    """Token issuer -> file or ``https`` address of its public keys (JWKS)."""
    upstreams: Mapping[str, str] = field(default_factory=dict)
    """What a Service may name (`ip:port` beside this node, or `https://host:port`) -> file of the authorities that are
    believed there (PEM); the public ones if empty."""
    sight: SightOptions = UNSEEN
    workload_api: str = ""
    """Socket of the SPIFFE Workload API for these programs; in the node's folder if empty."""
    tpm: TpmOptions | None = None
    """None: the node has no evidence to give."""
    is_tee: bool = False
    """Whether evidence comes from the confidential guest that the node runs in."""
    tee_endorsements: str | None = None
    """File with TDX collateral (JSON) or AMD's chain (PEM), where the host gives none."""
    guardrails: tuple[str, ...] = GUARDRAILS
    """Packs that this node holds every order to, whatever the controller says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    """Where and with what a node joins."""

    api_urls: tuple[str, ...]
    ca_pem: bytes
    token: str
