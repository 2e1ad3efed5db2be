"""What a `usage` object is read as: a count that is missing or impossible is not zero."""

import pytest

from turnout.adapters.usage import read_usage, shown_usage
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
        ({"prompt_tokens": 10, "completion_tokens": 2**30}, None),
        # More cannot have been cached than there was.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 5},
            },
            Usage(10, 2, 10),
        ),
        # Nor can more of the output be reasoning: it stands beside it.
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(10, 9, reasoning=7),
        ),
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


def test_usage_is_shown_with_all_its_totals_and_no_count_that_is_none() -> None:
    reported = {
        "prompt_tokens": 10,
        "completion_tokens": None,
        "total_tokens": 12,
        "queue_time": 0.5,
        "prompt_tokens_details": {"cached_tokens": "4", "audio_tokens": 0},
        "completion_tokens_details": "none",
    }
    assert shown_usage(reported, read_usage(reported)) == {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "queue_time": 0.5,
        "prompt_tokens_details": {"audio_tokens": 0},
        "completion_tokens_details": None,
    }
    assert shown_usage({"prompt_tokens": "10"}, None) is None
