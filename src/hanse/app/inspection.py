"""Check a log that lies on disk, with no fabric running: `state directory | folder + policy -> Health`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from hanse.adapters.domain_files import load_domain
from hanse.adapters.ledger_files import LedgerFiles
from hanse.app.layout import Layout
from hanse.control.journal import ORIGIN_SUFFIX
from hanse.control.ledger_check import Finding, Health, fsck
from hanse.control.ledger_reader import LedgerReader
from hanse.core.errors import HanseError
from hanse.core.time import WallTime
from hanse.ledger import load_policy, log_key, path_of
from hanse.ledger.note import VerifierKey
from hanse.ledger.quorum import Policy, Refused, judge
from hanse.ledger.tiles import BUCKET, CHECKPOINT_KEY


class NoLog(HanseError):
    """Raised when a policy does not say which log is meant."""

    code = "ledger.not_named"
    hint = "give a policy file that names exactly one log"


def check_log(state: Path, folder: Path | None, policy_file: Path | None) -> Health:
    """Check every file of a log. Damage comes back as findings.

    `folder`: where the log's files lie; None for the domain's own under `state`. `policy_file`: whose signatures
    count, witnesses included; None for the domain's own keys. Raises DomainError, LedgerFormatError, NoLog, StoreError.
    """
    policy = None if policy_file is None else load_policy(policy_file.read_bytes())
    origin, keys = _domain_keys(state) if policy is None else _policy_keys(policy)
    files = LedgerFiles(folder or Layout(state).ledger / BUCKET, path_of)
    health = asyncio.run(fsck(LedgerReader(files, origin, keys)))
    if policy is None:
        return health
    return Health(size=health.size, findings=(*health.findings, *asyncio.run(_judged(files, policy))))


def _domain_keys(state: Path) -> tuple[str, Sequence[VerifierKey]]:
    domain = load_domain(state)
    origin = domain.name + ORIGIN_SUFFIX
    return origin, [log_key(origin, signer.algorithm, signer.public_key) for signer in domain.ledger_signers]


def _policy_keys(policy: Policy) -> tuple[str, Sequence[VerifierKey]]:
    """The log's own keys: its line, and cosigners that bear its name (the ML-DSA-44 line)."""
    names = {key.name for key in policy.logs}
    if len(names) != 1:
        raise NoLog(f"the policy names {len(names)} logs")
    (origin,) = names
    return origin, [key for key in (*policy.logs, *policy.witnesses.values()) if key.name == origin]


async def _judged(files: LedgerFiles, policy: Policy) -> tuple[Finding, ...]:
    stored = await files.get(BUCKET, CHECKPOINT_KEY)
    if stored is None or stored.value is None:
        return ()
    verdict = judge(policy, stored.value, WallTime(time.time_ns() // 1_000))
    reasons = verdict.reasons if isinstance(verdict, Refused) else ()
    return tuple(Finding(path=CHECKPOINT_KEY, message=reason) for reason in reasons)
