"""Answers in a SQLite file are given as they were kept, to whom they belong, while they hold."""

import fnmatch
import os
import random
import re
import resource
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.engine.answering import FOREVER_US, MOST_BYTES, a_body, a_key, an_answer, is_of
from turnout.engine.cached import CachedAnswer, CacheError, Invalidation, Key
from turnout.engine.request import Usage
from turnout.engine.state import answers as module
from turnout.engine.state.answers import FILE, SqliteAnswers
from turnout.engine.state.generations import SharedGenerations
from turnout.engine.state.shelf import COMPRESS_BYTES, Damaged, Label, meant, pack, unpack

KEY = a_key(0)
ANSWER = an_answer(a_body(KEY, 0))


class Fixed:
    """Numbers that a test sets."""

    def __init__(self) -> None:
        self.number = 7
        self.asked: Callable[[], None] = lambda: None

    def of(self, tenant: str) -> int:
        number = self.number
        self.asked()
        return number

    def close(self) -> None:
        pass

    def raise_(self, tenant: str | None) -> None:
        self.number += 1


@pytest.fixture
def numbers() -> Fixed:
    return Fixed()


@pytest.fixture
def answers(tmp_path: Path, numbers: Fixed) -> Iterator[SqliteAnswers]:
    kept = SqliteAnswers(tmp_path, MOST_BYTES, numbers)
    yield kept
    kept.close()


def another(folder: Path) -> SqliteAnswers:
    return SqliteAnswers(folder, MOST_BYTES, Fixed())


def keep(answers: SqliteAnswers, key: Key = KEY, answer: CachedAnswer = ANSWER) -> None:
    answers.put(key, answer, FOREVER_US, 7)


# --- what is kept --------------------------------------------------------------------------------


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
bodies = st.one_of(
    st.binary(max_size=50),
    st.builds(
        lambda size, seed, few: bytes(random.Random(seed).choices(range(few), k=size)),
        st.integers(COMPRESS_BYTES - 2, COMPRESS_BYTES + 2000),
        st.integers(0, 99),
        st.sampled_from([1, 5, 256]),
    ),
)
tokens = st.integers(0, 1 << 40)
some_answers = st.builds(
    CachedAnswer,
    body=bodies,
    native=st.booleans(),
    target=texts,
    model=texts,
    rule=st.none() | texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    usage=st.none() | st.builds(Usage, tokens, tokens, tokens, tokens, tokens, st.booleans()),
    cost_nano_usd=st.integers(0, 1 << 60),
    dropped=st.lists(texts, max_size=3).map(tuple),
    stored_us=st.integers(0, 1 << 55),
)
keys = st.builds(Key, texts, st.binary(min_size=32, max_size=32))


@given(keys, some_answers)
def test_what_is_written_reads_as_the_same_answer(key: Key, answer: CachedAnswer) -> None:
    assert unpack(key, pack(key, answer)) == answer


@given(keys, some_answers, st.data())
def test_what_is_not_as_it_was_written_reads_as_damaged(
    key: Key, answer: CachedAnswer, data: st.DataObject
) -> None:
    packed = bytearray(pack(key, answer))
    kind = data.draw(st.sampled_from(["flipped", "cut", "longer"]))
    if kind == "flipped":
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    else:
        packed += data.draw(st.binary(min_size=1, max_size=4))
    with pytest.raises(Damaged):
        unpack(key, bytes(packed))


@given(keys, keys, some_answers)
def test_what_lies_under_another_key_reads_as_damaged(
    key: Key, other: Key, answer: CachedAnswer
) -> None:
    if other != key:
        with pytest.raises(Damaged):
            unpack(other, pack(key, answer))


def test_an_answer_comes_back_as_it_was_put(answers: SqliteAnswers, tmp_path: Path) -> None:
    for number in range(30):
        key = a_key(number)
        keep(answers, key, an_answer(a_body(key, 3), rule="r", tags=("a=b", "c=d")))
    for number in range(30):
        key = a_key(number)
        wanted = an_answer(a_body(key, 3), rule="r", tags=("a=b", "c=d"))
        assert answers.get(key, 0) == wanted
        assert another(tmp_path).get(key, 0) == wanted


def test_answers_outlive_who_put_them(answers: SqliteAnswers, tmp_path: Path) -> None:
    keep(answers)
    answers.close()
    assert another(tmp_path).get(KEY, 0) == ANSWER


def test_the_last_answer_under_a_key_is_given(answers: SqliteAnswers) -> None:
    for seed in range(5):
        keep(answers, KEY, an_answer(a_body(KEY, seed)))
        found = answers.get(KEY, 0)
        assert found is not None
        assert found.body == a_body(KEY, seed)
    assert [one.answers for one in answers.stats(None)] == [1]


def test_an_answer_is_given_until_it_expires(answers: SqliteAnswers) -> None:
    answers.put(KEY, ANSWER, 1000, 7)
    assert answers.get(KEY, 999) == ANSWER
    assert answers.get(KEY, 1000) is None


def test_what_has_expired_is_removed_as_others_are_kept(answers: SqliteAnswers) -> None:
    for number in range(20):
        answers.put(a_key(number), an_answer(b"a", stored_us=10), 1000, 7)
    for number in range(100, 102):
        answers.put(a_key(number), an_answer(b"a", stored_us=1000), FOREVER_US, 7)
    assert rows(answers) == 2


def test_what_has_expired_can_be_swept(answers: SqliteAnswers) -> None:
    for number in range(500):
        answers.put(a_key(number), an_answer(b"a", stored_us=10), 1000 + number % 2, 7)
    assert answers.sweep(1000) == 250
    assert rows(answers) == 250
    assert answers.sweep(1000) == 0


def rows(answers: SqliteAnswers) -> int:
    with sqlite3.connect(answers._path) as connection:
        (found,) = connection.execute("SELECT count(*) FROM answers").fetchone()
        (bodies,) = connection.execute("SELECT count(*) FROM bodies").fetchone()
    connection.close()
    assert found == bodies
    return int(found)


def test_what_cannot_be_written_is_said_and_its_claim_given_up(answers: SqliteAnswers) -> None:
    for wrong in (an_answer(b"a", model="\ud800"), an_answer(b"a", cost=1 << 70)):
        assert answers.get_or_claim(KEY, 0) is True
        with pytest.raises(CacheError, match="cannot be written"):
            keep(answers, KEY, wrong)
    assert answers.get_or_claim(KEY, 0) is True


def test_the_file_is_its_owners_alone(answers: SqliteAnswers, tmp_path: Path) -> None:
    keep(answers)
    files = [one for one in tmp_path.iterdir() if one.name.startswith(FILE)]
    assert {one.name.removeprefix(FILE) for one in files} == {"", "-wal", "-shm", "-claims"}
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}


def test_after_its_end_nothing_is_given_or_kept(answers: SqliteAnswers) -> None:
    answers.close()
    with pytest.raises(CacheError, match="closed"):
        answers.get(KEY, 0)
    with pytest.raises(CacheError, match="closed"):
        keep(answers)
    answers.release(KEY)
    answers.close()


# --- claims --------------------------------------------------------------------------------------


def test_one_of_all_who_ask_makes_the_answer(answers: SqliteAnswers, tmp_path: Path) -> None:
    other = another(tmp_path)
    assert answers.get_or_claim(KEY, 0) is True
    assert other.get_or_claim(KEY, 0) is False
    assert answers.get_or_claim(KEY, 0) is False
    assert other.get_or_claim(a_key(1), 0) is True
    other.release(KEY)  # not its own
    assert other.get_or_claim(KEY, 0) is False
    answers.release(KEY)
    assert other.get_or_claim(KEY, 0) is True
    keep(other)
    assert answers.get_or_claim(KEY, 0) == ANSWER


def test_a_claim_ends_with_the_answer(answers: SqliteAnswers, tmp_path: Path) -> None:
    assert answers.get_or_claim(KEY, 0) is True
    answers.put(KEY, ANSWER, 1000, 7)
    assert another(tmp_path).get_or_claim(KEY, 1000) is True


def test_who_claims_just_after_an_answer_was_kept_is_given_it(
    answers: SqliteAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another(tmp_path)
    claim = answers._claims.claim

    def kept_meanwhile(digest: bytes) -> bool:
        keep(other)
        return claim(digest)

    monkeypatch.setattr(answers._claims, "claim", kept_meanwhile)
    assert answers.get_or_claim(KEY, 0) == ANSWER
    assert other._claims.claim(KEY.digest)


def test_a_claim_is_given_up_where_the_answer_cannot_be_looked_for_again(
    answers: SqliteAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = answers.get
    asked: list[Key] = []

    def fails_the_second_time(key: Key, now_us: int) -> CachedAnswer | None:
        asked.append(key)
        if len(asked) == 2:
            raise CacheError("it is gone")
        return get(key, now_us)

    monkeypatch.setattr(answers, "get", fails_the_second_time)
    with pytest.raises(CacheError, match="it is gone"):
        answers.get_or_claim(KEY, 0)
    assert answers.get_or_claim(KEY, 0) is True


def test_claims_end_with_the_store(answers: SqliteAnswers, tmp_path: Path) -> None:
    assert answers.get_or_claim(KEY, 0) is True
    answers.close()
    assert another(tmp_path).get_or_claim(KEY, 0) is True


def test_those_who_come_after_the_file_of_claims_was_removed_exclude_each_other(
    answers: SqliteAnswers, tmp_path: Path
) -> None:
    assert answers.get_or_claim(KEY, 0) is True
    (tmp_path / f"{FILE}-claims").unlink()
    other = another(tmp_path)
    assert answers.get_or_claim(a_key(1), 0) is True  # and takes the old one along
    assert other.get_or_claim(a_key(1), 0) is False
    assert other.get_or_claim(KEY, 0) is False


# --- generations ---------------------------------------------------------------------------------


def test_an_answer_that_was_asked_for_under_another_number_is_not_kept(
    answers: SqliteAnswers, numbers: Fixed
) -> None:
    assert answers.get_or_claim(KEY, 0) is True
    numbers.raise_(None)
    keep(answers)
    assert answers.get(KEY, 0) is None
    assert answers.get_or_claim(KEY, 0) is True


def test_the_last_answer_stays_where_a_new_one_came_too_late(
    answers: SqliteAnswers, numbers: Fixed
) -> None:
    keep(answers)
    numbers.raise_(None)
    keep(answers, KEY, an_answer(b"late"))
    assert answers.get(KEY, 0) == ANSWER


def test_what_is_being_written_when_the_number_rises_is_removed(
    answers: SqliteAnswers, numbers: Fixed, tmp_path: Path
) -> None:
    """Who saw the old number within its transaction has written before anything is removed."""
    remover = another(tmp_path)
    removing = threading.Thread(target=lambda: remover.invalidate(Invalidation("all", "*", "acme")))

    def invalidated_meanwhile() -> None:
        # `of` has told the old number by now, within the transaction of `put`.
        numbers.asked = lambda: None
        numbers.raise_("acme")
        removing.start()

    numbers.asked = invalidated_meanwhile
    keep(answers)
    removing.join()
    assert answers.get(KEY, 0) is None


def test_the_numbers_of_the_machine_are_used_unless_others_are_said(tmp_path: Path) -> None:
    answers, numbers = SqliteAnswers(tmp_path, MOST_BYTES), SharedGenerations(tmp_path / "run")
    number = numbers.of("acme")
    answers.put(KEY, ANSWER, FOREVER_US, number)
    assert answers.get(KEY, 0) == ANSWER
    numbers.raise_("acme")
    answers.put(a_key(1), ANSWER, FOREVER_US, number)
    assert answers.get(a_key(1), 0) is None


# --- invalidation --------------------------------------------------------------------------------

SHELF = {
    "a": ("acme", an_answer(b"", target="openai/gpt-4o", model="fast", rule="cheap")),
    "b": ("acme", an_answer(b"", target="openai/gpt-4", model="gpt-4", tags=("team=x", "v=1"))),
    "c": ("acme", an_answer(b"", target="anthropic/claude", model="fast", stored_us=5_000_000)),
    "d": ("globex", an_answer(b"", target="openai/gpt-4o", model="fast", rule="cheap")),
    "e": ("globex", an_answer(b"", target="o/[x]", model="100%_a", rule="a\nb", tags=("v=10",))),
}


@pytest.mark.parametrize(
    ("which", "removed"),
    [
        (Invalidation("all", "*", None), "abcde"),
        (Invalidation("all", "*", "acme"), "abc"),
        (Invalidation("all", "nothing", "acme"), "abc"),
        (Invalidation("all", "*", "acme", before_us=5_000_000), "ab"),
        (Invalidation("all", "*", None, before_us=1_000_000), ""),
        (Invalidation("all", "*", "acm*"), ""),
        (Invalidation("all", "*", ""), ""),
        (Invalidation("model", "openai/*", None), "abd"),
        (Invalidation("model", "openai/gpt-4", None), "b"),
        (Invalidation("model", "openai/gpt-4?", None), "ad"),
        (Invalidation("model", "fast", "acme"), "ac"),
        (Invalidation("model", "FAST", "acme"), ""),
        (Invalidation("model", "o/[x]", None), "e"),
        (Invalidation("model", "o/[a-z]", None), ""),
        (Invalidation("model", "100%_?", None), "e"),
        (Invalidation("model", "%", None), ""),
        (Invalidation("model", "", None), ""),
        (Invalidation("rule", "cheap", "globex"), "d"),
        (Invalidation("rule", "*", None), "ade"),
        (Invalidation("rule", "a?b", None), "e"),
        (Invalidation("tag", "team=*", None), "b"),
        (Invalidation("tag", "v=1", None), "b"),
        (Invalidation("tag", "v=1*", None), "be"),
        (Invalidation("tag", "v", None), ""),
    ],
)
def test_what_an_invalidation_means_is_removed_and_nothing_else(
    answers: SqliteAnswers, which: Invalidation, removed: str
) -> None:
    for name, (tenant, answer) in SHELF.items():
        keep(answers, a_key(name, tenant), answer)
    assert answers.invalidate(which) == len(removed)
    left = [name for name, (of, _) in SHELF.items() if answers.get(a_key(name, of), 0)]
    assert left == [name for name in SHELF if name not in removed]
    assert rows(answers) == len(left)


def test_an_invalidation_goes_through_more_than_one_step(
    answers: SqliteAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WALK_ROWS", 7)
    monkeypatch.setattr(module, "_STEP_ROWS", 3)
    for number in range(50):
        keep(answers, a_key(number), an_answer(b"a", rule=f"r{number % 3}"))
    assert answers.invalidate(Invalidation("rule", "r1", "acme")) == 17
    assert [one.answers for one in answers.stats("acme")] == [33]


letters = st.text("ab?*[!]\n.\\", max_size=8)


@given(letters, letters)
@example("*a*b", "ab\nab")
@example("a*a", "a")
def test_patterns_are_those_of_a_shell_without_brackets(glob: str, text: str) -> None:
    plain = glob.replace("[", "[[]")
    is_meant = meant(Invalidation("model", glob, None))
    expected = re.fullmatch(fnmatch.translate(plain), text) is not None
    assert is_meant(Label("", text, None, (), 0)) is (expected or fnmatch.fnmatchcase("", plain))


def test_no_pattern_takes_long() -> None:
    is_meant = meant(Invalidation("model", "*a" * 100 + "b", None))
    began = time.monotonic()
    assert not is_meant(Label("a" * 5000, "a" * 5000, None, (), 0))
    assert time.monotonic() - began < 0.5


def test_stats_tell_what_is_there_by_target(answers: SqliteAnswers) -> None:
    for name, (tenant, answer) in SHELF.items():
        keep(answers, a_key(name, tenant), answer)
    answers.put(a_key("gone"), ANSWER, 1, 7)
    told = {one.target: one for one in answers.stats(None)}
    assert {name: one.answers for name, one in told.items()} == {
        "openai/gpt-4o": 2,
        "openai/gpt-4": 1,
        "anthropic/claude": 1,
        "o/[x]": 1,
    }
    assert told["openai/gpt-4o"].saves_nano_usd == 140
    assert told["anthropic/claude"].oldest_us == told["anthropic/claude"].newest_us == 5_000_000
    assert 50 < told["openai/gpt-4"].bytes < 400
    assert {one.target for one in answers.stats("globex")} == {"openai/gpt-4o", "o/[x]"}
    assert answers.stats("nobody") == []


# --- the bound -----------------------------------------------------------------------------------


def test_older_answers_make_room_for_newer_ones(tmp_path: Path) -> None:
    most = 1_000_000
    answers = SqliteAnswers(tmp_path, most, Fixed())
    for number in range(600):
        key = a_key(number)
        keep(answers, key, an_answer(a_body(key, 0)))
        assert (tmp_path / FILE).stat().st_size <= most
    there = [number for number in range(600) if answers.get(a_key(number), 0) is not None]
    assert there == list(range(there[0], 600))
    assert 60 < len(there) < 500
    taken = sum(one.bytes for one in answers.stats(None))
    assert most * 0.6 < taken < most


def test_what_takes_more_than_a_quarter_is_left_out(tmp_path: Path) -> None:
    answers = SqliteAnswers(tmp_path, 1_000_000, Fixed())
    keep(answers)
    assert answers.get_or_claim(a_key(1), 0) is True
    keep(answers, a_key(1), an_answer(random.Random(0).randbytes(260_000)))
    assert answers.get_or_claim(a_key(1), 0) is True
    assert answers.get(KEY, 0) == ANSWER


def test_an_answer_that_finds_no_room_in_time_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROOM_PATIENCE_S", 0.0)
    answers = SqliteAnswers(tmp_path, 200_000, Fixed())
    for number in range(40):
        assert answers.get_or_claim(a_key(number), 0) is True
        keep(answers, a_key(number), an_answer(random.Random(number).randbytes(10_000)))
    there = [number for number in range(40) if answers.get(a_key(number), 0) is not None]
    assert 5 < len(there) < 20
    assert there == list(range(len(there)))
    assert answers.get_or_claim(a_key(39), 0) is True


def test_a_file_that_is_allowed_less_gives_the_rest_back(tmp_path: Path) -> None:
    answers = SqliteAnswers(tmp_path, MOST_BYTES, Fixed())
    for number in range(200):
        keep(answers, a_key(number), an_answer(random.Random(number).randbytes(25_000)))
    answers.close()
    assert (tmp_path / FILE).stat().st_size > 4_000_000
    answers = SqliteAnswers(tmp_path, 1_000_000, Fixed())
    for number in range(200, 240):
        key = a_key(number)
        keep(answers, key, an_answer(a_body(key, 0)))
        assert answers.get(key, 0) is not None
    answers.close()
    assert (tmp_path / FILE).stat().st_size <= 1_000_000 + 4096 * module._SPARE_PAGES


# --- a file that is not as it should be ----------------------------------------------------------


def garbage(file: Path) -> None:
    file.write_bytes(b"this is no database" * 1000)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def of_somebody_else(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE answers (digest, secret)")
    connection.close()


def without_a_table(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE bodies")
    connection.close()


def older(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version=0")
    connection.close()


def gone(file: Path) -> None:
    file.unlink()


def all_gone(file: Path) -> None:
    for one in file.parent.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()


RUINS = [garbage, emptied, cut, of_somebody_else, without_a_table, older, gone, all_gone]


@pytest.mark.parametrize("ruin", RUINS)
def test_a_file_that_is_ruined_while_nobody_has_it_open_is_made_anew(
    answers: SqliteAnswers, tmp_path: Path, ruin: Callable[[Path], None]
) -> None:
    for number in range(50):
        keep(answers, a_key(number), an_answer(a_body(a_key(number), 0)))
    answers.close()
    ruin(tmp_path / FILE)
    answers = another(tmp_path)
    for number in range(50):
        found = answers.get(a_key(number), 0)
        assert found is None or is_of(a_key(number), found.body)
    keep(answers)
    assert answers.get(KEY, 0) == ANSWER
    assert answers.invalidate(Invalidation("all", "*", None)) >= 1


@pytest.mark.parametrize("ruin", RUINS)
def test_a_file_that_is_ruined_while_it_is_open_is_made_anew(
    answers: SqliteAnswers, tmp_path: Path, ruin: Callable[[Path], None]
) -> None:
    other = another(tmp_path)
    for number in range(50):
        keep(answers, a_key(number), an_answer(a_body(a_key(number), 0)))
    assert other.get(KEY, 0) is not None
    ruin(tmp_path / FILE)
    for one in (answers, other, answers):
        for number in range(50):
            try:
                found = one.get(a_key(number), 0)
            except CacheError:
                found = None
            assert found is None or is_of(a_key(number), found.body)
    # Nothing else of it may be left either: what is in the log of writes still counts.
    for _ in range(3):
        try:
            answers.invalidate(Invalidation("all", "*", None))
            break
        except CacheError:
            continue
    keep(answers)
    assert other.get(KEY, 0) == ANSWER


def test_a_foreign_file_is_set_aside_and_not_lost(tmp_path: Path) -> None:
    of_somebody_else_there = tmp_path / FILE
    with sqlite3.connect(of_somebody_else_there) as connection:
        connection.execute("CREATE TABLE precious (value)")
    connection.close()
    was = of_somebody_else_there.read_bytes()
    answers = another(tmp_path)
    keep(answers)
    assert (tmp_path / f"{FILE}-set-aside").read_bytes() == was


@pytest.mark.parametrize("ruin", [older, cut, without_a_table])
def test_nothing_is_left_of_answers_that_were_damaged(
    answers: SqliteAnswers, tmp_path: Path, ruin: Callable[[Path], None]
) -> None:
    for number in range(50):
        keep(answers, a_key(number), an_answer(a_body(a_key(number), 0)))
    answers.close()
    ruin(tmp_path / FILE)
    answers = another(tmp_path)
    for _ in range(2):
        assert answers.invalidate(Invalidation("all", "*", None)) == 0
    assert {one.name for one in tmp_path.iterdir()} <= {
        FILE,
        f"{FILE}-wal",
        f"{FILE}-shm",
        f"{FILE}-claims",
    }


def test_a_file_of_a_newer_turnout_is_left_alone(tmp_path: Path) -> None:
    another(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version=1000")
    connection.close()
    was = (tmp_path / FILE).read_bytes()
    answers = another(tmp_path)
    for _ in range(2):
        with pytest.raises(CacheError, match="newer turnout"):
            answers.get(KEY, 0)
    assert (tmp_path / FILE).read_bytes() == was


@pytest.mark.parametrize("seed", range(12))
def test_no_flipped_byte_makes_another_answer(tmp_path: Path, seed: int) -> None:
    answers = another(tmp_path)
    keys = [a_key(number) for number in range(60)]
    for key in keys:
        keep(answers, key, an_answer(a_body(key, 0)))
    answers.close()
    chance = random.Random(seed)
    found = bytearray((tmp_path / FILE).read_bytes())
    for _ in range(chance.choice([1, 10, 100])):
        found[chance.randrange(len(found))] ^= chance.randrange(1, 256)
    (tmp_path / FILE).write_bytes(found)
    answers = another(tmp_path)
    for key in keys:
        try:
            given = answers.get(key, 0)
        except CacheError:
            continue
        assert given is None or given == an_answer(a_body(key, 0))


def test_something_else_at_its_place_is_an_error_until_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    answers = another(tmp_path)
    with pytest.raises(CacheError, match="cannot be opened"):
        answers.get(KEY, 0)
    with pytest.raises(CacheError, match="cannot be opened"):
        keep(answers)
    (tmp_path / FILE).rmdir()
    keep(answers)
    assert answers.get(KEY, 0) == ANSWER


def test_a_folder_that_cannot_be_made_is_an_error_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    answers = another(tmp_path / "home")
    with pytest.raises(CacheError):
        answers.get(KEY, 0)
    (tmp_path / "home").unlink()
    keep(answers)
    assert answers.get(KEY, 0) == ANSWER


# --- a file that cannot be written now -----------------------------------------------------------


def test_who_reads_does_not_wait_for_who_writes(answers: SqliteAnswers, tmp_path: Path) -> None:
    keep(answers)
    writer = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("DELETE FROM answers")
    began = time.monotonic()
    assert answers.get(KEY, 0) == ANSWER
    assert answers.get_or_claim(a_key(1), 0) is True
    assert time.monotonic() - began < 0.1
    writer.close()


def test_who_writes_waits_for_a_second_at_most(
    answers: SqliteAnswers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.WRITE_PATIENCE_S == 1.0
    monkeypatch.setattr(module, "WRITE_PATIENCE_S", 0.1)
    assert answers.get_or_claim(KEY, 0) is True
    writer = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(CacheError, match="locked"):
        keep(answers)
    with pytest.raises(CacheError, match="locked"):
        answers.invalidate(Invalidation("all", "*", None))
    assert 0.15 < time.monotonic() - began < 1
    writer.execute("ROLLBACK")
    writer.close()
    assert answers.get_or_claim(KEY, 0) is True
    keep(answers)
    assert answers.get(KEY, 0) == ANSWER


def test_a_disk_without_room_is_an_error_until_there_is_some(
    answers: SqliteAnswers, tmp_path: Path
) -> None:
    keep(answers)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = an_answer(random.Random(0).randbytes(500_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        for number in range(1, 4):
            with pytest.raises(CacheError, match="disk"):
                keep(answers, a_key(number), big)
            assert answers.get(KEY, 0) == ANSWER
            assert answers.get(a_key(number), 0) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    keep(answers, a_key(1), big)
    assert answers.get(a_key(1), 0) == big
    assert rows(answers) == 2
