"""What was said of budgets, and the sums of the ledger that it is said of."""

import json
from collections.abc import Collection, Sequence

from sqlalchemy import func, literal, select, update
from sqlalchemy.dialects.sqlite import insert

from turnout.engine.alerts import Alert, Message
from turnout.engine.spent import Period, tenant_of

from .database import Database
from .tables import ALERTS, COUNTERS, HOLDERS, LEASES, LEDGER

# Whose spend counts in each scope; that of a model is of the target that was called.
_WHO = {
    "tenant": LEDGER.c.tenant,
    "team": LEDGER.c.team,
    "user": LEDGER.c.user,
    "key": LEDGER.c.key_id,
    "model": LEDGER.c.target,
}


class AlertBook:
    """The database's `Bulletin`."""

    def __init__(self, database: Database) -> None:
        """Keep alerts in this database, which others close."""
        self._database = database

    def last(self) -> int:
        """The newest row of the ledger."""
        with self._database.reading() as reading:
            return reading.execute(select(func.max(LEDGER.c.id))).scalar_one() or 0

    def spent(
        self, scope: str, stretch: Period, after: int, last: int
    ) -> list[tuple[str, str, int, int]]:
        """Who, of which tenant, has spent how much in ledger rows after one, up to another.

        Cost: the first time the rows of the stretch, a second per million; then those that are new.
        """
        who = _WHO[scope]
        tenant = LEDGER.c.tenant if tenant_of(scope, "any") else literal("")
        statement = (
            select(
                tenant.label("of"),
                who,
                func.sum(LEDGER.c.cost_nano_usd),
                func.sum(LEDGER.c.unconfirmed_nano_usd),
            )
            .where(
                LEDGER.c.time_us >= stretch.from_us,
                LEDGER.c.time_us < stretch.to_us,
                LEDGER.c.id <= last,
                LEDGER.c.payer == "gateway",
                who.is_not(None),
                who != "",
            )
            .group_by("of", who)
        )
        if after:  # without it the index of times serves better than that of rows
            statement = statement.where(LEDGER.c.id > after)
        with self._database.reading() as reading:
            return [(of, name, int(a), int(b)) for of, name, a, b in reading.execute(statement)]

    def lost(self) -> list[tuple[str, str, str, Period, int]]:
        """What leases of ended workers may have been spent; see `Bulletin`."""
        statement = (
            select(
                COUNTERS.c.scope,
                COUNTERS.c.tenant,
                COUNTERS.c.who,
                COUNTERS.c.from_us,
                COUNTERS.c.to_us,
                LEASES.c.nano_usd,
            )
            .join_from(LEASES, HOLDERS, HOLDERS.c.id == LEASES.c.holder)
            .join(COUNTERS, COUNTERS.c.id == LEASES.c.counter)
            .where(HOLDERS.c.lost_us.is_not(None), LEASES.c.nano_usd > 0)
        )
        with self._database.reading() as reading:
            return [
                (scope, tenant, who, Period(from_us, to_us), nano_usd)
                for scope, tenant, who, from_us, to_us, nano_usd in reading.execute(statement)
            ]

    def post(self, alerts: Sequence[tuple[Alert, bytes]], now_us: int, is_sent: bool) -> list[bool]:
        """Keep those that nobody has said yet; whether each was new."""
        with self._database.writing() as writing:
            return [
                writing.execute(
                    insert(ALERTS)
                    .values(
                        scope=alert.scope,
                        tenant=alert.tenant,
                        who=alert.who,
                        from_us=alert.stretch.from_us,
                        to_us=alert.stretch.to_us,
                        budget=alert.budget,
                        limit_nano_usd=alert.limit_nano_usd,
                        what=alert.what,
                        time_us=now_us,
                        body=body,
                        sent_us=now_us if is_sent else None,
                    )
                    .on_conflict_do_nothing()
                ).rowcount
                == 1
                for alert, body in alerts
            ]

    def unsent(self, most: int, besides: Collection[int] = ()) -> list[Message]:
        """Messages that were not sent, oldest first, without those of these numbers."""
        # As one value: there may be more of them than a statement takes.
        left_out = func.json_each(json.dumps(list(besides))).table_valued("value")
        statement = (
            select(ALERTS.c.id, ALERTS.c.time_us, ALERTS.c.body)
            .where(ALERTS.c.sent_us.is_(None), ALERTS.c.id.not_in(select(left_out.c.value)))
            .order_by(ALERTS.c.id)
            .limit(most)
        )
        with self._database.reading() as reading:
            return [Message(*row) for row in reading.execute(statement)]

    def sent(self, number: int, now_us: int) -> None:
        """Know that a message was sent, or is given up."""
        with self._database.writing() as writing:
            writing.execute(update(ALERTS).where(ALERTS.c.id == number).values(sent_us=now_us))
