"""`python -m hanse` is `hanse`."""

from hanse.app.cli import main

if __name__ == "__main__":
    main()
