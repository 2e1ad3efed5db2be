"""A number lacks its unit.

Nothing is guessed: `800` beside a duration could be milliseconds or seconds, a factor of a
thousand. Durations, money, percentages and times of day are written with their unit.

Avoid:

    condition: p95("openai/gpt-4") > 800

Prefer:

    condition: (p95("openai/gpt-4") ?? 0s) > 800ms
    hold: 2m
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP110"
LEVEL: Severity = "error"
