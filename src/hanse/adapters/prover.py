"""The analyst that proves things about rules: `rules -> SMT-LIB -> cvc5 -> proved, or a counterexample`.

`hanse._engine` compiles Cedar to SMT-LIB; a process runs cvc5 on it (`smt_process`). Everything is bounded: the
solver's time and memory by itself, and the process by being killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hanse import _engine
from hanse.core.errors import HanseError

ACTION = 'Action::"place"'
ANSWER_MAX_BYTES = 64 * 2**20


class ProverError(HanseError):
    """Raised when nothing can be proved: no solver, one that failed, or rules that cannot be put to it."""

    code = "policy.prover"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverLimits:
    """What one question may cost."""

    time_ms: int = 10_000
    """For one question; then the answer is `undecided`. Shipped properties need some hundred milliseconds."""
    grace_ms: int = 2_000
    """Beyond its own limit, before the process is killed."""
    memory_mib: int = 4_096
    """Address space of the process; the library alone maps some hundred."""


class Prover:
    """Answers questions about rules under one schema. A context: the solver's process lives inside it."""

    def __init__(self, schema: str, limits: SolverLimits | None = None) -> None:
        self._schema = schema
        self._limits = limits or SolverLimits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def escapes(self, wide: str, narrow: str) -> _engine.Analysis:
        """Find a request that the first rules allow and the second deny. Raises ProverError."""
        return self._analyse("escapes", wide, narrow)

    def errs(self, policy: str) -> _engine.Analysis:
        """Find a request on which this one policy errs. Raises ProverError."""
        return self._analyse("errs", policy, "")

    def _analyse(self, question: str, rules: str, other: str) -> _engine.Analysis:
        try:
            return _engine.analyse(question, self._schema, "Workload", ACTION, "Node", rules, other, self._solve)
        except _engine.EngineError as error:
            raise ProverError(error.message, code=error.code, hint=error.hint) from error

    def _solve(self, script: str) -> str:
        """Answer one script; a process that is late or dies is replaced for the next."""
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise ProverError("the solver's process has no pipes", code="prove.solver")
        data = script.encode()
        try:
            process.stdin.write(b"%d\n%b" % (len(data), data))
            process.stdin.flush()
            answer = self._read(process.stdout.fileno())
        except (BrokenPipeError, EOFError) as error:
            code = process.wait()
            self._end()
            raise _died(code) from error
        if answer is None:
            self._end()
            return "unknown\n"
        return answer.decode()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            limits = [str(self._limits.time_ms), str(self._limits.memory_mib)]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hanse.adapters.smt_process", *limits],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            )  # fmt: skip
        return self._process

    def _read(self, pipe: int) -> bytes | None:
        """One answer, or None when it is late."""
        late = time.monotonic() + (self._limits.time_ms + self._limits.grace_ms) / 1_000
        got = bytearray()
        while b"\n" not in got:
            if not _more(pipe, got, late):
                return None
        head, _, rest = bytes(got).partition(b"\n")
        size = int(head)
        if size > ANSWER_MAX_BYTES:
            raise ProverError(f"the solver's answer has {size:,} bytes", code="prove.solver")
        got = bytearray(rest)
        while len(got) < size:
            if not _more(pipe, got, late):
                return None
        return bytes(got)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None


def _more(pipe: int, got: bytearray, late: float) -> bool:
    ready, _, _ = select.select([pipe], [], [], max(0.0, late - time.monotonic()))
    if not ready:
        return False
    chunk = os.read(pipe, 1 << 16)
    if not chunk:
        raise EOFError
    got += chunk
    return True


def _died(code: int) -> ProverError:
    if code == 3:
        return ProverError(
            "no solver is installed", code="prove.no_solver", hint="install it: pip install 'hanse[prove]'"
        )
    return ProverError(
        f"the solver's process ended with {code}", code="prove.solver", hint="state the property with fewer sets"
    )
