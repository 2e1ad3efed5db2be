"""Answers of any shape: what counts as complete can be told again, in events and whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.again import Json, asked, spoilt
from tests.protocols.test_protocols_again_chat import completions as chats
from tests.protocols.test_protocols_again_completions import completions
from tests.protocols.test_protocols_again_messages import messages
from tests.protocols.test_protocols_again_responses import responses
from turnout.engine.request import Operation
from turnout.protocols.forms import FORMS

ANSWERS = {
    Operation.CHAT: chats(),
    Operation.COMPLETIONS: completions(),
    Operation.MESSAGES: messages(),
    Operation.RESPONSES: responses(),
}
# Nothing in them was put right before.
AS_THEY_CAME = (Operation.MESSAGES, Operation.RESPONSES)


@pytest.mark.parametrize("operation", ANSWERS, ids=lambda one: one.value)
@given(st.data())
def test_whatever_is_complete_is_told_in_events_and_is_complete_again(
    operation: Operation, data: st.DataObject
) -> None:
    form = FORMS[operation]
    body: Json = data.draw(ANSWERS[operation])
    told = json.dumps(data.draw(st.composite(spoilt)(body))).encode()
    events = form.events(told, asked(operation))
    whole = form.whole(events, None)
    if form.is_complete(told):
        assert events
        assert whole is not None
        assert form.is_complete(whole)
        if operation in AS_THEY_CAME:
            assert settled(whole) == settled(told)


def settled(raw: bytes) -> Json:
    parsed = json.loads(raw)
    assert isinstance(parsed, dict)
    return {**parsed, "usage": None}  # one that is none may come out as another
