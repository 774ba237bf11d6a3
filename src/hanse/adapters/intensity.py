"""Read the yearly mean carbon intensities that ship with hanse: `package -> grid zone -> g/kWh`.

They serve until a feed is given; zones that are missing stay missing, and placement says what that costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import yaml

from hanse.core.errors import invariant


def read_intensities() -> Mapping[str, int]:
    """Grams of CO2 equivalent per kWh by Electricity Maps zone key, in key order.

    A malformed file is a bug in hanse: raises InvariantBroken.
    """
    tables = yaml.safe_load((files("hanse") / "data" / "intensity.yaml").read_text(encoding="utf-8"))
    intensities: dict[str, int] = {}
    for zone, row in sorted(tables["zones"].items()):
        grams = row["g_per_kwh"]
        invariant(row["source"] in tables["sources"], f"intensity of {zone} names no known source")
        invariant(isinstance(grams, int) and 0 <= grams <= 2_000, f"intensity of {zone} is out of range: {grams}")
        intensities[str(zone)] = grams
    return intensities
