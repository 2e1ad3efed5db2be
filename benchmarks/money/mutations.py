"""Whether each enforcement is wired: with its call taken out, a test has to fail.

Works on a copy of the project; each hook names the exact text that is taken out, which has to be
there exactly once, and the tests of which at least one has to turn red.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.findings import Findings, Size

ROOT = Path(__file__).parents[2]
_COPIED = (
    "dsl", "engine", "adapters", "turnout", "policies", "conformance", "tests", "benchmarks",
    "docs", "pyproject.toml", "README.md",
)  # fmt: skip
_PATIENCE_S = 300


class Hook(NamedTuple):
    """A call that enforces something: its place, what is written there, and instead of it."""

    what: str
    file: str
    written: str
    instead: str
    tests: Sequence[str]


MONEY = "tests/e2e/test_e2e_money.py"
SCOPES = f"{MONEY}::test_a_budget_of_each_scope_refuses_with_402"
LEAVING = f"{MONEY}::test_a_client_that_leaves_is_billed_once_and_truly"

HOOKS: list[Hook] = [
    Hook(
        "nothing is booked before an attempt",
        "engine/chain.py",
        "await journey.till.book(stop.target, left_s) if pays else None",
        "None",
        [SCOPES],
    ),
    Hook(
        "the gateway pays from a purse without a bottom",
        "engine/gateway.py",
        "self._purse = purse or Bottomless()",
        "self._purse = Bottomless()",
        [SCOPES],
    ),
    Hook(
        "an attempt that ended well is not settled",
        "engine/passage.py",
        "self.journey.till.settle(attempt, self._target_named(attempt.target))",
        "pass",
        [f"{LEAVING}[a stream after its end]"],
    ),
    Hook(
        "ledger rows are not added to counters",
        "engine/state/sqlite.py",
        "    counted(connection, entries)\n",
        "",
        [SCOPES],
    ),
    Hook(
        "leases are not relieved of what the ledger has",
        "engine/state/sqlite.py",
        "    take_off(connection, slips)\n",
        "",
        [f"{LEAVING}[a stream after its end]"],
    ),
    Hook(
        "a budget of a team holds for nobody",
        "engine/spent.py",
        "            return caller.team\n",
        "            return None\n",
        [SCOPES],
    ),
    Hook(
        "a budget of a user holds for nobody",
        "engine/spent.py",
        "            return caller.user\n",
        "            return None\n",
        [SCOPES],
    ),
    Hook(
        "a budget of a key holds for nobody",
        "engine/spent.py",
        "            return caller.key_id\n",
        "            return None\n",
        [SCOPES],
    ),
    Hook(
        "scopes are not asked for",
        "turnout/server/gate.py",
        "    if scope not in who.caller.scopes:\n",
        "    if False:\n",
        [f"{MONEY}::test_a_key_without_the_scope_is_refused_before_anything_is_spent"],
    ),
    Hook(
        "lists of models are not asked for",
        "engine/granted.py",
        "    if models is None:\n",
        "    if True:\n",
        [f"{MONEY}::test_a_key_of_one_model_is_answered_by_no_other"],
    ),
    Hook(
        "rates are not drawn from",
        "engine/draw.py",
        'await self._take("requests", 1, 1)',
        "pass",
        [f"{MONEY}::test_a_rate_of_requests_refuses_with_429_and_says_when"],
    ),
    Hook(
        "alerts are not sent",
        "engine/alerts.py",
        "await messenger.send(message.body)",
        "None",
        [f"{MONEY}::test_a_threshold_is_told_to_the_webhook_once"],
    ),
    Hook(
        "a zero that was reported is taken for nothing reported",
        "adapters/usage.py",
        "    if prompt is None:\n",
        "    if not prompt:\n",
        [f"{MONEY}::test_a_zero_that_was_reported_stays_zero"],
    ),
]


def mutations(size: Size) -> Findings:
    """Take out one hook after the other, and see tests fail."""
    found = Findings("mutations: with an enforcement taken out, a test fails")
    hooks = HOOKS[: size.count]
    found.told("hooks", len(hooks))
    with tempfile.TemporaryDirectory(prefix="turnout-mutated-") as folder:
        copy = Path(folder)
        _copy(copy)
        several = sorted({test for hook in hooks for test in hook.tests})
        sound = _run(copy, several)
        found.held("as it is", "green" if sound == 0 else f"exit code {sound}", "green", sound == 0)
        for hook in hooks:
            file = copy / hook.file
            text = file.read_text(encoding="utf-8")
            file.write_text(mutated(text, hook), encoding="utf-8")
            code = _run(copy, hook.tests)
            file.write_text(text, encoding="utf-8")
            # 1 is a test that failed; anything else is no answer.
            shown = {0: "no test noticed", 1: "red"}.get(code, f"exit code {code}")
            found.held(hook.what, shown, "red", code == 1)
    return found


def mutated(text: str, hook: Hook) -> str:
    """A file without a hook. Raises: LookupError unless it is there exactly once."""
    if text.count(hook.written) != 1:
        raise LookupError(f"`{hook.written}` is {text.count(hook.written)} times in {hook.file}")
    return text.replace(hook.written, hook.instead)


def _copy(folder: Path) -> None:
    leave = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=leave)
        else:
            shutil.copy(source, folder / name)


def _run(folder: Path, tests: Sequence[str]) -> int:
    """Run tests in a copy; the folder that Python is started in comes before what is installed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    return done.returncode
