"""Commands about rules: run the cases that packs carry, see what a change would do before it is made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hanse.app.cli import proving
from hanse.app.cli.session import Session, fabric_command, plain_command

app = typer.Typer(help="Rules and facts: test packs, and see what a change would do.", no_args_is_help=True)

IN_FORCE = "current"

app.command(name="prove")(proving.prove)


@app.command()
@plain_command
def test(
    *,
    folder: Annotated[
        Path | None, typer.Argument(help="Packs, one pack, or a facts file; default: the packs shipped with hanse.")
    ] = None,
    session: Session,
) -> None:
    """Run the cases of law that packs carry. Needs no fabric. Exits 1 if one comes out otherwise than written.

    It also tells of packs that no node could ever satisfy, and proves the properties that the packs keep.
    """
    from hanse.adapters.pack_files import read_pack_files
    from hanse.adapters.package_data import read_packs
    from hanse.app.cli.exits import Exit
    from hanse.app.proving import prove_properties
    from hanse.app.render.policy import cases
    from hanse.app.render.proving import proofs, proved
    from hanse.app.render.style import stack
    from hanse.control.supposing import laid_over
    from hanse.core.time import WallTime
    from hanse.policy import check_packs, check_roles, dead_ends, parse_packs, parse_properties

    files = read_packs() if folder is None else laid_over(read_packs(), read_pack_files(folder))
    parsed = parse_packs(files)
    results = (*check_packs(parsed), *check_roles(parsed))
    now = WallTime(time.time_ns() // 1_000)
    ends = dead_ends(parsed, now)
    properties = prove_properties(parsed, parse_properties(parsed), now)
    refuted = [one for one in properties if not one.is_held]
    wrong = sum(not one.is_ok for one in results)
    rows = [{"file": r.file, "name": r.name, "wanted": r.wanted, "got": r.got, "ok": r.is_ok} for r in results]
    view = {"cases": len(results), "wrong": wrong, "dead_ends": ends, "properties": properties, "results": rows}
    session.answer(view, lambda: stack(cases(results), proofs(refuted) if refuted else proved(properties)))
    for end in ends:
        session.note(
            f"{end.file}:{end.line}: no node could ever satisfy pack {end.pack} ({', '.join(end.rules)}): {end.remedy}"
        )
    if wrong or ends or refuted:
        raise typer.Exit(Exit.FAILED)


@app.command()
@fabric_command
def packs(*, session: Session) -> None:
    """List the packs in force: scope, what they do not cover, assurance, rules."""
    from hanse.app.render.policy import packs as render

    with session.client() as client:
        views = client.policy_packs()
    session.answer(views, lambda: render(views))


@app.command()
@fabric_command
def diff(
    *,
    old: Annotated[str, typer.Argument(help="Packs, one pack, a facts file, or `current`: what is in force.")],
    new: Annotated[Path, typer.Argument(help="Packs, one pack, or a facts file.")],
    session: Session,
) -> None:
    """Show which running workloads and nodes would change verdict. Applies nothing.

    A single pack or facts file is laid over the packs in force.
    """
    from hanse.adapters.pack_files import read_pack_files
    from hanse.app.render.policy import diff as render

    before: Mapping[str, str] | None = None if old == IN_FORCE else read_pack_files(Path(old))
    with session.client() as client:
        found = client.policy_diff(before, read_pack_files(new))
    session.answer(found, lambda: render(found))


@app.command()
@fabric_command
def impact(
    *,
    fact: Annotated[
        list[str], typer.Option("--fact", help="For example operator/nimbus.parent=US; may be given several times.")
    ],
    session: Session,
) -> None:
    """Suppose facts: what would have to move, what would have no legal home. Applies nothing.

    Facts: operator/ID.parent, .seat, .grade, .seal.OBJECTIVE, .certificate; node/ID.grade; site/ID.country;
    adequacy/ROW.from, .until; date=YYYY-MM-DD.
    """
    from hanse.app.render.policy import diff as render

    with session.client() as client:
        found = client.policy_impact(fact)
    session.answer(found, lambda: render(found))
