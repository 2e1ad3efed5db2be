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
    comment_cuts_condition,
    condition_expected,
    constant_first,
    double_negation,
    duplicate_hop,
    duplicate_name,
    equality_on_measurement,
    expired_rule,
    fact_of_no_target,
    flapping_threshold,
    incompatible_units,
    literal_secret,
    long_condition,
    missing_field,
    missing_price,
    missing_prior,
    missing_unit,
    not_enforced_yet,
    odd_time_window,
    open_attribute,
    outside_range,
    refusal_retried,
    same_provider_fallback,
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
    unused_ignore,
    unused_target,
    value_outside_enum,
    wrong_shape,
    yaml_trap,
)
from .page import Page, Rule, page_of


class Finder(Rule, Protocol):
    """A file that looks for its code."""

    def find(
        self, policy: tree.Policy, program: Program | None, today: int | None
    ) -> Iterator[Diagnostic]:
        """What it finds. `program` is None where there are errors; `today` in days since 1970."""


FINDERS: tuple[Finder, ...] = (
    unreachable_rule,
    uncovered_request,
    duplicate_hop,
    timeouts_exceed_deadline,
    same_provider_fallback,
    refusal_retried,
    unproved_invariants,
    undeclared_model,
    unused_target,
    fact_of_no_target,
    not_enforced_yet,
    odd_time_window,
    flapping_threshold,
    unsticky_split,
    untrusted_input,
    untested_rule,
    expired_rule,
    constant_first,
    double_negation,
    unsorted_list,
    long_condition,
)
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
    found = [page_of(rule) for rule in (*PAGES_ONLY, *FINDERS)]
    return {page.code: page for page in sorted(found, key=lambda page: page.code)}
