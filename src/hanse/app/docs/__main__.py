"""`python -m hanse.app.docs [ROOT]`: write the reference pages of the repository at ROOT (here by default)."""

import sys
from pathlib import Path

from hanse.app.docs import write

for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else ".")):
    sys.stderr.write(f"wrote {path}\n")
