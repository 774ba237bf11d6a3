"""Read the cities that ship with hanse: `package -> city name -> place`.

They give coordinates to the origins of demand that manifests name; what they are used for is the placement's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import yaml

from hanse.core.errors import invariant
from hanse.core.geo import Place


def read_gazetteer() -> Mapping[str, Place]:
    """Every city by name, in name order. A malformed file is a bug in hanse: raises InvariantBroken."""
    text = (files("hanse") / "data" / "gazetteer.yaml").read_text(encoding="utf-8")
    places: dict[str, Place] = {}
    for row in yaml.safe_load(text)["cities"]:
        name, latitude, longitude = row["name"], row["latitude"], row["longitude"]
        invariant(name not in places, f"gazetteer names {name} twice")
        invariant(-90 <= latitude <= 90 and -180 <= longitude <= 180, f"gazetteer puts {name} off the globe")
        places[name] = Place(city=name, latitude_deg=float(latitude), longitude_deg=float(longitude))
    return dict(sorted(places.items()))
