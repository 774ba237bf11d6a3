"""What ships inside the package, for runs that are started from here and not by the app: `package -> Settings`."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

import yaml

from hanse.core.geo import Place
from hanse.twin.fabric import Settings


def shipped_settings() -> Settings:
    """The policy packs, intensities and cities that ship with hanse."""
    data = files("hanse") / "data"
    zones = yaml.safe_load((data / "intensity.yaml").read_text(encoding="utf-8"))["zones"]
    cities = yaml.safe_load((data / "gazetteer.yaml").read_text(encoding="utf-8"))["cities"]
    places = [
        Place(city=row["name"], latitude_deg=float(row["latitude"]), longitude_deg=float(row["longitude"]))
        for row in cities
    ]
    return Settings(
        packs=dict(sorted(_packs(files("hanse") / "packs", "").items())),
        intensity_g_per_kwh={str(zone): int(row["g_per_kwh"]) for zone, row in sorted(zones.items())},
        gazetteer={place.city: place for place in sorted(places, key=lambda place: place.city)},
    )


def _packs(folder: Traversable, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            found.update(_packs(entry, f"{path}/"))
        elif entry.name.endswith((".yaml", ".cedar")):
            found[path] = entry.read_text(encoding="utf-8")
    return found
