"""What the log may hold: every value that a line of the gateway's own names, and what that is.

Nothing else may stand in a line: tests/docs/test_docs_log.py reads all calls, and fails for one
with a value that is not here. To log something new, put it below under what it is. Never a prompt
or an answer, a header, a key, an address of a provider, or what else a client or a provider made
up, unless it is bounded and described here; at `debug` alone a line may hold a prompt.

A value is written `file: expression`, the file without its ending. docs/log.md is made from this.
"""

from collections.abc import Mapping

LOGGED: Mapping[str, tuple[str, ...]] = {
    "the request's id, which the gateway makes": (
        "body: request_id",
        "cache: self.request.id",
        "complaint: _plain(request_id)",
        "embedding: request.id",
        "errors: request.id",
        "journal: record.id",
        "mirror: copy.request.id",
        "shadow: look.acted_on.request.id",
        "stream: incoming.id",
    ),
    "an error of the store or the system, which hides what was to be written": (
        "accounts: error",
        "admin_audit: error",
        "admin_keys: error",
        "alerts: error",
        "audit: error",
        "cache: error",
        "cache_sweep: error",
        "gateway: error",
        "journal: error",
        "keyring: error",
        "redis: error",
        "slices: error",
        "trim: error",
        "watch: error",
    ),
    "the same, of a policy that the operator wrote": ("wiring: error",),
    "why a certificate cannot be used, in our own words": ("tls: error",),
    "the kind of an error, a name of a class": (
        "audit: type(error).__name__",
        "journal: type(error).__name__",
    ),
    "the system's word for an error, such as `no space left on device`": (
        "board: error.strerror",
        "current: (error.strerror or str(error)).lower()",
        "disk: error.strerror",
        "generations: error.strerror",
        "locked: error.strerror",
        "metrics_files: error.strerror",
        "rates: error.strerror",
        "turns: error.strerror",
    ),
    "a file or folder of this machine": (
        "answers: what",
        "answers: self._path",
        "board: self._folder",
        "current: self._path",
        "disk: self._folder",
        "generations: self._path",
        "locked: path",
        "metrics_files: self._file.parent",
        "rates: self._path",
        "tls: self._cert",
        "turns: self._path",
        "wiring: settings.shadow",
    ),
    "a target or provider; a name that a client made up is cut and made printable": (
        "breaker: self.name",
        "breakers: name",
        "complaint: _plain(target)",
        "prober: name",
    ),
    "why an attempt failed, in our own words and never in the provider's": (
        "breaker: self.fault",
        "complaint: '' if error.status is None else f'status {error.status}, '",
        "complaint: _plain(error.message) if is_ours "
        "else 'the request was refused; its trace says why'",
        "complaint: error.fault.value",
        "embedding: why",
        "prober: probed.reason",
    ),
    "a state or a word of a fixed list": (
        "audit: event.action",
        "breakers: written.replace('_', '-')",
        "current: self._place",
        "current: shown",
        "gateway: companion.name",
        "journal: name",
        "refusals: '' if number == 1 else 's'",
        "locked: without",
        "refusals: ', '.join((f'{_TOLD.get(one, one)} {n}' "
        "for one, n in self._reasons.most_common()))",
        "worker: 'draining' if settings.workers == 1 else f'worker {os.getpid()} is draining'",
    ),
    "what is wrong with a policy's files, as `policy lint` says it": (
        "current: no",
        "current: problem",
    ),
    "a name that the operator gave: of a rule, a tenant": (
        "accounts: row.name",
        "gateway: clause.name",
    ),
    "what is wrong with a stored setting, in our own words": ("accounts: wrong.message",),
    "an alert: tenant, budget, per cent and sums": ("alerts: text_of(one)",),
    "why a webhook did not take it: a status or our own words, without its address": (
        "alerts: reason",
    ),
    "why a key cannot be read: its variable, the file's name or the exit code": (
        "rotation: failure",
    ),
    "the public part of a key, by which it is listed": ("keys: row.id",),
    "the names of providers": ("rotation: ', '.join((f'`{one}`' for one in news.others))",),
    "a record's fate, in our own words": (
        "audit: why",
        "journal: why",
    ),
    "why a store of answers cannot be used, without its address": (
        "answers: why",
        "cache: why",
    ),
    "a number or a time": (
        "audit: self._dropped",
        "body: len(raw)",
        "cache: pause_s",
        "cache_sweep: removed",
        "complaint: self._unsaid",
        "current: one.number",
        "current: revision.number",
        "disk: free",
        "disk: self._floor_bytes",
        "gateway: day",
        "journal: len(group.records)",
        "mirror: len(late)",
        "refusals: max(now - self._since, 1.0)",
        "refusals: number",
        "refusals: os.getpid()",
        "trim: trimmed.took_us / 1000000.0",
        "trim: trimmed.total",
        "worker: '' if under_way == 1 else 's'",
        "worker: delay_s + bound_s",
        "worker: len(cut_off)",
        "worker: under_way",
        "workers: pause_s",
        "workers: process.exitcode",
        "workers: process.pid",
        "workers: worker.process.pid",
    ),
    "why a worker could not start: what is wrong with the settings": (
        "workers: _reason(worker.report)",
    ),
    "a body of a client, its first 4096 bytes: at `debug` alone": ("body: prompt",),
}
"""By what they are: the values that lines name."""

PROMPTS = frozenset({"body: prompt"})
"""Those that hold what a client wants said: only a line of `debug` may."""
