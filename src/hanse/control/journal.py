"""Keeps the ledger equal to what happened: every accepted manifest, fact, plan, order and report becomes an entry.

`FabricState -> statements -> LedgerWriter`. It works on levels like everything else: whatever stands in the caches
and has no entry yet gets one. Statements are functions of their messages, so a new leader that states an act again
finds it there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from hanse.attest import AppraisalRecord, substance
from hanse.control.config import ControlConfig
from hanse.control.ledger_reader import Head, LedgerReader
from hanse.control.ledger_writer import LedgerWriter
from hanse.control.state import FabricState, Known, certificate_of
from hanse.core.errors import HanseError
from hanse.core.fabric import Grade
from hanse.core.ids import Digest, InstanceId
from hanse.core.layer import Policy as Layer
from hanse.core.plan import Plan
from hanse.core.ports import ControlPorts
from hanse.core.snapshot import Phase
from hanse.core.time import WallTime
from hanse.identity.join import JoinToken
from hanse.ledger import EntryNotFound, Policy, log_key, peek_statement, policy_text
from hanse.ledger import statement as state_that
from hanse.ledger.checkpoint import parse_checkpoint
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.gap import MAX_GAP_ENTRIES, write_gap_proof
from hanse.ledger.note import Note, NoteSignature, parse
from hanse.ledger.predicates import (
    AccountGiven,
    Decision,
    FactChange,
    Grant,
    NodeJoined,
    NodeRevoked,
    OrderIssued,
    PolicyChange,
    ReceiptTaken,
    SecretRead,
    SpecChange,
    StateDigest,
    UserAction,
)
from hanse.ledger.statement import expect
from hanse.ledger.tiles import BUCKET
from hanse.policy import PackSet
from hanse.wire import canonical, envelope
from hanse.wire.account_messages import Account
from hanse.wire.messages import ActionRecord, NodeRecord, Order, PlanBody, PlanRecord, Report, SpecRecord
from hanse.wire.subjects import (
    ACTIONS,
    APPRAISAL,
    ATTESTED,
    CREDENTIALS,
    MEASURED,
    NODES,
    ORDERS,
    PLANS,
    REPORTS,
    SPECS,
    TOKENS,
)
from hanse.wire.survey_messages import Survey
from hanse.wire.trust_messages import Attestation, CredentialRecord

ORIGIN_SUFFIX = "/ledger"
STATE_SUBJECT = "state"
"""What a state digest is about, as `hanse.ledger.statement` names it."""
POLICY_PREFIX = "policy/"
"""What a change of a pack is about, as `hanse.ledger.statement` names it."""
COSIGNED_KEY = "cosigned"
"""The file beside the checkpoint: the newest one that witnesses cosigned, with their lines."""


class NotLeading(HanseError):
    """Raised when only the leader could do something, and this controller is not."""

    code = "control.not_leading"
    hint = "ask again: another controller leads by now"
    retry = True


class Journal:
    """The leader's pen, and every controller's reading glass."""

    def __init__(self, ports: ControlPorts, config: ControlConfig) -> None:
        self._ports = ports
        origin = config.domain + ORIGIN_SUFFIX
        self._origin = origin
        keys = tuple(log_key(origin, signer.algorithm, signer.public_key) for signer in ports.ledger_signers)
        self._reader = LedgerReader(ports.ledger, origin, keys)
        self.keys = keys
        """The log's own verifier keys."""
        self._writer: LedgerWriter | None = None
        self._stated: dict[tuple[str, str], int] = {}
        self._latest: dict[str, Digest | None] = {}
        self._anchor: StateDigest | None = None

    @property
    def size(self) -> int | None:
        """Entries in the log, as far as this controller writes it."""
        return None if self._writer is None else self._writer.size

    async def open(self) -> None:
        """Take the pen: recover, fence any older writer, and learn what has been stated. Free of effect if held."""
        if self._writer is not None:
            return
        writer = LedgerWriter(self._ports.ledger, self._ports.ledger_signers, self._ports.clock, self._origin)
        await writer.open()
        latest: dict[str, Digest | None] = {}
        anchor: StateDigest | None = None
        async for _, entry in writer.entries():
            subject, after = _last_word(entry)
            if subject == STATE_SUBJECT and anchor is None:
                anchor = expect(peek_statement(entry), StateDigest)
            latest.setdefault(subject, after)
        self._anchor = anchor
        self._latest = latest
        self._stated = {}
        self._writer = writer

    async def record_policies(self, packs: PackSet, layers: Collection[str]) -> None:
        """State which packs are in force, where the log's last word about one is another; durable when it returns.

        `layers`: ids of the `Policy` manifests, which are stated as they are accepted and withdrawn.
        """
        if self._writer is None:
            return
        entries: dict[str, bytes] = {}
        words: dict[str, Digest | None] = {name: pack.whole for name, pack in packs.packs.items()}
        known = {name.removeprefix(POLICY_PREFIX) for name in self._latest if name.startswith(POLICY_PREFIX)}
        for name in sorted((known | words.keys()) - set(layers)):
            before, after = self._latest.get(POLICY_PREFIX + name), words.get(name)
            if before == after:
                continue
            as_of = packs.packs[name].meta.as_of.isoformat() if name in words else ""
            at = WallTime(self._ports.clock.wall())
            change = PolicyChange(pack=name, before=before, after=after, as_of=as_of, at_us=at)
            entries[POLICY_PREFIX + name] = state_that.policy_change(change, self._ports.signer)
        await self._writer.append(list(entries.values()))
        self._latest.update({subject: words.get(subject.removeprefix(POLICY_PREFIX)) for subject in entries})

    async def record_reads(self, reads: Sequence[SecretRead]) -> None:
        """State what is about to be released or refused; durable when it returns.

        Raises NotLeading where this controller has put the pen down: nothing is released without a trace.
        """
        if self._writer is None:
            raise NotLeading("this controller does not write the ledger now")
        await self._writer.append([state_that.secret_read(read, self._ports.signer) for read in reads])

    async def close(self) -> None:
        """Put the pen down, on losing the lease."""
        self._writer = None

    async def record(self, state: FabricState) -> None:
        """State whatever has no entry yet, in one durable batch."""
        if self._writer is None:
            return
        entries: list[bytes] = []
        revisions: dict[tuple[str, str], int] = {}
        words: dict[str, Digest | None] = {}
        for bucket, key, known in self._unstated(state):
            revisions[(bucket, key)] = known.revision
            for entry in await self._entries_for(key, known, state):
                subject, after = _last_word(entry)
                if subject in self._latest and self._latest[subject] == after:
                    continue
                entries.append(entry)
                words[subject] = after
        await self._writer.append(entries)
        self._latest.update(words)
        self._stated.update(revisions)

    async def take_account(self, sealed: bytes, node_key: bytes) -> bool:
        """State what a node sealed about its work; durable when it returns. False without the pen.

        The same account again is the same entry. Raises WireError, SignatureError, LedgerBusy, StoreError.
        """
        if self._writer is None:
            return False
        await self._writer.append([state_that.account(sealed, node_key, self._ports.signer)])
        return True

    def stated(self, bucket: str, state: FabricState) -> tuple[str, ...]:
        """Keys of a bucket whose present value has its entry."""
        return tuple(
            key for key, known in state.records[bucket].items() if self._stated.get((bucket, key)) == known.revision
        )

    async def anchor_state(self, entry: bytes) -> None:
        """Append a state digest; durable when it returns. Free of effect for a controller that holds no pen."""
        if self._writer is not None:
            await self._writer.append([entry])
            self._anchor = expect(peek_statement(entry), StateDigest)

    async def last_state(self) -> StateDigest | None:
        """The newest anchored digest of the store; None before the first. Raises LedgerDamaged, StoreError."""
        if self._writer is not None:
            return self._anchor
        head = await self._reader.head()
        if head is None:
            return None
        async for _, entry in self._reader.entries(head.checkpoint.size):
            predicate = peek_statement(entry).predicate
            if isinstance(predicate, StateDigest):
                return predicate
        return None

    def policy_text(self, witnesses: Policy | None) -> bytes:
        """Whom to believe about this ledger: what an auditor needs besides a receipt (C2SP tlog-policy)."""
        return policy_text(self.keys[0], self.keys[1:], [self._ports.signer.public_key], witnesses)

    async def head(self) -> Head | None:
        """The committed checkpoint. Raises LedgerDamaged, StoreError."""
        return await self._reader.head()

    async def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Prove that the first `new` entries extend the first `old`, for 0 < old <= new."""
        return await self._reader.consistency(old, new)

    async def subtree(self, start: int, end: int, size: int) -> tuple[bytes, ...]:
        """Prove that the entries from `start` to `end`, a subtree, stand in the tree of the first `size`."""
        return await self._reader.subtree(start, end, size)

    async def raw_entries(self, start: int, end: int) -> tuple[bytes, ...]:
        """The entries from `start` up to `end`, as they stand in the log. Raises LedgerDamaged, StoreError."""
        return await self._reader.entries_from(start, end - start, end)

    async def gap_proof(self, since: bytes) -> bytes:
        """Prove that nothing is missing between an older checkpoint (empty: the beginning) and the newest.

        Raises EntryNotFound before the first checkpoint, LedgerFormatError, LedgerDamaged, StoreError.
        """
        head = await self._reader.head()
        if head is None:
            raise EntryNotFound("the ledger is empty")
        old = parse_checkpoint(parse(since).text).size if since else 0
        covered = await self._best_head(head, head.checkpoint.size - 1)
        size = covered.checkpoint.size
        if not 0 <= size - old <= MAX_GAP_ENTRIES:
            size_said = f"the older checkpoint has {old} entries, the newest {size}"
            raise LedgerFormatError(size_said, hint=f"one proof shows at most {MAX_GAP_ENTRIES} entries")
        left = await self._reader.parts(old, size)
        return write_gap_proof(since, covered.note, left, await self._reader.entries_from(old, size - old, size))

    async def cosigned(self) -> Head | None:
        """The newest checkpoint that a witness cosigned, with all its lines; None before the first."""
        stored = await self._ports.ledger.get(BUCKET, COSIGNED_KEY)
        if stored is None or stored.value is None:
            return None
        checkpoint = parse_checkpoint(parse(stored.value).text)
        return Head(note=stored.value, checkpoint=checkpoint, revision=stored.revision)

    async def keep_cosigned(self, note: Note, lines: Sequence[NoteSignature]) -> None:
        """Keep verified cosignatures beside the checkpoint; lines on an older one than is kept are dropped."""
        kept = await self.cosigned()
        size = parse_checkpoint(note.text).size
        if kept is not None and kept.checkpoint.size > size:
            return
        last = parse(kept.note) if kept is not None and kept.checkpoint.size == size else note
        names = {(line.name, line.key_id) for line in lines}
        others = tuple(line for line in last.signatures if (line.name, line.key_id) not in names)
        fresh = Note(text=note.text, signatures=(*others, *lines)).encode()
        await self._ports.ledger.put(BUCKET, COSIGNED_KEY, fresh, 0 if kept is None else kept.revision)

    async def receipt(self, instance: InstanceId, state: FabricState) -> bytes:
        """The receipt of one placement. Raises EntryNotFound."""
        head = await self._reader.head()
        if head is None:
            raise EntryNotFound("the ledger is empty")
        located = await self._reader.locate(instance, head.checkpoint.size)
        decision = await self._reader.entry(located.decision, head.checkpoint.size)
        plan = await self._plan(expect(peek_statement(decision), Decision).body)
        covered = await self._best_head(head, max(located.decision, located.order, located.report))
        return await self._reader.receipt(located, covered, plan=plan, sealed_order=self._order(instance, state))

    async def checkpoint(self) -> bytes:
        """The newest signed checkpoint, with cosignatures once it has any. Raises EntryNotFound before the first."""
        head = await self._reader.head()
        if head is None:
            raise EntryNotFound("the ledger is empty")
        return (await self._best_head(head, head.checkpoint.size - 1)).note

    async def entries(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Entries from an index on, decoded for people."""
        head = await self._reader.head()
        if head is None:
            return []
        last = min(after + limit, head.checkpoint.size)
        return [
            _described(index, await self._reader.entry(index, head.checkpoint.size)) for index in range(after, last)
        ]

    async def _best_head(self, head: Head, index: int) -> Head:
        """The cosigned checkpoint where it covers an entry, else the newest: a quorum may ask for cosignatures."""
        cosigned = await self.cosigned()
        return head if cosigned is None or cosigned.checkpoint.size <= index else cosigned

    def _unstated(self, state: FabricState) -> Iterator[tuple[str, str, Known]]:
        """Facts and specs first, then the decision, its orders, and what became of them: the order of causes."""
        buckets = (
            ACTIONS, SPECS, CREDENTIALS, APPRAISAL, TOKENS, NODES, ATTESTED, MEASURED, PLANS, ORDERS, REPORTS,
        )  # fmt: skip
        for bucket in buckets:
            for key, known in sorted(state.records[bucket].items()):
                if self._stated.get((bucket, key)) != known.revision:
                    yield bucket, key, known

    async def _entries_for(self, key: str, known: Known, state: FabricState) -> tuple[bytes, ...]:
        signer = self._ports.signer
        match known.message:
            case ActionRecord() as done:
                action = UserAction(action=done.action, target=done.target, actor=done.actor, at_us=done.at_us)
                return (state_that.user_action(action, signer),)
            case SpecRecord() as record:
                return (self._spec_entry(key, record),)
            case NodeRecord() as record:
                fact = self._fact_entry(
                    f"node/{key}", canonical.digest_of(record), record.node.grade, record.enrolled_us
                )
                joined = state_that.node_joined(record, signer)
                return (joined, fact, state_that.node_revoked(record, signer)) if record.is_revoked else (joined, fact)
            case JoinToken() as token:
                return (state_that.grant(_grant_of(token), signer),)
            case AppraisalRecord() as held:
                body = held.reference or held.anchor
                after = None if held.is_deleted else canonical.digest_of(body)
                kind, _, name = key.partition(".")
                return (self._fact_entry(f"{kind}/{name}", after, Grade.SIGNED, held.changed_us),)
            case Attestation() as found:
                one = found.attested
                after = Digest(substance(one))
                says = f"{one.label}: {one.reason}" if one.reason else one.label
                return (self._fact_entry(f"attested/{key}", after, Grade.ATTESTED, WallTime(one.since_us), says=says),)
            case Survey() | CredentialRecord() as finding:
                return self._findings(finding, state)
            case PlanRecord() as record:
                plan = await self._plan(record.body)
                return (state_that.decision(plan, record.body, signer),)
            case Order():
                return (state_that.order(known.sealed, signer),)
            case Report() as report:
                if report.phase in (Phase.PENDING, Phase.LOADING):
                    return ()
                keys = tuple(state.node_key(report.node).values())
                return (state_that.receipt(known.sealed, keys[0], signer),) if keys else ()
            case _:
                return ()

    def _findings(self, finding: Survey | CredentialRecord, state: FabricState) -> tuple[bytes, ...]:
        """What was found out about operators and places: facts like those that are stated."""
        if isinstance(finding, Survey):
            return self._places(finding, state)
        name = f"credential/{finding.operator}.{finding.certificate}"
        after = None if finding.is_removed else canonical.digest_bytes(finding.credential.encode())
        says = f"{certificate_of(finding)} by {finding.issuer}"
        return (self._fact_entry(name, after, Grade.CERTIFIED, finding.added_us, says=says),)

    def _places(self, survey: Survey, state: FabricState) -> tuple[bytes, ...]:
        """What follows about places, one fact per node; the same radius again is no news (`record` drops it)."""
        nodes = state.fabric().nodes
        found = [(one.node, nodes[one.node].measured) for one in survey.answered if one.node in nodes]
        return tuple(
            self._fact_entry(
                f"measured/{node}", canonical.digest_of([of.radius_m, bool(of.contradiction)]), Grade.MEASURED,
                survey.at_us, says=of.contradiction or of.label,
            )
            for node, of in found if of is not None
        )  # fmt: skip

    def _spec_entry(self, key: str, record: SpecRecord) -> bytes:
        if record.workload is None:
            kind, _, name = key.partition(".")
            if record.policy is not None:
                return self._layer_entry(name, record.policy, record)
            facts = record.operator or record.site or record.jurisdiction
            subject = facts or record.secret or record.dataset or record.namespace
            grade = 0 if record.operator is None else record.operator.grade
            after = None if record.is_deleted else canonical.digest_of(subject)
            return self._fact_entry(f"{kind}/{name}", after, grade, record.accepted_us)
        workload = record.workload
        name = f"{workload.kind.value}/{workload.id}"
        change = SpecChange(
            kind=workload.kind.value,
            name=workload.id,
            generation=workload.generation,
            before=self._latest.get(name),
            after=None if record.is_deleted else canonical.digest_of(workload),
            accepted_us=record.accepted_us,
        )
        return state_that.spec_change(change, self._ports.signer)

    def _layer_entry(self, name: str, policy: Layer, record: SpecRecord) -> bytes:
        change = PolicyChange(
            pack=name,
            before=self._latest.get(POLICY_PREFIX + name),
            after=None if record.is_deleted else canonical.digest_of(policy),
            as_of=policy.as_of,
            at_us=record.accepted_us,
        )
        return state_that.policy_change(change, self._ports.signer)

    def _fact_entry(self, subject: str, after: Digest | None, grade: int, at_us: WallTime, *, says: str = "") -> bytes:
        change = FactChange(
            subject=subject,
            before=self._latest.get(subject),
            after=after,
            grade=int(grade),
            effective_us=at_us,
            says=says,
        )
        return state_that.fact_change(change, self._ports.signer)

    async def _plan(self, body: Digest) -> Plan:
        return canonical.decode(await self._ports.blobs.get(body), PlanBody).plan

    def _order(self, instance: InstanceId, state: FabricState) -> bytes | None:
        """The sealed order where it still stands as it was reported on."""
        report = state.reports().get(instance)
        for known in state.records[ORDERS].values():
            is_meant = isinstance(known.message, Order) and known.message.instance == instance
            if is_meant and report is not None and canonical.digest_bytes(known.sealed) == report.order_digest:
                return known.sealed
        return None


def _grant_of(token: JoinToken) -> Grant:
    """What a join token grants; that it was used is said by the entry of the node that joined."""
    who = "any node" if token.node is None else f"node/{token.node}"
    return Grant(
        grant="join",
        holder=Digest(f"sha256:{token.token_hash}"),
        about=f"{who} as {token.tier} at site/{token.site} of operator/{token.operator}, grade {int(token.grade)}",
        granted_us=token.created_us,
        expires_us=token.expires_us,
    )


def _last_word(entry: bytes) -> tuple[str, Digest | None]:
    """What an entry is about and the digest it leaves standing: equal words are not said twice in a row."""
    opened = peek_statement(entry)
    match opened.predicate:
        case SpecChange() | FactChange() | PolicyChange() as change:
            return opened.subject.name, change.after
        case OrderIssued() as order:
            return opened.subject.name, order.order
        case ReceiptTaken() as taken:
            return opened.subject.name, canonical.digest_bytes(taken.report.encode())
        case Decision() as decision:
            return opened.subject.name, decision.body
        case NodeJoined() | NodeRevoked() | Grant() as standing:
            return opened.subject.name, canonical.digest_of(standing)
        case UserAction() as action:
            # Not under its target's name: there it would stand between the target's changes of facts.
            return f"action/{action.actor}", canonical.digest_of(action)
        case _:
            return opened.subject.name, None


def _described(index: int, entry: bytes) -> dict[str, Any]:
    opened = peek_statement(entry)
    row: dict[str, Any] = {
        "index": index,
        "kind": type(opened.predicate).__name__,
        "subject": opened.subject.name,
        "predicate": msgspec.to_builtins(opened.predicate),
    }
    if isinstance(opened.predicate, ReceiptTaken):
        row["report"] = msgspec.to_builtins(envelope.peek(opened.predicate.report.encode(), Report))
        row["predicate"].pop("report")
    if isinstance(opened.predicate, AccountGiven):
        row["account"] = msgspec.to_builtins(envelope.peek(opened.predicate.account.encode(), Account))
        row["predicate"].pop("account")
    return row
