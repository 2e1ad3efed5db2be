"""The page of settings has every variable that a provider reads."""

import re
from pathlib import Path

from turnout.adapters import PROVIDERS

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")


def test_each_variable_of_each_kind_of_provider_is_on_the_page() -> None:
    listed = {
        name
        for row in re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row)
    }
    read = {name for kind in PROVIDERS.values() for name in (kind.key_variable, *kind.variables)}
    assert read <= listed
    of_the_gateway = {name for name in listed if name.startswith("TURNOUT_")}
    assert listed - of_the_gateway - read == {"X_API_KEY"}
