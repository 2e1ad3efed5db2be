"""How each operation's answers are told again: `FORMS`, for the cache."""

from collections.abc import Mapping, Sequence

from turnout.engine.cached import Form
from turnout.engine.request import Operation, Request, Usage

from .again import whole_object
from .again_chat import ChatAgain
from .again_completions import CompletionsAgain
from .again_messages import MessagesAgain
from .again_responses import ResponsesAgain


class EmbeddingsAgain:
    """A `Form`: lists of embeddings, which are never streamed."""

    def is_complete(self, body: bytes) -> bool:
        """Whether there are vectors."""
        answer = whole_object(body)
        data = None if answer is None else answer.get("data")
        return isinstance(data, list) and bool(data)

    def whole(self, events: Sequence[bytes], usage: Usage | None) -> bytes | None:
        """Nothing: there are no such streams."""
        return None

    def events(self, body: bytes, request: Request) -> list[bytes]:
        """Nothing: there are no such streams."""
        return []


FORMS: Mapping[Operation, Form] = {
    Operation.CHAT: ChatAgain(),
    Operation.COMPLETIONS: CompletionsAgain(),
    Operation.EMBEDDINGS: EmbeddingsAgain(),
    Operation.RESPONSES: ResponsesAgain(),
    Operation.MESSAGES: MessagesAgain(),
}
