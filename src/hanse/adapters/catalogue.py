"""Read the catalogue of cloud regions: `YAML text -> regions, each with its site and its operator`.

The shipped table is a start for manifests of one's own: its facts are graded by what was checked, and none is evidence.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

import msgspec
import yaml

from hanse.core.errors import HanseError
from hanse.core.fabric import Operator, Parent, Site
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, OperatorId, SiteId


class CatalogueError(HanseError):
    """Raised when a catalogue's text is wrong; nothing of it is used."""

    code = "catalogue.invalid"


class CatalogueHolder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One holder of an operator."""

    name: str
    country: str
    share_permille: int = 1_000
    veto: bool = False


class CatalogueOperator(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who runs a provider's regions, and who holds it."""

    id: str
    name: str
    seat: str
    assurance: Literal["verified", "secondary", "unverified"]
    holders: tuple[CatalogueHolder, ...] = ()


class CatalogueRegion(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where one region stands."""

    id: str
    city: str
    country: str
    latitude: float
    longitude: float
    grid_zone: str
    assurance: Literal["verified", "secondary", "unverified"]


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One offer: a provider, or the part of it that a company of its own runs."""

    id: str
    name: str
    source: str
    as_of: datetime.date
    operator: CatalogueOperator
    regions: tuple[CatalogueRegion, ...]
    note: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    as_of: datetime.date
    providers: tuple[Provider, ...]


def read_catalogue() -> Mapping[str, Provider]:
    """The catalogue that ships with hanse: provider id -> provider, in id order."""
    return parse_catalogue((files("hanse") / "data" / "catalogue.yaml").read_text(encoding="utf-8"))


def parse_catalogue(text: str) -> Mapping[str, Provider]:
    """Read a catalogue from text, in provider order. Raises CatalogueError naming the row that is wrong."""
    try:
        table = msgspec.convert(yaml.safe_load(text), _File, strict=False)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise CatalogueError(
            f"no catalogue: {error}", hint="see the shipped table, src/hanse/data/catalogue.yaml"
        ) from error
    found: dict[str, Provider] = {}
    for provider in table.providers:
        if provider.id in found:
            raise CatalogueError(f"provider {provider.id} stands twice", hint="give each offer its own id")
        _check(provider)
        found[provider.id] = provider
    return dict(sorted(found.items()))


def operator_of(provider: Provider) -> Operator:
    """The operator of a provider's regions, as a fabric holds it: grade 0, because nobody signed it."""
    held = provider.operator
    parents = tuple(
        Parent(name=h.name, country=CountryCode(h.country), share_permille=h.share_permille, has_veto=h.veto)
        for h in held.holders
    )
    return Operator(id=OperatorId(held.id), name=held.name, seat=CountryCode(held.seat), parents=parents)


def site_of(provider: Provider, region: CatalogueRegion) -> Site:
    """A region as a site; its id is ``provider-region``."""
    place = Place(city=region.city, latitude_deg=region.latitude, longitude_deg=region.longitude)
    site = SiteId(f"{provider.id}-{region.id}")
    return Site(id=site, country=CountryCode(region.country), place=place, grid_zone=region.grid_zone)


def manifests_of(provider: Provider, region: CatalogueRegion) -> str:
    """One region as manifests, Operator and Site, to be edited and deployed."""
    held = provider.operator
    spec = {
        "name": held.name,
        "seat": held.seat,
        "parents": [
            {"name": h.name, "country": h.country, "share": f"{h.share_permille / 10:g}%", "veto": h.veto}
            for h in held.holders
        ],
        "grade": 0,
    }
    place = {"city": region.city, "latitude": region.latitude, "longitude": region.longitude}
    site = {"country": region.country, "place": place, "gridZone": region.grid_zone}
    documents = [
        {"apiVersion": "hanse.dev/v1", "kind": "Operator", "metadata": {"name": held.id}, "spec": spec},
        {
            "apiVersion": "hanse.dev/v1",
            "kind": "Site",
            "metadata": {"name": f"{provider.id}-{region.id}"},
            "spec": site,
        },
    ]
    note = f"# {provider.source}, as of {provider.as_of}; region {region.assurance}, control {held.assurance}\n"
    return note + yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)


def _check(provider: Provider) -> None:
    seen: set[str] = set()
    for region in provider.regions:
        where = f"{provider.id}/{region.id}"
        if region.id in seen:
            raise CatalogueError(f"region {where} stands twice", hint="give each region its own id")
        if not (-90 <= region.latitude <= 90 and -180 <= region.longitude <= 180):
            raise CatalogueError(f"region {where} is off the globe", hint="degrees north and east, WGS 84")
        seen.add(region.id)
    countries = [provider.operator.seat, *(h.country for h in provider.operator.holders)]
    for country in (*countries, *(region.country for region in provider.regions)):
        if len(country) != 2 or not country.isupper():
            raise CatalogueError(
                f"{provider.id}: {country!r} is no country code", hint="ISO 3166-1 alpha-2, such as DE"
            )
    if not all(0 < holder.share_permille <= 1_000 for holder in provider.operator.holders):
        raise CatalogueError(f"{provider.id}: a share is out of range", hint="thousandths, 1 to 1,000")
    if not provider.source.startswith("https://"):
        raise CatalogueError(f"{provider.id}: no source", hint="name the page where its rows can be checked")
