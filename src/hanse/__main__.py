"""`python -m hanse` is the command line."""

import sys

from hanse.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
