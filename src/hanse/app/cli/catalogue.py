"""Commands about the catalogue of cloud regions: look at it, take a region as manifests, put a newer table in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hanse.app.cli.session import Session, local_command

if TYPE_CHECKING:
    from hanse.adapters.catalogue import CatalogueRegion, Provider

app = typer.Typer(help="Known cloud regions: place, country, who controls them, grid zone.", no_args_is_help=True)

OWN_TABLE = "catalogue.yaml"


@app.command(name="list")
@local_command
def list_regions(
    *,
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    country: Annotated[str | None, typer.Option(help="Only regions in this country.")] = None,
    free_of: Annotated[
        str | None, typer.Option("--free-of", help="Only operators that the law of this country does not reach.")
    ] = None,
    session: Session,
) -> None:
    """List regions, with the countries whose law reaches their operator."""
    from hanse.adapters.catalogue import operator_of
    from hanse.app.render.style import table
    from hanse.policy import control_reach

    rows = []
    for one in _catalogue(session.state).values():
        reach = [str(code) for code, _ in control_reach(operator_of(one), {})]
        if provider not in (None, one.id) or free_of in reach:
            continue
        rows += [_row(one, region, reach) for region in one.regions if country in (None, region.country)]
    made = table("REGION", "CITY", "COUNTRY", "OPERATOR", "LAW OF", "GRID", "ASSURANCE", fold=("OPERATOR",))
    for row in rows:
        made.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for k, v in row.items() if k != "source"))
    session.answer(rows, lambda: made)


@app.command()
@local_command
def show(
    *,
    region: Annotated[str, typer.Argument(help="For example scaleway/fr-par.")],
    session: Session,
) -> None:
    """Show one region as manifests of its operator and its site, to edit and deploy."""
    from rich.text import Text

    from hanse.adapters.catalogue import manifests_of, operator_of
    from hanse.policy import control_reach

    provider, found = _find(_catalogue(session.state), region)
    reach = control_reach(operator_of(provider), {})
    view = {**_row(provider, found, [str(code) for code, _ in reach]), "paths": [path for _, path in reach],
            "note": provider.note, "manifests": manifests_of(provider, found)}  # fmt: skip
    session.answer(view, lambda: Text(manifests_of(provider, found)))
    if provider.note:
        session.note(f"note: {provider.note}")


@app.command()
@local_command
def refresh(
    *,
    file: Annotated[Path, typer.Argument(help="A catalogue.", exists=True, dir_okay=False)],
    session: Session,
) -> None:
    """Check a catalogue and put it in place of the shipped one for this state directory."""
    from hanse.adapters.catalogue import parse_catalogue

    text = file.read_text(encoding="utf-8")
    old, new = _catalogue(session.state), parse_catalogue(text)
    session.state.mkdir(parents=True, exist_ok=True)
    (session.state / OWN_TABLE).write_text(text, encoding="utf-8")
    before = {f"{p.id}/{r.id}": r for p in old.values() for r in p.regions}
    after = {f"{p.id}/{r.id}": r for p in new.values() for r in p.regions}
    said = {
        "providers": len(new), "regions": len(after), "added": sorted(set(after) - set(before)),
        "removed": sorted(set(before) - set(after)),
        "changed": sorted(key for key, row in after.items() if key in before and before[key] != row),
    }  # fmt: skip
    session.answer(said, lambda: "\n".join(f"{name}: {_spell(value)}" for name, value in said.items()))


def _catalogue(state: Path) -> Mapping[str, Provider]:
    from hanse.adapters.catalogue import parse_catalogue, read_catalogue

    own = state / OWN_TABLE
    return parse_catalogue(own.read_text(encoding="utf-8")) if own.is_file() else read_catalogue()


def _find(catalogue: Mapping[str, Provider], name: str) -> tuple[Provider, CatalogueRegion]:
    from hanse.app.client import ApiError

    provider, _, wanted = name.partition("/")
    known = catalogue.get(provider)
    if known is None:
        raise ApiError(f"no provider {provider}", code="not_found", hint=f"one of {', '.join(catalogue)}")
    for region in known.regions:
        if region.id == wanted:
            return known, region
    ids = ", ".join(region.id for region in known.regions)
    raise ApiError(f"no region {name}", code="not_found", hint=f"{provider} has {ids}")


def _row(provider: Provider, region: CatalogueRegion, reach: list[str]) -> dict[str, object]:
    return {
        "region": f"{provider.id}/{region.id}", "city": region.city, "country": region.country,
        "operator": provider.operator.name, "control": reach, "grid_zone": region.grid_zone,
        "assurance": region.assurance, "source": f"{provider.source} ({provider.as_of})",
    }  # fmt: skip


def _spell(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)
