"""Field types of manifests: quantities with units, labels, countries, hosts.

`text as written -> integer or checked text`. The units themselves live in `hanse.core.units`; here they become types
that the models, the JSON Schema and the reference page share.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from hanse.core import units
from hanse.core.errors import UnitError
from hanse.core.ids import is_label
from hanse.core.time import from_datetime


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a unit: how to read it, what people write, and what it becomes."""

    read: Callable[[str], int]
    name: str
    """Type as the reference names it."""
    unit: str
    """Units accepted, for the reference."""
    example: str
    pattern: str
    """Pattern for editors; `read` decides."""
    low: int | None = None
    high: int | None = None
    bounds: str = ""
    """The range as people read it; required where `low` or `high` is set."""
    is_bare_number: bool = False
    """True where a number without a unit means something."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate with `read`, then with the range."""
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe what may be written."""
        text: JsonSchemaValue = {"type": "string", "pattern": self.pattern, "examples": [self.example]}
        return {"anyOf": [text, {"type": "number"}]} if self.is_bare_number else text

    def _validate(self, value: object) -> int:
        fix = f"write it like `{self.example}`"
        match value:
            case str():
                text = value
            case int() | float() if self.is_bare_number and not isinstance(value, bool):
                text = _digits(value)
            case int() | float() if not isinstance(value, bool):
                details = {"problem": f"{value} has no unit", "fix": f"{fix}; units: {self.unit}"}
                raise PydanticCustomError("unit", "{problem}", details)
            case _:
                article = "an" if self.name[0] in "aeiou" else "a"
                details = {"problem": f"not {article} {self.name}", "fix": fix}
                raise PydanticCustomError("unit", "{problem}", details)
        try:
            number = self.read(text)
        except UnitError as error:
            details = {"problem": error.message, "fix": error.hint or fix}
            raise PydanticCustomError("unit", "{problem}", details) from None
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise PydanticCustomError(
                "range", "{problem}", {"problem": f"{value} is out of range", "fix": f"range: {self.bounds}"}
            )
        return number


@dataclass(frozen=True, slots=True)
class Word:
    """Checked text: a pattern or a predicate, and how to correct what does not match."""

    is_valid: Callable[[str], bool]
    name: str
    fix: str
    example: str
    """Empty where any text of the kind serves."""
    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a string with `is_valid`."""
        return core_schema.no_info_after_validator_function(self._validate, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe what may be written."""
        schema_of_text: JsonSchemaValue = {"type": "string", "pattern": self.pattern}
        return schema_of_text | ({"examples": [self.example]} if self.example else {})

    def _validate(self, value: str) -> str:
        if not self.is_valid(value):
            raise PydanticCustomError(
                "word", "{problem}", {"problem": f"not a {self.name}: {value!r}", "fix": self.fix_for(value)}
            )
        return value

    def fix_for(self, value: str) -> str:
        """How to correct `value`: the general rule, or the word that was probably meant."""
        return _COUNTRY_SLIPS.get(value, self.fix) if self.name.startswith("country") else self.fix


def _digits(number: float) -> str:
    # repr gives the shortest text that reads back equal, so 0.1 stays 0.1; 'f' keeps exponents out of the units reader.
    return format(Decimal(repr(number)), "f")


def _thousandths(text: str, *, what: str, example: str) -> int:
    try:
        value = Decimal(text) * 1_000
    except ArithmeticError:
        raise UnitError(f"not a {what}: {text!r}", hint=f"write it like `{example}`") from None
    if not value.is_finite() or value != int(value):
        raise UnitError(f"not a {what} in steps of 0.001: {text!r}", hint=f"write it like `{example}`")
    return int(value)


def _rate(text: str) -> int:
    number, slash, unit = text.partition("/")
    if not slash or unit.strip() not in ("s", "m", "h"):
        raise UnitError(f"not a rate: {text!r}", hint="write it like `20/s`; units: /s, /m, /h")
    per_s = _thousandths(number.strip(), what="rate", example="20/s")
    return -(-per_s // {"s": 1, "m": 60, "h": 3_600}[unit.strip()])


def _weight(text: str) -> int:
    return _thousandths(text, what="weight", example="1.0")


def _factor(text: str) -> int:
    return _thousandths(text, what="factor", example="1.2")


def _share(text: str) -> int:
    ppm = units.percent_ppm(text)
    if ppm % 1_000:
        raise UnitError(f"finer than 0.1 %: {text!r}", hint="use at most one decimal place")
    return ppm // 1_000


def _cost_per_month(text: str) -> int:
    amount, period_us = units.money_rate(text)
    return amount * units.PERIODS_US["month"] // period_us


def _carbon_per_month(text: str) -> int:
    amount, period_us = units.mass_rate(text)
    return amount * units.PERIODS_US["month"] // period_us


def _core_hour(text: str) -> int:
    return units.price_microeur(text, per="core-hour", example="0.031 EUR/core-hour")


def _gib_hour(text: str) -> int:
    return units.price_microeur(text, per="GiB-hour", example="0.004 EUR/GiB-hour")


def _mbit_hour(text: str) -> int:
    return units.price_microeur(text, per="Mbit/s-hour", example="0.0001 EUR/Mbit/s-hour")


def _gpu_hour(text: str) -> int:
    return units.price_microeur(text, per="GPU-hour", example="0.60 EUR/GPU-hour")


def _unit_hour(text: str) -> int:
    return units.price_microeur(text, per="unit-hour", example="0.05 EUR/unit-hour")


def _gib(text: str) -> int:
    return units.price_microeur(text, per="GiB", example="0.02 EUR/GiB")


def _gib_month(text: str) -> int:
    amount, slash, period = text.partition("/")
    if not slash or period.strip() not in units.PERIODS_US:
        raise UnitError(f"no amount of data per period: {text!r}", hint="write it like `20Gi/month`")
    return units.memory_bytes(amount) * units.PERIODS_US["month"] // units.PERIODS_US[period.strip()]


def _kwh(text: str) -> int:
    return units.price_microeur(text, per="kWh", example="0.25 EUR/kWh")


def _grams(text: str) -> int:
    return units.mass_ug(text) // 10**6


def _down(text: str) -> int:
    return 10**6 - units.percent_ppm(text)


def _moment(text: str) -> int:
    try:
        return from_datetime(datetime.fromisoformat(text))
    except ValueError as error:
        raise UnitError(f"no moment: {text!r}", hint="write it like `2026-11-22T06:00:00Z`, with its offset") from error


_NUMBER = r"^\s*[0-9]+(\.[0-9]+)?\s*"
_RATE = r"\s*/\s*(hour|day|month|year)\s*$"
_MEMORY = {"unit": "bytes, or k M G T, Ki Mi Gi Ti", "pattern": _NUMBER + "(k|M|G|T|Ki|Mi|Gi|Ti)?$"}
_DURATION = {"unit": "us, ms, s, m, h, d", "pattern": _NUMBER + "(us|ms|s|m|h|d)$"}

GuestMemory = Annotated[
    int,
    Quantity(units.memory_bytes, "amount of memory", example="64Mi", low=2**20, high=2**32, bounds="1Mi to 4Gi",
             is_bare_number=True, **_MEMORY),
]  # fmt: skip
NodeMemory = Annotated[
    int,
    Quantity(units.memory_bytes, "amount of memory", example="16Gi", low=2**20, high=2**50, bounds="1Mi to 1024Ti",
             is_bare_number=True, **_MEMORY),
]  # fmt: skip
BodySize = Annotated[
    int,
    Quantity(units.memory_bytes, "amount of memory", example="10Mi", low=0, high=2**30, bounds="0 to 1Gi",
             is_bare_number=True, **_MEMORY),
]  # fmt: skip
Cpu = Annotated[
    int,
    Quantity(units.cpu_milli, "number of cores", unit="cores, or m (thousandths)", example="250m",
             pattern=_NUMBER + "m?$", low=1, high=10**9, bounds="1m to 1,000,000 cores", is_bare_number=True),
]  # fmt: skip
Rate = Annotated[
    int,
    Quantity(_rate, "rate", unit="/s, /m, /h", example="20/s", pattern=_NUMBER + r"/\s*[smh]$", low=1, high=10**12,
             bounds="up to 1,000,000,000/s"),
]  # fmt: skip
GpuShare = Annotated[
    int,
    Quantity(_share, "percentage", unit="%, steps of 0.1", example="25%", pattern=_NUMBER + "%$", low=1, high=1_000,
             bounds="0.1% to 100%"),
]  # fmt: skip
Disk = Annotated[
    int,
    Quantity(units.memory_bytes, "amount of disk", example="10Gi", low=1, high=2**60, bounds="1 to 1024Pi",
             is_bare_number=True, **_MEMORY),
]  # fmt: skip
Bandwidth = Annotated[
    int,
    Quantity(units.bandwidth_bps, "bandwidth", unit="bit/s, kbit/s, Mbit/s, Gbit/s, Tbit/s", example="10Mbit/s",
             pattern=_NUMBER + "(k|M|G|T)?bit/s$", low=1, high=10**18, bounds="1bit/s to 1,000,000Tbit/s"),
]  # fmt: skip
BandwidthPrice = Annotated[
    int,
    Quantity(_mbit_hour, "price", unit="EUR/Mbit/s-hour", example="0.0001 EUR/Mbit/s-hour",
             pattern=_NUMBER + r"EUR\s*/\s*Mbit/s-hour$", low=0, high=10**12, bounds="up to 1,000,000 EUR"),
]  # fmt: skip
GpuPrice = Annotated[
    int,
    Quantity(_gpu_hour, "price", unit="EUR/GPU-hour", example="0.60 EUR/GPU-hour",
             pattern=_NUMBER + r"EUR\s*/\s*GPU-hour$", low=0, high=10**12, bounds="up to 1,000,000 EUR"),
]  # fmt: skip
UnitPrice = Annotated[
    int,
    Quantity(_unit_hour, "price", unit="EUR/unit-hour", example="0.05 EUR/unit-hour",
             pattern=_NUMBER + r"EUR\s*/\s*unit-hour$", low=0, high=10**12, bounds="up to 1,000,000 EUR"),
]  # fmt: skip
Latency = Annotated[
    int,
    Quantity(units.duration_us, "duration", example="40ms", low=1, high=60 * 10**6, bounds="1us to 60s", **_DURATION),
]
Timeout = Annotated[
    int,
    Quantity(units.duration_us, "duration", example="10s", low=10**3, high=900 * 10**6, bounds="1ms to 15m",
             **_DURATION),
]  # fmt: skip
Lease = Annotated[
    int,
    Quantity(units.duration_us, "duration", example="1h", low=60 * 10**6, high=30 * 86_400 * 10**6, bounds="1m to 30d",
             **_DURATION),
]  # fmt: skip
Span = Annotated[
    int,
    Quantity(units.duration_us, "duration", example="6h", low=10**6, high=366 * 86_400 * 10**6, bounds="1s to 366d",
             **_DURATION),
]  # fmt: skip
Moment = Annotated[
    int,
    Quantity(_moment, "moment", unit="RFC 3339 with an offset", example="2026-11-22T06:00:00Z",
             pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$"),
]  # fmt: skip
Life = Annotated[
    int,
    Quantity(units.duration_us, "duration", example="1460d", low=86_400 * 10**6, high=36_600 * 86_400 * 10**6,
             bounds="1d to 36600d", **_DURATION),
]  # fmt: skip
Uptime = Annotated[
    int,
    Quantity(_down, "percentage", unit="%", example="99.9%", pattern=_NUMBER + "%$", low=0, high=10**6,
             bounds="0% to 100%"),
]  # fmt: skip
DataPerMonth = Annotated[
    int,
    Quantity(_gib_month, "amount of data per period", unit="bytes, or k M G T, Ki Mi Gi Ti, per hour, day, month or "
             "year", example="20Gi/month", pattern=_NUMBER + "(k|M|G|T|Ki|Mi|Gi|Ti)?" + _RATE, low=0, high=2**60,
             bounds="up to 1024Pi a month"),
]  # fmt: skip
EnergyPrice = Annotated[
    int,
    Quantity(_kwh, "price", unit="EUR per kWh", example="0.25 EUR/kWh", pattern=_NUMBER + r"EUR\s*/\s*kWh\s*$", low=0,
             high=10**9, bounds="up to 1,000 EUR"),
]  # fmt: skip
Mass = Annotated[
    int,
    Quantity(_grams, "mass of CO2 equivalent", unit="g, kg or t", example="1200 kg", pattern=_NUMBER + "(g|kg|t)$",
             low=0, high=10**12, bounds="up to 1,000,000 t"),
]  # fmt: skip
Availability = Annotated[
    int,
    Quantity(units.percent_ppm, "percentage", unit="%", example="99.95%", pattern=_NUMBER + "%$", low=0, high=999_999,
             bounds="0% to 99.9999%; no number of replicas gives 100%"),
]  # fmt: skip
Share = Annotated[int, Quantity(_share, "percentage", unit="%", example="51%", pattern=_NUMBER + "%$")]
CostPerMonth = Annotated[
    int,
    Quantity(_cost_per_month, "sum of money per period", unit="EUR per hour, day, month or year",
             example="40 EUR/month", pattern=_NUMBER + "EUR" + _RATE),
]  # fmt: skip
CarbonPerMonth = Annotated[
    int,
    Quantity(_carbon_per_month, "mass of CO2 equivalent per period",
             unit="ug, mg, g, kg or t per hour, day, month or year", example="3 kg/month",
             pattern=_NUMBER + "(ug|mg|g|kg|t)" + _RATE),
]  # fmt: skip
CarbonPrice = Annotated[
    int,
    Quantity(units.carbon_price_microeur_per_t, "carbon price", unit="EUR per tonne", example="60 EUR/t",
             pattern=_NUMBER + r"EUR\s*/\s*t\s*$"),
]  # fmt: skip
CorePrice = Annotated[
    int,
    Quantity(_core_hour, "price", unit="EUR per core-hour", example="0.031 EUR/core-hour",
             pattern=_NUMBER + r"EUR\s*/\s*core-hour\s*$"),
]  # fmt: skip
MemoryPrice = Annotated[
    int,
    Quantity(_gib_hour, "price", unit="EUR per GiB-hour", example="0.004 EUR/GiB-hour",
             pattern=_NUMBER + r"EUR\s*/\s*GiB-hour\s*$"),
]  # fmt: skip
TrafficPrice = Annotated[
    int,
    Quantity(_gib, "price", unit="EUR per GiB", example="0.02 EUR/GiB", pattern=_NUMBER + r"EUR\s*/\s*GiB\s*$"),
]
Watts = Annotated[
    int,
    Quantity(units.power_mw, "power", unit="mW, W, kW", example="4.5W", pattern=_NUMBER + "(mW|W|kW)$"),
]
Weight = Annotated[
    int,
    Quantity(_weight, "weight", unit="number, steps of 0.001", example="1.0", pattern=_NUMBER + "$", low=0,
             high=1_000_000, bounds="0 to 1000", is_bare_number=True),
]  # fmt: skip
Pue = Annotated[
    int,
    Quantity(_factor, "factor", unit="number, steps of 0.001", example="1.2", pattern=_NUMBER + "$", low=1_000,
             high=5_000, bounds="1.0 to 5.0", is_bare_number=True),
]  # fmt: skip

# ISO 3166-1 alpha-2, as assigned in November 2026, and XK, which the EU uses for Kosovo.
_COUNTRIES = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ "
    "CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO "
    "FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE "
    "JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO "
    "MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW "
    "PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM "
    "TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"
)
COUNTRIES = frozenset(_COUNTRIES.split())
_COUNTRY_SLIPS: Mapping[str, str] = {
    "UK": "ISO 3166-1 writes the United Kingdom `GB`",
    "EL": "ISO 3166-1 writes Greece `GR`",
    "USA": "ISO 3166-1 alpha-2 writes the United States `US`",
}
RESERVED_RESOURCES = frozenset({"cpu", "memory", "disk", "bandwidth", "gpu"})
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]+(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?)?\Z")
_AREA = re.compile(r"[A-Z][A-Za-z0-9-]{1,31}\Z")
_ZONE = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,8}){0,3}\Z")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_LABEL_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")


def _is_path(text: str) -> bool:
    return len(text) <= 1_024 and _PATH.match(text) is not None and not {".", ".."} & set(text.split("/"))


def _is_destination(text: str) -> bool:
    host, colon, port = text.partition(":")
    is_port = colon == "" or (re.fullmatch(r"[1-9][0-9]{0,4}", port) is not None and int(port) < 65_536)
    return is_port and _HOST.match(host) is not None


Label = Annotated[
    str,
    Word(is_label, "label", "use 1 to 63 of a-z, 0-9 and -, with no dash at either end (RFC 1123)", "",
         "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
]  # fmt: skip
WorkloadName = Annotated[
    str,
    Word(lambda text: len(text.split(".")) == 2 and all(map(is_label, text.split("."))), "workload",
         "write it as `namespace.name`", "clinic.portal",
         r"^[a-z0-9-]{1,63}\.[a-z0-9-]{1,63}$"),
]  # fmt: skip
SecretName = Annotated[
    str,
    Word(lambda text: 1 <= len(text.split(".")) <= 2 and all(map(is_label, text.split("."))), "secret",
         "write its name, or `namespace.name`", "ledger-db",
         r"^([a-z0-9-]{1,63}\.)?[a-z0-9-]{1,63}$"),
]  # fmt: skip
Country = Annotated[
    str,
    Word(COUNTRIES.__contains__, "country code", "use ISO 3166-1 alpha-2 in upper case, for example `DE`", "DE",
         "^[A-Z]{2}$"),
]  # fmt: skip
Area = Annotated[
    str,
    Word(lambda text: _AREA.match(text) is not None, "country code or bloc", "write `DE` or a bloc such as `EEA`",
         "EEA", "^[A-Z][A-Za-z0-9-]{1,31}$"),
]  # fmt: skip


def _is_upstream(text: str) -> bool:
    place = text.removeprefix("https://")
    host, colon, port = place.rpartition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 2**16
    try:
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        # A name proves nothing about who answers; under TLS the certificate does.
        return is_port and place != text and _HOST.match(host) is not None and not _is_number(host.rpartition(".")[2])
    return bool(colon) and is_port and (address.version == 6) == host.startswith("[")


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdigit()


Host = Annotated[
    str,
    Word(lambda text: _HOST.match(text) is not None, "host name",
         "write the name alone in lower case: no scheme, no port, no path", "api.example.org",
         r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"),
]  # fmt: skip
Destination = Annotated[
    str,
    Word(_is_destination, "host name", "write the name in lower case, with `:port` if it is not the scheme's own; "
         "no scheme, no path", "api.example.org",
         r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$"),
]  # fmt: skip
RoutePath = Annotated[
    str,
    Word(_is_path, "path", "begin with `/`; no query, no empty segment, no `.` or `..`", "/triage", "^/[^?#]*$"),
]
GridZone = Annotated[
    str,
    Word(lambda text: _ZONE.match(text) is not None, "grid zone",
         "use an Electricity Maps zone key, for example `DE` or `SE-SE3`", "SE-SE3",
         "^[A-Z]{2}(-[A-Z0-9]{1,8}){0,3}$"),
]  # fmt: skip
EnvName = Annotated[
    str,
    Word(lambda text: _ENV.match(text) is not None, "variable name", "use letters, digits and _, not a digit first",
         "LOG_LEVEL", "^[A-Za-z_][A-Za-z0-9_]{0,127}$"),
]  # fmt: skip
LabelKey = Annotated[
    str,
    Word(lambda text: _LABEL_KEY.match(text) is not None, "label key",
         "use up to 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, with an optional `domain/` before", "hardware",
         "^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"),
]  # fmt: skip
LabelValue = Annotated[
    str,
    Word(lambda text: _LABEL_VALUE.match(text) is not None, "label value",
         "use up to 63 of A-Z, a-z, 0-9, `-`, `_` and `.`", "arm64",
         "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"),
]  # fmt: skip
Upstream = Annotated[
    str,
    Word(_is_upstream, "address and port", "write an IP address and a port of the node, or `https://`, a name or "
         "address, and a port", "127.0.0.1:9000",
         r"^((https://)?(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\])"
         r"|https://[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*):\d{1,5}$"),
]  # fmt: skip
GpuModel = Annotated[
    str,
    Word(lambda text: _LABEL_VALUE.match(text) is not None and text != "", "GPU model",
         "use up to 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, as the vendor writes it", "A100",
         "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"),
]  # fmt: skip
ResourceName = Annotated[
    str,
    Word(lambda text: _LABEL_KEY.match(text) is not None and text not in RESERVED_RESOURCES, "resource name",
         "use up to 63 of A-Z, a-z, 0-9, `-`, `_` and `.`, with an optional `domain/` before, and not one that is "
         "built in", "licence",
         "^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"),
]  # fmt: skip
DataSetName = Annotated[
    str,
    Word(lambda text: all(is_label(part) for part in text.split(".")) and text.count(".") <= 1, "name of a data set",
         "write `name`, or `namespace.name` for one of another namespace", "clinic.scans",
         r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"),
]  # fmt: skip
EgressPlace = Annotated[
    str,
    Word(lambda text: is_label(text) or text in COUNTRIES, "site or country",
         "write the id of a site, or a country by its ISO 3166-1 alpha-2 code", "paris", r"^[A-Za-z0-9-]{1,63}$"),
]  # fmt: skip
Text = Annotated[
    str,
    Word(lambda text: 0 < len(text.strip()) <= 1_024, "text", "write 1 to 1,024 characters", "",
         r"\S"),
]  # fmt: skip
