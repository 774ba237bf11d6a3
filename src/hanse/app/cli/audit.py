"""Commands about proof: read the ledger, take a receipt home, and verify it where there is no fabric at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.session import (
    DEFAULT_STATE,
    ContextOption,
    Output,
    OutputOption,
    Session,
    StateOption,
)

if TYPE_CHECKING:
    from rich.text import Text

    from hanse.app.client import Client

app = typer.Typer(help="The ledger: read it, export receipts, verify them offline.", no_args_is_help=True)

POLICY_FILE = "ledger.policy"
RECEIPT_SUFFIX = ".receipt.json"


@app.command()
def log(
    *,
    after: Annotated[int, typer.Option(min=0, help="First entry.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Entries at most.")] = 50,
    newest: Annotated[bool, typer.Option("--newest/--oldest", help="The last entries, or from --after on.")] = True,
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List entries of the ledger: decisions, orders, receipts, changes of facts and specs, what users did."""
    from hanse.app.render.ledger import entries as render

    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        if newest and after == 0:
            after = max(0, (client.status().ledger_size or 0) - limit)
        entries = client.ledger_entries(after, limit)
    session.answer(entries, lambda: render(entries))


@app.command()
def show(
    *,
    index: Annotated[int, typer.Argument(min=0, help="Number of the entry.")],
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one entry of the ledger whole."""
    from hanse.app.client import ApiError
    from hanse.app.render.ledger import entry as render

    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        found = client.ledger_entries(index, 1)
    if not found:
        raise ApiError(f"the ledger has no entry {index}", code="not_found", hint="see `hanse audit log`")
    session.answer(found[0], lambda: render(found[0]))


@app.command()
def export(
    *,
    name: Annotated[str, typer.Argument(help="An instance, or a workload: then every instance of it that runs.")],
    out: Annotated[Path, typer.Option("--out", "-O", help="File, or an existing directory.")] = Path(),
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write receipts to files, and beside them the policy that says whose signatures count."""
    session = Session(state=state, context=context, output=output)
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
def verify(
    *,
    file: Annotated[Path, typer.Argument(help="A receipt.", exists=True, dir_okay=False)],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", help="Whose signatures count; default: ledger.policy beside the receipt.", dir_okay=False
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Verify a receipt offline: no network, no fabric. Exits 0 if it holds whole, 1 if anything does not."""
    from hanse.app.cli.exits import Exit
    from hanse.core.time import WallTime
    from hanse.ledger import Verified, explain_verdict, load_policy, verify_receipt

    session = Session(output=output)
    trusted = policy or file.parent / POLICY_FILE
    if not trusted.is_file():
        raise typer.BadParameter(
            f"no policy at {trusted}: name the file that says whose signatures count with --policy"
        )
    if policy is None:
        session.note(f"judged by {trusted}, which lay beside the receipt: name one that you trust with --policy")
    now = WallTime(time.time_ns() // 1_000)
    verdict = verify_receipt(file.read_bytes(), load_policy(trusted.read_bytes()), now)
    is_verified = isinstance(verdict, Verified)
    said = {"file": str(file), "verified": is_verified, "verdict": verdict}
    # Sentences may hold square brackets (rules): they are text, not markup.
    session.answer(said, lambda: _plain(explain_verdict(verdict)))
    raise typer.Exit(Exit.OK if is_verified else Exit.FAILED)


@app.command()
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
    state: StateOption = DEFAULT_STATE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check every file of a log offline: checkpoint, tiles, entries. Exits 0 if all hold, 1 and names what does not."""
    from hanse.app.cli.exits import Exit
    from hanse.app.inspection import check_log

    if ledger is not None and policy is None:
        raise typer.BadParameter("a log from elsewhere needs --policy: the file that says whose signatures count")
    session = Session(state=state, output=output)
    with session.step("checking the log"):
        health = check_log(state, ledger, policy)
    said = {"entries": health.size, "healthy": not health.findings, "findings": health.findings}
    lines = [f"{one.path}: {one.message}" for one in health.findings]
    verdict = f"{health.size} entries: {'DAMAGED' if lines else 'all files hold'}"
    session.answer(said, lambda: _plain("\n".join([verdict, *lines])))
    raise typer.Exit(Exit.FAILED if lines else Exit.OK)


@app.command("state")
def state_command(
    *,
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hold the fabric's store against the state anchored in the ledger. Exits 1 if it lost or changed anything."""
    from hanse.app.cli.exits import Exit
    from hanse.app.render.ledger import state_health as render

    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        health = client.state_health()
    session.answer(health, lambda: render(health))
    raise typer.Exit(Exit.FAILED if health.findings else Exit.OK)


@app.command()
def witnesses(
    *,
    use: Annotated[
        Path | None,
        typer.Option(
            "--use", help="Ask these from now on: a tlog-policy with their addresses.", exists=True, dir_okay=False
        ),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Authorities of the witnesses' servers.", exists=True, dir_okay=False)
    ] = None,
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show who cosigns this domain's ledger. Exits 1 if one of them saw another history of it."""
    from hanse.app.cli.exits import Exit
    from hanse.app.render.ledger import cosigning as render

    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        if use is not None:
            client.use_witnesses(use.read_text(), "" if ca is None else ca.read_text())
        view = client.witnesses()
    session.answer(view, lambda: render(view))
    raise typer.Exit(Exit.FAILED if view.alarms else Exit.OK)


@app.command()
def witness(
    *,
    log_policy: Annotated[
        Path | None,
        typer.Option(
            "--log", help="Cosign this log from now on: the other domain's policy.", exists=True, dir_okay=False
        ),
    ] = None,
    state: StateOption = DEFAULT_STATE,
    context: ContextOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the logs of other domains that this domain cosigns, and its keys as a witness. Exits 1 on a split view."""
    from hanse.app.cli.exits import Exit
    from hanse.app.render.ledger import witnessed as render

    session = Session(state=state, context=context, output=output)
    with session.client() as client:
        if log_policy is not None:
            client.witness_log(log_policy.read_text())
        logs, keys = client.witnessed_logs(), client.witness_keys()
    session.answer({"logs": logs, "keys": keys}, lambda: render(logs, keys))
    raise typer.Exit(Exit.FAILED if any(one.split_size is not None for one in logs) else Exit.OK)


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
