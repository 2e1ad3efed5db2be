"""What the workers of one machine tell each other: the contract, and a board for one alone.

A worker posts what it knows under a topic; what it posted before is gone with that. The others look
at it when they like. What they make of it has to be the same in whatever order they see it, since
nothing is queued and nothing is lost: a board holds states, not events. The board that processes
share is `engine/state/board.py`.
"""

from typing import Protocol


class Board(Protocol):
    """A place for what the workers know, seen by all of them; used from one event loop."""

    def post(self, topic: str, told: bytes) -> None:
        """Replace what this worker tells under a topic. Never raises, never waits."""

    def look(self, topic: str) -> list[bytes] | None:
        """What all others tell under a topic; None where nothing has changed since the last look.

        What a worker told is gone once it has ended, however it ended. Costs less than 1 µs for
        each worker where nothing has changed. Never raises.
        """

    def leads(self, role: str) -> bool:
        """Whether this worker holds a role that one has at a time; takes it where it is free.

        It is held until the process ends. Never raises, never waits.
        """

    def close(self) -> None:
        """Take away what this worker told, and give up its roles."""


class Alone:
    """The board of a worker that has no fellows."""

    def post(self, topic: str, told: bytes) -> None:
        """Nobody looks."""

    def look(self, topic: str) -> list[bytes] | None:
        """Nobody tells anything."""
        return None

    def leads(self, role: str) -> bool:
        """There is nobody else for it."""
        return True

    def close(self) -> None:
        """There is nothing to take away."""
