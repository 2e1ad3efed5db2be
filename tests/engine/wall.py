"""A board that workers of one test share, without files and clocks."""


class Wall:
    """What all of them tell."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], tuple[int, bytes]] = {}
        self.holders: dict[str, int] = {}
        self._boards = 0
        self.changes = 0

    def board(self) -> "WallBoard":
        """A place for one worker more."""
        self._boards += 1
        return WallBoard(self, self._boards)


class WallBoard:
    """A worker's side of it: `turnout.engine.board.Board`."""

    def __init__(self, wall: Wall, number: int) -> None:
        self._wall = wall
        self._number = number
        self._seen: dict[str, list[tuple[int, bytes]]] = {}

    def post(self, topic: str, told: bytes) -> None:
        self._wall.changes += 1
        self._wall.told[topic, self._number] = (self._wall.changes, told)

    def look(self, topic: str) -> list[bytes] | None:
        others = [
            told
            for (about, number), told in self._wall.told.items()
            if about == topic and number != self._number
        ]
        if others == self._seen.get(topic, []):
            return None
        self._seen[topic] = others
        return [told for _, told in others]

    def leads(self, role: str) -> bool:
        return self._wall.holders.setdefault(role, self._number) == self._number

    def close(self) -> None:
        for topic, number in list(self._wall.told):
            if number == self._number:
                del self._wall.told[topic, number]
        for role, holder in list(self._wall.holders.items()):
            if holder == self._number:
                del self._wall.holders[role]
