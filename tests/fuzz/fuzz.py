"""Coverage-guided fuzzing (atheris, libFuzzer) of every parser of foreign bytes: `make fuzz`.

Each parser runs in a process of its own for some seconds, from a corpus that begins with the sample of
`foreign_bytes` and grows in the user's cache. What ends in anything but a value or a HanseError is kept in
``tests/fuzz/found`` and makes this fail; the suite runs what is kept there for ever.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HOME = Path(__file__).parent
CORPUS = Path.home() / ".cache" / "hanse" / "fuzz"
SLOW_S = 10
MEMORY_MIB = 2_048
INPUT_MAX = 65_536


def main() -> int:
    """Run all parsers, or those that are named; 1 if any was broken."""
    sys.path[:0] = [str(HOME.parent), str(HOME.parent / "kits"), str(HOME.parents[1] / "src"), str(HOME.parents[1])]
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("names", nargs="*", help="parsers; default: all")
    asked.add_argument("--seconds", type=int, default=60, help="for each parser")
    asked.add_argument("--one", help=argparse.SUPPRESS)
    given, rest = asked.parse_known_args()
    if given.one is not None:
        return _one(given.one, rest)
    from foreign_bytes import every_case

    known = every_case()
    names = given.names or sorted(known)
    broken = 0
    for name in names:
        found, line = _run(name, known[name].sample, given.seconds)
        broken += len(found)
        print(json.dumps({"parser": name, **line, "found": [str(one.relative_to(HOME)) for one in found]}), flush=True)
    return 1 if broken else 0


def _run(name: str, sample: bytes, seconds: int) -> tuple[list[Path], dict[str, int]]:
    label = name.replace(" ", "_")
    corpus = CORPUS / label
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "sample").write_bytes(sample)
    with tempfile.TemporaryDirectory() as kept:
        command = [
            sys.executable, str(Path(__file__)), "--one", name, str(corpus), f"-artifact_prefix={kept}/",
            f"-max_total_time={seconds}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={INPUT_MAX}",
            "-print_final_stats=1",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        found = [_keep(label, one) for one in sorted(Path(kept).iterdir())]
    if done.returncode and not found:
        raise SystemExit(f"{name}: the fuzzer ended with {done.returncode}\n{done.stderr[-2_000:]}")
    if found:
        sys.stderr.write(done.stderr[-3_000:])
    runs = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    return found, {"runs": int(runs.group(1)) if runs else 0, "coverage": int(covered[-1]) if covered else 0}


def _keep(label: str, artifact: Path) -> Path:
    data = artifact.read_bytes()
    file = HOME / "found" / f"{label}.{hashlib.sha256(data).hexdigest()[:16]}.bin"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    return file


def _one(name: str, rest: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=["hanse"]):
        from foreign_bytes import check, every_case

    case = every_case()[name]
    atheris.Setup([sys.argv[0], *rest], lambda data: check(case, data))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
