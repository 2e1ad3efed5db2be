"""`python -m turnout` is the `turnout` command."""

import sys

from turnout.cli import main

if __name__ == "__main__":  # worker processes import this module again, under another name
    sys.exit(main())
