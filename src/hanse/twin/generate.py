"""Fabrics and workloads of any size as manifests: `how many -> YAML`, the same text for the same numbers.

Texts, because they then take the way that a user's manifests take. Prices and power are plausible, not offers.
"""

from __future__ import annotations

from collections.abc import Mapping

from hanse.core.fabric import Operator, Site
from hanse.core.geo import Place

SITES = (
    ("frankfurt", "DE", "Frankfurt", 50.11, 8.68, "DE"),
    ("paris", "FR", "Paris", 48.86, 2.35, "FR"),
    ("dublin", "IE", "Dublin", 53.35, -6.26, "IE"),
    ("stockholm", "SE", "Stockholm", 59.33, 18.07, "SE-SE3"),
    ("vienna", "AT", "Vienna", 48.21, 16.37, "AT"),
    ("warsaw", "PL", "Warsaw", 52.23, 21.01, "PL"),
    ("madrid", "ES", "Madrid", 40.42, -3.70, "ES"),
    ("milan", "IT", "Milan", 45.46, 9.19, "IT-NO"),
    ("lisbon", "PT", "Lisbon", 38.72, -9.14, "PT"),
    ("prague", "CZ", "Prague", 50.08, 14.44, "CZ"),
    ("zurich", "CH", "Zurich", 47.38, 8.54, "CH"),
    ("tallinn", "EE", "Tallinn", 59.44, 24.75, "EE"),
)
OPERATORS = (
    ("hansa", "Hansa Rechenzentren eG", "DE", "Genossenschaft", "DE"),
    ("nordica", "Nordica Moln AB", "SE", "Nordisk Infra AB", "SE"),
    ("iberia", "Iberia Borde SA", "ES", "Grupo Borde", "ES"),
    ("nimbus", "Nimbus Cloud EMEA Ltd", "IE", "Nimbus Inc", "US"),
)
"""Id, name, seat, holder and its country; the last one is under US control."""
_SEAL = "{legal: 3, data: 3, operational: 3, supply: 2, technology: 3, security: 3, strategic: 3, environment: 3}"


def fabric_text(nodes: int) -> str:
    """A fabric of `nodes` nodes (1..10,000) at up to twelve sites, run by four operators."""
    sites = SITES[: max(4, min(len(SITES), nodes))]
    parts = [
        f"kind: Operator\nmetadata: {{name: {key}}}\nspec: {{name: {name}, seat: {seat}, grade: 2, seal: {_SEAL}, "
        f"parents: [{{name: {holder}, country: {country}, share: 100%}}]}}"
        for key, name, seat, holder, country in OPERATORS
    ]
    parts += [
        f"kind: Site\nmetadata: {{name: {key}}}\nspec: {{country: {country}, gridZone: {zone}, pue: 1.25, "
        f"place: {{city: {city}, latitude: {latitude}, longitude: {longitude}}}}}"
        for key, country, city, latitude, longitude, zone in sites
    ]
    parts += [_node_text(number, sites[number % len(sites)][0]) for number in range(nodes)]
    return _documents(parts)


def place_of(row: tuple[str, str, str, float, float, str]) -> Place:
    """Where one of the `SITES` is."""
    _, _, city, latitude, longitude, _ = row
    return Place(city=city, latitude_deg=latitude, longitude_deg=longitude)


def site_text(site: Site) -> str:
    """One site as it is."""
    place = site.place
    return _documents([
        f"kind: Site\nmetadata: {{name: {site.id}}}\nspec: {{country: {site.country}, gridZone: {site.grid_zone}, "
        f"pue: {site.pue_permille / 1_000}, landmark: {str(site.is_landmark).lower()}, place: {{city: {place.city}, "
        f"latitude: {place.latitude_deg}, longitude: {place.longitude_deg}}}}}"
    ])  # fmt: skip


def function_text(
    name: str, *, replicas: int, max_unavailable: int = 1, version: int = 1, is_fenced: bool = False, latency: str = ""
) -> str:
    """One function; `is_fenced` keeps it in the EEA and out of the reach of US law; `latency` is its target."""
    rules = "\n  data: {classes: [public]}"
    if is_fenced:
        rules = (
            "\n  data: {classes: [health], subjects: [EEA]}"
            "\n  sovereignty: {packs: [gdpr], location: {only: [EEA]}, control: {exclude: [US]}}"
        )
    slo = f"\n  slo: {{latency: {{{latency}}}}}" if latency else ""
    return _documents(
        [
            f"kind: Function\nmetadata: {{name: {name}, namespace: twin}}\nspec:\n  source: ./{name}.py\n"
            f"  route: {{path: /{name}}}\n  resources: {{memory: 64Mi, cpu: 50m}}\n  replicas: {replicas}\n"
            f"  disruption: {{maxUnavailable: {max_unavailable}}}\n  env: {{VERSION: '{version}'}}{rules}{slo}"
        ]
    )


def job_text(
    name: str,
    *,
    duration_s: int,
    within_s: int,
    is_interruptible: bool = False,
    retries: int = 2,
    env: Mapping[str, str],
) -> str:
    """One job of public data."""
    told = ", ".join(f"{key}: '{value}'" for key, value in sorted(env.items()))
    return _documents(
        [
            f"kind: Job\nmetadata: {{name: {name}, namespace: twin}}\nspec:\n  source: ./{name}.py\n"
            f"  duration: {duration_s}s\n  within: {within_s}s\n  retries: {retries}\n"
            f"  interruptible: {'true' if is_interruptible else 'false'}\n"
            f"  resources: {{memory: 64Mi, cpu: 50m}}\n  data: {{classes: [public]}}\n  env: {{{told}}}"
        ]
    )


def operator_text(operator: Operator, *, holder: str, country: str) -> str:
    """The same operator, wholly held by `holder` of `country` from now on."""
    seal = ", ".join(f"{key}: {level}" for key, level in sorted(operator.seal.items()))
    return _documents(
        [
            f"kind: Operator\nmetadata: {{name: {operator.id}}}\nspec: {{name: {operator.name}, seat: {operator.seat}, "
            f"grade: {int(operator.grade)}, seal: {{{seal}}}, "
            f"parents: [{{name: {holder}, country: {country}, share: 100%}}]}}"
        ]
    )


def component_of(name: str, version: int = 1) -> bytes:
    """Bytes that stand for a component: what the model of the engine loads."""
    return f"component {name} {version} ".encode() * 2_000


def _node_text(number: int, site: str) -> str:
    operator = OPERATORS[number % 5 % len(OPERATORS)][0]
    tier = ("core", "regional", "edge")[number % 3]
    cpu, memory = {"core": (16, 64), "regional": (8, 32), "edge": (4, 8)}[tier]
    price = 0.024 + (number % 7) * 0.003
    return (
        f"kind: Node\nmetadata: {{name: n-{number:04}}}\nspec: {{site: {site}, operator: {operator}, tier: {tier}, "
        f"grade: 2, capacity: {{cpu: {cpu}, memory: {memory}Gi}}, power: {{idle: {20 + cpu * 5}W, perCore: 6W}}, "
        f"price: {{cpu: {price:.3f} EUR/core-hour, memory: 0.004 EUR/GiB-hour, egress: 0.01 EUR/GiB}}}}"
    )


def _documents(parts: list[str]) -> str:
    return "\n---\n".join(f"apiVersion: hanse.dev/v1\n{part}" for part in parts) + "\n"
