"""How a family of models counts, as far as its maker publishes it.

For OpenAI's models text, tools and images follow published rules, so a count is the provider's own.
For every other model it is o200k's count times a ratio: a judgement of how much more its tokenizer
makes of the same text (measured against Mistral's: 5 % more for a large vocabulary, up to a third
for one of 32 000). Such a count is an estimate, and is called one wherever it is shown.

Sources: the OpenAI cookbook's "How to count tokens with tiktoken"; OpenAI's guide to images.
To add a family: its row in `_FAMILIES`, before any row that would match its names too.
"""

import re
from dataclasses import dataclass

from .encodings import CL100K, O200K, Table
from .media import PatchRule, PictureRule, TileRule

_GPT_4O = TileRule(85, 170)


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How to count for a model; `percent` of the table's count where that is not its own table.

    `per_tool` is what offering a function costs beside its text.
    """

    table: Table
    images: PictureRule
    per_tool: int = 7
    percent: int = 100

    @property
    def exact(self) -> bool:
        """Whether a count is the provider's own, not an estimate."""
        return self.percent == 100

    def corrected(self, counted: int) -> int:
        """What the model makes of so many tokens of the table."""
        return -(-counted * self.percent // 100)


POLICY = Tokenizer(O200K, _GPT_4O)
"""What `tokens` in a condition is counted by, whatever the target."""

_FAMILIES: tuple[tuple[re.Pattern[str], Tokenizer], ...] = tuple(
    (re.compile(pattern), tokenizer)
    for pattern, tokenizer in (
        (r"gpt-4o-mini", Tokenizer(O200K, TileRule(2833, 5667))),
        (r"(gpt-4\.1|gpt-5(\.\d)?)-nano", Tokenizer(O200K, PatchRule(246))),
        (r"(gpt-4\.1|gpt-5(\.\d)?)-mini", Tokenizer(O200K, PatchRule(162))),
        (r"o4-mini", Tokenizer(O200K, PatchRule(172))),
        (r"o[1-9]", Tokenizer(O200K, TileRule(75, 150))),
        (r"gpt-[5-9]", Tokenizer(O200K, TileRule(70, 140))),
        (r"gpt-4(o|\.\d)|chatgpt-4o", POLICY),
        (
            r"gpt-4|gpt-3\.5|text-embedding-|(davinci|babbage)-002",
            Tokenizer(CL100K, _GPT_4O, per_tool=10),
        ),
        (r"(.*\.)?claude", Tokenizer(O200K, _GPT_4O, percent=120)),
        (
            r"(open-)?mi[sx]tral-(7b|8x7b|8x22b|tiny)|llama-?2|codellama",
            Tokenizer(O200K, _GPT_4O, percent=130),
        ),
    )
)
_ANY_OTHER = Tokenizer(O200K, _GPT_4O, percent=110)


def tokenizer_of(model: str) -> Tokenizer:
    """How the model of this name counts; a maker's prefix (`openai/`) may stand first."""
    name = model.rpartition("/")[2].removeprefix("ft:").lower()
    for pattern, tokenizer in _FAMILIES:
        if pattern.match(name):
            return tokenizer
    return _ANY_OTHER
