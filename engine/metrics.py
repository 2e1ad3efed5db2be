"""What Prometheus scrapes, counted from decision records, off the request's path.

Labels are bounded: rules of the policy, targets and faults; a model name that a client made up
never becomes one. With several workers every process writes its counts to files in one folder,
known to all from the environment (`share_between_processes`), and any of them adds them up.
Over 300 lines because every family is declared here, with what it means.
"""

import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from . import metrics_files
from .folder import make_closed
from .record import Attempt, DecisionRecord, Late, Vitals
from .savings import was_saved

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# No answer, no rule, no fault: an empty label value would mean an absent label to Prometheus.
NONE = "none"
# `route: requested` lets clients name any priced model; targets after this many count together.
MOST_TARGETS = 500
OTHER = "other"
# Policies come and go while a process lives, and with them their rules and reasons.
_MOST_RULES = 500
_MOST_PAIRS = 500
_MOST_REASONS = 30
_MOST_TENANTS = 500
_MOST_BUDGETS = 500  # with whose each is

_LATENCY_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
_FIRST_TOKEN_S = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 4, 8, 15, 30, 60)

metrics_files.use()


class _Known:
    """The first so many values of a label; what comes after them is `OTHER`."""

    __slots__ = ("_most", "_values")

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: set[tuple[str, ...]] = set()

    def label(self, *values: str) -> tuple[str, ...]:
        if values not in self._values:
            if len(self._values) >= self._most:
                return (OTHER,) * len(values)
            self._values.add(values)
        return values


class Metrics:
    """The counters of one process.

    `tenants` are those that get a label of their own; all others are `other`.
    """

    def __init__(self, tenants: Collection[str] = ("default",)) -> None:
        """Make every counter, in a registry of its own."""
        self._tenants = frozenset(tenants)
        self._of_budgets = _Known(_MOST_BUDGETS)
        self._targets = _Known(MOST_TARGETS)
        self._rules = _Known(_MOST_RULES)
        self._pairs = _Known(_MOST_PAIRS)
        self._reasons = _Known(_MOST_REASONS)
        self._results = _Known(_MOST_REASONS)
        self._breaking: set[tuple[str, str]] = set()
        self._trying: set[str] = set()
        self._registry = registry = CollectorRegistry()
        self._digest: str | None = None
        self._requests = Counter(
            "turnout_requests",
            "Requests that were decided, by rule, answering target and outcome.",
            ("operation", "rule", "target", "outcome", "status", "tenant"),
            registry=registry,
        )
        self._attempts = Counter(
            "turnout_attempts",
            "Tries at a target; `skipped` ones were not sent.",
            ("target", "outcome", "fault"),
            registry=registry,
        )
        self._tokens = Counter(
            "turnout_tokens",
            "Tokens by target and kind; `cached` is part of `input`, `reasoning` of `output`.",
            ("target", "kind", "tenant"),
            registry=registry,
        )
        self._cost = Counter(
            "turnout_cost_nano_usd",
            "Cost of attempts in billionths of a US dollar.",
            ("target", "rule", "tenant"),
            registry=registry,
        )
        self._unconfirmed = Counter(
            "turnout_unconfirmed_nano_usd",
            "What attempts may have cost whose answer nobody read, in billionths of a US dollar.",
            ("target", "rule", "tenant"),
            registry=registry,
        )
        self._overruns = Counter(
            "turnout_overruns",
            "Attempts that cost more than was reserved for them; they are booked in full.",
            ("target",),
            registry=registry,
        )
        self._over_budget = Counter(
            "turnout_budget_refused",
            "Requests that were refused because a budget had not as much left.",
            ("tenant",),
            registry=registry,
        )
        self._budget = Gauge(
            "turnout_budget_nano_usd",
            "The budgets of tenants in their present stretch, in billionths of a US dollar.",
            ("budget", "tenant", "part"),
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self._alerts = Counter(
            "turnout_alerts",
            "Alerts of budgets: those said, and what became of sending them.",
            ("result",),
            registry=registry,
        )
        self._asked_cache = Counter(
            "turnout_cache_requests",
            "Requests that might be answered from the cache: `hit`, `miss`, `none` (refused).",
            ("result", "target", "tenant"),
            registry=registry,
        )
        self._served = Counter(
            "turnout_cache_tokens",
            "Tokens of answers from the cache, as they were used when those were made.",
            ("target", "kind", "tenant"),
            registry=registry,
        )
        self._saved = Counter(
            "turnout_cache_saved_nano_usd",
            "What answers from the cache had cost, in billionths of a US dollar.",
            ("target", "rule", "tenant"),
            registry=registry,
        )
        self._cache_events = Counter(
            "turnout_cache_events",
            "What became of answers in memory and in the shared store.",
            ("event",),
            registry=registry,
        )
        self._cached_answers = Gauge(
            "turnout_cache_answers",
            "Answers that the workers have in memory.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._cached_bytes = Gauge(
            "turnout_cache_bytes",
            "What the answers in the workers' memory take.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._cache_seen: dict[str, int] = {}
        self._of_hits: dict[tuple[str, str, str], tuple[Counter, Counter, Counter, Counter]] = {}
        self._latency = Histogram(
            "turnout_request_seconds",
            "Time from the request's arrival to the end of its answer.",
            ("operation", "target", "stream"),
            buckets=_LATENCY_S,
            registry=registry,
        )
        self._attempt_latency = Histogram(
            "turnout_attempt_seconds",
            "Time that a target took, or failed for.",
            ("target", "outcome"),
            buckets=_LATENCY_S,
            registry=registry,
        )
        self._first_token = Histogram(
            "turnout_first_token_seconds",
            "Time from sending an attempt to its first content.",
            ("target",),
            buckets=_FIRST_TOKEN_S,
            registry=registry,
        )
        self._streams = Gauge(
            "turnout_open_streams",
            "Streams that are being relayed now.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._journal_queue = Gauge(
            "turnout_journal_queue",
            "Records that wait to be written.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._accepting = Gauge(
            "turnout_accepting",
            "0 while a worker refuses paid work because it cannot be recorded.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._free = Gauge(
            "turnout_disk_free_bytes",
            "What the disk of TURNOUT_HOME has free.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self._purse = Gauge(
            "turnout_purse_nano_usd",
            "What workers have leased of budgets, in billionths of a US dollar.",
            ("part",),
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._bookings = Gauge(
            "turnout_bookings_waiting",
            "Attempts that wait until budgets have answered.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._policy = Gauge(
            "turnout_policy_info",
            "1 for the policy in force.",
            ("hash",),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._requests_now = Gauge(
            "turnout_inflight_requests",
            "Requests that were decided and are not over.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._tasks = Gauge(
            "turnout_tasks",
            "Tasks of the event loops: connections, requests, and what goes on beside.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._target_inflight = Gauge(
            "turnout_target_inflight",
            "Attempts at a target that are under way.",
            ("target",),
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._breaker_state = Gauge(
            "turnout_breaker_state",
            "1 for the state of a target's breaker while that is not `closed`.",
            ("target", "state"),
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._reloads = Counter(
            "turnout_policy_reloads",
            "Policies that came while serving, by what became of them; each worker counts its own.",
            ("result",),
            registry=registry,
        )
        self._rejected = Gauge(
            "turnout_policy_rejected",
            "1 while the newest policy was refused and an older one is in force.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._loaded = Gauge(
            "turnout_policy_loaded_seconds",
            "When the policy in force was put in force, as a Unix time.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._shadow_rejected = Gauge(
            "turnout_shadow_rejected",
            "1 while the newest policy for the shadow is refused.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._shadow = Counter(
            "turnout_shadow_decisions",
            "Decisions of the policy in force, beside those of the one in its shadow.",
            ("rule", "shadow_rule", "agrees"),
            registry=registry,
        )
        self._refused = Counter(
            "turnout_refused",
            "Requests that were turned away before they were decided, by reason.",
            ("reason",),
            registry=registry,
        )

    def observe(self, record: DecisionRecord) -> None:
        """Count one finished request."""
        rule = self._rule(record.rule)
        tenant = record.tenant if record.tenant in self._tenants else OTHER
        target = self._bounded(record.target)
        if self._digest is None:
            self.policy(record.digest)
        self._requests.labels(
            record.operation, rule, target, record.outcome, str(record.status), tenant
        ).inc()
        self._latency.labels(record.operation, target, str(record.stream).lower()).observe(
            record.took_us / 1e6
        )
        if record.error == "budget_exceeded":
            self._over_budget.labels(tenant).inc()
        if record.cache != "BYPASS":
            self._observe_cache(record, rule, target, tenant)
        for attempt in record.attempts:
            self._observe_attempt(attempt, rule, tenant)
        if record.shadow is not None:
            self.shadow(record.rule, record.shadow.rule, record.shadow.agrees)

    def observe_late(self, late: Late) -> None:
        """Count an attempt that ended after its request was counted."""
        tenant = late.record.tenant if late.record.tenant in self._tenants else OTHER
        self._observe_attempt(late.attempt, self._rule(late.record.rule), tenant)

    def _observe_cache(self, record: DecisionRecord, rule: str, target: str, tenant: str) -> None:
        if not was_saved(record):
            # One that was refused, or whose client left before anybody was asked, missed nothing.
            asked = any(
                one.kind == "answer" and one.outcome in ("ok", "failed") for one in record.attempts
            )
            self._asked_cache.labels("miss" if asked else "none", target, tenant).inc()
            return
        name = (target, rule, tenant)
        found = self._of_hits.get(name)
        if found is None:  # kept, as looking up a label takes as long as all the rest of a hit
            found = self._of_hits[name] = (
                self._asked_cache.labels("hit", target, tenant),
                self._saved.labels(*name),
                self._served.labels(target, "input", tenant),
                self._served.labels(target, "output", tenant),
            )
        hits, saved, inputs, outputs = found
        hits.inc()
        saved.inc(record.saved_nano_usd)
        if record.served is not None:
            inputs.inc(record.served.input)
            outputs.inc(record.served.output)

    def _observe_attempt(self, attempt: Attempt, rule: str, tenant: str) -> None:
        tried = self._bounded(attempt.target)
        self._attempts.labels(tried, attempt.outcome, attempt.fault or NONE).inc()
        if attempt.outcome not in ("skipped", "cached"):
            self._attempt_latency.labels(tried, attempt.outcome).observe(attempt.took_us / 1e6)
        if attempt.ttft_us is not None:
            self._first_token.labels(tried).observe(attempt.ttft_us / 1e6)
        pays = attempt.payer == "gateway"  # what callers pay themselves is no cost of ours
        if pays and attempt.cost_nano_usd:
            self._cost.labels(tried, rule, tenant).inc(attempt.cost_nano_usd)
        if pays and attempt.unconfirmed_nano_usd:
            self._unconfirmed.labels(tried, rule, tenant).inc(attempt.unconfirmed_nano_usd)
        reserved = attempt.reserved_nano_usd
        if reserved is not None and attempt.cost_nano_usd + attempt.unconfirmed_nano_usd > reserved:
            self._overruns.labels(tried).inc()
        if attempt.usage is not None:
            for kind in ("input", "output", "cached", "cache_write", "reasoning"):
                count = getattr(attempt.usage, kind)
                if count:
                    self._tokens.labels(tried, kind, tenant).inc(count)

    def know(self, tenants: Collection[str]) -> None:
        """Give these a label of their own from now on, as far as there is room for more."""
        if not self._tenants.issuperset(tenants):
            new = sorted(set(tenants) - self._tenants)
            self._tenants |= frozenset(new[: max(_MOST_TENANTS - len(self._tenants), 0)])

    def alerted(self, result: str) -> None:
        """Count an alert that was `said`, `sent`, `given_up`, or `failed` to be sent once."""
        self._alerts.labels(result).inc()

    def budget(self, name: str, tenant: str, parts: Mapping[str, int]) -> None:
        """Say how a budget of a tenant is; tenants without a label of their own are left out."""
        if tenant not in self._tenants or self._of_budgets.label(name, tenant)[0] == OTHER:
            return
        for part, nano_usd in parts.items():
            self._budget.labels(name, tenant, part).set(nano_usd)

    def stream_opened(self) -> None:
        """Count a stream that begins; `stream_closed` must follow."""
        self._streams.inc()

    def stream_closed(self) -> None:
        """Count a stream that ended, however it did."""
        self._streams.dec()

    def tick(self, vitals: Vitals) -> None:
        """Say how this worker is now; once a second.

        Costs 1 µs for each target that has or had something under way or a breaker open.
        """
        self._journal_queue.set(vitals.waiting)
        self._accepting.set(vitals.accepting)
        if vitals.free_bytes is not None:
            self._free.set(vitals.free_bytes)
        self._purse.labels("reserved").set(vitals.reserved_nano_usd)
        self._purse.labels("free").set(vitals.unused_nano_usd)
        self._bookings.set(vitals.bookings)
        for event, number in vitals.cached.items():
            if number > (before := self._cache_seen.get(event, 0)):
                self._cache_events.labels(event).inc(number - before)
                self._cache_seen[event] = number
        self._cached_answers.set(vitals.cached_answers)
        self._cached_bytes.set(vitals.cached_bytes)
        self._requests_now.set(vitals.requests)
        self._tasks.set(vitals.tasks)
        inflight: dict[str, int] = {}
        for target, number in vitals.inflight.items():
            label = self._bounded(target)
            inflight[label] = inflight.get(label, 0) + number
        for label in self._trying | inflight.keys():
            self._target_inflight.labels(label).set(inflight.get(label, 0))
        self._trying = set(inflight)
        breaking = {(self._bounded(target), state) for target, state in vitals.breakers.items()}
        for labels in self._breaking | breaking:
            self._breaker_state.labels(*labels).set(labels in breaking)
        self._breaking = breaking

    def policy(self, digest: str) -> None:
        """Say which policy is in force from now on."""
        if self._digest is not None:
            # The files of several workers keep what was in them, as 0: `_InForce` leaves it out.
            self._policy.labels(self._digest).set(0)
            if MULTIPROCESS_VARIABLE not in os.environ:
                self._policy.remove(self._digest)
        self._digest = digest
        self._policy.labels(digest).set(1)
        self._loaded.set(time.time())

    def policy_loaded(self, digest: str) -> None:
        """Count a policy that was put in force while serving."""
        self._reloads.labels("loaded").inc()
        self._rejected.set(0)
        self.policy(digest)

    def policy_rejected(self, reason: str) -> None:
        """Count a policy that was refused while serving; `reason` is one word of a few."""
        self._reloads.labels(*self._results.label(reason)).inc()
        self._rejected.set(1)

    def policy_restored(self) -> None:
        """Say that the newest policy is again the one in force."""
        self._rejected.set(0)

    def shadow_rejected(self, is_rejected: bool) -> None:
        """Say whether the newest policy for the shadow is refused."""
        self._shadow_rejected.set(is_rejected)

    def shadow(self, rule: str | None, shadow_rule: str | None, agrees: bool | None) -> None:
        """Count a decision of two policies; `agrees` None: the other one could not decide."""
        pair = self._pairs.label(rule or NONE, shadow_rule or NONE)
        agreed = "unknown" if agrees is None else str(agrees).lower()
        self._shadow.labels(*pair, agreed).inc()

    def turned_away(self, reason: str) -> None:
        """Count a request that was not taken; `reason` is one word of a few (`worker_full`)."""
        self._refused.labels(*self._reasons.label(reason)).inc()

    def render(self) -> bytes:
        """All counters in Prometheus' text format, added up over the workers; reads files."""
        registry = self._registry
        if MULTIPROCESS_VARIABLE in os.environ:
            registry = CollectorRegistry()
            # It registers itself.
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(_InForce(registry))

    def _rule(self, rule: str | None) -> str:
        return NONE if rule is None else self._rules.label(rule)[0]

    def _bounded(self, target: str | None) -> str:
        return NONE if target is None else self._targets.label(target)[0]


class _InForce(CollectorRegistry):
    """What another registry collects, but for the policies that are not in force any more.

    Files that workers count in forget no series; a scrape of each policy there ever was would grow.
    """

    def __init__(self, whole: CollectorRegistry) -> None:
        super().__init__()
        self._whole = whole

    def collect(self) -> Iterator[Metric]:
        for family in self._whole.collect():
            if family.name == "turnout_policy_info":
                family.samples = [sample for sample in family.samples if sample.value]
            yield family


@cache
def of_process() -> Metrics:
    """The metrics of this process, made at the first question for them."""
    return Metrics()


def share_between_processes(folder: Path) -> Path:
    """Let the processes started from here on count together, in a folder within `folder`.

    They must be new interpreters: `prometheus_client` looks at the variable when it is imported.
    The result is this process' own folder; what ended processes left behind is removed.
    """
    make_closed(folder)
    own = folder / str(os.getpid())
    for left in folder.iterdir():
        # A predecessor may still be draining, and goes on counting.
        if left == own or not _runs(left.name):
            shutil.rmtree(left, ignore_errors=True)
    make_closed(own)
    os.environ[MULTIPROCESS_VARIABLE] = str(own)
    return own


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ValueError, OSError):
        return False
    return True


def forget_process(folder: Path, pid: int) -> None:
    """Drop the gauges of a worker that ended; what it counted stays."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
