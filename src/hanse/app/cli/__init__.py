"""The command line: `hanse`. Every command is a client of the API, but for those that start processes or read files.

Modules of commands import what they need when they run, so that `hanse --help` and shell completion are quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hanse.core.errors import HanseError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (`hanse.app.cli.exits`). `argv` defaults to that of the process."""
    from hanse.app.cli.root import app
    from hanse.core.errors import HanseError

    args = sys.argv[1:] if argv is None else list(argv)
    try:
        app(args=args, prog_name="hanse")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1 if leaving.code else 0
    except KeyboardInterrupt:
        return 130
    except HanseError as error:
        if os.environ.get("HANSE_DEBUG") == "1":
            raise
        return _tell(error, args)
    except Exception as error:
        if os.environ.get("HANSE_DEBUG") == "1":
            raise
        return _tell(_bug(error), args)
    return 0


def _tell(error: HanseError, args: Sequence[str]) -> int:
    from hanse.app.cli.exits import exit_code_of
    from hanse.app.cli.failing import print_failure

    print_failure(error, args)
    return int(exit_code_of(error))


def _bug(error: Exception) -> HanseError:
    from hanse.core.errors import HanseError

    return HanseError(
        f"{type(error).__name__}: {error}",
        hint="this is a bug in hanse; run it again with HANSE_DEBUG=1 and report what it prints",
    )
