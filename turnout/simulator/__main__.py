"""`python -m turnout.simulator`: the simulator without the rest of turnout."""

import argparse
import sys

from .launch import configure, run


def main() -> int:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser("python -m turnout.simulator", description=__doc__)
    configure(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
