"""docs/http.md names what is served and nothing else; how the rest is answered is tried in e2e."""

import re
from pathlib import Path

from turnout.server.app import ROUTES
from turnout.server.wire import EXPOSED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
SERVED, REST = PAGE.split("## Not served yet")
REQUEST = r"`(GET|POST|PUT|PATCH|DELETE) (/[^` ]*)`"


def test_the_page_lists_every_route_and_no_other() -> None:
    shown = set(re.findall(REQUEST, SERVED))
    assert shown == {(r.method, re.sub(r"<name:\w+>", "{id}", r.path)) for r in ROUTES}


def test_what_is_not_served_is_no_route() -> None:
    missing = set(re.findall(REQUEST, REST.split("```")[0]))
    assert len(missing) >= 12
    assert not missing & {(route.method, route.path) for route in ROUTES}


def test_the_page_names_every_header_that_a_browser_may_read() -> None:
    for header in EXPOSED.split(", "):
        assert f"`{header}`" in PAGE


def test_the_codes_of_the_page_are_those_of_the_gateway() -> None:
    sources = "".join(
        file.read_text(encoding="utf-8")
        for folder in ("engine", "turnout/server", "turnout/protocols")
        for file in (ROOT / folder).glob("*.py")
    )
    rows = re.findall(r"^\| [0-9., ]+ \| (.*?) \|", PAGE, re.MULTILINE)
    codes = re.findall(r"`([a-z_]+)`", " ".join(rows))
    assert len(codes) > 15
    assert [code for code in codes if code != "null" and f'"{code}"' not in sources] == []
