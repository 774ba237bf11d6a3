"""The compiler's own process: `component on standard input -> compiled component in the cache`.

Started by `hanse.adapters.engine_runtime` for large components, so that the memory the compiler takes is given back
whole.
"""

from __future__ import annotations

import sys

from hanse import _engine


def main() -> int:
    """Compile what comes on standard input into the cache directory named as the first argument."""
    try:
        _engine.precompile(sys.stdin.buffer.read(), sys.argv[1])
    except _engine.EngineError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
