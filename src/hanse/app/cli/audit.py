"""Commands about proof: read the ledger, take a receipt home, and verify it where there is no fabric at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli import cosigners
from hanse.app.cli.session import Session, fabric_command, local_command, plain_command

if TYPE_CHECKING:
    from rich.text import Text

    from hanse.app.client import Client

app = typer.Typer(help="The ledger: read it, export receipts, verify them offline.", no_args_is_help=True)

POLICY_FILE = "ledger.policy"
RECEIPT_SUFFIX = ".receipt.json"


@app.command()
@fabric_command
def log(
    *,
    after: Annotated[int, typer.Option(min=0, help="First entry.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Entries at most.")] = 50,
    newest: Annotated[bool, typer.Option("--newest/--oldest", help="The last entries, or from --after on.")] = True,
    session: Session,
) -> None:
    """List entries of the ledger: decisions, orders, receipts, changes of facts and specs, what users did."""
    from hanse.app.render.ledger import entries as render

    with session.client() as client:
        if newest and after == 0:
            after = max(0, (client.status().ledger_size or 0) - limit)
        entries = client.ledger_entries(after, limit)
    session.answer(entries, lambda: render(entries))


@app.command()
@fabric_command
def show(
    *,
    index: Annotated[int, typer.Argument(min=0, help="Number of the entry.")],
    session: Session,
) -> None:
    """Show one entry of the ledger whole."""
    from hanse.app.client import ApiError
    from hanse.app.render.ledger import entry as render

    with session.client() as client:
        found = client.ledger_entries(index, 1)
    if not found:
        raise ApiError(f"the ledger has no entry {index}", code="not_found", hint="see `hanse audit log`")
    session.answer(found[0], lambda: render(found[0]))


@app.command()
@fabric_command
def export(
    *,
    name: Annotated[str, typer.Argument(help="An instance, or a workload: then every instance of it that runs.")],
    out: Annotated[Path, typer.Option("--out", "-O", help="File, or an existing directory.")] = Path(),
    session: Session,
) -> None:
    """Write receipts to files, and beside them the policy that says whose signatures count."""
    with session.client() as client:
        receipts = {instance: client.receipt(instance) for instance in _instances(client, name)}
        policy = client.ledger_policy()
    files = _targets(list(receipts), out)
    for instance, file in files.items():
        file.write_bytes(receipts[instance])
    policy_file = next(iter(files.values())).parent / POLICY_FILE
    policy_file.write_bytes(policy)
    said = {"receipts": {instance: str(file) for instance, file in files.items()}, "policy": str(policy_file)}
    session.answer(said, lambda: "\n".join(f"{instance} -> {file}" for instance, file in files.items()))
    session.note(f"policy -> {policy_file}; keep a copy of it from a source you trust and verify with that")


@app.command()
@plain_command
def verify(
    *,
    file: Annotated[Path, typer.Argument(help="A receipt, or a proof of no gap.", exists=True, dir_okay=False)],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", help="Whose signatures count; default: ledger.policy beside the receipt.", dir_okay=False
        ),
    ] = None,
    session: Session,
) -> None:
    """Verify a receipt or a proof of no gap offline, with no fabric. Exits 0 if it holds whole, 1 if not."""
    from hanse.app.cli.exits import Exit
    from hanse.core.time import WallTime
    from hanse.ledger import (
        Unbroken,
        Verified,
        explain_gap,
        explain_verdict,
        is_gap_proof,
        load_policy,
        verify_gap_proof,
        verify_receipt,
    )

    trusted = policy or file.parent / POLICY_FILE
    if not trusted.is_file():
        raise typer.BadParameter(
            f"no policy at {trusted}: name the file that says whose signatures count with --policy"
        )
    if policy is None:
        session.note(f"judged by {trusted}, which lay beside the receipt: name one that you trust with --policy")
    now = WallTime(time.time_ns() // 1_000)
    data, whose = file.read_bytes(), load_policy(trusted.read_bytes())
    # Sentences may hold square brackets (rules): they are text, not markup.
    if is_gap_proof(data):
        found = verify_gap_proof(data, whose, now)
        is_verified = isinstance(found, Unbroken)
        said = {"file": str(file), "verified": is_verified, "verdict": found}
        session.answer(said, lambda: _plain(explain_gap(found)))
    else:
        verdict = verify_receipt(data, whose, now)
        is_verified = isinstance(verdict, Verified)
        said = {"file": str(file), "verified": is_verified, "verdict": verdict}
        session.answer(said, lambda: _plain(explain_verdict(verdict)))
    raise typer.Exit(Exit.OK if is_verified else Exit.FAILED)


@app.command("prove-absence-of-gap")
@fabric_command
def prove_absence_of_gap(
    *,
    since: Annotated[
        Path | None,
        typer.Option(
            "--since", help="An older checkpoint, receipt or proof; default: the log's beginning.", dir_okay=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-O", help="File of the proof.", dir_okay=False)] = Path("gap.json"),
    session: Session,
) -> None:
    """Prove that nothing is missing from the ledger since an older checkpoint; `verify` checks the file offline."""
    from hanse.app.checkpoints import checkpoint_in

    old = b"" if since is None else checkpoint_in(since.read_bytes())
    with session.client() as client:
        proof, policy = client.ledger_gap_proof(old), client.ledger_policy()
    out.write_bytes(proof)
    policy_file = out.parent / POLICY_FILE
    policy_file.write_bytes(policy)
    said = {"proof": str(out), "bytes": len(proof), "policy": str(policy_file)}
    session.answer(said, lambda: f"{out}: {len(proof)} bytes; check it with `hanse audit verify {out} --policy FILE`")
    session.note(f"policy -> {policy_file}; keep a copy of it from a source you trust and verify with that")


@app.command()
@local_command
def restore(
    *,
    source: Annotated[
        Path, typer.Option("--from", help="Folder of a mirror's or a backup's copy.", exists=True, file_okay=False)
    ],
    forget: Annotated[
        bool,
        typer.Option(
            "--forget-beyond", help="Accept the copy's checkpoint where the log's own is lost: later entries go."
        ),
    ] = False,
    session: Session,
) -> None:
    """Mend a stopped domain's damaged ledger from a copy. What is not proved by a signed checkpoint is not taken."""
    from hanse.app.restoring import restore_log

    with session.step("restoring the log"):
        done = restore_log(session.state, source, may_forget=forget)
    lines = [f"{done.size} entries: all files hold", f"{len(done.mended)} files came from the copy", *done.mended[:20]]
    lines += [] if done.kept is None else [f"the damaged log lies in {done.kept}"]
    session.answer(done, lambda: _plain("\n".join(lines)))


@app.command()
@local_command
def fsck(
    *,
    ledger: Annotated[
        Path | None,
        typer.Option(
            "--ledger", help="Folder of a log: a mirror or a backup; default: this domain's.", file_okay=False
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Whose signatures count; default: this domain's keys.", dir_okay=False),
    ] = None,
    session: Session,
) -> None:
    """Check every file of a log offline: checkpoint, tiles, entries. Exits 0 if all hold, 1 and names what does not."""
    from hanse.app.cli.exits import Exit
    from hanse.app.inspection import check_log

    if ledger is not None and policy is None:
        raise typer.BadParameter("a log from elsewhere needs --policy: the file that says whose signatures count")
    with session.step("checking the log"):
        health = check_log(session.state, ledger, policy)
    said = {"entries": health.size, "healthy": not health.findings, "findings": health.findings}
    lines = [f"{one.path}: {one.message}" for one in health.findings]
    verdict = f"{health.size} entries: {'DAMAGED' if lines else 'all files hold'}"
    session.answer(said, lambda: _plain("\n".join([verdict, *lines])))
    raise typer.Exit(Exit.FAILED if lines else Exit.OK)


@app.command("state")
@fabric_command
def state_command(
    *,
    session: Session,
) -> None:
    """Hold the fabric's store against the state anchored in the ledger. Exits 1 if it lost or changed anything."""
    from hanse.app.cli.exits import Exit
    from hanse.app.render.ledger import state_health as render

    with session.client() as client:
        health = client.state_health()
    session.answer(health, lambda: render(health))
    raise typer.Exit(Exit.FAILED if health.findings else Exit.OK)


app.command()(cosigners.witnesses)
app.command()(cosigners.witness)
app.command()(cosigners.mirrors)
app.command()(cosigners.mirror)


def _plain(text: str) -> Text:
    from rich.text import Text

    return Text(text)


def _instances(client: Client, name: str) -> list[str]:
    """The instance of that name, or the running instances of the workload of that name."""
    from hanse.app.client import ApiError

    everything = client.instances()
    if any(one.id == name for one in everything):
        return [name]
    found = [one.id for one in everything if one.workload == name and one.wanted and one.phase == "running"]
    if not found:
        raise ApiError(
            f"no instance and no running workload is called {name}", code="not_found", hint="see `hanse get instances`"
        )
    return found


def _targets(instances: list[str], out: Path) -> dict[str, Path]:
    if out.is_dir():
        return {instance: out / f"{instance}{RECEIPT_SUFFIX}" for instance in instances}
    if len(instances) > 1:
        raise typer.BadParameter(
            f"{len(instances)} receipts do not fit into one file; name an existing directory with --out"
        )
    return {instances[0]: out}
