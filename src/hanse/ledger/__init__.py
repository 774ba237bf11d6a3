"""The transparency log: C2SP formats, Merkle proofs, signed entries, and receipts that verify offline. Pure."""

from hanse.ledger.checkpoint import Checkpoint
from hanse.ledger.cosignature import log_key, sign_checkpoint
from hanse.ledger.describe import describe_receipt, explain_gap, explain_verdict
from hanse.ledger.errors import (
    EntryNotFound,
    EntryTooLarge,
    LedgerBusy,
    LedgerDamaged,
    LedgerFormatError,
    NoteError,
    ProofError,
)
from hanse.ledger.gap import Unbroken, is_gap_proof, verify_gap_proof
from hanse.ledger.quorum import Policy, load_policy, policy_text
from hanse.ledger.receipt import show_placement, write_receipt
from hanse.ledger.statement import open_statement, peek_statement
from hanse.ledger.tiles import key_of, path_of
from hanse.ledger.verify import Problem, Verified, verify_receipt

__all__ = [
    "Checkpoint",
    "EntryNotFound",
    "EntryTooLarge",
    "LedgerBusy",
    "LedgerDamaged",
    "LedgerFormatError",
    "NoteError",
    "Policy",
    "Problem",
    "ProofError",
    "Unbroken",
    "Verified",
    "describe_receipt",
    "explain_gap",
    "explain_verdict",
    "is_gap_proof",
    "key_of",
    "load_policy",
    "log_key",
    "open_statement",
    "path_of",
    "peek_statement",
    "policy_text",
    "show_placement",
    "sign_checkpoint",
    "verify_gap_proof",
    "verify_receipt",
    "write_receipt",
]
