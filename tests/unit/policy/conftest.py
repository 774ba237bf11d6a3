"""A fabric to think with: six nodes, five countries, three operators, one of them under a US parent."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hanse.adapters.package_data import read_packs
from hanse.core.fabric import Fabric, Grade, Node, Operator, Parent, Power, Price, Resources, Site, Tier
from hanse.core.geo import Place
from hanse.core.ids import CountryCode, Digest, NodeId, OperatorId, SiteId, workload_id
from hanse.core.time import WallTime, from_datetime
from hanse.core.work import Data, Kind, Route, Sovereignty, Workload
from hanse.policy import PackSet, parse_packs

US_PARENT = Parent(name="Nimbus Inc.", country=CountryCode("US"))
HOMES = {"dub": "nimbus", "fra": "hafen", "par": "hafen", "sto": "polar", "waw": "polar", "zrh": "polar"}
COUNTRIES = {"dub": "IE", "fra": "DE", "par": "FR", "sto": "SE", "waw": "PL", "zrh": "CH"}
SEAL = {"legal": 3, "operational": 3}


def _operator(name: str, seat: str, *parents: Parent, legal: int = 3) -> Operator:
    return Operator(
        id=OperatorId(name), name=name.title(), seat=CountryCode(seat), parents=parents,
        seal={**SEAL, "legal": legal}, grade=Grade.SIGNED,
    )  # fmt: skip


def _site(name: str) -> Site:
    place = Place(city=name, latitude_deg=50.0, longitude_deg=8.0)
    return Site(id=SiteId(name), country=CountryCode(COUNTRIES[name]), place=place, grid_zone=COUNTRIES[name])


def _node(site: str) -> Node:
    return Node(
        id=NodeId(f"{site}-1"), site=SiteId(site), operator=OperatorId(HOMES[site]), tier=Tier.CORE,
        capacity=Resources(cpu_milli=4_000, memory_bytes=2**33), power=Power(idle_mw=50_000, per_core_mw=10_000),
        price=Price(cpu_core_hour_microeur=20_000, memory_gib_hour_microeur=3_000),
    )  # fmt: skip


def _workload(name: str = "triage", *, namespace: str = "clinic", data: Data | None = None, **own: object) -> Workload:
    return Workload(
        id=workload_id(namespace, name), kind=Kind.FUNCTION, namespace=namespace, name=name,
        artifact=Digest("sha256:" + "0" * 64), artifact_bytes=1, route=Route(path=f"/{name}"),
        resources=Resources(cpu_milli=100, memory_bytes=2**26), data=data or Data(),
        sovereignty=Sovereignty(**own),  # type: ignore[arg-type]
    )  # fmt: skip


def _at(text: str) -> WallTime:
    return from_datetime(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC))


@pytest.fixture
def make() -> SimpleNamespace:
    return SimpleNamespace(workload=_workload, at=_at, us_parent=US_PARENT, operator=_operator)


@pytest.fixture(scope="session")
def packs() -> PackSet:
    return parse_packs(read_packs())


@pytest.fixture
def now() -> WallTime:
    return _at("2026-11-21")


@pytest.fixture
def fabric() -> Fabric:
    operators = (_operator("hafen", "DE"), _operator("nimbus", "IE", US_PARENT, legal=1), _operator("polar", "SE"))
    return Fabric(
        sites={SiteId(s): _site(s) for s in HOMES},
        operators={o.id: o for o in operators},
        nodes={NodeId(f"{s}-1"): _node(s) for s in HOMES},
    )


@pytest.fixture
def with_operator() -> Callable[[Fabric, Operator], Fabric]:
    def change(fabric: Fabric, operator: Operator) -> Fabric:
        return replace(fabric, operators={**fabric.operators, operator.id: operator})

    return change


@pytest.fixture
def triage() -> Workload:
    """The workload of the design: health data of people in the EEA, no US or Chinese control, SEAL minima."""
    return _workload(
        data=Data(classes=("health",), subjects=("EEA",)),
        packs=("gdpr", "hipaa"), seal={"legal": 3, "operational": 2},
        control_exclude=(CountryCode("US"), CountryCode("CN")),
    )  # fmt: skip
