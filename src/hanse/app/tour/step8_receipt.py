"""Step 8: proof that outlives the fabric.

A receipt is taken home, the fabric stops, and the receipt is verified without it.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hanse.app.client_answers import ApiError
from hanse.app.render.style import line
from hanse.app.tour.stage import TRIAGE, Stage, TourFailed

VERIFY_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A receipt and the policy to judge it by, on disk."""

    receipt: Path
    policy: Path


async def export(stage: Stage) -> Exported:
    """Export the receipt of one placement while the fabric still runs."""
    stage.open(
        8,
        "Proof",
        "An auditor need not believe the fabric. The receipt carries the decision, the order and the node's own "
        "report, each signed and "
        "each proved to lie in the log; it is checked offline, by one command.",
    )
    instance = next(
        one.id
        for one in await stage.ask(stage.client.instances)
        if one.workload == TRIAGE and one.wanted and one.phase == "running"
    )

    def receipt() -> bytes | None:
        try:
            return stage.client.receipt(instance)
        except ApiError as error:
            if error.retry or error.status in (404, 503):
                return None  # the newest entries are under no checkpoint yet
            raise

    data = await stage.until(receipt, f"the receipt of {instance}")
    files = Exported(receipt=stage.state / f"{instance}.receipt.json", policy=stage.state / "ledger.policy")
    files.receipt.write_bytes(data)
    files.policy.write_bytes(await stage.ask(stage.client.ledger_policy))
    stage.say(f"hanse audit export {instance}  -> {files.receipt.name}, {len(data):,} bytes")
    return files


async def verify(stage: Stage, files: Exported, *, is_stopped: bool) -> None:
    """Verify the receipt in a process of its own, then once more with one byte flipped."""
    if is_stopped:
        stage.say("the fabric is stopped: nothing of it runs")
    code, said = await _hanse_verify(files)
    _show(stage.console, f"hanse audit verify {files.receipt.name}", said)
    stage.promise(code == 0, "the receipt verifies offline (exit code 0)")
    data = files.receipt.read_bytes()
    at = len(data) // 2
    forged = files.receipt.with_name("forged.receipt.json")
    forged.write_bytes(data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :])
    code, said = await _hanse_verify(Exported(receipt=forged, policy=files.policy))
    _show(stage.console, f"the same with bit 0 of byte {at:,} flipped", said)
    stage.promise(code == 1, "one flipped bit is caught (exit code 1)")


async def _hanse_verify(files: Exported) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hanse",
        "audit",
        "verify",
        str(files.receipt),
        "--policy",
        str(files.policy),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(VERIFY_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise TourFailed("`hanse audit verify` did not end in time") from None
    return process.returncode or 0, said.decode(errors="replace").rstrip()


def _show(console: Console, what: str, said: str) -> None:
    console.print(line(Text(f"→ {what}")))
    console.print(line(Text(said, style="dim"), indent=2))
