"""The page of settings has every variable that is read, and the bounds as they are."""

import re
from pathlib import Path

import turnout.settings
from turnout.adapters import PROVIDERS
from turnout.server.app import HEADER_BYTES
from turnout.server.wire import MOST_HEADERS
from turnout.settings import Limits

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


def test_each_variable_of_the_gateway_is_on_the_page_and_no_other() -> None:
    rows = "".join(re.findall(r"^\| (`TURNOUT_[^|]+) \|", PAGE, re.MULTILINE))
    listed = set(re.findall(r"`(TURNOUT_[A-Z_]+)`", rows))
    source = Path(turnout.settings.__file__).read_text(encoding="utf-8")
    read = set(re.findall(r"\"(TURNOUT_[A-Z_]+)\"", source)) - set(turnout.settings._NOT_BUILT)
    assert listed == read


def test_the_fixed_bounds_on_the_page_are_those_of_the_gateway() -> None:
    limits = Limits()
    _, _, table = PAGE.partition("## What a client may take")
    values = [row.split("|")[2].strip() for row in re.findall(r"^\| .+ \|$", table, re.MULTILINE)]

    def seconds(of_us: int) -> str:
        return f"{of_us // 1_000_000} s"

    rate = f"{limits.least_bytes} bytes a second"
    assert values == [
        "value",
        f"{HEADER_BYTES} bytes, {MOST_HEADERS} headers",
        f"{seconds(limits.header_us)}, however they trickle in",
        seconds(limits.header_us),
        seconds(limits.idle_us),
        seconds(limits.receive_us),
        f"{rate} after the first {seconds(limits.grace_us)}",
        f"{rate}, looked at every {seconds(limits.stall_us)} for which the client is behind",
    ]
