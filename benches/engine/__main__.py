"""Measure the engine beside its rivals. Progress on standard error, one JSON line on standard out.

`python -m benches.engine --json [--only NAME ...] [--rounds N] [--seconds S] [--quick]`. What is missing
(wasmtime-cli, workerd, the load generator) is installed or built first and kept. NAME is a handler or a bar; see
`--help`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from benches import report
from benches.engine import bars, rivals, tools


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    names = (*rivals.HANDLERS, *bars.BARS)
    parser = argparse.ArgumentParser(prog="python -m benches.engine", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON line (the only format)")
    parser.add_argument("--only", action="append", choices=names, help="measure this; may be given several times")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    parser.add_argument("--quick", action="store_true", help="one round of one second: shows that it runs, no more")
    options = parser.parse_args()
    effort = (
        rivals.Effort(rounds=1, seconds=1.0)
        if options.quick
        else rivals.Effort(rounds=options.rounds, seconds=options.seconds)
    )
    # Whoever ends this ends the servers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder:
        ready = tools.set_up(Path(folder), say)
        figures = {
            **report.header("engine"),
            "versions": ready.versions,
            "rounds": effort.rounds,
            "seconds": effort.seconds,
            "handlers": {},
            "bars": {},
        }
        for name in options.only or names:
            if name in rivals.HANDLERS:
                figures["handlers"][name] = rivals.compare(name, ready, effort, say)
            else:
                figures["bars"][name] = bars.BARS[name](ready, effort, say)
        figures["load_1min_after"] = report.machine()["load_1min"]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
