"""What the conformance suite says of this gateway, of a peer, and of the upstream of both.

Of this gateway it is asked once for each wire that it speaks to providers.

    python3 -m venv .cache/litellm && .cache/litellm/bin/pip install 'litellm[proxy]'
    python -m benchmarks.conformance --litellm .cache/litellm/bin/litellm

All stand on this machine, in front of the same simulated providers. The peer lives in an
environment of its own, for it is no dependency of this project; without it, its column is left out.
Prints, and writes `benchmarks/results/conformance.md`.
"""

import argparse
import asyncio
import contextlib
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from turnout import __version__
from turnout.conformance.api import Target
from turnout.conformance.report import Report
from turnout.conformance.run import Outcome, run
from turnout.conformance.suite import cases
from turnout.simulator.process import SimulatorProcess

from .processes import GatewayProcess

RESULTS = Path(__file__).with_name("results") / "conformance.md"
MODEL = "gpt-4o"
EMBEDDING_MODEL = "text-embedding-3-small"
# The wires beside OpenAI's own: what each is called, a model with tools, one that embeds.
WIRES: dict[str, tuple[str, str, str | None]] = {
    "anthropic": ("Anthropic", "claude-haiku-4-5", None),
    "gemini": ("Gemini", "gemini-2.5-flash", "gemini-embedding-001"),
    "bedrock": ("Bedrock", "amazon.nova-lite-v1:0", "amazon.titan-embed-text-v2:0"),
    "cohere": ("Cohere", "command-a", "embed-v4.0"),
    "ollama": ("Ollama", "qwen2.5:3b", "nomic-embed-text"),
}
_BEFORE = "before "
_ANY_KEY = "any-key-will-do-here"
_START_S = 120.0
_STOP_S = 20.0

# Cases of which a peer may say that it does otherwise on purpose, or for want of configuration.
_NO_DATABASE = "without a database it cannot look a key up"
_OWN_ID = "it tells an id of its own, in `x-litellm-call-id`"
_STATUS_AS_CODE = "refused with 400; its codes are the status as text"
ARGUABLE = {
    "errors.a-wrong-key-is-refused": _NO_DATABASE,
    "messages.a-wrong-key-is-refused": _NO_DATABASE,
    "errors.missing-messages-have-their-code": _STATUS_AS_CODE,
    "errors.empty-messages-are-refused": _STATUS_AS_CODE,
    "errors.messages-of-another-type-are-refused": _STATUS_AS_CODE,
    "responses.an-unknown-model-is-not-found": _STATUS_AS_CODE,
    "errors.another-content-type-is-refused": "reading it all the same is lenient",
    "headers.an-answer-has-a-request-id": _OWN_ID,
    "headers.a-stream-has-a-request-id": _OWN_ID,
    "headers.a-refusal-has-a-request-id": _OWN_ID,
    "headers.a-refused-model-has-a-request-id": _OWN_ID,
    "headers.each-request-has-its-own-id": _OWN_ID,
    "models.the-list-has-a-request-id": _OWN_ID,
    "count-tokens.an-unknown-model-is-not-found": "it estimates for any name",
}


@dataclass(frozen=True, slots=True)
class Column:
    """Somebody who was asked: its name, what it ran with, and what came of it."""

    name: str
    setting: str
    report: Report


def main() -> int:
    """Ask everybody, print and write what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--litellm", type=Path, help="the peer's program")
    parser.add_argument("--no-file", action="store_true", help="print only")
    arguments = parser.parse_args()
    models = [f"--model=openai/{name}" for name in (MODEL, EMBEDDING_MODEL)]
    with SimulatorProcess(["openai", *WIRES], "--latency=*=0ms", *models) as simulator:
        columns = _turnout(simulator)
        if arguments.litellm:
            columns.append(_litellm(simulator, arguments.litellm))
        columns.append(_upstream(simulator))
    page = rendered(columns)
    print(page, end="")
    if not arguments.no_file:
        RESULTS.write_text(page, encoding="utf-8")
    return 0


def _turnout(simulator: SimulatorProcess) -> list[Column]:
    rows = "".join(
        f"  {name}: {{base_url: '{simulator.base_url(name)}'}}\n" for name in ("openai", *WIRES)
    )
    policy = f"routing_policy:\n  - {{name: all, route: requested}}\nproviders:\n{rows}"
    setting = "one rule, `route: requested`; on loopback, where keys are not looked at"
    with GatewayProcess(policy) as gateway:
        base_url = f"http://127.0.0.1:{gateway.port}/v1"
        own = Column(f"turnout {__version__}", setting, _asked(base_url, _ANY_KEY))
        others = [
            Column(
                _BEFORE + title,
                f"the same turnout, asked for `{kind}/{model}`"
                + (f" and `{kind}/{vectors}`" if vectors else ", which has no embeddings"),
                _asked(base_url, _ANY_KEY, f"{kind}/{model}", vectors and f"{kind}/{vectors}"),
            )
            for kind, (title, model, vectors) in WIRES.items()
        ]
    return [own, *others]


def _upstream(simulator: SimulatorProcess) -> Column:
    report = _asked(simulator.base_url("openai"), _ANY_KEY)
    setting = "what stands behind both of them, asked directly; no `/v1/messages`, no check of keys"
    return Column("the simulated OpenAI", setting, report)


def _litellm(simulator: SimulatorProcess, program: Path) -> Column:
    key = f"sk-{secrets.token_hex(24)}"
    rows = "".join(
        f"  - model_name: {name}\n    litellm_params: {{model: openai/{name}, "
        f"api_base: '{simulator.base_url('openai')}', api_key: simulated}}\n"
        for name in (MODEL, EMBEDDING_MODEL)
    )
    with tempfile.TemporaryDirectory(prefix="turnout-peer-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(f"model_list:\n{rows}litellm_settings: {{telemetry: false}}\n")
        with _running_litellm(program, config, key) as port:
            report = _asked(f"http://127.0.0.1:{port}/v1", key)
    asked = [str(program.with_name("python")), "-c"]
    code = "from importlib.metadata import version; print(version('litellm'))"
    found = subprocess.run([*asked, code], capture_output=True, text=True, check=True)
    setting = (
        "`litellm[proxy]`, a `model_list` of the two models with `api_base`, a master key, no "
        "database, telemetry off, all else as it comes"
    )
    return Column(f"LiteLLM {found.stdout.strip()}", setting, report)


@contextlib.contextmanager
def _running_litellm(program: Path, config: Path, key: str) -> Iterator[int]:
    port = _free_port()
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {
        **kept,
        "HOME": str(config.parent),
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a list
        "LITELLM_TELEMETRY": "False",
    }
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (config.parent / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, config.parent / "log")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the peer did not start:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _asked(
    base_url: str, key: str, model: str = MODEL, embedding_model: str | None = EMBEDDING_MODEL
) -> Report:
    target = Target(base_url, model, key, embedding_model)
    started = time.monotonic()
    results = asyncio.run(run(target, cases()))
    return Report(target, results, time.monotonic() - started)


def rendered(columns: list[Column]) -> str:
    """The page: settings, a table by area, and what each fails."""
    total = len(columns[0].report.results)
    lines = [
        "# What the conformance suite says",
        "",
        "Written by `python -m benchmarks.conformance`; do not edit.",
        "",
        f"- {total} cases, the same for all, at one base URL each, in front of the same simulated",
        f"  OpenAI with the models `{MODEL}` and `{EMBEDDING_MODEL}`; where another",
        "  provider's wire is named, in front of that one, simulated too. Python "
        f"{platform.python_version()}, {time.strftime('%Y-%m-%d')}.",
        *(f"- {column.name}: {column.setting}." for column in columns),
        "- A cell has passed / failed. Skipped and not offered cases are in neither, but in the",
        "  last row: a provider without embeddings or log probabilities is not asked for them.",
        "- The suite is of this project, and this project is made to pass it. Each case cites who",
        "  says so: see [docs/conformance.md](../../docs/conformance.md).",
        "",
        *_table(columns),
    ]
    for column in columns:
        lines += _failures(column)
    return "\n".join(lines) + "\n"


def _table(columns: list[Column]) -> list[str]:
    rows = [["area", *(column.name for column in columns)]]
    for area in columns[0].report.by_area:
        cells = []
        for column in columns:
            counts = column.report.by_area[area]
            if counts[Outcome.NOT_OFFERED]:
                cells.append("not offered")
            else:
                cells.append(f"{counts[Outcome.PASSED]} / {counts[Outcome.FAILED]}")
        rows.append([area, *cells])
    sums = [column.report.counts for column in columns]
    rows.append(["all", *(f"{c[Outcome.PASSED]} / {c[Outcome.FAILED]}" for c in sums)])
    passed_over = [c[Outcome.SKIPPED] + c[Outcome.NOT_OFFERED] for c in sums]
    rows.append(["passed over", *map(str, passed_over)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def row(cells: list[str]) -> str:
        first, *others = cells
        padded = [f"{c:>{w}}" for c, w in zip(others, widths[1:], strict=True)]
        return f"| {' | '.join([f'{first:{widths[0]}}', *padded])} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [row(rows[0]), f"|{rule}|", *map(row, rows[1:])]


def _failures(column: Column) -> list[str]:
    failed = column.report.of(Outcome.FAILED)
    if not failed and column.name.startswith(_BEFORE):
        return []
    lines = ["", f"## What {column.name} fails", ""]
    if not failed:
        return [*lines, "Nothing."]
    for result in failed:
        seen = " ".join((result.seen or "").split())
        seen = seen if len(seen) <= 200 else seen[:200] + "…"
        lines.append(f"- `{result.case.id}`: {seen}")
        if "LiteLLM" in column.name and result.case.id in ARGUABLE:
            lines.append(f"  (arguable: {ARGUABLE[result.case.id]})")
    return lines


if __name__ == "__main__":
    sys.exit(main())
