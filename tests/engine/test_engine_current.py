"""The policy in force follows its files, whichever way they change; real files, real boards.

Nothing here waits for the slow look at the files unless a test says so: what brings a change about
is the watch.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from turnout.dsl.include import Load, NotLoaded
from turnout.dsl.source import Source
from turnout.engine import checker, current, include, judgement
from turnout.engine.board import Alone, Board
from turnout.engine.bundle import Bundle, read_main
from turnout.engine.checker import Checked, Checker, check
from turnout.engine.current import Begun, Current, Unfit
from turnout.engine.revision import Kept, Revision
from turnout.engine.state.board import SharedBoard

PATIENCE_S = 20.0


def policy(rule: str, *more: str) -> str:
    lines = ["routing_policy:", f"  - {{name: {rule}, route: openai/gpt-4}}", *more]
    return "\n".join(lines) + "\n"


class InThread(Checker):
    """Judges in a thread: a process for each test would be most of its time."""

    asked = 0

    async def check(self, path: str) -> Checked:
        self.asked += 1
        return await asyncio.to_thread(check, path)

    async def prepare(self) -> None:
        pass


class Following:
    """A `Current` at work, and what it has put in force."""

    def __init__(
        self,
        path: Path,
        home: Path,
        board: Board | None = None,
        make: Callable[[Bundle], Bundle] = lambda bundle: bundle,
        begun: Begun | None = None,
        place: str = "in force",
    ) -> None:
        self.put: list[Bundle] = []
        self.refused: list[judgement.Rejected | None] = []
        self.board = board or Alone()
        self.kept = Kept(home, str(path))
        self.checker = InThread()
        text = path.read_text() if path.exists() else ""
        self.current = Current(
            str(path),
            begun or Begun(Revision(1, 0, Bundle(str(path), text))),
            self.kept,
            self.board,
            make,
            self._put,
            on_rejected=self.refused.append,
            digest_of=lambda bundle: bundle.digest,
            place=place,
            checker=self.checker,
        )

    async def _put(self, bundle: Bundle) -> None:
        self.put.append(bundle)

    @property
    def text(self) -> str:
        return self.put[-1].main if self.put else ""

    @property
    def reason(self) -> str:
        return str(self.current.rejected or "")


async def until(true: Callable[[], object], say: Callable[[], object] = str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it did not come about: {say()}") from None


@asynccontextmanager
async def at_work(*following: Following) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.current.run()) for one in following]
    try:
        for one in following:
            leads = one.board.leads(one.current._topic)
            # From here on, only a change can bring about that the files are looked at.
            await until(lambda one=one, leads=leads: one.current._marks or not leads)  # type: ignore[misc]
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def only_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "POLL_S", 3600.0)


def place(at: Path, text: str) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text(text)


def swap(link: Path, to: str) -> None:
    """Point a link elsewhere in one step, as kubelet and git-sync do."""
    beside = link.with_name(link.name + ".tmp")
    beside.symlink_to(to)
    beside.rename(link)


def git(folder: Path, *command: str) -> None:
    bare = {"HOME": str(folder), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *who, *command], cwd=folder, env=bare, check=True, capture_output=True)


# --- the ways in which files become others -------------------------------------------------------


def in_place(folder: Path) -> tuple[Path, Callable[[], None]]:
    path = folder / "routing.yml"
    place(path, policy("one"))
    return path, lambda: place(path, policy("two"))


def renamed_over(folder: Path) -> tuple[Path, Callable[[], None]]:
    path = folder / "routing.yml"
    place(path, policy("one"))

    def change() -> None:
        place(folder / ".routing.yml.swp123", policy("two"))
        (folder / ".routing.yml.swp123").rename(path)

    return path, change


def config_map(folder: Path) -> tuple[Path, Callable[[], None]]:
    place(folder / "..1/routing.yml", policy("one"))
    (folder / "..data").symlink_to("..1")
    (folder / "routing.yml").symlink_to("..data/routing.yml")

    def change() -> None:
        place(folder / "..2/routing.yml", policy("two"))
        swap(folder / "..data", "..2")
        (folder / "..1/routing.yml").unlink()
        (folder / "..1").rmdir()

    return folder / "routing.yml", change


def work_tree(folder: Path) -> tuple[Path, Callable[[], None]]:
    tree = folder / "tree"
    place(tree / "routing.yml", policy("one"))
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "one")
    place(tree / "routing.yml", policy("two"))
    git(tree, "commit", "-q", "-a", "-m", "two")
    git(tree, "checkout", "-q", "HEAD~1")
    return tree / "routing.yml", lambda: git(tree, "checkout", "-q", "main")


def synced_tree(folder: Path) -> tuple[Path, Callable[[], None]]:
    place(folder / "a1/routing.yml", policy("one"))
    (folder / "current").symlink_to("a1")

    def change() -> None:
        place(folder / "b2/routing.yml", policy("two"))
        swap(folder / "current", "b2")

    return folder / "current/routing.yml", change


def gone_and_back(folder: Path) -> tuple[Path, Callable[[], None]]:
    path = folder / "routing.yml"
    place(path, policy("one"))

    def change() -> None:
        path.unlink()
        place(path, policy("two"))

    return path, change


@pytest.mark.parametrize(
    "way", [in_place, renamed_over, config_map, work_tree, synced_tree, gone_and_back]
)
async def test_a_changed_file_is_put_in_force(
    tmp_path: Path, way: Callable[[Path], tuple[Path, Callable[[], None]]]
) -> None:
    path, change = way(tmp_path / "policy")
    following = Following(path, tmp_path)
    async with at_work(following):
        change()
        await until(lambda: following.text == policy("two"), lambda: following.reason)
    assert following.current.rejected is None
    kept = following.kept.read()
    assert kept is not None and kept.bundle.main == policy("two") and kept.number > 1


async def test_what_no_watch_tells_of_is_found_by_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise OSError(28, "no space left on device")  # of inotify watches

    monkeypatch.setattr("turnout.engine.watch.awatch", broken)
    monkeypatch.setattr(current, "POLL_S", 0.05)
    path, change = in_place(tmp_path / "policy")
    following = Following(path, tmp_path)
    async with at_work(following):
        change()
        await until(lambda: following.text == policy("two"))


async def test_the_log_names_what_is_in_force_as_the_start_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "turnout.policy")
    path, change = in_place(tmp_path)
    following = Following(path, tmp_path)

    def said() -> list[str]:
        return [one.getMessage() for one in caplog.records if "in force" in one.getMessage()]

    async with at_work(following):
        change()
        await until(said)
    assert said() == [f"revision 2 of {path} is in force ({following.put[0].digest[:19]})"]
    assert following.put[0].digest.startswith("sha256:")


async def test_included_files_are_followed_as_they_come_and_go(tmp_path: Path) -> None:
    path, _ = in_place(tmp_path)
    following = Following(path, tmp_path)
    part = tmp_path / "parts/targets.yml"
    async with at_work(following):
        place(path, policy("two", "include: parts/targets.yml"))
        await until(lambda: "there is no file" in following.reason)
        assert following.put == []
        place(part, "targets: {openai/gpt-4: {context_window: 8k}}\n")
        await until(lambda: following.text.startswith(policy("two")), lambda: following.reason)
        place(part, "targets: {openai/gpt-4: {context_window: 9k}}\n")
        await until(lambda: "9k" in following.put[-1].included.get("parts/targets.yml", ""))
        part.unlink()
        await until(lambda: "there is no file" in following.reason)
        # What is in force has the text that is gone from the disk.
        assert "9k" in following.put[-1].included["parts/targets.yml"]
        place(part, "targets: {openai/gpt-4: {context_window: 9k}}\n")
        await until(lambda: following.current.rejected is None)
    assert len(following.put) == 2


async def test_of_many_quick_edits_the_last_one_counts(tmp_path: Path) -> None:
    path, _ = in_place(tmp_path)
    following = Following(path, tmp_path)
    async with at_work(following):
        for number in range(200):
            place(path, policy(f"r{number}"))
            await asyncio.sleep(0)
        await until(lambda: following.text == policy("r199"))
    assert len(following.put) < 20
    assert following.current.rejected is None


# --- what is not fit -----------------------------------------------------------------------------

TEST = "tests:\n  - {name: small, given: {tokens: 1}, expect: {rule: nobody}}"


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("routing_policy: [", "findings", "routing.yml:1:"),
        (
            policy("a", "  - {name: b, condition: tokns < 1, route: openai/gpt-4}"),
            "findings",
            ":3:",
        ),
        (policy("a", TEST), "tests", "1 of 1 tests of the policy fail: "),
        (policy("a", "\x1b[31m: 1"), "findings", "routing.yml"),
        (None, "unreadable", "no such file"),
        (b"# caf\xe9\n", "unreadable", "not UTF-8 text (byte 6)"),
    ],
    ids=["syntax", "name", "test", "escape", "gone", "bytes"],
)
async def test_what_is_not_fit_changes_nothing_but_what_is_said(
    tmp_path: Path, text: str | bytes | None, kind: str, told: str
) -> None:
    path, _ = in_place(tmp_path)
    following = Following(path, tmp_path)
    async with at_work(following):
        if text is None:
            path.unlink()
        else:
            path.write_bytes(text.encode() if isinstance(text, str) else text)
        await until(lambda: following.current.rejected is not None)
        shown = following.current.health()["rejected"]
        assert shown["kind"] == kind
        assert told in following.reason
        assert "\x1b" not in following.reason
        # As it was: nothing has changed after all.
        place(path, policy("one"))
        await until(lambda: following.current.rejected is None)
    assert following.put == []
    assert [one is None for one in following.refused] == [False, True]


async def test_looking_again_judges_again_what_was_refused(tmp_path: Path) -> None:
    path, _ = in_place(tmp_path)
    following = Following(path, tmp_path)
    async with at_work(following):
        place(path, "nothing: good\n")
        await until(lambda: following.current.rejected is not None)
        first = following.current.rejected
        following.current.look_again()
        await until(lambda: following.current.rejected is not first)


async def test_what_must_not_be_here_is_refused_and_a_defect_of_ours_too(tmp_path: Path) -> None:
    def make(bundle: Bundle) -> Bundle:
        if "unfit" in bundle.main:
            raise Unfit(judgement.rejected("origin", "it leads elsewhere"))
        if "defect" in bundle.main:
            raise ZeroDivisionError
        return bundle

    path, _ = in_place(tmp_path)
    following = Following(path, tmp_path, make=make)
    async with at_work(following):
        place(path, policy("unfit"))
        await until(lambda: following.reason == "it leads elsewhere")
        place(path, policy("defect"))
        await until(lambda: "ZeroDivisionError" in following.reason)
        place(path, policy("two"))
        await until(lambda: following.text == policy("two"))


async def test_a_refusal_at_the_start_is_shown_until_the_file_is_fit(tmp_path: Path) -> None:
    path = tmp_path / "routing.yml"
    last = Revision(7, 0, Bundle(str(path), policy("last")))
    begun = Begun(last, judgement.rejected("unreadable", "it is gone"))
    following = Following(path, tmp_path, begun=begun)
    assert following.current.health()["rejected"]["reason"] == "it is gone"
    async with at_work(following):
        place(path, policy("two"))
        await until(lambda: following.text == policy("two"))
        assert following.current.rejected is None
        assert following.current.health()["revision"] == 8


# --- several workers -----------------------------------------------------------------------------


async def test_the_others_follow_who_leads_and_another_leads_when_it_ends(tmp_path: Path) -> None:
    path, change = in_place(tmp_path / "policy")
    first = Following(path, tmp_path, SharedBoard(tmp_path / "run"))
    second = Following(path, tmp_path, SharedBoard(tmp_path / "run"))
    async with at_work(second):
        async with at_work(first):
            assert [f.board.leads(f.current._topic) for f in (first, second)] == [False, True]
            change()
            await until(lambda: first.text == second.text == policy("two"))
            place(path, "nothing: good\n")
            await until(lambda: first.reason and first.reason == second.reason)
            assert first.current.health()["revision"] == second.current.health()["revision"]
    second.board.close()
    async with at_work(first):
        await until(lambda: first.current._marks)
        place(path, policy("three"))
        await until(lambda: first.text == policy("three"))
    assert second.text == policy("two")
    first.board.close()


async def test_who_leads_no_more_steps_back_and_may_lead_again(tmp_path: Path) -> None:
    path, change = in_place(tmp_path / "policy")
    first_board, second_board = (SharedBoard(tmp_path / "run") for _ in range(2))
    first = Following(path, tmp_path, first_board)
    second = Following(path, tmp_path, second_board)
    topic = first.current._topic
    async with at_work(first):
        assert first_board.leads(topic) and not second_board.leads(topic)
        async with at_work(second):
            shutil.rmtree(tmp_path / "run")  # whoever notices joins anew, and without a role
            await until(lambda: not first_board._led)
            await until(lambda: second_board.leads(topic) and second.current._marks)
            change()
            await until(lambda: first.text == second.text == policy("two"))
            assert (first.checker.asked, second.checker.asked) == (0, 1)
        second_board.close()
        await until(lambda: first_board.leads(topic) and first.current._marks)
        place(path, policy("three"))
        await until(lambda: first.text == policy("three"))
        assert first.checker.asked == 1
    first_board.close()


def nothing(path: Path) -> Begun:
    return Begun(None, judgement.rejected("unreadable", "the policy file cannot be read"))


async def test_where_nothing_is_in_force_what_is_refused_is_not_said_to_leave_something(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "turnout.policy")
    path = tmp_path / "next.yml"
    place(path, "")  # as if it were nothing: it must not be taken for what is in force
    following = Following(path, tmp_path, begun=nothing(path), place="in the shadow")
    async with at_work(following):
        await until(lambda: following.current.rejected and following.checker.asked)
        assert following.current.health()["revision"] == 0
        assert following.current.health()["loaded_at"] is None
        await until(lambda: caplog.messages)
        assert f"{path} was refused, and nothing is in the shadow: " in caplog.messages[-1]
        place(path, policy("one"))
        await until(lambda: following.text == policy("one"))
        assert following.current.rejected is None
        health = following.current.health()
        assert health["revision"] == 1 and health["loaded_at"] is not None
        assert f"revision 1 of {path} is in the shadow (sha256:" in caplog.messages[-1]
        place(path, "nothing: good\n")
        await until(lambda: following.current.rejected)
        assert f"{path} was refused, what was in the shadow stays: " in caplog.messages[-1]
        place(path, policy("one"))
        await until(lambda: following.current.rejected is None)
        assert caplog.messages[-1] == f"{path} is again what is in the shadow"


async def test_workers_that_began_with_nothing_take_up_what_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "next.yml"
    begun = nothing(path)
    boards = [SharedBoard(tmp_path / "run") for _ in range(2)]
    first, second = (Following(path, tmp_path, board, begun=begun) for board in boards)
    async with at_work(first, second):
        place(path, "nothing: good\n")
        await until(lambda: first.reason and first.reason == second.reason)
        place(path, policy("one"))
        await until(lambda: first.text == second.text == policy("one"))
        await until(lambda: first.current.rejected is second.current.rejected is None)
    for board in boards:
        board.close()


async def test_a_home_that_cannot_be_written_stops_no_reload(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, change = in_place(tmp_path / "policy")
    (tmp_path / "policies").write_text("in the way")
    first = Following(path, tmp_path, SharedBoard(tmp_path / "run"))
    second = Following(path, tmp_path, SharedBoard(tmp_path / "run"))
    async with at_work(first, second):
        change()
        # Who follows has it from the files: they still hold what was put in force.
        await until(lambda: first.text == second.text == policy("two"))
        place(tmp_path / "policy/part.yml", "targets: {openai/gpt-4: {context_window: 8k}}\n")
        place(path, policy("three", "include: part.yml"))
        await until(lambda: first.text == second.text == policy("three", "include: part.yml"))
        assert first.put[-1] == second.put[-1]
    said = [one for one in caplog.records if "cannot be kept" in one.getMessage()]
    assert len(said) == 1
    first.board.close()
    second.board.close()


async def test_a_worker_says_where_what_is_in_force_elsewhere_cannot_be_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two gateways, the older of which may not reach what the newer one was started with."""
    monkeypatch.setattr(current, "RETRY_S", 0.0)

    def make(bundle: Bundle) -> Bundle:
        if "abroad" in bundle.main:
            raise Unfit(judgement.rejected("origin", "it leads elsewhere"))
        return bundle

    path, _ = in_place(tmp_path / "policy")
    board = SharedBoard(tmp_path / "run")
    older = Following(path, tmp_path, SharedBoard(tmp_path / "run"), make=make)
    assert board.leads(older.current._topic)
    abroad = Revision(4, 9, Bundle(str(path), policy("abroad")))
    older.kept.write(abroad)
    told = current._Standing(4, 0, abroad.bundle.digest, 9)
    async with at_work(older):
        board.post(older.current._topic, told.packed())
        await until(lambda: older.reason.endswith("here it cannot be: it leads elsewhere"))
        assert older.put == []
        # What can be had counts meanwhile, though it is older.
        two = Revision(3, 8, Bundle(str(path), policy("two")))
        older.kept.write(two)
        fellow = SharedBoard(tmp_path / "run")
        third = current._Standing(3, 0, two.bundle.digest, 8)
        fellow.post(older.current._topic, third.packed())
        await until(lambda: older.text == policy("two"))
        assert older.current.rejected is not None
        board.close()
        # Who told of it is gone, and with it what could not be had; now this one leads.
        await until(lambda: older.current.rejected is None, lambda: older.reason)
        await until(lambda: older.current._marks)
        place(path, policy("three"))
        await until(lambda: older.text == policy("three"))
    kept = older.kept.read()
    assert kept is not None and kept.number > 4  # above all that anybody has told
    assert [one is None for one in older.refused] == [False, True]
    fellow.close()
    older.board.close()


# --- what is kept --------------------------------------------------------------------------------


def test_the_last_good_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "routing.yml")
    assert kept.read() is None
    revision = Revision(3, 5, Bundle("routing.yml", "a: ü\n", {"b.yml": "c\n"}))
    kept.write(revision)
    assert kept.read() == revision
    assert Kept(tmp_path, "other.yml").read() is None
    (file,) = (tmp_path / "policies").iterdir()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "how",
    [
        lambda b: b[:-20],
        lambda b: b.replace(b"one", b"two"),
        bytes.upper,
        lambda _: b"[" * 100_000,
        lambda b: b.replace(b'"number": 1', b'"number": Infinity'),
        lambda b: b.replace(b'"number": 1', b'"number": -1'),
        lambda b: b.replace(b'"at_us": 0', b'"at_us": 1' + b"0" * 30),
        lambda b: b.replace(b"{}", b"[1]"),
    ],
    ids=["cut", "changed", "upper", "deep", "infinite", "negative", "late", "list"],
)
def test_a_kept_policy_that_is_not_whole_counts_as_none(
    tmp_path: Path, how: Callable[[bytes], bytes]
) -> None:
    kept = Kept(tmp_path, "routing.yml")
    kept.write(Revision(1, 0, Bundle("routing.yml", policy("one"))))
    (file,) = (tmp_path / "policies").iterdir()
    file.write_bytes(how(file.read_bytes()))
    assert kept.read() is None


def test_a_bundle_gives_what_it_holds_and_nothing_else() -> None:
    bundle = Bundle("a/routing.yml", "x", {"b.yml": "y"})
    assert bundle.load("b.yml").name == "a/b.yml"
    assert bundle.files == ("a/routing.yml", "a/b.yml")
    with pytest.raises(NotLoaded):
        bundle.load("/etc/passwd")
    assert Bundle.from_json(bundle.to_json()) == bundle


# --- the process that judges ---------------------------------------------------------------------


async def test_the_process_that_judges_is_replaced_when_it_dies(tmp_path: Path) -> None:
    path, change = in_place(tmp_path)
    judge = Checker()
    try:
        assert (await judge.check(str(path))).rejected is None
        process = judge._process
        assert process is not None
        process.kill()
        await process.wait()
        change()
        checked = await judge.check(str(path))
        assert checked.bundle is not None and checked.bundle.main == policy("two")
    finally:
        await judge.close()


async def test_a_judgement_that_takes_too_long_is_a_refusal(tmp_path: Path) -> None:
    path, _ = in_place(tmp_path)
    judge = Checker(patience_s=0.0001)
    checked = await judge.check(str(path))
    assert checked.rejected is not None and checked.rejected.kind == "slow"
    assert judge._process is None


async def test_what_is_mended_while_it_is_judged_is_judged_again(tmp_path: Path) -> None:
    path, _ = in_place(tmp_path)

    class Hangs(InThread):
        async def check(self, path: str) -> Checked:
            return await Checker.check(self, path)

        async def _ask(self, asked: str) -> object:
            if "slow" in path.read_text():
                place(path, policy("two"))
                raise TimeoutError
            return check(asked).to_json()

    following = Following(path, tmp_path)
    following.current._checker = Hangs()
    async with at_work(following):
        place(path, policy("slow"))
        await until(lambda: following.text == policy("two"), lambda: following.reason)


def test_files_that_change_while_they_are_read_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, part = tmp_path / "routing.yml", tmp_path / "part.yml"
    monkeypatch.setattr(checker, "_PAUSE_S", 0.0)
    left = 0

    def beside(main: str) -> Load:
        def load(file: str) -> Source:
            nonlocal left
            if left:  # the second file of a checkout comes after the first one was read
                left -= 1
                place(part, f"targets: {{openai/gpt-4: {{context_window: {left + 1}k}}}}\n")
                place(path, policy(f"r{left}", "include: part.yml"))
            return include.beside(main)(file)

        return load

    monkeypatch.setattr(checker, "beside", beside)
    place(part, "")
    place(path, policy("one", "include: part.yml"))
    left = 3
    found = check(str(path))
    assert found.bundle is not None
    assert "r0" in found.bundle.main and "1k" in found.bundle.included["part.yml"]
    left = 1000
    found = check(str(path))
    assert found.bundle is None
    assert str(found.rejected) == "its files change faster than they can be read"


def test_no_descriptor_is_left_of_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(OSError, match="no file"):
            read_main(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


async def test_the_process_that_judges_knows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("TURNOUT_VAR_AIG", "canary")
    judge = Checker()
    try:
        await judge.prepare()
        assert judge._process is not None
        environment = Path(f"/proc/{judge._process.pid}/environ").read_bytes()
    finally:
        await judge.close()
    assert b"PATH=" in environment
    assert b"canary" not in environment
