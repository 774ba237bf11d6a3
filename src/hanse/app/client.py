"""The client of the HTTP API.

Typed answers, errors with their codes, and the next controller when one does not answer.

`Context -> views`. HTTPS with the domain's own trust bundle and a bearer token; there is no way around either.
Blocking: the CLI has nothing else to do meanwhile, and asynchronous callers use a thread.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from hanse.app.auth_views import ApiTokenMade, MayI, SignIn, WhoAmI
from hanse.app.client_answers import ApiError, checked, sse_data
from hanse.app.client_credentials import CredentialCalls
from hanse.app.context import Context
from hanse.attest import Anchor, Reference
from hanse.control.api_tokens import ApiTokenView
from hanse.control.appraising import AttestedView
from hanse.control.cosigning import CosigningView
from hanse.control.federation import TrustView
from hanse.control.known_logs import LogView
from hanse.control.mirror import MirroredView
from hanse.control.mirroring import MirroringView
from hanse.control.planning import ExitView, FrontierAnswer, PlanAnswer, ShiftView
from hanse.control.secrets import SealingView, SecretView
from hanse.control.state_anchor import StateHealth
from hanse.control.supposing import PackView
from hanse.control.views import (
    ExplainView,
    InstanceView,
    JobView,
    JurisdictionView,
    NamespaceView,
    NodeView,
    OperatorView,
    PlanView,
    SiteView,
    StatusView,
    Submission,
    TopRow,
    UsageView,
    VerdictView,
    WorkloadDetail,
    WorkloadView,
)
from hanse.core.errors import HanseError
from hanse.core.ids import Digest, SecretId
from hanse.core.snapshot import Series
from hanse.identity import seal_to
from hanse.identity.sealing import info_for_domain
from hanse.placement import Capacity, WhyNot
from hanse.policy import PolicyDiff

T = TypeVar("T")

CONNECT_TIMEOUT_S = 3.0
"""A controller on this continent accepts within a second; beyond three the next one is asked."""
PONDER_TIMEOUT_S = 600.0
"""The global solver on a large fabric takes minutes."""
READ_TIMEOUT_S = 30.0
"""A large submission is planned before it is answered."""


class Unreachable(HanseError):
    """Raised when no controller of the context answers."""

    code = "api.unreachable"
    hint = "is the fabric running? start it with `hanse up`"
    retry = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArtifact:
    """A component that the fabric holds."""

    digest: Digest
    size_bytes: int
    world: str
    imports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One line a function wrote, or a fault that its node noted."""

    node: str
    seq: int
    time_us: int
    stream: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMade:
    """A join token: one node, one hour."""

    token: str
    expires_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricEvent:
    """Every workload and node, as they stand after a change."""

    workloads: tuple[WorkloadView, ...]
    nodes: tuple[NodeView, ...]


class Client(CredentialCalls):
    """The API of one domain. Safe to use from several threads; close it, or use it in a `with`."""

    def __init__(self, context: Context, *, transport: httpx.BaseTransport | None = None) -> None:
        """Prepare; nothing is sent yet. `transport` replaces the network (tests)."""
        self.context = context
        verify: ssl.SSLContext | bool = True
        if transport is None:
            try:
                verify = ssl.create_default_context(cafile=str(context.ca_path))
            except OSError as error:
                raise Unreachable(
                    f"the trust bundle {context.ca_path} cannot be read: {error}",
                    code="context.damaged",
                    hint="",
                    retry=False,
                ) from error
        shown = {"authorization": f"Bearer {context.token}"} if context.token else {}
        self._http = httpx.Client(
            transport=transport,
            verify=verify,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={"accept": "application/json"} | shown,
            trust_env=False,
        )
        self._at = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    # --- reading ---

    def is_caught_up(self) -> bool:
        """Whether the controller that answers has read the whole state."""
        return bool(self._get("/api/v1/health", dict[str, bool])["is_caught_up"])

    def status(self) -> StatusView:
        """The fabric at a glance."""
        return self._get("/api/v1/status", StatusView)

    def workloads(self) -> tuple[WorkloadView, ...]:
        """Every workload."""
        return self._get("/api/v1/workloads", tuple[WorkloadView, ...])

    def namespaces(self) -> tuple[NamespaceView, ...]:
        """Every namespace that has a budget."""
        return self._get("/api/v1/namespaces", tuple[NamespaceView, ...])

    def jurisdictions(self) -> tuple[JurisdictionView, ...]:
        """Every country of the fabric as a failure domain."""
        return self._get("/api/v1/jurisdictions", tuple[JurisdictionView, ...])

    def jobs(self) -> tuple[JobView, ...]:
        """Every job."""
        return self._get("/api/v1/jobs", tuple[JobView, ...])

    def workload(self, namespace: str, name: str) -> WorkloadDetail:
        """Everything about one workload. Raises ApiError ``not_found``."""
        return self._get(f"/api/v1/workloads/{namespace}/{name}", WorkloadDetail)

    def explain(self, namespace: str, name: str) -> ExplainView:
        """Why its replicas are where they are. Raises ApiError ``not_found``."""
        return self._get(f"/api/v1/workloads/{namespace}/{name}/explain", ExplainView)

    def verdict(self, namespace: str, name: str, node: str) -> VerdictView:
        """What policy says now of it on one node. Raises ApiError ``not_found``."""
        return self._get(f"/api/v1/workloads/{namespace}/{name}/verdicts/{node}", VerdictView)

    def instances(self, workload: str | None = None) -> tuple[InstanceView, ...]:
        """Every instance, or those of one workload."""
        params = {} if workload is None else {"workload": workload}
        return self._get("/api/v1/instances", tuple[InstanceView, ...], params=params)

    def nodes(self) -> tuple[NodeView, ...]:
        """Every node."""
        return self._get("/api/v1/nodes", tuple[NodeView, ...])

    def operators(self) -> tuple[OperatorView, ...]:
        """Every operator."""
        return self._get("/api/v1/operators", tuple[OperatorView, ...])

    def sites(self) -> tuple[SiteView, ...]:
        """Every site."""
        return self._get("/api/v1/sites", tuple[SiteView, ...])

    def plans(self) -> tuple[PlanView, ...]:
        """The committed plan; empty before the first one."""
        return self._get("/api/v1/plans", tuple[PlanView, ...])

    def top(self) -> tuple[TopRow, ...]:
        """Traffic per workload and node."""
        return self._get("/api/v1/top", tuple[TopRow, ...])

    def usage(self) -> tuple[UsageView, ...]:
        """What workloads took, as nodes accounted for it."""
        return self._get("/api/v1/usage", tuple[UsageView, ...])

    def logs(
        self, namespace: str, name: str, *, after: Mapping[str, int] | None = None, limit: int = 200
    ) -> tuple[LogRow, ...]:
        """Log lines from every node that runs it, oldest first, after a sequence number per node."""
        mark = ",".join(f"{node}={seq}" for node, seq in sorted((after or {}).items()))
        path = f"/api/v1/workloads/{namespace}/{name}/logs"
        return self._get(path, tuple[LogRow, ...], params={"after": mark, "limit": str(limit)})

    def watch(self) -> Iterator[FabricEvent]:
        """Yield the fabric now, then after every change; on another controller when this one goes. Endless.

        Raises Unreachable once no controller answers.
        """
        while True:
            with contextlib.suppress(httpx.TransportError):
                yield from self._events()
            self._next_controller()
            self.is_caught_up()  # raises Unreachable where nobody is left to ask

    # --- writing ---

    def put_artifact(self, component: bytes) -> StoredArtifact:
        """Store a component; storing it again changes nothing. Raises ApiError ``component.*``."""
        return self._ask("PUT", "/api/v1/artifacts", StoredArtifact, content=component)

    def submit(
        self, files: Sequence[tuple[str, str]], artifacts: Mapping[str, str], *, is_dry_run: bool = False
    ) -> Submission:
        """Deploy manifests, or show what would change. Raises ApiError ``manifest.invalid``, ``spec.refused``, ..."""
        body = {
            "files": [{"name": name, "text": text} for name, text in files],
            "artifacts": dict(artifacts),
            "dry_run": is_dry_run,
        }
        # A submission says how things should be, so sending it to a second controller repeats nothing.
        return self._ask("POST", "/api/v1/submissions", Submission, json=body, is_idempotent=True)

    def delete(self, kind: str, identity: str) -> None:
        """Ask for a workload, operator or site to go. Raises ApiError ``not_found``, ``spec.in_use``."""
        self._ask("DELETE", f"/api/v1/{kind.lower()}s/{identity}", dict[str, str])

    def drain(self, node: str, *, undo: bool = False) -> None:
        """Empty a node on purpose, or let it take work again."""
        params = {"undo": "true"} if undo else {}
        self._ask("POST", f"/api/v1/nodes/{node}/drain", dict[str, str], params=params, is_idempotent=True)

    def revoke(self, node: str) -> None:
        """Withdraw a node's standing."""
        self._ask("POST", f"/api/v1/nodes/{node}/revoke", dict[str, str], is_idempotent=True)

    def token_for(
        self,
        *,
        site: str,
        operator: str,
        tier: str,
        grade: int = 1,
        node: str | None = None,
        require: Sequence[str] = (),
        service: str = "",
    ) -> TokenMade:
        """Make a one-time join token; `require` names kinds of evidence, one of which the node must bring."""
        body = {
            "site": site,
            "operator": operator,
            "tier": tier,
            "grade": grade,
            "node": node,
            "require": list(require),
            "service": service,
        }
        return self._ask("POST", "/api/v1/tokens", TokenMade, json=body)

    # --- users ---

    def sign_in_methods(self) -> tuple[SignIn, ...]:
        """Providers that the domain trusts; needs no token."""
        return self._get("/api/v1/auth/methods", tuple[SignIn, ...])

    def whoami(self) -> WhoAmI:
        """Who the token says the caller is."""
        return self._get("/api/v1/auth/whoami", WhoAmI)

    def may(self, action: str, kind: str, namespace: str, name: str) -> MayI:
        """Whether the caller may, and by which rules."""
        body = {"action": action, "kind": kind, "namespace": namespace, "name": name}
        return self._ask("POST", "/api/v1/auth/can", MayI, json=body, is_idempotent=True)

    def tokens(self) -> tuple[ApiTokenView, ...]:
        """Named tokens."""
        return self._get("/api/v1/auth/tokens", tuple[ApiTokenView, ...])

    def create_token(self, name: str, roles: Mapping[str, Sequence[str]], *, lifetime_us: int) -> ApiTokenMade:
        """Make a named token. Raises ApiError ``token.name_taken``, ``identity.malformed_id``."""
        body = {"name": name, "roles": {role: list(places) for role, places in roles.items()}}
        return self._ask("POST", "/api/v1/auth/tokens", ApiTokenMade, json={**body, "lifetime_us": lifetime_us})

    def revoke_token(self, name: str) -> None:
        """Withdraw a named token. Raises ApiError ``not_found``."""
        self._ask("DELETE", f"/api/v1/auth/tokens/{name}", dict[str, str])

    # --- plans: questions that change nothing ---

    def plan_preview(self, files: Sequence[tuple[str, str]] = ()) -> PlanAnswer:
        """What the global solver would change now, or with these manifests. Raises ApiError ``manifest.invalid``."""
        body = {"files": [{"name": name, "text": text} for name, text in files]}
        return self._ponder("/api/v1/plan/preview", PlanAnswer, body)

    def plan_without(self, parts: Sequence[tuple[str, str]]) -> ExitView:
        """Rehearse an exit of operators, sites, countries. Raises ApiError ``not_found``."""
        return self._ponder(
            "/api/v1/plan/without", ExitView, {"without": [{"kind": kind, "name": name} for kind, name in parts]}
        )

    def plan_frontier(self, prices_eur_per_t: Sequence[int] = ()) -> FrontierAnswer:
        """Money against carbon, at these prices of a tonne or at the usual ones."""
        prices = {"carbon_prices_eur_per_t": list(prices_eur_per_t)}
        return self._ponder("/api/v1/plan/frontier", FrontierAnswer, prices if prices_eur_per_t else {})

    def plan_shift(
        self, workload: str, *, duration_us: int, within_us: int, is_interruptible: bool
    ) -> tuple[ShiftView, ...]:
        """When work that may wait would best run, per node. Raises ApiError ``not_found``."""
        body = {
            "workload": workload,
            "duration_us": duration_us,
            "within_us": within_us,
            "is_interruptible": is_interruptible,
        }
        return self._ponder("/api/v1/plan/shift", tuple[ShiftView, ...], body)

    def refresh_carbon(self, zones: Mapping[str, Series], *, source: str, error_permille: int) -> int:
        """Bring a forecast of carbon intensity in; returns the number of zones."""
        body = {"source": source, "error_permille": error_permille, "zones": msgspec.to_builtins(zones)}
        return self._ask("PUT", "/api/v1/feeds/carbon", dict[str, int], json=body)["zones"]

    def capacity(self) -> Capacity:
        """What the fabric could still take, and what limits it."""
        return self._ask("GET", "/api/v1/capacity", Capacity, timeout=PONDER_TIMEOUT_S)

    def why_not(self, namespace: str, name: str, node: str) -> WhyNot:
        """Every limit between a workload and a node, nearest first. Raises ApiError ``not_found``."""
        return self._get(f"/api/v1/workloads/{namespace}/{name}/why-not/{node}", WhyNot)

    def _ponder(self, path: str, kind: type[T], body: Mapping[str, Any]) -> T:
        return self._ask("POST", path, kind, json=body, is_idempotent=True, timeout=PONDER_TIMEOUT_S)

    # --- attestation ---

    def secrets(self) -> tuple[SecretView, ...]:
        """Every declared secret; values are nowhere in it."""
        return self._get("/api/v1/secrets", tuple[SecretView, ...])

    def secret(self, secret: str) -> SecretView:
        """One secret. Raises ApiError ``not_found``."""
        return self._get(f"/api/v1/secrets/{secret}", SecretView)

    def set_secret(self, secret: str, value: bytes) -> SecretView:
        """Seal a value to the domain, here, and have it kept as the next version. Raises ApiError, SealingError."""
        at = self._get(f"/api/v1/secrets/{secret}/sealing", SealingView)
        info = info_for_domain(at.domain, SecretId(secret), at.next_version)
        sealed = seal_to(base64.b64decode(at.public_key), value, info)
        path = f"/api/v1/secrets/{secret}/versions/{at.next_version}"
        return self._ask("PUT", path, SecretView, content=sealed)

    def delete_secret(self, secret: str) -> None:
        """Withdraw a secret and erase its value. Raises ApiError ``not_found``, ``spec.in_use``."""
        self._ask("DELETE", f"/api/v1/secrets/{secret}", dict[str, str])

    def attested(self) -> tuple[AttestedView, ...]:
        """What is attested of every node."""
        return self._get("/api/v1/attest/nodes", tuple[AttestedView, ...])

    def references(self) -> tuple[Reference, ...]:
        """Reference values."""
        return self._get("/api/v1/attest/references", tuple[Reference, ...])

    def add_reference(
        self,
        name: str,
        *,
        kind: str,
        claims: Mapping[str, str],
        floors: Mapping[str, int],
        from_node: str | None = None,
    ) -> Reference:
        """Keep a reference value, or take it from what a node shows. Raises ApiError ``appraisal.refused``."""
        body = {"kind": kind, "claims": dict(claims), "floors": dict(floors), "from_node": from_node}
        return self._ask("PUT", f"/api/v1/attest/references/{name}", Reference, json=body)

    def remove_reference(self, name: str) -> None:
        """Withdraw a reference value. Raises ApiError ``not_found``."""
        self._ask("DELETE", f"/api/v1/attest/references/{name}", dict[str, str])

    def anchors(self) -> tuple[Anchor, ...]:
        """Roots of makers that are believed."""
        return self._get("/api/v1/attest/anchors", tuple[Anchor, ...])

    def add_anchor(self, name: str, *, kind: str, certificate_pem: str, origin: str) -> Anchor:
        """Believe a maker's root. Raises ApiError."""
        body = {"kind": kind, "certificate_pem": certificate_pem, "origin": origin}
        return self._ask("PUT", f"/api/v1/attest/anchors/{name}", Anchor, json=body)

    def remove_anchor(self, name: str) -> None:
        """Believe a maker's root no longer. Raises ApiError ``not_found``."""
        self._ask("DELETE", f"/api/v1/attest/anchors/{name}", dict[str, str])

    # --- policy: questions that change nothing ---

    def policy_packs(self) -> tuple[PackView, ...]:
        """The packs in force."""
        return self._get("/api/v1/policy/packs", tuple[PackView, ...])

    def policy_diff(self, old: Mapping[str, str] | None, new: Mapping[str, str]) -> PolicyDiff:
        """What changes between two sets of packs; `old` None means those in force. Raises ApiError."""
        body = {"old": None if old is None else dict(old), "new": dict(new)}
        return self._ask("POST", "/api/v1/policy/diff", PolicyDiff, json=body, is_idempotent=True)

    def policy_impact(self, facts: Sequence[str]) -> PolicyDiff:
        """What supposed facts would do. Raises ApiError ``policy.fact``."""
        return self._ask("POST", "/api/v1/policy/impact", PolicyDiff, json={"facts": list(facts)}, is_idempotent=True)

    def trusts(self) -> tuple[TrustView, ...]:
        """Domains that are believed beside this one."""
        return self._get("/api/v1/trust", tuple[TrustView, ...])

    def trust(self, domain: str, *, bundle: str, **endpoint: str) -> TrustView:
        """Believe another domain; `endpoint`: url, profile, endpoint_id."""
        return self._ask("PUT", f"/api/v1/trust/{domain}", TrustView, json={"bundle": bundle, **endpoint})

    def distrust(self, domain: str) -> None:
        """Believe another domain no longer."""
        self._ask("DELETE", f"/api/v1/trust/{domain}", dict[str, str])

    def own_bundle(self) -> bytes:
        """This domain's trust bundle (JWKS)."""
        return self._send("GET", "/spiffe/bundle").content

    # --- the ledger ---

    def receipt(self, instance: str) -> bytes:
        """The receipt of one placement, as it is verified: byte for byte."""
        return self._send("GET", f"/api/v1/receipts/{instance}").content

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint."""
        return self._send("GET", "/api/v1/ledger/checkpoint").content

    def ledger_policy(self) -> bytes:
        """The keys that sign this domain's ledger."""
        return self._send("GET", "/api/v1/ledger/policy").content

    def state_health(self) -> StateHealth:
        """The fabric's store against the state that the ledger anchored last."""
        return self._get("/api/v1/ledger/state", StateHealth)

    def witnesses(self) -> CosigningView:
        """Who cosigns this domain's ledger, and whether any of them saw another history."""
        return self._get("/api/v1/ledger/witnesses", CosigningView)

    def add_node_witness(self, node: str) -> None:
        """Have a node cosign the ledger, too. Raises ApiError ``witness.bad_policy``, ``bus.timeout``."""
        self._ask("POST", "/api/v1/ledger/witnesses/nodes", dict[str, str], json={"node": node})

    def use_witnesses(self, policy: str, bundle_pem: str) -> None:
        """Have these witnesses cosign from now on."""
        self._ask("PUT", "/api/v1/ledger/witnesses", dict[str, str], json={"policy": policy, "bundle_pem": bundle_pem})

    def witness_log(self, policy: str) -> str:
        """Cosign another domain's log from now on; returns its origin."""
        return self._ask("PUT", "/api/v1/witness/logs", dict[str, str], json={"policy": policy})["origin"]

    def witnessed_logs(self) -> tuple[LogView, ...]:
        """Logs of other domains that this domain cosigns."""
        return self._get("/api/v1/witness/logs", tuple[LogView, ...])

    def witness_keys(self) -> list[str]:
        """The verifier keys of this domain as a witness."""
        return self._get("/api/v1/witness/keys", list[str])

    def settle_alarm(self, url: str) -> bool:
        """Drop the alarm of a witness or mirror; False where there was none."""
        return self._ask("DELETE", "/api/v1/ledger/alarms", dict[str, bool], params={"url": url})["settled"]

    def forgive_split(self, origin: str) -> bool:
        """Drop the evidence of a split view of another domain's log; False where there was none."""
        return self._ask("DELETE", "/api/v1/witness/splits", dict[str, bool], params={"origin": origin})["settled"]

    def mirrors(self) -> MirroringView:
        """Where copies of this domain's ledger are kept."""
        return self._get("/api/v1/ledger/mirrors", MirroringView)

    def use_mirrors(self, policy: str, bundle_pem: str) -> None:
        """Keep copies at these mirrors from now on."""
        self._ask("PUT", "/api/v1/ledger/mirrors", dict[str, str], json={"policy": policy, "bundle_pem": bundle_pem})

    def mirror_log(self, policy: str, quota: int) -> str:
        """Mirror another domain's log from now on, up to `quota` entries; returns its origin."""
        body = {"policy": policy, "quota": quota}
        return self._ask("PUT", "/api/v1/mirror/logs", dict[str, str], json=body)["origin"]

    def mirrored_logs(self) -> tuple[MirroredView, ...]:
        """Logs of other domains that are mirrored here."""
        return self._get("/api/v1/mirror/logs", tuple[MirroredView, ...])

    def mirror_keys(self) -> list[str]:
        """The verifier keys of this domain as a mirror."""
        return self._get("/api/v1/mirror/keys", list[str])

    def ledger_gap_proof(self, since: bytes) -> bytes:
        """Proof that nothing lies between an older checkpoint and the newest but the entries it shows."""
        return self._send("POST", "/api/v1/ledger/gap-proofs", content=since).content

    def ledger_entries(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Entries of the ledger from an index on, decoded."""
        params = {"after": str(after), "limit": str(limit)}
        return self._get("/api/v1/ledger/entries", list[dict[str, Any]], params=params)

    # --- details ---
    def _get(self, path: str, kind: type[T], *, params: Mapping[str, str] | None = None) -> T:
        return self._ask("GET", path, kind, params=params)

    def _ask(self, method: str, path: str, kind: type[T], **more: Any) -> T:
        answer = self._send(method, path, **more)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except ValueError as error:
            raise ApiError(
                f"{method} {path} answered what this version cannot read: {error}",
                status=answer.status_code,
                code="api.unreadable",
                hint="client and controller differ in version; see `hanse version`",
            ) from error

    def _send(self, method: str, path: str, *, is_idempotent: bool | None = None, **more: Any) -> httpx.Response:
        """Ask the controllers in turn, starting with the one that answered last."""
        may_repeat = method in ("GET", "PUT", "DELETE") if is_idempotent is None else is_idempotent
        urls = self.context.api_urls
        failure: httpx.TransportError | None = None
        for _ in urls:
            url = urls[self._at]
            try:
                answer = self._http.request(method, url.rstrip("/") + path, **more)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
            except httpx.TransportError as error:
                failure = error
                if not may_repeat:
                    raise Unreachable(
                        f"{url} went away while it was asked ({error}); whether it acted is not known",
                        hint="look at the state first, then ask again",
                    ) from error
            else:
                return checked(answer)
            self._next_controller()
        raise Unreachable(
            f"no controller answers at {', '.join(urls)} ({failure})", context={"controllers": len(urls)}
        ) from failure

    def _next_controller(self) -> None:
        with self._lock:
            self._at = (self._at + 1) % len(self.context.api_urls)

    def _events(self) -> Iterator[FabricEvent]:
        url = self.context.api_urls[self._at].rstrip("/") + "/api/v1/watch"
        headers = {"accept": "text/event-stream"}
        # The server says something every 15 s: twice that without a word means it is gone.
        with self._http.stream("GET", url, headers=headers, timeout=READ_TIMEOUT_S) as answer:
            if answer.is_error:
                answer.read()
                checked(answer)
            for data in sse_data(answer.iter_lines()):
                yield msgspec.json.decode(data, type=FabricEvent)
