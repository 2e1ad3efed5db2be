"""What `serve` begins with: the policy of the file, or the last good one where that cannot be.

The last good one is what was in force when the gateway ended; it stands in for a file that is gone,
broken, fails its own tests, or asks for what is not there. Whoever starts the gateway is told so.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from turnout.dsl.core import Program
from turnout.dsl.diagnostic import PolicyError
from turnout.engine import judgement
from turnout.engine.bundle import Reading
from turnout.engine.current import Begun
from turnout.engine.judgement import Failing, Rejected, instant, judge
from turnout.engine.policy import Policy
from turnout.engine.revision import Kept, Revision
from turnout.settings import SHADOW_FOLDER, Settings, SettingsError

from .colour import Palette, palette_of
from .dispatch import CommandError
from .files import read_policy
from .report import plural, printable, render_place, render_text

# What may be wrong with a policy file, or with what it needs.
Wrong = PolicyError | Failing | CommandError | SettingsError


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a gateway begins with. `last` is the last good one, where that is another."""

    begun: Begun
    program: Program
    last: Revision | None = None

    @property
    def is_of_file(self) -> bool:
        """Whether it is what the file says."""
        return self.begun.rejected is None


def beginning(settings: Settings) -> Beginning:
    """The policy to begin with. Prints what is wrong with the file, where it is another one.

    Raises: PolicyError, Failing, CommandError where the file cannot be used and nothing stands in.
    """
    name = str(settings.policy)
    last = Kept(settings.home, name).read()
    try:
        source, load = read_policy(name)
        reading = Reading(source, load)
        program = judge(source, reading).program
    except (PolicyError, Failing, CommandError) as wrong:
        return instead(settings, last, wrong)
    bundle = reading.bundle
    if last is not None and last.bundle.digest == bundle.digest:
        return Beginning(Begun(last), program)
    number = 1 if last is None else last.number + 1
    return Beginning(Begun(Revision(number, time.time_ns() // 1000, bundle)), program, last)


def shadowing(settings: Settings, check: Callable[[Program], None]) -> Begun:
    """What decides beside: the policy of the file, else the last good one, else nothing.

    `check` raises CommandError where it must not. What is wrong is printed, and stops nothing: what
    acts on nothing must not keep from serving what acts.
    """
    name = str(settings.shadow)
    last = _kept_shadow(settings).read()
    try:
        source, load = read_policy(name)
        reading = Reading(source, load)
        check(judge(source, reading).program)
    except (PolicyError, Failing, CommandError) as wrong:
        print(told(wrong, palette_of(sys.stderr)), file=sys.stderr)
        return _shadow_instead(name, last, _rejected(wrong), check)
    except Exception as error:  # a defect of ours
        reason = f"it breaks the gateway ({type(error).__name__})"
        print(f"turnout: {reason}", file=sys.stderr)
        return _shadow_instead(name, last, judgement.rejected("broken", reason), check)
    number = 1 if last is None else last.number + 1
    return Begun(Revision(number, time.time_ns() // 1000, reading.bundle))


def _shadow_instead(
    name: str, last: Revision | None, no: Rejected, check: Callable[[Program], None]
) -> Begun:
    """What decides beside in place of a file that cannot be used; whoever starts it is told."""
    if last is not None:
        try:
            check(Policy.compile(last.bundle.source, last.bundle.load).program)
        except (PolicyError, CommandError):  # catalogue, language or tenant are others now
            last = None
    place = "nothing decides beside until it is mended"
    if last is not None:
        place = f"what decides beside is its last good version, of {instant(last.at_us)}"
    print(
        f"turnout: warning: the shadow `{printable(name)}` cannot be used; {place}",
        file=sys.stderr,
    )
    return Begun(last, no)


def instead(
    settings: Settings,
    last: Revision | None,
    wrong: Wrong,
    check: Callable[[Program], None] = lambda _: None,
) -> Beginning:
    """The last good policy, for a file that cannot be used.

    `check` raises SettingsError where it cannot be served. Raises: `wrong`, where none can.
    """
    if last is None:
        raise wrong
    try:
        program = Policy.compile(last.bundle.source, last.bundle.load).program
        check(program)
    except (PolicyError, SettingsError):  # catalogue, language or environment moved on since
        raise wrong from None
    print(told(wrong, palette_of(sys.stderr)), file=sys.stderr)
    print(
        f"turnout: warning: `{printable(str(settings.policy))}` cannot be used; what is served is "
        f"the last good policy of that file, in force since {instant(last.at_us)}",
        file=sys.stderr,
    )
    return Beginning(Begun(last, _rejected(wrong)), program)


def told(wrong: Wrong, palette: Palette) -> str:
    """What is wrong, for people."""
    match wrong:
        case PolicyError():
            return render_text(wrong.diagnostics, palette)
        case Failing():
            return _failed(wrong, palette)
        case SettingsError():
            return "\n".join(f"turnout: {problem}" for problem in wrong.problems)
        case _:
            return f"turnout: {wrong}"


def keep(settings: Settings, beginning: Beginning) -> None:
    """Make what the gateway begins with the last good policy. Prints where that cannot be."""
    if beginning.is_of_file:
        _keep(Kept(settings.home, str(settings.policy)), beginning.begun)


def keep_shadow(settings: Settings, begun: Begun) -> None:
    """Keep what decides beside, for workers that start later. Prints where that cannot be."""
    if begun.rejected is None:
        _keep(_kept_shadow(settings), begun)


def _kept_shadow(settings: Settings) -> Kept:
    return Kept(settings.home / SHADOW_FOLDER, str(settings.shadow))


def _keep(kept: Kept, begun: Begun) -> None:
    assert begun.revision is not None
    try:
        kept.write(begun.revision)
    except OSError as error:
        print(
            "turnout: warning: the policy cannot be kept under TURNOUT_HOME, so that a restart "
            f"will not know it: {(error.strerror or str(error)).lower()}",
            file=sys.stderr,
        )


def _failed(failing: Failing, palette: Palette) -> str:
    lines = []
    for outcome in failing.outcomes:
        what = f"{printable(outcome.name)}: {printable(outcome.problem or '')}"
        lines.append(
            f"{render_place(outcome.span)}: {palette.paint('error', 'failed')}"
            f" {palette.paint('strong', what)}"
        )
        if outcome.help:
            lines.append(f"  help: {printable(outcome.help)}")
    count = plural(failing.count, "test")
    return "\n".join([*lines, f"turnout: {len(failing.outcomes)} of {count} of the policy failed"])


def _rejected(wrong: Wrong) -> Rejected:
    match wrong:
        case PolicyError():
            return judgement.of_findings(wrong.diagnostics)
        case Failing():
            return judgement.of_tests(wrong)
        case SettingsError():
            return judgement.rejected("settings", "; ".join(wrong.problems))
        case _:
            return judgement.rejected("unreadable", str(wrong))
