"""cvc5 in a process of its own: `SMT-LIB scripts on stdin -> answers on stdout`.

``python -m hanse.adapters.smt_process MILLISECONDS MEBIBYTES``. Each script and each answer is a line with its length
in bytes, then so many bytes. A process apart, because the solver's library holds the interpreter's lock while it works,
because its memory goes back whole, and because what it does on a hostile script must not end a controller.
"""

from __future__ import annotations

import resource
import sys
from typing import Any


def main(argv: list[str]) -> int:
    """Answer scripts until the input ends. Exits 3 where cvc5 is not installed."""
    limit_ms, memory_mib = int(argv[0]), int(argv[1])
    try:
        import cvc5
    except ImportError:
        return 3
    used = memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (used, used))
    while head := sys.stdin.buffer.readline(32):
        script = sys.stdin.buffer.read(int(head)).decode()
        answer = _answer(cvc5, script, limit_ms).encode()
        sys.stdout.buffer.write(b"%d\n%b" % (len(answer), answer))
        sys.stdout.buffer.flush()
    return 0


def _answer(cvc5: Any, script: str, limit_ms: int) -> str:
    """Run one script with a fresh solver; what an unsatisfiable script says about its model is left out."""
    solver = cvc5.Solver(cvc5.TermManager())
    solver.setOption("tlimit-per", str(limit_ms))
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, script, "question")
    symbols = parser.getSymbolManager()
    said = ""
    while not (command := parser.nextCommand()).isNull():
        if command.getCommandName() == "get-model" and not said.startswith("sat"):
            continue
        said += command.invoke(solver, symbols)
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
