"""What a `usage` object is read as: a count that is missing or impossible is not zero."""

import pytest

from turnout.adapters.usage import read_usage
from turnout.engine.request import Usage


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2}, Usage(10, 2)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        # Embeddings have no `completion_tokens`.
        ({"prompt_tokens": 10, "total_tokens": 10}, Usage(10, 0)),
        ({"prompt_tokens": 10, "completion_tokens": None, "total_tokens": 12}, Usage(10, 2)),
        ({"prompt_tokens": 10, "completion_tokens": -1, "total_tokens": 12}, Usage(10, 2)),
        ({"prompt_tokens": 10}, None),
        ({"prompt_tokens": 10, "completion_tokens": -1}, None),
        ({"prompt_tokens": 10, "completion_tokens": 1.5, "total_tokens": 3}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ({"prompt_tokens": "10", "completion_tokens": "2"}, None),
        ({"prompt_tokens": True, "completion_tokens": True}, None),
        ({"completion_tokens": 2}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
    ids=repr,
)
def test_usage_is_what_was_counted_or_unknown(reported: object, expected: Usage | None) -> None:
    assert read_usage(reported) == expected
