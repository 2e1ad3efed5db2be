"""`policy diff`: what may be compared, and what is said of it, in all three forms."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Ran

OLD = """attributes: {tier: [free, pro]}
routing_policy:
  - {name: small, condition: tokens < 100, route: groq/llama-3-8b}
  - {name: rest, route: groq/llama-3-70b}
"""
NEW = OLD.replace("tokens < 100", "tokens < 200")
Command = Callable[[str], Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in (("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")):
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def repository(folder: Path) -> Path:
    """OLD as committed on `main`, NEW as it lies there."""
    git("init", "-q", "-b", "main")
    (folder / "routing.yml").write_text(OLD)
    commit()
    (folder / "routing.yml").write_text(NEW)
    return folder


def git(*words: str) -> None:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


def commit() -> None:
    git("add", "-A")
    git("commit", "-q", "-m", "a version")


def files(folder: Path, old: str = OLD, new: str = NEW) -> str:
    (folder / "old.yml").write_text(old)
    (folder / "new.yml").write_text(new)
    return "old.yml new.yml"


WORKING = ("main", "HEAD", "", "main routing.yml", "-- routing.yml", "main -- routing.yml")


@pytest.mark.parametrize("sides", WORKING)
def test_a_revision_is_compared_with_the_file_as_it_is(
    sides: str, repository: Path, command: Command
) -> None:
    ran = command(f"policy diff --format json {sides}")
    assert (ran.status, ran.err) == (0, "")
    data = json.loads(ran.out)
    assert data["verdict"] == "changed"
    assert data["new"]["name"] == "routing.yml"
    (change,) = data["changes"]
    assert (change["old"], change["new"]) == ("rest", "small")
    assert change["witness"]["tokens"] in range(100, 200)


def test_two_revisions_are_compared_with_each_other(repository: Path, command: Command) -> None:
    commit()
    data = json.loads(command("policy diff HEAD~1 main --format json").out)
    assert data["verdict"] == "changed"
    assert [data[side]["name"] for side in ("old", "new")] == [
        "HEAD~1:routing.yml",
        "main:routing.yml",
    ]
    assert json.loads(command("policy diff main HEAD --format json").out)["verdict"] == "equivalent"


def test_what_a_policy_includes_is_read_at_the_same_revision(
    repository: Path, command: Command
) -> None:
    (repository / "sub").mkdir()
    (repository / "sub" / "main.yml").write_text("include: [parts/models.yml]\n" + OLD)
    parts = repository / "sub" / "parts"
    parts.mkdir()
    (parts / "models.yml").write_text("models: {house: openai/gpt-4o}\n")
    commit()
    (parts / "models.yml").write_text("models: {house: openai/gpt-4}\n")
    data = json.loads(command("policy diff main sub/main.yml --format json").out)
    assert [(one["section"], one["name"]) for one in data["settings"]] >= [("model", "house")]
    (parts / "models.yml").unlink()
    ran = command("policy diff main HEAD sub/main.yml")
    assert ran.out.startswith("main:sub/main.yml → HEAD:sub/main.yml: the same policy")


REFUSED = (
    ("policy diff nowhere", "`nowhere` is neither a file nor a revision that git knows"),
    ("policy diff main other.yml", "there is no file `other.yml` at the revision `main`"),
    ("policy diff main ruting.yml", "did you mean `routing.yml`?"),
    ("policy diff a.yml b.yml c.yml", "these are not two versions of a policy"),
    ("policy diff main HEAD HEAD", "these are not two versions of a policy"),
    ("policy diff main~7", "`main~7` is neither a file nor a revision that git knows"),
    ("policy diff main gone/routing.yml", "there is no folder `gone`"),
)


@pytest.mark.parametrize(("line", "told"), REFUSED)
def test_what_cannot_be_read_is_said(
    line: str, told: str, repository: Path, command: Command
) -> None:
    ran = command(line)
    assert ran.status == 2
    assert told in ran.err


def test_outside_a_repository_a_revision_is_refused(folder: Path, command: Command) -> None:
    (folder / "routing.yml").write_text(OLD)
    ran = command("policy diff main")
    assert ran.status == 2
    assert "in no git repository" in ran.err


def test_a_name_of_a_file_and_a_revision_is_asked_for_in_full(
    repository: Path, command: Command
) -> None:
    (repository / "main").write_text(NEW)
    ran = command("policy diff main")
    assert ran.status == 2
    assert "`main` is a file and a revision" in ran.err
    assert command("policy diff refs/heads/main").status == 0


def test_no_filter_of_the_repository_runs(repository: Path, command: Command) -> None:
    (repository / ".gitattributes").write_text("*.yml diff=evil filter=evil\n")
    git("config", "diff.evil.textconv", "touch ran #")
    git("config", "filter.evil.smudge", "touch ran #")
    commit()
    command("policy diff main")
    assert not (repository / "ran").exists()


def test_a_link_in_the_repository_is_no_policy(repository: Path, command: Command) -> None:
    (repository / "link.yml").symlink_to("routing.yml")
    commit()
    ran = command("policy diff main link.yml")
    assert ran.status == 2
    assert "is a link" in ran.err


def test_a_version_that_does_not_compile_is_shown_with_its_place(
    repository: Path, command: Command
) -> None:
    (repository / "routing.yml").write_text(NEW.replace("tokens", "tokns"))
    ran = command("policy diff main")
    assert ran.status == 1
    assert "routing.yml:3:" in ran.err
    assert "RP101" in ran.err


WRONG = NEW.replace("tokens", "tokns")


@pytest.mark.parametrize(
    ("old", "new", "count"), [(OLD, WRONG, 1), (WRONG, NEW, 1), (WRONG, WRONG, 2)]
)
def test_what_does_not_compile_is_told_to_scripts_and_comments_too(
    old: str, new: str, count: int, folder: Path, command: Command
) -> None:
    line = f"policy diff {files(folder, old, new)}"
    ran = command(f"{line} --format json")
    assert ran.status == 1
    data = json.loads(ran.out)
    assert data["verdict"] == "not_compiled"
    assert [one["code"] for one in data["findings"]] == ["RP101"] * count
    assert (data["old"]["name"], data["new"]["name"]) == ("old.yml", "new.yml")
    assert ran.err.count("RP101") == count
    ran = command(f"{line} --format markdown")
    assert ran.status == 1
    assert "**not compiled**" in ran.out
    assert ran.out.count("RP101") == count
    ran = command(line)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.count("RP101") == count


@pytest.fixture
def shallow(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What CI has: the last commit of one branch, and a remote that has `main`."""
    commit()
    git("checkout", "-q", "-b", "feature")
    (repository / "routing.yml").write_text(OLD)
    commit()
    clone = repository / "clone"
    git("clone", "-q", "--depth", "1", "--branch", "feature", f"file://{repository}", str(clone))
    monkeypatch.chdir(clone)
    return clone


FETCH = "git fetch --depth 1 origin main:refs/remotes/origin/main"


@pytest.mark.parametrize("word", ["origin/main", "main"])
def test_a_branch_that_a_shallow_clone_lacks_is_fetched_by_what_is_said(
    word: str, shallow: Path, command: Command
) -> None:
    ran = command(f"policy diff {word}")
    assert ran.status == 2
    assert f"`{FETCH}`" in ran.err
    git(*FETCH.split()[1:])
    assert json.loads(command("policy diff origin/main --format json").out)["verdict"] == "changed"


HINTS = (
    ("HEAD~1", "this clone is shallow: `git fetch --unshallow` brings its history here"),
    ("origin/x;y", "this clone is shallow: `git fetch --unshallow` brings its history here"),
)


@pytest.mark.parametrize(("word", "help"), HINTS)
def test_what_else_a_shallow_clone_lacks_is_said(
    word: str, help: str, shallow: Path, command: Command
) -> None:
    ran = command(f"policy diff '{word}'")
    assert ran.status == 2
    assert help in ran.err


GATES = (
    # gate, new version, exit code, status
    ("no-new:openai/*", NEW, 0, "kept"),
    ("no-new:openai/*", NEW.replace("groq/llama-3-70b", "openai/gpt-4o"), 1, "broken"),
    ("no-new:openai/*", NEW + "fallback_chain: [openai/gpt-4o]\n", 1, "broken"),
    ("no-new:groq/llama-3-70b", NEW.replace("groq/llama-3-70b", "openai/gpt-4o"), 0, "kept"),
    # the small ones of 100 to 200 tokens went to the larger model before
    ("no-new:groq/llama-3-8b", NEW, 1, "broken"),
    ("no-new-origin", NEW, 0, "kept"),
    (
        "no-new-origin",
        NEW + "providers: {openai: {base_url: 'https://gw.example/v1'}}\n",
        1,
        "broken",
    ),
    ("no-new-origin", NEW + "providers: {openai: {headers: {x-a: b}}}\n", 1, "broken"),
)


@pytest.mark.parametrize(("gate", "new", "status", "said"), GATES)
def test_a_gate_fails_where_it_is_broken(
    gate: str, new: str, status: int, said: str, folder: Path, command: Command
) -> None:
    ran = command(f"policy diff {files(folder, new=new)} --gate {gate} --format json")
    assert ran.status == status
    (found,) = json.loads(ran.out)["gates"]
    assert found["status"] == said


def test_a_gate_that_was_not_decided_fails(folder: Path, command: Command) -> None:
    line = f"policy diff {files(folder)} --gate no-new:openai/* --timeout 1ms --format json"
    ran = command(line)
    data = json.loads(ran.out)
    assert data["verdict"] == "not_decided"
    assert data["gates"][0]["status"] == "not_decided"
    assert ran.status == 1


MISSPELT = (
    ("no-new:opneai/*", "did you mean `no-new:openai/*`?"),
    ("no-new:gpt-4o", "did you mean `no-new:openai/gpt-4o`?"),
    ("no-new:nobody/x", "targets are `provider/model`, such as `no-new:openai/*`"),
)


@pytest.mark.parametrize(("gate", "help"), MISSPELT)
def test_a_gate_that_nothing_could_break_is_refused(
    gate: str, help: str, folder: Path, command: Command
) -> None:
    ran = command(f"policy diff {files(folder)} --gate {gate}")
    assert (ran.status, ran.out) == (2, "")
    assert f"the gate `{gate}` fits no target" in ran.err
    assert help in ran.err


FITTING = (
    "no-new:*",
    "no-new:*/*",
    "no-new:open*/*",
    "no-new:openai/of-tomorrow",  # a model that nobody knows yet of a provider that is known
    "no-new:*gpt-4o",  # in the price list
    "no-new:mine/*",
)


@pytest.mark.parametrize("gate", FITTING)
def test_a_gate_may_name_what_no_version_uses_yet(
    gate: str, folder: Path, command: Command
) -> None:
    own = f"{NEW}providers: {{mine: {{kind: openai, base_url: 'https://m.example'}}}}\n"
    assert command(f"policy diff {files(folder, own, own)} --gate {gate}").status == 0


def test_a_gate_that_is_broken_says_by_which_request(folder: Path, command: Command) -> None:
    line = f"policy diff {files(folder)} --gate no-new:groq/llama-3-8b"
    told = command(line).out.partition("gate no-new:groq/llama-3-8b: broken\n")[2]
    assert told.startswith(
        "    a request can newly come to groq/llama-3-8b, by rest → small, for example: tokens = 1"
    )


def test_a_gate_that_was_not_decided_says_what_was_not(folder: Path, command: Command) -> None:
    line = f"policy diff {files(folder)} --gate no-new:openai/* --timeout 1ms"
    told = command(line).out.partition("gate no-new:openai/*: not decided, so it is not kept\n")[2]
    assert told.startswith("    not decided: requests of ")
    (gate,) = json.loads(command(f"{line} --format json").out)["gates"]
    assert {one["reason"] for one in gate["open"]} == {"time"}


def test_an_unknown_gate_is_refused(folder: Path, command: Command) -> None:
    ran = command(f"policy diff {files(folder)} --gate no-openai")
    assert ran.status == 2
    assert "write `no-new:openai/*` or `no-new-origin`" in ran.err


def test_the_values_of_headers_are_never_shown(folder: Path, command: Command) -> None:
    old, new = (
        f"{OLD}providers: {{openai: {{headers: {{x-gateway: '{value}'}}}}}}\n"
        for value in ("canary-one", "canary-two")
    )
    for form in ("text", "json", "markdown"):
        ran = command(f"policy diff {files(folder, old, new)} --gate no-new-origin --format {form}")
        assert "x-gateway" in ran.out
        assert "canary" not in ran.out


TRAFFIC = "".join(
    json.dumps({"tokens": tokens, "output_tokens": 10}) + "\n" for tokens in (50, 150, 160, 300)
)


def test_recorded_requests_are_counted_as_they_move(folder: Path, command: Command) -> None:
    (folder / "log.jsonl").write_text(TRAFFIC)
    line = f"policy diff {files(folder)} --traffic log.jsonl"
    data = json.loads(command(f"{line} --format json").out)
    assert (data["traffic"]["moved"], data["traffic"]["decided"]) == (2, 4)
    assert data["traffic"]["share"] == 0.5
    assert data["changes"][0]["traffic"] == 2
    now, then = (float(data["traffic"]["cost"][key]) for key in ("now", "then"))
    assert then < now
    assert "50.0 % of the traffic" in command(line).out


def test_a_log_that_nobody_can_read_is_refused(folder: Path, command: Command) -> None:
    (folder / "log.jsonl").write_text("nonsense\n")
    ran = command(f"policy diff {files(folder)} --traffic log.jsonl")
    assert ran.status == 2
    assert "no row can be read; log.jsonl:1: it is not JSON" in ran.err


def test_the_example_is_one_that_explain_can_take(folder: Path, command: Command) -> None:
    data = json.loads(command(f"policy diff {files(folder)} --format json").out)
    (change,) = data["changes"]
    given = " ".join(f"--given '{key}={value}'" for key, value in change["witness"].items())
    for file, rule in (("old.yml", change["old"]), ("new.yml", change["new"])):
        told = json.loads(command(f"policy explain {file} {given} --format json").out)
        assert told["rule"] == rule


HOSTILE = NEW.replace("name: rest", 'name: "r|`<b>**\\e[31m```"')


def test_nothing_of_a_policy_is_markup_in_a_comment(folder: Path, command: Command) -> None:
    out = command(f"policy diff {files(folder, new=HOSTILE)} --format markdown").out
    assert "<b>" not in out.replace("`r\\|'<b>", "")
    assert "\x1b" not in out
    assert out.count("```") in (0, 2)


def test_the_same_policy_is_called_that(folder: Path, command: Command) -> None:
    assert command(f"policy diff {files(folder, new=OLD)}").out == (
        "old.yml → new.yml: the same policy\n"
    )
