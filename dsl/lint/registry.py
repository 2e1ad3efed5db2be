"""All codes: the files that find something in a policy that was read, and those that do not.

A new code is a file in this folder, its name in `diagnostic.NAMES` and a line here.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Protocol

from turnout.dsl import tree
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic

from . import (
    bad_ignore,
    bad_include,
    bad_pattern,
    bad_shares,
    bad_value,
    bare_target_value,
    broken_invariant,
    broken_test,
    circular_model,
    clock_never_strikes,
    comment_cuts_condition,
    condition_expected,
    constant_condition,
    constant_first,
    constant_part,
    dearer_than_budget,
    double_negation,
    duplicate_hop,
    duplicate_name,
    empty_choice,
    equality_on_measurement,
    expired_rule,
    fact_of_no_target,
    flapping_threshold,
    hasty_idle,
    hop_never_tried,
    incompatible_units,
    literal_secret,
    long_chain,
    long_condition,
    many_attempts,
    mergeable_rules,
    mirror_of_itself,
    missing_field,
    missing_price,
    missing_prior,
    missing_unit,
    never_matches,
    no_target_left,
    not_decided,
    odd_time_window,
    open_attribute,
    order_matters,
    oscillating_thresholds,
    outside_range,
    ragged_time_windows,
    redundant_rule,
    refusal_retried,
    same_provider_fallback,
    silent_invariant,
    skipped_when_unknown,
    syntax_error,
    timeouts_exceed_deadline,
    too_late,
    unbounded_price,
    uncovered_request,
    undeclared_model,
    unknown_attribute,
    unknown_budget,
    unknown_field,
    unknown_function,
    unknown_target,
    unproved_invariants,
    unreachable_rule,
    unsorted_list,
    unsticky_split,
    untested_rule,
    untrusted_input,
    unused_default,
    unused_ignore,
    unused_name,
    unused_target,
    vacuous_invariant,
    value_outside_enum,
    weaker_fallback,
    window_exceeded,
    wrong_shape,
    yaml_trap,
)
from .page import Page, Rule, page_of
from .survey import Survey


class Finder(Rule, Protocol):
    """A file that looks for its code."""

    def find(
        self, policy: tree.Policy, program: Program | None, today: int | None
    ) -> Iterator[Diagnostic]:
        """What it finds. `program` is None where there are errors; `today` in days since 1970."""


class Proof(Rule, Protocol):
    """A file that asks the prover for its code."""

    def prove(self, survey: Survey) -> Iterator[Diagnostic]:
        """What it finds, or proves to be there, with a request that shows it."""


FINDERS: tuple[Finder, ...] = (
    constant_condition,
    duplicate_hop,
    circular_model,
    timeouts_exceed_deadline,
    clock_never_strikes,
    hasty_idle,
    many_attempts,
    long_chain,
    same_provider_fallback,
    refusal_retried,
    mirror_of_itself,
    undeclared_model,
    unused_target,
    fact_of_no_target,
    unused_name,
    odd_time_window,
    flapping_threshold,
    unsticky_split,
    untrusted_input,
    untested_rule,
    expired_rule,
    broken_test,
    constant_first,
    double_negation,
    unsorted_list,
    long_condition,
)
# What is said where there is no prover: what is certain without one, and what is not proved.
UNPROVED: tuple[Finder, ...] = (unreachable_rule, uncovered_request, unproved_invariants)
# With a prover, in this order: what rules there are, then where they lead; what is open comes last.
PROOFS: tuple[Proof, ...] = (
    never_matches,
    unreachable_rule,
    uncovered_request,
    redundant_rule,
    constant_part,
    order_matters,
    mergeable_rules,
    unused_default,
    skipped_when_unknown,
    no_target_left,
    hop_never_tried,
    broken_invariant,
    vacuous_invariant,
    silent_invariant,
    empty_choice,
    window_exceeded,
    weaker_fallback,
    dearer_than_budget,
    ragged_time_windows,
    oscillating_thresholds,
    not_decided,
)
PROVED: frozenset[str] = frozenset(rule.CODE for rule in PROOFS)
ON_REQUEST: frozenset[str] = frozenset({order_matters.CODE, mergeable_rules.CODE})  # of these
# What these are about is found while the policy is read, typed, or its comments are applied.
PAGES_ONLY: tuple[Rule, ...] = (
    syntax_error,
    yaml_trap,
    comment_cuts_condition,
    duplicate_name,
    unknown_field,
    bad_include,
    literal_secret,
    missing_field,
    wrong_shape,
    bad_value,
    bad_ignore,
    unused_ignore,
    unknown_attribute,
    unknown_function,
    condition_expected,
    missing_unit,
    incompatible_units,
    value_outside_enum,
    outside_range,
    too_late,
    equality_on_measurement,
    bare_target_value,
    open_attribute,
    bad_pattern,
    unknown_target,
    bad_shares,
    missing_price,
    unknown_budget,
    unbounded_price,
    missing_prior,
)


@cache
def pages() -> Mapping[str, Page]:
    """The pages of all codes, by code, in order."""
    found = [page_of(rule) for rule in dict.fromkeys((*PAGES_ONLY, *FINDERS, *UNPROVED, *PROOFS))]
    return {page.code: page for page in sorted(found, key=lambda page: page.code)}
