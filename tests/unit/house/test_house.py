"""The house rules hold over the whole tree, and each of them catches what it forbids."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from house_rules import check_source, lone_sleeps

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "hanse"
FILES = sorted(p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.py") if "jsbuild" not in p.parts)

ON_THE_VIRTUAL_LOOP = re.compile(r"^(from|import) (hanse\.twin|room_kit|gossip)\b", re.MULTILINE)

PLANTED = [
    ("layer", "control/x.py", "from hanse.node import build_node"),
    ("layer", "policy/x.py", "from hanse.placement import plan"),
    ("layer", "adapters/x.py", "from hanse.policy import screen"),
    ("layer", "twin/x.py", "from hanse import adapters"),
    ("purity", "policy/x.py", "import time"),
    ("purity", "core/x.py", "async def f() -> None: ..."),
    ("purity", "placement/x.py", "from datetime import datetime\nnow = datetime.now()"),
    ("purity", "wire/x.py", "data = open('x')"),
    ("world", "node/x.py", "def f(is_test: bool) -> None: ..."),
    ("world", "control/x.py", "simulated = 1"),
    ("assert", "app/x.py", "assert True"),
    ("order", "control/x.py", "for x in set(y) | z: pass"),
    ("order", "app/x.py", "x = list({1, 2})"),
    ("print", "node/x.py", "print(1)"),
    ("size", "core/x.py", "def f():\n" + "    x = 1\n" * 80),
    ("size", "core/x.py", "x = 1\n" * 700),
    ("record", "core/x.py", "@dataclass\nclass A: ..."),
]


@pytest.mark.parametrize("path", FILES)
def test_rules_hold(path: str) -> None:
    offences = check_source(path, (SOURCE / path).read_text())
    assert not offences, "\n" + "\n".join(str(offence) for offence in offences)


@pytest.mark.parametrize(("rule", "path", "source"), PLANTED)
def test_a_planted_violation_is_caught(rule: str, path: str, source: str) -> None:
    assert rule in {offence.rule for offence in check_source(path, source)}


def test_no_addresses_of_registries_or_machines_in_tracked_files() -> None:
    """Lock files carry hashes; where packages come from is the machine's business."""
    hosts = r"(files\.python" r"hosted|registry\.npm" r"js|static\.crates|deb\.deb" r"ian)\.(org|io)|/wo" r"rk/"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    found = [
        name
        for name in listed.split("\0")
        if name and (ROOT / name).is_file() and re.search(hosts, (ROOT / name).read_bytes().decode(errors="replace"))
    ]
    assert not found


def test_tests_do_not_sleep_to_wait() -> None:
    """A sleep is a guess about another machine's speed. Inside a loop that looks at a condition it is polling; alone it
    is a guess."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if not ON_THE_VIRTUAL_LOOP.search(path.read_text())  # there a sleep passes virtual time
        for line in lone_sleeps(path.read_text())
    ]
    assert not found


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("import time\ntime.sleep(1)", [2]),
        ("async def f():\n    await asyncio.sleep(0.1)", [2]),
        ("async def f():\n    while not done():\n        await asyncio.sleep(0.1)", []),
        ("async def f():\n    await asyncio.sleep(0)", []),
    ],
)
def test_lone_sleeps_are_seen(source: str, lines: list[int]) -> None:
    assert lone_sleeps(source) == lines
