"""What Prometheus scrapes, counted from decision records, off the request's path.

Labels are bounded: rules of the policy, targets and faults; a model name that a client made up
never becomes one. With several workers every process writes its counts to files in one folder,
known to all from the environment (`share_between_processes`), and any of them adds them up.
"""

import os
import shutil
from collections.abc import Collection
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from .record import Attempt, DecisionRecord, Late

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# No answer, no rule, no fault: an empty label value would mean an absent label to Prometheus.
NONE = "none"
# `route: requested` lets clients name any priced model; targets after this many count together.
MOST_TARGETS = 500
OTHER = "other"

_LATENCY_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600)
_FIRST_TOKEN_S = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 4, 8, 15, 30, 60)


class Metrics:
    """The counters of one process.

    `tenants` are those that get a label of their own; all others are `other`.
    """

    def __init__(self, tenants: Collection[str] = ("default",)) -> None:
        """Make every counter, in a registry of its own."""
        self._tenants = frozenset(tenants)
        self._targets: set[str] = set()
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
        self._policy = Gauge(
            "turnout_policy_info",
            "1 for the policy in force.",
            ("hash",),
            multiprocess_mode="livemax",
            registry=registry,
        )

    def observe(self, record: DecisionRecord) -> None:
        """Count one finished request."""
        rule = record.rule or NONE
        tenant = record.tenant if record.tenant in self._tenants else OTHER
        target = self._bounded(record.target)
        if record.digest != self._digest:
            self.policy(record.digest)
        self._requests.labels(
            record.operation, rule, target, record.outcome, str(record.status), tenant
        ).inc()
        self._latency.labels(record.operation, target, str(record.stream).lower()).observe(
            record.took_us / 1e6
        )
        for attempt in record.attempts:
            self._observe_attempt(attempt, rule, tenant)

    def observe_late(self, late: Late) -> None:
        """Count an attempt that ended after its request was counted."""
        tenant = late.record.tenant if late.record.tenant in self._tenants else OTHER
        self._observe_attempt(late.attempt, late.record.rule or NONE, tenant)

    def _observe_attempt(self, attempt: Attempt, rule: str, tenant: str) -> None:
        tried = self._bounded(attempt.target)
        self._attempts.labels(tried, attempt.outcome, attempt.fault or NONE).inc()
        if attempt.outcome != "skipped":
            self._attempt_latency.labels(tried, attempt.outcome).observe(attempt.took_us / 1e6)
        if attempt.ttft_us is not None:
            self._first_token.labels(tried).observe(attempt.ttft_us / 1e6)
        if attempt.cost_nano_usd:
            self._cost.labels(tried, rule, tenant).inc(attempt.cost_nano_usd)
        if attempt.usage is not None:
            for kind in ("input", "output", "cached", "cache_write", "reasoning"):
                count = getattr(attempt.usage, kind)
                if count:
                    self._tokens.labels(tried, kind, tenant).inc(count)

    def stream_opened(self) -> None:
        """Count a stream that begins; `stream_closed` must follow."""
        self._streams.inc()

    def stream_closed(self) -> None:
        """Count a stream that ended, however it did."""
        self._streams.dec()

    def journal_queue(self, length: int) -> None:
        """Say how many records wait to be written."""
        self._journal_queue.set(length)

    def policy(self, digest: str) -> None:
        """Say which policy is in force."""
        if self._digest is not None:
            self._policy.labels(self._digest).set(0)
        self._digest = digest
        self._policy.labels(digest).set(1)

    def render(self) -> bytes:
        """All counters in Prometheus' text format, added up over the workers; reads files."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        # It registers itself.
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)

    def _bounded(self, target: str | None) -> str:
        if target is None:
            return NONE
        if target not in self._targets:
            if len(self._targets) >= MOST_TARGETS:
                return OTHER
            self._targets.add(target)
        return target


@cache
def of_process() -> Metrics:
    """The metrics of this process, made at the first question for them."""
    return Metrics()


def share_between_processes(folder: Path) -> Path:
    """Let the processes started from here on count together, in a folder within `folder`.

    They must be new interpreters: `prometheus_client` looks at the variable when it is imported.
    The result is this process' own folder; what ended processes left behind is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / str(os.getpid())
    for left in folder.iterdir():
        # A predecessor may still be draining, and goes on counting.
        if left == own or not _runs(left.name):
            shutil.rmtree(left, ignore_errors=True)
    own.mkdir(exist_ok=True)
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
