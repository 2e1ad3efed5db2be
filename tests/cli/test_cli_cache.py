"""`turnout cache`: on the home itself, of one tenant unless all are meant, for all workers."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.engine.cached import CachedAnswer, Key
from turnout.engine.state.answers import FILE, SqliteAnswers
from turnout.engine.state.board import FOLDER
from turnout.engine.state.database import open_database
from turnout.engine.state.generations import SharedGenerations
from turnout.settings import DEMO_FOLDER

from .conftest import Ran

NOW_US = time.time_ns() // 1000
HOUR_US = 3_600_000_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    open_database(tmp_path / "home").close()
    return tmp_path / "home"


@pytest.fixture
def turnout(
    home: Path, command: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], Ran]:
    monkeypatch.setenv("TURNOUT_HOME", str(home))
    for name in ("TURNOUT_POLICY", "TURNOUT_TENANT_ID", "TURNOUT_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda line: command(f"turnout {line}")


@pytest.fixture
def kept(home: Path) -> SqliteAnswers:
    generations = SharedGenerations(home / FOLDER)
    answers = SqliteAnswers(home, 1 << 24, generations)
    for number, (tenant, target, age_us) in enumerate(
        [
            ("default", "openai/gpt-4o", 3 * HOUR_US),
            ("default", "openai/gpt-4o", 0),
            ("default", "groq/llama-3-8b", 0),
            ("acme", "openai/gpt-4o", 0),
        ]
    ):
        answer = CachedAnswer(
            body=b'{"choices":[]}',
            native=False,
            target=target,
            model="gpt-4o",
            rule="faq",
            tags=("team=search",),
            usage=None,
            cost_nano_usd=2_000_000,
            dropped=(),
            stored_us=NOW_US - age_us,
        )
        key = Key(tenant, bytes([number]) * 32)
        answers.put(key, answer, NOW_US + HOUR_US, generations.of(tenant))
    return answers


def left(answers: SqliteAnswers) -> list[int]:
    tenants = ("default", "default", "default", "acme")
    return [
        at
        for at, tenant in enumerate(tenants)
        if answers.get(Key(tenant, bytes([at]) * 32), NOW_US) is not None
    ]


@pytest.mark.parametrize(
    ("line", "removed", "remain"),
    [
        ("'model:openai/*'", 2, [2, 3]),
        ("'model:openai/*' --older-than 2h", 1, [1, 2, 3]),
        ("model:gpt-4o", 3, [3]),
        ("rule:faq --tenant acme", 1, [0, 1, 2]),
        ("'tag:team=s?arch' --all-tenants", 4, []),
        ("'*'", 3, [3]),
        ("'*' --all-tenants", 4, []),
        ("rule:none", 0, [0, 1, 2, 3]),
    ],
)
def test_what_a_pattern_means_goes_and_nothing_else(
    turnout: Callable[[str], Ran],
    kept: SqliteAnswers,
    line: str,
    removed: int,
    remain: list[int],
) -> None:
    ran = turnout(f"cache invalidate {line} --format json")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out) == {"object": "cache.invalidation", "removed": removed}
    assert left(kept) == remain


def test_workers_see_at_once_that_the_answers_of_a_tenant_are_void(
    turnout: Callable[[str], Ran], home: Path
) -> None:
    generations = SharedGenerations(home / FOLDER)
    before = generations.of("acme"), generations.of("beta")
    ran = turnout("cache invalidate '*' --tenant acme")
    assert (ran.status, "in memory" in ran.out) == (0, True)  # nobody has shared anything yet
    assert generations.of("acme") != before[0]
    assert generations.of("beta") == before[1]
    assert not (home / FILE).exists()


def test_an_invalidation_is_in_the_audit_log(
    turnout: Callable[[str], Ran], kept: SqliteAnswers
) -> None:
    turnout("cache invalidate 'model:openai/*' --tenant acme")
    (row,) = [line for line in turnout("audit list").out.splitlines() if "cache." in line]
    assert "cli" in row and "model:openai/*" in row and "removed 1, tenant acme" in row


def test_the_tenant_is_the_gateway_s_own_where_none_is_named(
    turnout: Callable[[str], Ran], kept: SqliteAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_TENANT_ID", "acme")
    assert turnout("cache invalidate '*'").out == "removed 1 answer of the tenant `acme`\n"
    assert left(kept) == [0, 1, 2]


def test_what_is_kept_is_shown_by_target(
    turnout: Callable[[str], Ran], kept: SqliteAnswers
) -> None:
    head, *rows = turnout("cache stats").out.splitlines()
    assert head.split() == ["target", "answers", "bytes", "saves", "oldest", "newest"]
    assert [row.split()[:2] for row in rows] == [
        ["openai/gpt-4o", "3"],
        ["groq/llama-3-8b", "1"],
        ["total", "4"],
    ]
    assert "$0.006" in rows[0]
    told = json.loads(turnout("cache stats --tenant acme --format json").out)
    assert (told["tenant"], told["answers"], told["saves"]) == ("acme", 1, "0.002")
    assert [one["target"] for one in told["targets"]] == ["openai/gpt-4o"]


def test_looking_makes_nothing(
    turnout: Callable[[str], Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_HOME", str(tmp_path / "none"))
    for line in ("cache stats", "cache stats --format json", "cache invalidate '*'"):
        ran = turnout(line)
        assert (ran.status, ran.out) == (2, "") and "there are no answers" in ran.err
        assert "set TURNOUT_HOME to the folder that the gateway runs with" in ran.err
    assert not (tmp_path / "none").exists()


def test_a_home_in_which_nothing_is_kept_yet_is_no_mistake(
    turnout: Callable[[str], Ran], home: Path
) -> None:
    ran = turnout("cache stats")
    assert (ran.status, ran.out, ran.err) == (0, "no answers are kept\n", "")
    assert not (home / FILE).exists()


def test_an_empty_home_says_where_the_demo_s_answers_are(
    turnout: Callable[[str], Ran], home: Path
) -> None:
    demo = home / DEMO_FOLDER
    demo.mkdir()
    (demo / FILE).touch()
    assert f"`TURNOUT_HOME={demo}`" in turnout("cache stats").out
    assert json.loads(turnout("cache stats --format json").out)["answers"] == 0


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("cache stats", "`TURNOUT_HOME={}`"),
        ("cache invalidate '*'", "`TURNOUT_HOME={}`"),
        ("costs", "`--journal {}`"),
    ],
)
def test_where_only_the_demo_ran_its_home_is_named(
    turnout: Callable[[str], Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    named: str,
) -> None:
    demo = tmp_path / "of_demo" / DEMO_FOLDER
    open_database(demo).close()
    monkeypatch.setenv("TURNOUT_HOME", str(demo.parent))
    ran = turnout(line)
    assert (ran.status, ran.out) == (2, "")
    assert named.format(demo) in ran.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "'*' --tenant acmee",
            "removed 0 answers of the tenant `acmee`\nthe tenant `acmee` has no answers, and "
            "others have 4 answers: name whose with `--tenant`, or take `--all-tenants`\n",
        ),
        ("rule:none --tenant acme", "removed 0 answers of the tenant `acme`\n"),
        ("rule:none --all-tenants", "removed 0 answers of all tenants\n"),
    ],
)
def test_a_tenant_without_answers_is_told_that_others_have_some(
    turnout: Callable[[str], Ran], kept: SqliteAnswers, line: str, told: str
) -> None:
    ran = turnout(f"cache invalidate {line}")
    assert (ran.status, ran.out) == (0, told)
    assert left(kept) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("invalidate openai/gpt-4o", "write `model:openai/gpt-4o`"),
        ("invalidate models:x", "write `model:openai/*`, `rule:…`, `tag:team=search` or `*`"),
        ("invalidate rule:", "`rule:*` means all that have one"),
        ("invalidate '*' --older-than yesterday", "write `2h`, `30m` or `7d`"),
        ("invalidate '*' --older-than -2h", "--older-than"),
        ("invalidate '*' --tenant a --all-tenants", "not allowed with"),
        ("invalidate", "PATTERN"),
        ("", "ACTION"),
    ],
)
def test_a_mistake_is_told_and_nothing_goes(
    turnout: Callable[[str], Ran], kept: SqliteAnswers, line: str, told: str
) -> None:
    ran = turnout(f"cache {line}")
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err
    assert left(kept) == [0, 1, 2, 3]


def test_a_redis_that_is_not_there_is_told_without_its_password(
    turnout: Callable[[str], Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_REDIS_URL", "redis://:hunter-two-2@127.0.0.1:1/0")
    for line in ("cache stats", "cache invalidate '*'"):
        ran = turnout(line)
        assert (ran.status, ran.out) == (2, "")
        assert "cannot be reached" in ran.err and "hunter" not in ran.err
