"""Folders of what the gateway keeps: made for their owner alone."""

from pathlib import Path


def make_closed(folder: Path) -> None:
    """Make a folder and those above it that are missing, each with mode 0700.

    One that is there stays as it is. Raises: OSError.
    """
    # `parents=True` of `mkdir` would leave the upper ones open to others.
    if not folder.parent.exists():
        make_closed(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
