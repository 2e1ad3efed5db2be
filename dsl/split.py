"""Splits: shares of traffic as arms over the buckets 0..9 999, in the order they are written.

A bucket never changes arm but where a share before it does: arms are laid end to end. With a ramp
the ends are terms over `date` and `time`, exact to the minute and to 0.01 %.
"""

from collections.abc import Callable, Iterator, Sequence

from . import tree
from .core import Arithmetic, CeilDiv, Const, Named, Read, Term
from .diagnostic import Diagnostic
from .schema import Type
from .units import format_value

WHOLE = 10_000
MINUTES_A_DAY = 1_440
STICKY = {"session": "bucket", "user": "bucket.user", "tenant": "bucket.tenant"}
EACH_REQUEST = "bucket.request"


def bucket_of(sticky: tree.Text | None) -> str:
    """The attribute whose value places a request on an arm."""
    return EACH_REQUEST if sticky is None else STICKY[sticky.value]


def problems(route: tree.SplitRoute) -> Iterator[Diagnostic]:
    """What is wrong with the shares of a split (RP302), at the start and the end of its ramp."""
    total = sum(share.share for share in route.shares)
    if total != WHOLE:
        last = route.shares[-1]
        rest = WHOLE - (total - last.share)
        yield Diagnostic(
            "RP302",
            "error",
            f"the shares add up to {_percent(total)}, not to 100%",
            last.share_span if len(route.shares) > 1 else route.span,
            f"write `{_percent(rest)}` for `{last.target.value}`, or change the others"
            if 0 < rest <= WHOLE
            else "write shares that add up to 100%",
        )
    ramped = {share.target.value for share in route.ramp.shares} if route.ramp else set()
    for share in route.shares:
        is_ramped = share.target.value in ramped or (route.ramp and share is _rest(route))
        if share.share < 0 or (share.share == 0 and not is_ramped):
            yield Diagnostic(
                "RP302",
                "error",
                f"`{share.target.value}` has {_percent(share.share)}, so it gets nothing",
                share.share_span,
                "remove it, write a share above 0%, or let a `ramp` raise it",
            )
    if route.ramp is not None:
        yield from _ramp_problems(route, route.ramp)


def uptos(route: tree.SplitRoute, read: Callable[[str], Read]) -> tuple[Term, ...]:
    """The upper end of each arm, in the order written; the last is 10 000.

    `read` gives the read of an attribute of the clock.
    """
    if route.ramp is None:
        ends, reached = [], 0
        for share in route.shares:
            reached += share.share
            ends.append(_count(reached))
        return tuple(ends)
    rest = route.shares.index(_rest(route))
    elapsed = _elapsed(route.ramp, read)
    shares = [_share_now(share, route.ramp, elapsed) for share in route.shares]
    # Before the arm that takes the rest, the ends are what stands up to them; from it on, what
    # the arms behind leave of the whole.
    upwards = [_sum(shares[: place + 1]) for place in range(rest)]
    downwards = [_less(_count(WHOLE), shares[place + 1 :]) for place in range(rest, len(shares))]
    return (*upwards, *downwards)


def _ramp_problems(route: tree.SplitRoute, ramp: tree.Ramp) -> Iterator[Diagnostic]:
    written = {share.target.value: share.share for share in route.shares}
    if all(written.get(goal.target.value) == goal.share for goal in ramp.shares):
        yield Diagnostic(
            "RP302",
            "error",
            "this ramp ends at the shares it starts from, so it moves nothing",
            ramp.shares[0].share_span,
            "write another share, or remove the `ramp`",
        )
        return
    if sum(share.share for share in route.shares) == WHOLE:
        named = {share.target.value: share.share for share in ramp.shares}
        rest = _rest(route)
        end = WHOLE - sum(
            named.get(share.target.value, share.share)
            for share in route.shares
            if share is not rest
        )
        wanted = named.get(rest.target.value)
        if not 0 <= end <= WHOLE or (wanted is not None and wanted != end):
            sure = WHOLE - end if wanted is None else WHOLE - end + wanted
            yield Diagnostic(
                "RP302",
                "error",
                f"at the end of the ramp the shares add up to {_percent(sure)}"
                + ("" if wanted is not None else f" without `{rest.target.value}`"),
                ramp.shares[-1].share_span,
                "write shares that add up to 100%, or leave out the arm that takes the rest",
            )


def _rest(route: tree.SplitRoute) -> tree.Share:
    """The arm that takes what the ramp leaves: the first it does not name, else the last."""
    assert route.ramp is not None
    named = {share.target.value for share in route.ramp.shares}
    free = (share for share in route.shares if share.target.value not in named)
    return next(free, route.shares[-1])


def _elapsed(ramp: tree.Ramp, read: Callable[[str], Read]) -> Term:
    """The minutes since the ramp started, from 0 to its whole length."""
    length = max(ramp.ends - ramp.starts, 1) * MINUTES_A_DAY
    # Nothing but this subtracts a date: days and minutes of a day are numbers from here on.
    days = Arithmetic("-", read("date"), Const(ramp.starts, Type.DATE), Type.NUMBER)
    minutes = Arithmetic("*", days, _count(MINUTES_A_DAY), Type.NUMBER)
    sum_ = Arithmetic("+", minutes, read("time"), Type.NUMBER)
    least = Arithmetic("max", sum_, _count(0), Type.NUMBER)
    most = Arithmetic("min", least, _count(length), Type.NUMBER)
    return Named("minutes of the ramp", most, Type.NUMBER)


def _share_now(share: tree.Share, ramp: tree.Ramp, elapsed: Term) -> Term:
    goal = next((g.share for g in ramp.shares if g.target.value == share.target.value), None)
    if goal is None or goal == share.share:
        return _count(share.share)
    length = max(ramp.ends - ramp.starts, 1) * MINUTES_A_DAY
    step = Arithmetic("*", elapsed, _count(goal - share.share), Type.NUMBER)
    moved = CeilDiv(step, length, Type.NUMBER)
    now = Arithmetic("+", _count(share.share), moved, Type.NUMBER)
    return Named(f"share of {share.target.value}", now, Type.NUMBER)


def _sum(parts: Sequence[Term]) -> Term:
    total = parts[0]
    for part in parts[1:]:
        total = Arithmetic("+", total, part, Type.NUMBER)
    return total


def _less(whole: Term, parts: Sequence[Term]) -> Term:
    return whole if not parts else Arithmetic("-", whole, _sum(parts), Type.NUMBER)


def _count(value: int) -> Const:
    return Const(value, Type.NUMBER)


def _percent(share: int) -> str:
    return format_value(share, Type.PERCENT)
