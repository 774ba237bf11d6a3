"""Dated facts of law: countries, blocs, adequacy decisions. `rows -> facts -> facts at one moment`.

A row holds on ``[from, until)``, both at 00:00 UTC. A row whose assurance is ``unverified`` is kept, shown and never
used to allow. Between two dates nothing changes, so one reading of the facts serves the whole epoch between them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from hanse.core.ids import CountryCode, Digest
from hanse.core.time import WallTime, from_datetime
from hanse.policy.errors import PolicyError
from hanse.policy.lines import load_yaml, rows
from hanse.wire.canonical import digest_of

Assurance = Literal["verified", "secondary", "unverified"]
ASSURANCE_GRADE: Mapping[str, int] = {"unverified": 0, "secondary": 1, "verified": 2}
"""How an assurance shows as the grade of a fact that was read."""
UNCLASSIFIED_COUNTS_AS = "personal"
"""A data class that the facts do not know is treated as personal data: the cautious reading."""


class Membership(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Countries that are in a bloc from one date until another."""

    bloc: str
    countries: tuple[str, ...]
    cite: str
    assurance: Assurance
    as_of: datetime.date
    """When the row was last checked."""
    since: datetime.date = msgspec.field(name="from")
    until: datetime.date | None = None


class Adequacy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Data of subjects in `exporters` may flow to `importers`, as far as `scope` reaches.

    Exporters may be blocs; importers are countries, or a bloc for free movement inside it. `since` may be absent only
    on an unverified row, which never allows. Where `dates` are unverified the row is used from `as_of` on, the day on
    which it was found to hold; an end counts all the same, being the cautious reading.
    """

    id: str
    exporters: tuple[str, ...]
    importers: tuple[str, ...]
    scope: str
    cite: str
    assurance: Assurance
    as_of: datetime.date
    since: datetime.date | None = msgspec.field(name="from", default=None)
    until: datetime.date | None = None
    dates: Assurance | None = None
    """Of the dates, where it is less than that of the row itself."""
    note: str = ""

    @property
    def usable_from(self) -> datetime.date | None:
        """The first day on which the row may be a basis, as far as its dates are known; None if it never may."""
        if self.assurance == "unverified" or self.since is None:
            return None
        return max(self.since, self.as_of) if self.dates == "unverified" else self.since


class Regime(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A law on data leaving a jurisdiction: it covers subjects in `exporters`.

    No exporters means a law that looks at no subjects: it concerns whatever names it. Without dates, or with dates that
    are unverified, it holds always: a regime only ever denies, so that is the cautious reading.
    """

    name: str
    exporters: tuple[str, ...]
    cite: str
    assurance: Assurance = "unverified"
    """Of the dates."""
    since: datetime.date | None = msgspec.field(name="from", default=None)
    until: datetime.date | None = None


class DataClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A class of data and the wider classes it falls in."""

    name: str
    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Every dated fact of the packs, whatever the date."""

    countries: Mapping[CountryCode, str]
    memberships: tuple[Membership, ...]
    adequacy: tuple[Adequacy, ...]
    regimes: tuple[Regime, ...]
    classes: tuple[DataClass, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsNow:
    """What holds at one moment: the membership of every country, and the adequacy rows in force."""

    facts: Facts
    now: WallTime
    next_us: WallTime | None
    """The next date on which any usable row begins or ends; None if none does."""
    blocs: Mapping[str, tuple[str, ...]]
    """Blocs per country, in order."""
    members: Mapping[str, tuple[str, ...]]
    """Countries per bloc, in order."""
    in_force: tuple[Adequacy, ...]
    regimes: tuple[Regime, ...]
    """Laws in effect, in the order of their rows."""
    covered: Mapping[tuple[str, str], Mapping[str, Adequacy]]
    """(exporter country, scope) -> importer country -> the row that covers it."""
    digest: Digest
    """Of all that holds now; equal within one epoch."""
    law: Digest
    """Of what every request is asked against whoever asks: countries in their blocs, classes of data."""

    def expand(self, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """Countries that these countries and blocs mean now, in order; None if one name is unknown."""
        found: set[str] = set()
        for name in names:
            if name in self.members:
                found.update(self.members[name])
            elif CountryCode(name) in self.facts.countries:
                found.add(name)
            else:
                return None
        return tuple(sorted(found))

    def exporters(self, regime: Regime, subjects: tuple[str, ...]) -> tuple[str, ...]:
        """Countries of the regime whose subjects are meant; unstated or unknown subjects mean all of them."""
        covered = self.expand(regime.exporters) or ()
        stated = self.expand(subjects) if subjects else None
        return covered if stated is None else tuple(c for c in covered if c in stated)

    def adequate(self, exporters: tuple[str, ...], scope: str) -> tuple[str, ...]:
        """Countries to which data of *all* these exporters may flow within a scope, in order."""
        if not exporters:
            return ()
        first, *rest = (self.covered.get((exporter, scope), {}) for exporter in exporters)
        return tuple(sorted(set(first).intersection(*rest)))

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every scope that a row names, in order."""
        return tuple(sorted({row.scope for row in self.facts.adequacy}))


def parse_facts(file: str, text: str) -> Facts:
    """Read ``jurisdictions.yaml``. Raises PolicyError with file and line."""
    data = load_yaml(file, text)
    countries = data.get("countries")
    if not isinstance(countries, dict) or not all(isinstance(k, str) and len(k) == 2 for k in countries):
        raise PolicyError.at(
            file, data.line, "`countries` is not a mapping of ISO codes", 'write `DE: Germany`; quote "NO"'
        )
    facts = Facts(
        countries={CountryCode(code): str(countries[code]) for code in sorted(countries)},
        memberships=rows(file, data, "memberships", Membership),
        adequacy=rows(file, data, "adequacy", Adequacy),
        regimes=rows(file, data, "regimes", Regime),
        classes=rows(file, data, "classes", DataClass),
    )
    _check(file, facts)
    return facts


def facts_at(facts: Facts, now: WallTime) -> FactsNow:
    """Resolve every row at `now`: expired and unverified rows are gone, blocs are spelt out."""
    members: dict[str, set[str]] = {row.bloc: set() for row in facts.memberships}
    for member in facts.memberships:
        if holds(member, now):
            members[member.bloc].update(member.countries)
    blocs: dict[str, tuple[str, ...]] = {
        str(c): tuple(sorted(b for b, inside in members.items() if c in inside)) for c in facts.countries
    }
    ordered = {bloc: tuple(sorted(inside)) for bloc, inside in sorted(members.items())}
    in_force = tuple(row for row in facts.adequacy if holds(row, now))
    regimes = tuple(regime for regime in facts.regimes if is_in_effect(regime, now))
    covered = _covered((*map(_territory, regimes), *in_force), ordered)
    ahead = [at for at in boundaries((*facts.memberships, *facts.adequacy, *facts.regimes)) if at > now]
    return FactsNow(
        facts=facts, now=now, next_us=ahead[0] if ahead else None, blocs=blocs, members=ordered,
        in_force=in_force, regimes=regimes, covered=covered,
        law=digest_of([ordered, facts.countries, facts.classes]), digest=_digest(facts, ordered, regimes, covered),
    )  # fmt: skip


def with_decisions(at: FactsNow, rows_: tuple[Adequacy, ...]) -> FactsNow:
    """The facts with further decisions after all others: what `facts_at` makes of them all, without resolving anew."""
    facts = replace(at.facts, adequacy=(*at.facts.adequacy, *rows_))
    added = tuple(row for row in rows_ if holds(row, at.now))
    covered = dict(at.covered)
    for key, more in _covered(added, at.members).items():
        covered[key] = dict(sorted({**more, **covered.get(key, {})}.items()))
    covered = dict(sorted(covered.items()))
    ahead = (*(one for one in boundaries(rows_) if one > at.now), *([] if at.next_us is None else [at.next_us]))
    return replace(
        at, facts=facts, in_force=(*at.in_force, *added), covered=covered, next_us=min(ahead, default=None),
        digest=_digest(facts, at.members, at.regimes, covered),
    )  # fmt: skip


def _digest(
    facts: Facts,
    members: Mapping[str, tuple[str, ...]],
    regimes: tuple[Regime, ...],
    covered: Mapping[tuple[str, str], Mapping[str, Adequacy]],
) -> Digest:
    """Of all that holds at one moment."""
    spelt = [(exporter, scope, list(known)) for (exporter, scope), known in covered.items()]
    return digest_of([members, facts.countries, regimes, facts.classes, spelt])


def holds(row: Membership | Adequacy, now: WallTime) -> bool:
    """Tell whether a row may be used at `now`: begun, not ended, and better than unverified."""
    begins = row.usable_from if isinstance(row, Adequacy) else row.since
    if row.assurance == "unverified" or begins is None or now < at_midnight(begins):
        return False
    return row.until is None or now < at_midnight(row.until)


def is_in_effect(regime: Regime, now: WallTime) -> bool:
    """Tell whether a law is in effect at `now`; dates that are unverified do not switch it off."""
    if regime.assurance == "unverified":
        return True
    has_begun = regime.since is None or now >= at_midnight(regime.since)
    return has_begun and (regime.until is None or now < at_midnight(regime.until))


def boundaries(rows_: Iterable[Membership | Adequacy | Regime]) -> tuple[WallTime, ...]:
    """Every wall time at which one of these rows begins or ends, in order; unverified rows bound nothing."""
    usable = [row for row in rows_ if row.assurance != "unverified"]
    dates = [(row.usable_from if isinstance(row, Adequacy) else row.since, row.until) for row in usable]
    return tuple(sorted({at_midnight(date) for both in dates for date in both if date is not None}))


def at_midnight(date: datetime.date) -> WallTime:
    """00:00 UTC of a date."""
    return from_datetime(datetime.datetime(date.year, date.month, date.day, tzinfo=datetime.UTC))


def _territory(regime: Regime) -> Adequacy:
    """Inside the territory of a law nothing is transferred: no decision is needed, and none can end."""
    return Adequacy(
        id=f"{regime.name}-territory", exporters=regime.exporters, importers=regime.exporters, scope="general",
        cite=f"{regime.cite}: within its own territory nothing is transferred", assurance="secondary",
        as_of=datetime.date.min,
    )  # fmt: skip


def _covered(
    in_force: tuple[Adequacy, ...], members: Mapping[str, tuple[str, ...]]
) -> dict[tuple[str, str], dict[str, Adequacy]]:
    covered: dict[tuple[str, str], dict[str, Adequacy]] = {}
    for row in in_force:
        importers = sorted({c for name in row.importers for c in members.get(name, (name,))})
        for exporter in sorted({c for name in row.exporters for c in members.get(name, (name,))}):
            known = covered.setdefault((exporter, row.scope), {})
            for importer in importers:
                known.setdefault(importer, row)
    return {key: dict(sorted(rows_.items())) for key, rows_ in sorted(covered.items())}


def _check(file: str, facts: Facts) -> None:
    names = {str(c) for c in facts.countries} | {m.bloc for m in facts.memberships}
    mentioned = [(m.bloc, m.countries) for m in facts.memberships]
    mentioned += [(a.id, (*a.exporters, *a.importers)) for a in facts.adequacy]
    mentioned += [(r.name, r.exporters) for r in facts.regimes]
    for where, used in mentioned:
        unknown = sorted(set(used) - names)
        if unknown:
            raise PolicyError.at(file, 0, f"row {where!r} names unknown {unknown}", "add them under `countries:`")
    for row in facts.adequacy:
        if row.since is None and row.assurance != "unverified":
            raise PolicyError.at(file, 0, f"row {row.id!r} has no `from`", "date it, or mark it unverified")
    _check_classes(file, facts.classes)
    ids = [row.id for row in facts.adequacy]
    if len(set(ids)) != len(ids):
        raise PolicyError.at(file, 0, "two adequacy rows share an id", "give each row its own id")


def _check_classes(file: str, classes: tuple[DataClass, ...]) -> None:
    """Refuse a class within an unknown one or, by whatever way, within itself: Cedar's hierarchies have no circles."""
    within = {one.name: one.within for one in classes}
    open_ = dict(within)
    while True:
        done = [name for name, above in open_.items() if not any(other in open_ for other in above)]
        if not done:
            break
        for name in done:
            del open_[name]
    if open_:
        raise PolicyError.at(file, 0, f"classes {sorted(open_)} are in a circle", "let each be within wider ones only")
    unknown = sorted({other for above in within.values() for other in above} - set(within))
    if unknown:
        raise PolicyError.at(file, 0, f"classes within unknown {unknown}", "list them under `classes:`")
