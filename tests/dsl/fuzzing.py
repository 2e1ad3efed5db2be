"""Broken policy texts by the thousand, and the whole pipeline over them, in a child process.

`python fuzzing.py SEED FIRST COUNT STEP` runs the cases FIRST, FIRST + STEP, …: one line on
standard output every 200 cases (bombs: before each), so that the parent knows where a dead child
died, and at the end the most memory it had. A case is a function of the seed and its number; a seed
below zero means the bombs.
"""

import gc
import random
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.format import formatted
from turnout.dsl.interpret.compiled import compile_program
from turnout.dsl.lint.run import lint
from turnout.dsl.source import Source
from turnout.engine.catalog import language_schema

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "policies").glob("**/*.yml"))
TODAY = 20_778
SECONDS = 1.0  # of a text of this size; of a larger one as much more
CHARACTERS = 50_000
GROWTH_BYTES = 200 * 1024 * 1024

_WORDS = (
    *": - , [ ] { } ( ) # & * ! | > ' \" % @ ` ? \t \r \0 ~ = == < .. ?? $ / \\".split(" "),
    *("\n", "\t", "\r\n", "\ufeff", "\u2028", "\u00a0", "é", "\U0001f600", "\ud7ff", "  ", "\n\n"),
    *("\n  - ", ": {", "}\n", "<<: ", "&a ", "*a", "!!python/object ", "---\n", "...\n", "? "),
    *("%YAML 1.1\n", "|2\n", ">-\n", "(timeout: 2s)", "and", "or", "not", "in", "has", "matches"),
    *("true", "null", "unknown", "requested", "tokens", "cost", "p95", "latency", "x/y", "tags"),
    *('budget("x").left', 'matches("(a*)*b")', "9" * 40, "1e999", "-1", "0", "0.00001", "100%"),
    *("$1/Mtok", "1000000000d", "2026-02-30", "25:00", "Mon..Fri", "22:00..06:00", "openai/gpt-4o"),
)
_PARTS = re.compile(r"\w+|\s+|[^\w\s]")
_ITEM = re.compile(r"(?m)^  - ")
_SECTION = re.compile(r"(?m)^(?=[a-z_]+:)")


def case(seed: int, number: int) -> str:
    """A broken policy text."""
    chance = random.Random(f"{seed}:{number}")
    text = _small(chance)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        text = _broken(text, chance)
    return text


def _small(chance: random.Random) -> str:
    """A few sections of an example, of each list a few entries: whole examples take too long."""
    text = chance.choice(EXAMPLES).read_text(encoding="utf-8")
    if chance.random() < 0.02:
        return text
    kept = []
    for section in _SECTION.split(text)[1:]:
        head, *items = _ITEM.split(section)
        if len(items) > 2:
            items = [
                items[i] for i in sorted(chance.sample(range(len(items)), chance.choice((1, 2))))
            ]
        if "routing_policy" in head or chance.random() < 0.5:
            kept.append("  - ".join([head, *items]))
    return "".join(kept)


def _broken(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    upto = min(len(text), at + chance.choice((1, 1, 2, 5, 20, 100)))
    match chance.randrange(10):
        case 0:
            return text[:at] + text[upto:]
        case 1:
            return text[:at] + text[at:upto] * chance.choice((2, 2, 3, 50)) + text[upto:]
        case 2 | 3:
            return text[:at] + chance.choice(_WORDS) + text[at:]
        case 4:
            return text[:at] + chance.choice(_WORDS) + text[upto:]
        case 5:
            data = bytearray(text.encode())
            if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            return data.decode("utf-8", "replace")
        case 6:
            data = bytearray(text.encode())
            for _ in range(3):
                data.insert(chance.randrange(len(data) + 1), chance.randrange(256))
            return data.decode("utf-8", "replace")
        case 7 | 8:
            parts = _PARTS.findall(text)
            if len(parts) > 1:
                i, j = chance.randrange(len(parts)), chance.randrange(len(parts))
                if chance.random() < 0.5:
                    parts[i], parts[j] = parts[j], parts[i]
                else:
                    parts[i] = parts[j]
            return "".join(parts)
        case _:
            lines = text.split("\n")
            i = chance.randrange(len(lines))
            lines[i] = " " * chance.randrange(9) + lines[i].lstrip(" ")
            return "\n".join(lines)


def bombs() -> Iterator[tuple[str, str]]:
    """Texts that are small or large and wish to be larger, by name."""
    rule = "routing_policy:\n  - {name: a, route: openai/gpt-4o}\n"
    yield (
        "aliases",
        "let:\n  a0: &a0 [x, x]\n"
        + "".join(
            f"  a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)
        ),
    )
    yield "nesting of lists", "let: " + "[" * 100_000
    yield "nesting of maps", "{a: " * 100_000
    yield "nesting of lines", "".join(" " * i + "a:\n" for i in range(1_000))
    yield "nesting of dashes", "- " * 100_000
    yield "nesting of parentheses", f"{rule}let: {{a: '{'(' * 9_000}'}}"
    yield "nesting of not", f"{rule}let: {{a: {'not ' * 2_400}stream}}"
    yield "chain of or", f"{rule}let: {{a: {' or '.join(['stream'] * 900)}}}"
    yield "chain of sums", f"{rule}let: {{a: {' + '.join(['tokens'] * 1_000)} > 5}}"
    yield "huge number", f"{rule}let: {{a: tokens < {'9' * 9_000}}}"
    yield (
        "huge price",
        f"{rule}targets: {{openai/gpt-4o: {{price: {{input: ${'9' * 9_000}/Mtok}}}}}}",
    )
    yield "powers", f"{rule}let: {{a: tokens * {'1000000000000 * ' * 500}1 > 1}}"
    yield "ten megabytes", f"{rule}# {'x' * 10_000_000}\n"
    yield "ten megabytes of rules", rule + "  - {name: b, route: x/y}\n" * 400_000
    yield "long line", f"{rule}fallback_chain: [{'x/y, ' * 45_000}x/y]"
    yield "long comment lines", rule + "#\n" * 400_000
    yield "blank lines", rule + "\n" * 900_000
    yield "spaces", rule + (" " * 999 + "\n") * 900
    yield "many keys", "let:\n" + "".join(f"  a{i}: stream\n" for i in range(5_000))
    yield "many equal keys", "let:\n" + "  a: stream\n" * 20_000
    yield (
        "many rules",
        "routing_policy:\n"
        + "".join(
            f"  - {{name: r{i}, condition: tokens < {i}, route: openai/gpt-4o}}\n"
            for i in range(300)
        ),
    )
    yield (
        "many unknown names",
        "routing_policy:\n"
        + "".join(
            f"  - {{name: r{i}, condition: tokns < {i}, route: openai/gpt-4oo}}\n"
            for i in range(300)
        ),
    )
    yield "regex that backtracks", f"{rule}let: {{a: 'user matches \"{'(a*)*' * 200}b\"'}}"
    yield "regex that repeats", f"{rule}let: {{a: 'user matches \"((a{{100}}){{100}}){{100}}\"'}}"
    yield "regex of classes", f"{rule}let: {{a: 'user matches \"{'[a-z]{900}' * 300}\"'}}"
    yield (
        "lets of lets",
        "let:\n  a0: stream\n"
        + "".join(f"  a{i}: a{i - 1} and a{i - 1}\n" for i in range(1, 60))
        + rule.replace("route", "condition: a59, route"),
    )
    yield "hops without an end", f"fallback_chain:\n  - {'x/y (' * 100_000}"
    yield "quotes without an end", f"{rule}x: '{chr(39) * 300_000}"


def run(text: str) -> str | None:
    """What is wrong with how a text is treated, None if nothing is."""
    source = Source("routing.yml", text)
    began = time.process_time()
    try:
        try:
            made = formatted(source)
        except PolicyError as error:
            made = None
            if not error.diagnostics:
                return "refused without a finding"
        linted = lint(source, SCHEMA, TODAY)
        if linted.program is not None:
            compile_program(linted.program)
        elif not any(finding.severity == "error" for finding in linted.findings):
            return "no program and no error"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    took = time.process_time() - began
    if took > SECONDS * max(1, len(text) / CHARACTERS):
        return f"took {took:.1f} s"
    if made is not None and formatted(Source("routing.yml", made)) != made:
        return "formatting is not idempotent"
    return None


SCHEMA = language_schema()


def bound_memory() -> None:
    """Let nothing grow by more than allowed from here on: a text that does meets MemoryError."""
    warm = "routing_policy: [{name: a, condition: tokens < 5, route: openai/gpt-4o}]\n"
    assert run(warm) in (None, "formatting is not idempotent"), run(warm)
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + GROWTH_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """Run some cases, one line each before it and one more if it is treated wrongly."""
    seed, first, count, step = map(int, sys.argv[1:5])
    named = dict(bombs()) if seed < 0 else {}
    names = list(named)
    bound_memory()
    for number in range(first, first + count * step, step):
        text = named[names[number]] if named else case(seed, number)
        if named or (number - first) // step % 200 == 0:
            print(number, flush=True)
        wrong = run(text)
        if wrong is not None:
            print(f"! {number} {wrong.splitlines()[0][:300]}", flush=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak {peak_mb} MB\ndone", flush=True)


if __name__ == "__main__":
    main()
