"""Proof that nothing is missing between two checkpoints: every entry between them, and that there are no others.

`old checkpoint + entries + new checkpoint -> file -> Unbroken | problems`. The complete subtrees of the old tree hash
to its root; the same subtrees with the leaves of every entry after it hash to the new one. So these entries stand
between the two, all of them, in this order (RFC 9162 section 2.1, compact ranges). On top of it the entries' own chains
are followed: each decision names the plan before it, each change of a fact or spec what stood before.

It does not prove that everything that happened was entered: that is what receipts signed by nodes are for.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hanse.core.errors import SignatureError, WireError
from hanse.core.ids import Digest, PlanId
from hanse.core.time import WallTime
from hanse.ledger import tree
from hanse.ledger.checkpoint import Checkpoint, parse_checkpoint
from hanse.ledger.cosignature import verify_lines
from hanse.ledger.errors import LedgerFormatError
from hanse.ledger.note import VerifierKey, parse, unbase64
from hanse.ledger.predicates import Decision, FactChange, PolicyChange, SpecChange
from hanse.ledger.quorum import Policy, Refused, judge
from hanse.ledger.statement import open_statement, peek_statement
from hanse.wire import canonical, envelope

MAX_GAP_BYTES = 256 << 20
MAX_GAP_ENTRIES = 200_000
"""In one file; a longer stretch is proved in several, each from the checkpoint where the last one ended."""


class GapProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="gap-proof.v1"):
    """The file."""

    old: str
    """The older checkpoint, a signed note; empty for the beginning of the log."""
    new: str
    left: tuple[str, ...]
    """Base64 hashes of the complete subtrees of the old tree, left to right."""
    entries: tuple[str, ...]
    """Every entry from the old size up to the new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbroken:
    """Nothing is missing between two checkpoints."""

    origin: str
    first: int
    """Index of the first entry shown."""
    size: int
    """Entries under the newer checkpoint."""
    kinds: dict[str, int]
    """How many entries of each kind lie between."""
    checks: tuple[str, ...]
    """Every check made, a sentence each."""


def write_gap_proof(old: bytes, new: bytes, left: Sequence[bytes], entries: Sequence[bytes]) -> bytes:
    """Write the file. Raises LedgerFormatError for a stretch that is too long for one."""
    if len(entries) > MAX_GAP_ENTRIES:
        raise LedgerFormatError(
            f"{len(entries)} entries are too many for one proof (limit {MAX_GAP_ENTRIES})",
            hint="begin from a newer checkpoint: `--since` takes any receipt or checkpoint",
        )
    proof = GapProof(
        old=old.decode(),
        new=new.decode(),
        left=tuple(base64.b64encode(item).decode() for item in left),
        entries=tuple(entry.decode() for entry in entries),
    )
    return canonical.encode(proof)


def is_gap_proof(data: bytes) -> bool:
    """Tell whether a file says that it is one of these."""
    return data.startswith(b'{"entries":')


def verify_gap_proof(data: bytes, policy: Policy, now: WallTime) -> Unbroken | tuple[str, ...]:
    """Judge a file. Total over all bytes: whatever does not hold comes back as sentences."""
    if len(data) > MAX_GAP_BYTES:
        return (f"a proof of {len(data)} bytes is over the limit of {MAX_GAP_BYTES}",)
    try:
        proof = canonical.decode(data, GapProof)
        new = parse_checkpoint(parse(proof.new.encode()).text)
        old = _old(proof, policy, new)
        left = [unbase64(text) for text in proof.left]
    except (LedgerFormatError, WireError) as error:
        return (error.message,)
    verdict = judge(policy, proof.new.encode(), now)
    if isinstance(verdict, Refused):
        return verdict.reasons
    broken = _tree_problems(old, new, left, proof.entries) or _chain_problems(proof.entries, old.size, policy)
    if broken:
        return broken
    kinds = Counter(_kind(entry) for entry in proof.entries)
    return Unbroken(
        origin=new.origin,
        first=old.size,
        size=new.size,
        kinds=dict(sorted(kinds.items())),
        checks=(
            f"the newer checkpoint of {new.size} entries is signed as the policy asks",
            f"the first {old.size} entries are those of the older checkpoint, unchanged",
            f"between them stand exactly the {len(proof.entries)} entries shown, none more and none less",
            "each decision names the plan before it, each change of a fact or spec what stood before it",
        ),
    )


def _old(proof: GapProof, policy: Policy, new: Checkpoint) -> Checkpoint:
    """The older checkpoint, under the log's own signatures. Raises LedgerFormatError."""
    if not proof.old:
        return Checkpoint(origin=new.origin, size=0, root=tree.EMPTY_ROOT)
    note = parse(proof.old.encode())
    old = parse_checkpoint(note.text)
    own = _own_keys(policy, new.origin)
    held = {line.key for line in verify_lines(note, own)}
    if old.origin != new.origin or not own or any(key not in held for key in own):
        raise LedgerFormatError(f"the older checkpoint is not signed by {new.origin}")
    if old.size > new.size:
        raise LedgerFormatError(f"the older checkpoint has {old.size} entries, the newer {new.size}")
    return old


def _own_keys(policy: Policy, origin: str) -> tuple[VerifierKey, ...]:
    return tuple(key for key in (*policy.logs, *policy.witnesses.values()) if key.name == origin)


def _tree_problems(old: Checkpoint, new: Checkpoint, left: Sequence[bytes], entries: Sequence[str]) -> tuple[str, ...]:
    if len(entries) != new.size - old.size:
        return (f"{len(entries)} entries are shown, but {new.size - old.size} lie between the checkpoints",)
    nodes = tree.nodes_of((0, old.size))
    if len(left) != len(nodes) or any(len(item) != tree.HASH_BYTES for item in left):
        return (f"the older tree has {len(nodes)} complete subtrees, {len(left)} are shown",)
    stack = [(level, item) for (level, _), item in zip(nodes, left, strict=True)]
    if _fold(stack) != old.root:
        return ("the subtrees shown are not those of the older checkpoint",)
    for entry in entries:
        level, folded = 0, tree.hash_leaf(entry.encode())
        while stack and stack[-1][0] == level:
            folded = tree.hash_children(stack.pop()[1], folded)
            level += 1
        stack.append((level, folded))
    if _fold(stack) != new.root:
        return ("the entries shown do not lead to the newer checkpoint: one was left out, added or changed",)
    return ()


def _fold(stack: Sequence[tuple[int, bytes]]) -> bytes:
    if not stack:
        return tree.EMPTY_ROOT
    folded = stack[-1][1]
    for _, item in reversed(stack[:-1]):
        folded = tree.hash_children(item, folded)
    return folded


def _chain_problems(entries: Sequence[str], first: int, policy: Policy) -> tuple[str, ...]:
    """Where an entry is nobody's statement, or does not follow from the one before it on the same matter."""
    controllers = {envelope.key_id_of(key): key for key in policy.controllers}
    problems: list[str] = []
    plan: PlanId | None = None
    has_plan = False
    standing: dict[str, Digest | None] = {}
    for at, text in enumerate(entries, first):
        try:
            opened = open_statement(text.encode(), controllers)
        except SignatureError as error:
            problems.append(f"entry {at}: {error.message}")
            continue
        except (LedgerFormatError, WireError):
            continue  # of a kind that only a newer version writes
        match opened.predicate:
            case Decision() as decision:
                if has_plan and decision.parent != plan:
                    problems.append(f"entry {at}: the decision {decision.plan} follows {decision.parent}, not {plan}")
                plan, has_plan = decision.plan, True
            case FactChange() | SpecChange() | PolicyChange() as change:
                name = opened.subject.name
                if name in standing and change.before != standing[name]:
                    problems.append(f"entry {at}: the change of {name} begins from what the log does not say")
                standing[name] = change.after
            case _:
                pass
    return tuple(problems)


def _kind(entry: str) -> str:
    try:
        return type(peek_statement(entry.encode()).predicate).__name__
    except (LedgerFormatError, WireError):
        return "unknown"
