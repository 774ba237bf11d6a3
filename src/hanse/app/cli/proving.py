"""`hanse policy prove`: what the rules deny whoever asks, proved or refuted by example. Needs no fabric."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.session import Session, plain_command

if TYPE_CHECKING:
    from hanse.policy import PackSet, Property


@plain_command
def prove(
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="PROPERTY", help="Its title in quotes, or its id; default: all of them.")
    ] = None,
    packs: Annotated[
        Path | None, typer.Option(help="Packs, one pack, or a facts file, laid over the packs shipped with hanse.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Properties of your own, in Cedar, instead of those kept with the packs.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the properties and prove nothing.")] = False,
    session: Session,
) -> None:
    """Prove what the rules deny for all requests that the schema allows, or show a workload and a node that break it.

    Exits 1 if a property is refuted, says nothing, or could not be decided.
    """
    from hanse.adapters.pack_files import read_pack_files
    from hanse.adapters.package_data import read_packs
    from hanse.app.cli.exits import Exit
    from hanse.app.proving import erring_rules, prove_properties
    from hanse.app.render.proving import listed, proofs
    from hanse.control.supposing import laid_over
    from hanse.core.time import WallTime
    from hanse.policy import find_property, parse_packs

    parsed = parse_packs(read_packs() if packs is None else laid_over(read_packs(), read_pack_files(packs)))
    wanted = _properties(parsed, file)
    if name is not None:
        wanted = (find_property(wanted, name),)
    if listing:
        rows = [{"id": p.id, "title": p.title, "packs": p.packs, "file": p.rule.file} for p in wanted]
        session.answer(rows, lambda: listed(wanted))
        return
    with session.step("proving"):
        found = prove_properties(parsed, wanted, WallTime(time.time_ns() // 1_000))
        erring = erring_rules(parsed, tuple(parsed.packs)) if name is None and file is None else ()
    wrong = sum(not one.is_held for one in found)
    view = {"properties": len(found), "refuted": wrong, "erring_rules": [r.id for r in erring], "results": found}
    session.answer(view, lambda: proofs(found))
    for rule in erring:
        session.note(f"{rule.file}:{rule.line}: {rule.id} can err, and denies whenever it does: bound its arithmetic")
    if wrong:
        raise typer.Exit(Exit.FAILED)


def _properties(packs: PackSet, file: Path | None) -> tuple[Property, ...]:
    from hanse.adapters.pack_files import PackFilesError
    from hanse.policy import parse_properties, parse_property_file

    if file is None:
        return parse_properties(packs)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PackFilesError(f"{file} cannot be read: {error}", hint="a file of properties is UTF-8 text") from error
    return parse_property_file(file.name, text, packs)
