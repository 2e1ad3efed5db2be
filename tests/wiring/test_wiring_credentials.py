"""Keys from variables, files and commands: what each may be, what is told, and how they change."""

import asyncio
import os
import pickle
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turnout import credentials
from turnout.credentials import Commands, Source, Unreadable, printed
from turnout.dsl.core import Program
from turnout.engine.live import Live, make_live
from turnout.engine.provider import Provider
from turnout.engine.record import Attempt
from turnout.engine.redaction import KNOWN
from turnout.rotation import Given, Rotation
from turnout.settings import Settings, SettingsError
from turnout.wiring import build_gateway, build_providers, load_program

SECRET = "canary-of-a-command-4711"


def loaded(tmp_path: Path, **environment: str) -> Settings:
    return Settings.load({"TURNOUT_HOME": str(tmp_path), **environment})


# --- the three ways -------------------------------------------------------------------------------


def test_a_key_may_come_from_a_command(tmp_path: Path) -> None:
    settings = loaded(tmp_path, OPENAI_API_KEY_COMMAND=f"echo '  {SECRET} '")
    assert settings.credential("openai") == SECRET
    assert settings.source("OPENAI_API_KEY") is Source.COMMAND
    assert build_providers(settings, load_program(settings))["openai"].usable


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        ({}, None),
        ({"A_KEY": " ", "A_KEY_FILE": ""}, None),
        ({"A_KEY": "x"}, Source.VARIABLE),
        ({"A_KEY_FILE": "x"}, Source.FILE),
        ({"A_KEY_COMMAND": "x"}, Source.COMMAND),
    ],
    ids=str,
)
def test_a_key_has_one_source(environment: dict[str, str], source: Source | None) -> None:
    assert credentials.source(environment, "A_KEY") is source


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            {"A_KEY": SECRET, "A_KEY_COMMAND": "x"},
            "both `A_KEY` and `A_KEY_COMMAND` are set; unset one of them",
        ),
        (
            {"A_KEY": SECRET, "A_KEY_FILE": "f", "A_KEY_COMMAND": "x"},
            "all of `A_KEY` and `A_KEY_FILE` and `A_KEY_COMMAND` are set; unset two of them",
        ),
    ],
    ids=["two", "three"],
)
def test_two_sources_of_one_key_are_refused(environment: dict[str, str], told: str) -> None:
    with pytest.raises(Unreadable) as raised:
        credentials.source(environment, "A_KEY")
    assert str(raised.value) == told


# --- commands -------------------------------------------------------------------------------------

# A command, and what is told of it: never what it printed.
FAILING = [
    (f"sh -c 'echo {SECRET}; echo {SECRET} >&2; exit 7'", "`A_KEY_COMMAND` ended with exit code 7"),
    ("sh -c 'kill -9 $$'", "`A_KEY_COMMAND` ended with exit code -9"),
    ("true", "`A_KEY_COMMAND` ended well and printed nothing"),
    ("no-such-program-here --key x", "`A_KEY_COMMAND` cannot be run: no such file or directory"),
    ("echo 'open", "`A_KEY_COMMAND` is no command: a quote is left open"),
    ("''", "`A_KEY_COMMAND` cannot be run"),
    ("sh -c 'yes canary'", "`A_KEY_COMMAND` prints too much to be a key"),
    (r"printf '\377\376'", "`A_KEY_COMMAND` printed what is not UTF-8 text"),
]


@pytest.mark.parametrize(("line", "told"), FAILING, ids=[line for line, _ in FAILING])
def test_a_command_that_fails_is_told_by_its_variable_alone(line: str, told: str) -> None:
    with pytest.raises(Unreadable) as raised:
        printed("A_KEY_COMMAND", line)
    assert str(raised.value).startswith(told)
    assert "canary" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_key_that_is_printed_with_white_space_inside_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"`A_COMMAND` printed white space .*no shell"):
        printed("A_COMMAND", "echo a; echo b")
    with pytest.raises(Unreadable, match=r"`A_COMMAND` printed white space"):
        printed("A_COMMAND", "printf 'a\\nb'")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_file_that_is_no_regular_one_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    file = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "folder": tmp_path}[kind]
    if kind == "pipe":
        os.mkfifo(file)
    with pytest.raises(Unreadable, match="`A_KEY_FILE` names "):
        credentials.read({"A_KEY_FILE": str(file)}, "A_KEY", Commands())


def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    assert printed("A_KEY_COMMAND", "echo $HOME;touch>there") == "$HOME;touch>there"


@pytest.mark.parametrize("line", ["sleep 60", "sh -c 'echo early; sleep 60'"])
def test_a_command_that_hangs_is_ended_with_all_that_it_started(line: str) -> None:
    began = time.monotonic()
    with pytest.raises(Unreadable, match=r"`A_KEY_COMMAND` took longer than 0\.3 s"):
        printed("A_KEY_COMMAND", line, patience_s=0.3)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("line", ["sleep 3", "sh -c 'exec >&-; sleep 3'"])
def test_a_command_that_may_not_be_ended_is_not_waited_for(
    line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(group: int, signal: int) -> None:
        raise PermissionError  # as of `sudo`, whose processes are another user's

    monkeypatch.setattr(os, "killpg", refuses)
    began = time.monotonic()
    with pytest.raises(Unreadable, match="took longer"):
        printed("A_KEY_COMMAND", line, patience_s=0.2)
    assert time.monotonic() - began < 2.5


def test_a_command_that_leaves_a_session_of_its_own_behind_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(Unreadable, match="took longer"):
        printed("A_KEY_COMMAND", "sh -c 'setsid sleep 3 & echo key'", patience_s=0.2)
    assert time.monotonic() - began < 2.5


def test_a_command_that_leaves_somebody_behind_is_not_waited_for(tmp_path: Path) -> None:
    # What stays behind keeps the pipe open; it ends with the command's group.
    with pytest.raises(Unreadable, match="took longer"):
        printed("A_KEY_COMMAND", f"sh -c 'echo {SECRET}; sleep 60 & exit 0'", patience_s=0.3)


def counting(tmp_path: Path, text: str = SECRET) -> tuple[str, Path]:
    """A command that notes each of its runs, and the file where it does."""
    notes, value = tmp_path / "runs", tmp_path / "value"
    value.write_text(text)
    return f"sh -c 'echo run >> {notes}; cat {value}'", notes


def runs(notes: Path) -> int:
    return len(notes.read_text().splitlines())


def test_a_command_runs_once_however_often_its_key_is_asked_for(tmp_path: Path) -> None:
    line, notes = counting(tmp_path)
    settings = loaded(tmp_path, OPENAI_API_KEY_COMMAND=line)
    for _ in range(3):
        build_providers(settings, load_program(settings))
    assert runs(notes) == 1


def test_a_worker_begins_with_what_was_printed_before(tmp_path: Path) -> None:
    line, notes = counting(tmp_path)
    settings = loaded(tmp_path, OPENAI_API_KEY_COMMAND=line)
    assert settings.credential("openai") == SECRET
    theirs = pickle.loads(pickle.dumps(settings))
    assert theirs.credential("openai") == SECRET
    assert runs(notes) == 1


def test_what_fails_at_a_second_run_leaves_what_was_printed_before(tmp_path: Path) -> None:
    line, _ = counting(tmp_path)
    commands = Commands()
    assert commands.read("A_KEY_COMMAND", line) == SECRET
    (tmp_path / "value").write_text("another")
    assert commands.renew() == []
    assert commands.read("A_KEY_COMMAND", line) == "another"
    (tmp_path / "value").unlink()
    assert commands.renew() == ["`A_KEY_COMMAND` ended with exit code 1"]
    assert commands.read("A_KEY_COMMAND", line) == "another"
    assert "another" not in repr(commands)


def test_a_failing_command_stops_the_start_with_its_variable(tmp_path: Path) -> None:
    settings = loaded(tmp_path, OPENAI_API_KEY_COMMAND="false")
    with pytest.raises(SettingsError) as raised:
        build_providers(settings, load_program(settings))
    assert raised.value.problems == ("`OPENAI_API_KEY_COMMAND` ended with exit code 1",)


def test_no_repr_of_settings_holds_a_secret(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        OPENAI_API_KEY_COMMAND=f"echo {SECRET}",
        ANTHROPIC_API_KEY="canary-of-a-variable",
    )
    assert settings.credential("openai") == SECRET
    given = Given("https://x", {"a": "canary-1"}, "canary-2", {"B": "canary-3"})
    for shown in (repr(settings), repr(settings.commands), repr(given)):
        assert "canary" not in shown


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"OPENAI_API_KEY": "canary-41"}, "canary-41"),
        ({"AWS_SECRET_ACCESS_KEY": "canary-42"}, "canary-42"),
        ({"AWS_ACCESS_KEY_ID": "canary-43"}, "canary-43"),
        ({"TURNOUT_ALERT_WEBHOOK": "https://hooks.example/T/canary-44"}, "canary-44"),
        ({"SOME_PASSWORD": "canary-45"}, "canary-45"),
        ({"OPENAI_API_KEY_FILE": "/run/secrets/canary-46"}, None),
        ({"TURNOUT_HOME": "/canary-47"}, None),
    ],
    ids=str,
)
def test_the_log_knows_which_variables_are_secrets(
    tmp_path: Path, environment: dict[str, str], known: str | None
) -> None:
    found = Settings(tmp_path, environment=environment).secrets()
    assert len(found) == (known is not None)
    assert all(known is not None and known in one for one in found)


def test_a_key_that_is_read_is_known_to_the_log_from_then_on(tmp_path: Path) -> None:
    settings = loaded(tmp_path, OPENAI_API_KEY_COMMAND="echo canary-known-by-heart")
    build_providers(settings, load_program(settings))
    assert "canary" not in KNOWN.cut("told: canary-known-by-heart")


# --- keys that change -----------------------------------------------------------------------------


class _Serving:
    """What has a program in force."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.switches = 0

    async def switch(self, live: Live) -> None:
        self.live = live
        self.switches += 1


class _Keys:
    """Where keys are, and what is made of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.renewals = 0

    def find(self, program: Program) -> Mapping[str, Given]:
        credential = self.settings.credential("openai")
        return {"openai": Given(None, {}, credential, {}), "groq": Given(None, {}, None, {})}

    def make(self, program: Program, name: str, given: Given) -> Provider:
        environment = {"TURNOUT_HOME": "", f"{name.upper()}_API_KEY": given.credential or ""}
        with_key = replace(self.settings, environment=environment)
        return build_providers(with_key, program)[name]

    def renew(self) -> list[str]:
        self.renewals += 1
        return self.settings.commands.renew()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("canary-first")
    return file


@pytest.fixture
def keys(tmp_path: Path, file: Path) -> _Keys:
    return _Keys(loaded(tmp_path, OPENAI_API_KEY_FILE=str(file)))


@pytest.fixture
def serving(keys: _Keys) -> _Serving:
    program = load_program(keys.settings)
    return _Serving(make_live(program, build_providers(keys.settings, program)))


def key_of(serving: _Serving) -> str | None:
    provider: Any = serving.live.providers["openai"]
    header: str | None = provider._upstream.header("authorization")
    return header


def rotation_of(serving: _Serving, keys: _Keys, every_us: int = 0) -> Rotation:
    return Rotation(serving, keys.find, keys.make, keys.renew, every_us, least_s=0.01)


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def test_a_key_that_is_another_is_put_in_force(
    serving: _Serving, keys: _Keys, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rotation = rotation_of(serving, keys)
    running = asyncio.create_task(rotation.run())
    caplog.set_level("INFO")
    await until(lambda: rotation._known)
    assert key_of(serving) == "Bearer canary-first"
    file.write_text("canary-second")
    rotation.ask()
    await until(lambda: key_of(serving) == "Bearer canary-second")
    await until(lambda: "other keys are in force for `openai`" in caplog.text)
    assert "canary" not in caplog.text
    running.cancel()


async def test_keys_are_looked_at_by_themselves(serving: _Serving, keys: _Keys, file: Path) -> None:
    running = asyncio.create_task(rotation_of(serving, keys, every_us=10_000).run())
    await until(lambda: keys.renewals > 1)
    file.write_text("canary-second")
    await until(lambda: key_of(serving) == "Bearer canary-second")
    running.cancel()


async def test_where_nothing_changed_nothing_is_switched(serving: _Serving, keys: _Keys) -> None:
    rotation = rotation_of(serving, keys)
    await rotation.look()  # the first makes sure of what is in force
    before = serving.switches
    await rotation.look()
    assert serving.switches == before


async def test_a_key_that_cannot_be_read_any_more_leaves_the_one_before(
    serving: _Serving, keys: _Keys, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rotation = rotation_of(serving, keys)
    file.unlink()
    await rotation.look()
    assert key_of(serving) == "Bearer canary-first"
    assert "what was read before stays: `OPENAI_API_KEY_FILE` names a file" in caplog.text


@pytest.mark.parametrize(
    ("fault", "payer", "looks"),
    [("auth", "gateway", True), ("auth", "caller", False), ("5xx", "gateway", False)],
)
async def test_a_refused_key_of_the_gateways_own_is_looked_at_at_once(
    serving: _Serving, keys: _Keys, fault: str, payer: Any, looks: bool
) -> None:
    rotation = rotation_of(serving, keys)
    attempt = Attempt("openai/gpt-4", "gpt-4", "failed", 0, 1, 0, 0, fault=fault, payer=payer)
    record: Any = type("Record", (), {"attempts": [attempt]})
    rotation.observe(record)
    running = asyncio.create_task(rotation.run())
    if looks:
        await until(lambda: keys.renewals == 1)
    else:
        await asyncio.sleep(0.05)
        assert keys.renewals == 0
    running.cancel()


async def test_however_many_are_refused_the_looks_are_bounded(
    serving: _Serving, keys: _Keys
) -> None:
    rotation = Rotation(serving, keys.find, keys.make, keys.renew, 0, least_s=3600)
    running = asyncio.create_task(rotation.run())
    for _ in range(50):
        rotation.ask()
        await asyncio.sleep(0.001)
    await until(lambda: keys.renewals >= 1)
    assert keys.renewals == 1
    running.cancel()


def test_a_gateway_whose_keys_stand_in_variables_has_nothing_to_look_at(
    tmp_path: Path, file: Path
) -> None:
    def companions(**environment: str) -> list[str]:
        gateway = build_gateway(loaded(tmp_path, **environment))
        return [one.name for one in gateway._companions]

    assert "keys" not in companions(OPENAI_API_KEY="k-1", SSL_CERT_FILE="")
    assert "keys" in companions(OPENAI_API_KEY_FILE=str(file))
    assert os.environ.get("OPENAI_API_KEY_FILE") is None
