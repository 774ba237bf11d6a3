"""What users may ask of the fabric: the API's verbs over one controller's caches.

Reading comes from the caches; writing goes to the store by compare-and-swap and is acknowledged once durable. The
leader sees it there: any controller may be asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from hanse.control import inspect
from hanse.control.controller import Controller
from hanse.control.datasets import missing_sets
from hanse.control.pipeline import Decision, decide
from hanse.control.proofs import Prove, in_manifest, proofs_of, try_only
from hanse.control.state import FabricState
from hanse.control.views import Submission, TopRow, WorkloadChange
from hanse.control.writing import write
from hanse.core.errors import BlobError, BusError, HanseError
from hanse.core.fabric import Jurisdiction, Operator, Site
from hanse.core.ids import Digest, NodeId, WorkloadId, is_digest
from hanse.core.layer import Policy
from hanse.core.plan import Plan
from hanse.core.ports import ControlPorts, LogLine
from hanse.core.secret import Secret
from hanse.core.snapshot import Reach, Series, Snapshot
from hanse.core.time import WallTime, to_datetime
from hanse.core.work import DataSet, Kind, Namespace, Workload
from hanse.manifest import FunctionDocument, Manifests, PolicyDocument, load
from hanse.placement import Outlook
from hanse.policy import (
    PolicyError,
    Proof,
    check_access,
    check_policy,
    check_secret,
    countries_that_could_do,
    guardrails_for,
)
from hanse.wire import canonical, envelope
from hanse.wire.account_messages import CarbonFeed
from hanse.wire.messages import (
    ActionRecord,
    ActorRecord,
    LogsReply,
    LogsRequest,
    NodeRecord,
    ServiceArtifact,
    SpecRecord,
    StatsReply,
    StatsRequest,
)
from hanse.wire.subjects import ACTIONS, ACTORS, FEEDS, NODES, SPECS, spec_key, tell

_NodeChange = Callable[[NodeRecord], NodeRecord]
_Answer = TypeVar("_Answer", bound=msgspec.Struct)

ACTOR_SALT_BYTES = 32
_WORK = tuple(kind.value.lower() for kind in Kind)
TELL_DEADLINE_US = 2_000_000
"""How long one node may take to answer a question; a silent node only leaves a gap in the answer."""


class SpecRefused(HanseError):
    """Raised when a submission cannot be accepted; details name every refusal."""

    code = "spec.refused"

    def __init__(
        self, message: str, *, submission: Submission | None = None, code: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.submission = submission


class NotFound(HanseError):
    """Raised when a thing that was named does not exist."""

    code = "not_found"


class InUse(HanseError):
    """Raised when something cannot go because other things need it."""

    code = "spec.in_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposal:
    """Specs as a submission would leave them."""

    workloads: Mapping[WorkloadId, Workload]
    operators: tuple[Operator, ...]
    sites: tuple[Site, ...]
    policies: tuple[Policy, ...]
    """All that would stand."""
    datasets: tuple[DataSet, ...]
    namespaces: tuple[Namespace, ...]
    jurisdictions: tuple[Jurisdiction, ...]
    secrets: tuple[Secret, ...]
    """Those that were submitted."""
    actions: tuple[tuple[str, str, WorkloadId | None], ...]
    """(document, action, workload)."""


class FabricService:
    """The verbs."""

    def __init__(self, controller: Controller, ports: ControlPorts, *, prove: Prove = try_only) -> None:
        """`prove` proves what policies keep; it may take a while, and is asked on a thread."""
        self._controller = controller
        self._ports = ports
        self._prove = prove

    # --- writing ---

    async def submit(
        self, files: Sequence[tuple[str, str]], artifacts: Mapping[str, Digest], *, user: str, is_dry_run: bool
    ) -> Submission:
        """Validate, screen and plan a submission, then accept it as a whole or refuse it as a whole.

        Raises ManifestError for texts that are no manifests, PolicyError for rules of access that are none, SpecRefused
        where policy or limits say no.
        """
        documents = load(files)
        proposal = await self._propose(documents, artifacts)
        before = self._controller.pipeline.snapshot()
        self._refuse_wrong_policies(documents.policies, before)
        self._refuse_unknown_secrets(proposal)
        pipeline, datasets = self._controller.pipeline, self._controller.state.datasets()
        for one in proposal.datasets:
            datasets[one.id] = one
        _refuse_unknown_sites(proposal, before)
        _refuse_unknown_data(proposal, datasets)
        after = pipeline.with_data(_with(before, proposal, self._controller.state), datasets)
        proofs = await self._proofs_of_submitted(documents.policies, proposal.policies, after)
        parent = await self._controller.pipeline.current_plan()
        decision = self._preview(after, parent)
        submission = replace(_submission(proposal, parent, decision, is_dry_run=is_dry_run), proofs=proofs)
        if not submission.is_accepted and not is_dry_run:
            hint = await asyncio.to_thread(self._hint_of_contradiction, submission, after)
            raise SpecRefused(_first_refusal(submission), submission=submission, hint=hint)
        if not is_dry_run:
            await self._accept(proposal, user=user)
        return submission

    async def delete(self, kind: str, identity: str, *, user: str) -> None:
        """Ask for a workload, operator or site to go. Raises NotFound, InUse."""
        state = self._controller.state
        wanted = f"{kind.lower()}.{identity}"
        if kind.lower() in _WORK:
            wanted = spec_key(WorkloadId(identity))
        for key, record in state.specs().items():
            if key != wanted or record.is_deleted:
                continue
            self._refuse_if_used(record)
            if record.policy is not None:
                at = self._controller.pipeline.snapshot()
                await self._proofs(tuple(p for p in at.policies if p.id != record.policy.id), at)
            await self.note("delete", f"{kind.lower()}/{identity}", user=user)
            gone = msgspec.structs.replace(
                record, is_deleted=True, accepted_us=self._ports.clock.wall(), accepted_by=user
            )
            await self._write_spec(key, gone)
            self._controller.poke(f"{key} deleted")
            return
        raise NotFound(f"no {kind} named {identity}", hint="see `hanse get workloads`")

    async def set_draining(self, node: NodeId, is_draining: bool, *, user: str) -> None:
        """Start or end emptying a node on purpose. Raises NotFound."""
        self._node(node)
        await self.note("drain" if is_draining else "undrain", f"node/{node}", user=user)
        await self._change_node(node, lambda record: msgspec.structs.replace(record, is_draining=is_draining))

    async def revoke(self, node: NodeId, *, user: str) -> None:
        """Withdraw a node's standing for good: its work moves, its signatures no longer count, its peers refuse it.

        Raises NotFound.
        """
        self._node(node)
        await self.note("revoke", f"node/{node}", user=user)
        now = self._ports.clock.wall()
        await self._change_node(
            node,
            lambda record: (
                record if record.is_revoked else msgspec.structs.replace(record, is_revoked=True, revoked_us=now)
            ),
        )

    async def take_carbon(self, zones: Mapping[str, Series], *, source: str, error_permille: int, user: str) -> None:
        """Take a forecast of carbon intensity in; it replaces the last one."""
        await self.note("refresh", "feed/carbon", user=user)
        feed = CarbonFeed(
            source=source, error_permille=error_permille, taken_us=self._ports.clock.wall(), zones=dict(zones)
        )
        await self._write(FEEDS, "carbon", envelope.seal(feed, self._ports.signer))
        self._controller.poke("a forecast of carbon intensity came in")

    async def note(self, action: str, target: str, *, user: str) -> None:
        """Have the ledger say what a user does, before it is done: an act without a trace must not be possible."""
        signer, store = self._ports.signer, self._ports.store
        who = ActorRecord(user=user, salt=self._ports.entropy.secret(ACTOR_SALT_BYTES))
        actor = canonical.digest_of(who)
        record = ActionRecord(action=action, target=target, actor=actor, at_us=self._ports.clock.wall())
        await store.put(ACTORS, actor.removeprefix("sha256:"), envelope.seal(who, signer), 0)
        await self._write(ACTIONS, canonical.digest_of(record).removeprefix("sha256:"), envelope.seal(record, signer))
        self._controller.poke(f"{action} {target}")

    # --- asking nodes ---

    async def logs(
        self, workload: WorkloadId, *, after: Mapping[NodeId, int], limit: int
    ) -> dict[NodeId, tuple[LogLine, ...]]:
        """Lines of a workload from every node that runs it, after a sequence number per node."""
        if workload not in self._controller.state.workloads(with_deleted=True):
            raise NotFound(f"no workload {workload}", hint="see `hanse get workloads`")
        nodes = sorted({one.node for one in self._controller.pipeline.snapshot().running if one.workload == workload})
        answers = await asyncio.gather(*(self._node_logs(node, workload, after.get(node, 0), limit) for node in nodes))
        return dict(zip(nodes, answers, strict=True))

    async def top(self) -> tuple[TopRow, ...]:
        """Traffic per workload and node, asked of every node that is heard of."""
        at = self._controller.pipeline.snapshot()
        nodes = [node for node, reach in at.reach.items() if reach is not Reach.UNREACHABLE]
        answers = await asyncio.gather(*(self._node_stats(node) for node in nodes))
        workloads = self._controller.state.workloads(with_deleted=True)
        spent = {key: inspect.spending(self._controller, at, spec) for key, spec in workloads.items()}
        return tuple(_with_spending(row, spent.get(WorkloadId(row.workload))) for rows in answers for row in rows)

    # --- details ---

    async def _propose(self, documents: Manifests, artifacts: Mapping[str, Digest]) -> _Proposal:
        standing = self._controller.state.workloads()
        workloads = dict(standing)
        actions: list[tuple[str, str, WorkloadId | None]] = []
        for document in documents.functions:
            workload = await self._to_workload(document, artifacts)
            check_access(workload)
            last = standing.get(workload.id)
            action = "create" if last is None else "unchanged" if last == workload else "update"
            workloads[workload.id] = workload
            actions.append((f"{workload.kind} {workload.id}", action, workload.id))
        self._refuse_route_clash(workloads)
        state = self._controller.state
        actions += [(f"Dataset {d.id}", _action(state.datasets().get(d.id), d), None) for d in documents.datasets]
        actions += [(f"Namespace {n.id}", _action(state.namespaces().get(n.id), n), None) for n in documents.namespaces]
        stated = state.jurisdictions()
        actions += [(f"Jurisdiction {j.id}", _action(stated.get(j.id), j), None) for j in documents.jurisdictions]
        actions += [
            (f"Operator {o.id}", _action(self._controller.state.stated_operators().get(o.id), o), None)
            for o in documents.operators
        ]
        actions += [
            (f"Site {s.id}", _action(self._controller.state.sites().get(s.id), s), None) for s in documents.sites
        ]
        policies = {p.id: p for p in self._controller.state.policies()}
        secrets = self._controller.state.secrets()
        for secret in (document.secret for document in documents.secrets):
            check_secret(secret)
            actions.append((f"Secret {secret.id}", _action(secrets.get(secret.id), secret), None))
        today = to_datetime(self._ports.clock.wall()).date().isoformat()
        for written in (document.policy for document in documents.policies):
            known = policies.get(written.id)
            is_same = known is not None and replace(known, as_of="") == written
            action = "create" if known is None else "unchanged" if is_same else "update"
            actions.append((f"Policy {written.id}", action, None))
            policies[written.id] = known if known is not None and is_same else replace(written, as_of=today)
        return _Proposal(
            workloads=dict(sorted(workloads.items())),
            operators=documents.operators,
            sites=documents.sites,
            policies=tuple(policy for _, policy in sorted(policies.items())),
            datasets=documents.datasets,
            namespaces=documents.namespaces,
            jurisdictions=documents.jurisdictions,
            secrets=tuple(document.secret for document in documents.secrets),
            actions=tuple(actions),
        )

    async def _to_workload(self, document: FunctionDocument, artifacts: Mapping[str, Digest]) -> Workload:
        digest = await self._artifact_of(document, artifacts)
        size = await self._size_of(digest)
        # One that is being deleted counts, too: what still runs of it must not pass for the new spec.
        last = self._controller.state.workloads(with_deleted=True).get(document.id)
        same = document.to_workload(digest, size, 1 if last is None else last.generation)
        if last is None or same == last:
            return same
        return replace(same, generation=last.generation + 1)

    async def _artifact_of(self, document: FunctionDocument, artifacts: Mapping[str, Digest]) -> Digest:
        if document.kind is Kind.SERVICE:
            # What runs is the owner's own program; its artifact says no more than where it listens.
            return await self._ports.blobs.put(canonical.encode(ServiceArtifact(upstream=document.upstream)))
        digest = artifacts.get(document.id)
        if digest is None or not is_digest(digest):
            raise SpecRefused(
                f"no artifact given for {document.id}",
                code="artifact.missing",
                hint="`hanse deploy` builds and uploads it",
            )
        return digest

    async def _size_of(self, artifact: Digest) -> int:
        try:
            return len(await self._ports.blobs.get(artifact))
        except BlobError as error:
            if error.code != "blob.missing":
                raise
            raise SpecRefused(
                f"no artifact {artifact} is stored", code="artifact.missing", hint="`hanse deploy` uploads it"
            ) from error

    def _refuse_route_clash(self, workloads: Mapping[WorkloadId, Workload]) -> None:
        owners: dict[tuple[str | None, str], WorkloadId] = {}
        for workload in workloads.values():
            if workload.job is not None:
                continue
            place = (workload.route.host, workload.route.path)
            other = owners.setdefault(place, workload.id)
            if other != workload.id:
                raise SpecRefused(
                    f"{workload.id} and {other} both claim route {place[0] or ''}{place[1]}",
                    code="spec.route_taken",
                    hint="give one of them another path or host",
                )

    def _refuse_wrong_policies(self, documents: Sequence[PolicyDocument], at: Snapshot) -> None:
        """Raises PolicyError with the manifest's file and line for the first policy that may not decide."""
        for document in documents:
            packs = self._controller.pipeline.packs
            check_policy(document.policy, document.where.file, document.line_before_rules, packs, at.at_us)

    async def _proofs_of_submitted(
        self, documents: Sequence[PolicyDocument], policies: tuple[Policy, ...], at: Snapshot
    ) -> tuple[Proof, ...]:
        """Raises as `_proofs`, with the manifest's file and line where one of these documents is at fault."""
        try:
            return await self._proofs(policies, at) if documents else ()
        except PolicyError as error:
            raise in_manifest(error, documents) from None

    async def _proofs(self, policies: tuple[Policy, ...], at: Snapshot) -> tuple[Proof, ...]:
        """Prove again what policies keep, as if these stood. Raises PropertyBroken, PolicyError."""
        if not any(policy.properties.strip() for policy in policies):
            return ()
        packs, bound = self._controller.pipeline.packs, self._controller.config.guardrails
        return await asyncio.to_thread(proofs_of, policies, packs, bound, at, self._prove)

    def _refuse_unknown_secrets(self, proposal: _Proposal) -> None:
        known = {*self._controller.state.secrets(), *(secret.id for secret in proposal.secrets)}
        mine = {workload for _, _, workload in proposal.actions if workload is not None}
        for workload in (proposal.workloads[key] for key in sorted(mine)):
            for name, secret in workload.secrets.items():
                if secret not in known:
                    raise SpecRefused(
                        f"{workload.id} asks for {name} from the secret {secret}, which nobody declared",
                        code="secret.undeclared",
                        hint="deploy a manifest of kind Secret with it, or name another one",
                    )

    def _hint_of_contradiction(self, submission: Submission, at: Snapshot) -> str:
        """Say so where no node in the world would do: then the demands contradict each other, not the fabric."""
        packs, bound = self._controller.pipeline.rules(at)
        for change in submission.changes:
            workload = at.workloads.get(WorkloadId(change.document.partition(" ")[2]))
            if change.action != "refuse" or workload is None:
                continue
            guardrails = guardrails_for(bound, workload.namespace)
            if not countries_that_could_do(workload, packs, at.at_us, guardrails):
                return (
                    f"no node in any country could satisfy {workload.id}: its demands and packs contradict each other"
                )
        return ""

    def _preview(self, after: Snapshot, parent: Plan | None) -> Decision:
        pipeline = self._controller.pipeline
        return decide(
            after, parent, pipeline.packs, pipeline.cache, self._controller.config, now=after.at_us, trigger="preview"
        )

    async def _accept(self, proposal: _Proposal, *, user: str) -> None:
        for document, action, _ in proposal.actions:
            if action != "unchanged":
                kind, _, name = document.partition(" ")
                await self.note("deploy", f"{kind.lower()}/{name}", user=user)
        now = self._ports.clock.wall()
        for key, record in _whole_facts(proposal, now, user):
            await self._write_spec(key, record)
        changed = {document for document, action, _ in proposal.actions if action != "unchanged"}
        for policy in proposal.policies:
            if f"Policy {policy.id}" in changed:
                record = SpecRecord(accepted_us=now, accepted_by=user, policy=policy)
                await self._write_spec(f"policy.{policy.id}", record)
        for secret in proposal.secrets:
            if f"Secret {secret.id}" in changed:
                await self._write_spec(
                    f"secret.{secret.id}", SpecRecord(accepted_us=now, accepted_by=user, secret=secret)
                )
        for _, action, workload in proposal.actions:
            if workload is not None and action != "unchanged":
                spec = proposal.workloads[workload]
                record = SpecRecord(accepted_us=now, accepted_by=user, workload=spec)
                await self._write_spec(spec_key(workload), record)
        # The cause of a plan stands in the ledger for ever: it names no user.
        self._controller.poke("manifests were submitted")

    async def _write_spec(self, key: str, record: SpecRecord) -> None:
        await self._write(SPECS, key, envelope.seal(record, self._ports.signer))

    async def _change_node(self, node: NodeId, change: _NodeChange) -> None:
        record = self._node(node)
        await self._write(NODES, node, envelope.seal(change(record), self._ports.signer))
        self._controller.poke(f"node {node} changed")

    def _node(self, node: NodeId) -> NodeRecord:
        record = self._controller.state.nodes().get(node)
        if record is None:
            raise NotFound(f"no node {node}", hint="see `hanse get nodes`")
        return record

    async def _write(self, bucket: str, key: str, value: bytes) -> None:
        state = self._controller.state
        await write(self._ports.store, state, bucket, key, value)

    def _refuse_if_used(self, record: SpecRecord) -> None:
        nodes = self._controller.state.nodes()
        users: list[str] = []
        if record.operator is not None:
            users = [n for n, r in nodes.items() if r.node.operator == record.operator.id]
        if record.dataset is not None:
            readers = self._controller.state.workloads().values()
            reading = [w.id for w in readers if record.dataset.id in {one.dataset for one in w.data.reads}]
            if reading:
                hint = "remove that work first, or let it read something else"
                raise InUse(f"still read by {', '.join(reading)}", hint=hint)
        if record.site is not None:
            users = [n for n, r in nodes.items() if r.node.site == record.site.id]
        if record.secret is not None:
            users = [
                w for w, spec in self._controller.state.workloads().items() if record.secret.id in spec.secrets.values()
            ]
            if users:
                raise InUse(f"still read by {', '.join(users)}", hint="take it out of their manifests first")
        if users:
            raise InUse(f"still used by nodes {', '.join(sorted(users))}", hint="remove or move those nodes first")

    async def _node_logs(self, node: NodeId, workload: WorkloadId, after: int, limit: int) -> tuple[LogLine, ...]:
        question = LogsRequest(workload=workload, after=after, limit=limit)
        answer = await self._ask(node, "logs", question, LogsReply)
        return () if answer is None else answer.lines

    async def _node_stats(self, node: NodeId) -> tuple[TopRow, ...]:
        answer = await self._ask(node, "stats", StatsRequest(at_us=self._ports.clock.wall()), StatsReply)
        return () if answer is None else inspect.top_rows(node, answer)

    async def _ask(self, node: NodeId, what: str, question: msgspec.Struct, kind: type[_Answer]) -> _Answer | None:
        sealed = envelope.seal(question, self._ports.signer)
        try:
            data = await self._ports.bus.request(tell(node, what), sealed, TELL_DEADLINE_US)
        except BusError:
            return None
        return envelope.open_sealed(data, kind, self._controller.state.node_key(node)).message


def _whole_facts(proposal: _Proposal, now: WallTime, user: str) -> Iterator[tuple[str, SpecRecord]]:
    """Parts of the fabric and what holds for whole namespaces, as records under their keys."""
    for operator in proposal.operators:
        yield f"operator.{operator.id}", SpecRecord(accepted_us=now, accepted_by=user, operator=operator)
    for site in proposal.sites:
        yield f"site.{site.id}", SpecRecord(accepted_us=now, accepted_by=user, site=site)
    for one in proposal.jurisdictions:
        yield f"jurisdiction.{one.id}", SpecRecord(accepted_us=now, accepted_by=user, jurisdiction=one)
    for dataset in proposal.datasets:
        yield f"dataset.{dataset.id}", SpecRecord(accepted_us=now, accepted_by=user, dataset=dataset)
    for namespace in proposal.namespaces:
        yield f"namespace.{namespace.id}", SpecRecord(accepted_us=now, accepted_by=user, namespace=namespace)


def _with_spending(row: TopRow, spent: Outlook | None) -> TopRow:
    if spent is None:
        return row
    return replace(row, spent_microeur=spent.spent_microeur, spent_ug=spent.spent_ug, budget=spent.state)


def _action(last: object | None, new: object) -> str:
    return "create" if last is None else "unchanged" if last == new else "update"


def _refuse_unknown_sites(proposal: _Proposal, at: Snapshot) -> None:
    known = {*at.fabric.sites, *(site.id for site in proposal.sites)}
    for dataset in proposal.datasets:
        missing = [site for site in dataset.sites if site not in known]
        if missing:
            raise SpecRefused(
                f"data set {dataset.id} lies at {', '.join(missing)}, which the fabric does not know",
                code="dataset.site_unknown",
                hint="see `hanse get sites`",
            )


def _refuse_unknown_data(proposal: _Proposal, datasets: Mapping[str, DataSet]) -> None:
    mine = {workload for _, action, workload in proposal.actions if workload is not None and action != "unchanged"}
    for workload in sorted(mine):
        missing = missing_sets(proposal.workloads[workload], datasets)
        if missing:
            raise SpecRefused(
                f"{workload} reads {', '.join(missing)}, which nobody has declared",
                code="dataset.unknown",
                hint="deploy a document of kind Dataset, with its size and the sites that hold it",
            )


def _with(at: Snapshot, proposal: _Proposal, state: FabricState) -> Snapshot:
    """The specs as they would stand; jobs that stand already keep their hours, new ones are tried as if due now."""
    asked = {workload for _, action, workload in proposal.actions if workload is not None and action != "unchanged"}
    workloads = {
        key: at.workloads[key] if spec.job is not None and key not in asked and key in at.workloads else spec
        for key, spec in proposal.workloads.items()
    }
    fabric = replace(
        at.fabric,
        sites={**at.fabric.sites, **{s.id: s for s in proposal.sites}},
        operators={**at.fabric.operators, **{o.id: state.certified(o) for o in proposal.operators}},
        jurisdictions={**at.fabric.jurisdictions, **{j.id: j for j in proposal.jurisdictions}},
    )
    return replace(at, fabric=fabric, workloads=workloads, policies=proposal.policies)


def _submission(proposal: _Proposal, parent: Plan | None, decision: Decision, *, is_dry_run: bool) -> Submission:
    mine = {workload for _, _, workload in proposal.actions if workload is not None}
    unplaced = {u.workload: u for u in decision.plan.unplaced}
    changes: list[WorkloadChange] = []
    for document, action, workload in proposal.actions:
        if workload is None:
            changes.append(WorkloadChange(document=document, action=action))
            continue
        placed = [a for a in decision.plan.assignments if a.workload == workload]
        # A replica or two short is a warning; no replica at all is a refusal.
        verb = "refuse" if not placed and workload in unplaced else action
        changes.append(_change(document, verb, workload, parent, decision))
    others = sorted(set(decision.plan.explanations) - mine)
    moved = [_change(f"{decision.snapshot.workloads[w].kind} {w}", "move", w, parent, decision) for w in others]
    return Submission(
        is_accepted=all(change.action != "refuse" for change in changes),
        is_dry_run=is_dry_run,
        changes=tuple(changes),
        moved=tuple(change for change in moved if change.before != change.after),
        warnings=tuple(
            f"{w}: {unplaced[w].missing} of its replicas have no place" for w in sorted(mine & set(unplaced))
        ),
    )


def _change(
    document: str, action: str, workload: WorkloadId, parent: Plan | None, decision: Decision
) -> WorkloadChange:
    was = _figures(parent, workload)
    will = _figures(decision.plan, workload)
    return WorkloadChange(
        document=document,
        action=action,
        before=was[0],
        after=will[0],
        money_microeur_month_before=was[1],
        money_microeur_month_after=will[1],
        carbon_ug_month_before=was[2],
        carbon_ug_month_after=will[2],
        latency_us_after=will[3],
        explanation=decision.plan.explain(workload),
        unplaced=next((u for u in decision.plan.unplaced if u.workload == workload), None),
    )


def _figures(plan: Plan | None, workload: WorkloadId) -> tuple[tuple[str, ...], int, int, int | None]:
    if plan is None:
        return (), 0, 0, None
    nodes = tuple(sorted(a.node for a in plan.assignments if a.workload == workload))
    return (nodes, *inspect.totals(plan.explanations.get(workload)))


def _first_refusal(submission: Submission) -> str:
    for change in submission.changes:
        if change.action == "refuse" and change.unplaced is not None and change.unplaced.reasons:
            reason = change.unplaced.reasons[0]
            return f"{change.document} may run nowhere: {reason.message} [{reason.rule}; {reason.cite}]"
    return "refused"
