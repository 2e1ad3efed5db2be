"""A policy of several files: where each may stand, what each may hold, and what is said of it."""

import time
from collections.abc import Mapping

import pytest

from turnout.dsl import tree
from turnout.dsl.canonical import reopen
from turnout.dsl.check import compile_policy, restore
from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.include import MAX_FILES, NotLoaded
from turnout.dsl.parse import parse_with_warnings
from turnout.dsl.source import Source

RULES = "routing_policy:\n  - {name: default, route: openai/gpt-4}\n"


def examined(
    main: str, files: Mapping[str, str] | None = None, name: str = "conf/routing.yml"
) -> tuple[tree.Policy | None, tuple[Diagnostic, ...]]:
    def load(path: str) -> Source:
        if path not in (files or {}):
            raise NotLoaded(f"there is no file `{path}`", "write it")
        return Source(f"conf/{path}", (files or {})[path])

    return parse_with_warnings(Source(name, main), load)


def test_an_included_file_is_as_if_it_stood_in_the_main_one() -> None:
    files = {
        "models.yml": "targets: {a/x: {vision: true}}\nlists: {vips: [acme]}\n",
        "parts/limits.yml": "include: more.yml\nrequire: [{name: two, target: tools}]\n",
        "parts/more.yml": "require: [{name: three, target: json}]\n",
    }
    main = f"include: [models.yml, ./parts/limits.yml]\ntargets: {{b/y: }}\n{RULES}"
    main += "require: [{name: one, target: vision}]\n"
    policy, findings = examined(main, files)
    assert policy is not None and findings == ()
    assert [target.name.value for target in policy.targets] == ["b/y", "a/x"]
    assert [limit.name.value for limit in policy.limits] == ["one", "two", "three"]
    assert [source.name for source in policy.sources] == [
        "conf/routing.yml",
        "conf/models.yml",
        "conf/parts/limits.yml",
        "conf/parts/more.yml",
    ]
    assert "include" not in policy.document
    assert policy.limits[2].span.source.name == "conf/parts/more.yml"


def test_a_finding_in_an_included_file_points_into_it() -> None:
    _, (finding,) = examined(f"include: a.yml\n{RULES}", {"a.yml": "\nlet: {x: tokens =< 3}\n"})
    assert (finding.span.source.name, finding.span.line) == ("conf/a.yml", 2)
    assert finding.span.excerpt == "=<"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/passwd", "not a path beside"),
        ("~/a.yml", "not a path beside"),
        ("C:/a.yml", "not a path beside"),
        ("https://example.com/a.yml", "not a path beside"),
        ("file:///etc/passwd", "not a path beside"),
        ("../a.yml", "outside the folder"),
        ("a/../../b.yml", "outside the folder"),
        ("..", "outside the folder"),
        ("a\\\\b.yml", "written with `/`"),
        ("${HOME}/a.yml", "no variables"),
        ("nothing.yml", "there is no file `nothing.yml`"),
        (".", "there is no file"),
        ("routing.yml", "includes itself"),
        ("x/../routing.yml", "includes itself"),
    ],
)
def test_a_path_that_must_not_be_is_refused_where_it_is_written(path: str, message: str) -> None:
    policy, (finding,) = examined(f'include:\n  - "{path}"\n{RULES}')
    assert policy is None
    assert (finding.code, finding.span.line, finding.span.column) == ("RP006", 2, 5)
    assert message in finding.message
    assert finding.help


def test_a_path_below_may_not_climb_out_either() -> None:
    _, (finding,) = examined(f"include: a/b.yml\n{RULES}", {"a/b.yml": "include: ../../c.yml\n"})
    assert (finding.code, finding.span.source.name) == ("RP006", "conf/a/b.yml")


def test_a_circle_is_refused_at_the_line_that_closes_it() -> None:
    files = {"a.yml": "include: b.yml\n", "b.yml": "include: [a.yml]\n"}
    _, (finding,) = examined(f"include: a.yml\n{RULES}", files)
    assert (finding.code, finding.span.source.name) == ("RP006", "conf/b.yml")
    assert "a.yml -> b.yml -> a.yml" in finding.message


def test_a_file_named_by_two_others_counts_once() -> None:
    files = {
        "a.yml": "include: c.yml\n",
        "b.yml": "include: c.yml\n",
        "c.yml": "lists: {vips: [acme]}\n",
    }
    policy, findings = examined(f"include: [a.yml, b.yml]\n{RULES}", files)
    assert policy is not None and findings == ()
    assert len(policy.lists) == 1


def test_a_file_named_twice_in_a_list_is_a_finding() -> None:
    _, (finding,) = examined(f"include: [a.yml, ./a.yml]\n{RULES}", {"a.yml": "lists: {}\n"})
    assert (finding.code, finding.span.column) == ("RP004", 18)


@pytest.mark.parametrize(
    ("section", "one", "other"),
    [
        ("targets", "{a/x: {}}", "{a/x: {}}"),
        ("let", "{x: tokens < 3}", "{x: tokens < 3}"),
        ("require", "[{name: x, target: vision}]", "[{name: x, target: vision}]"),
        ("cache", "{ttl: 1h}", "{ttl: 1h}"),
        ("budget_wait", "2s", "3s"),
        ("breakers", "{failures: 3}", "{cool_down: 20s}"),
    ],
)
def test_one_name_in_two_files_is_refused_with_both_places(
    section: str, one: str, other: str
) -> None:
    main = f"include: a.yml\n{section}: {one}\n{RULES}"
    policy, (finding,) = examined(main, {"a.yml": f"{section}: {other}\n"})
    assert policy is None
    assert (finding.code, finding.span.source.name) == ("RP004", "conf/a.yml")
    assert finding.related[0].span.source.name == "conf/routing.yml"


@pytest.mark.parametrize(
    "section", ["version: 1", "timezone: UTC", "deadline: 2s", "parameters: strict", "defaults: {}",
                "routing_policy: []", "fallback_chain: []", "tests: []"],
)  # fmt: skip
def test_what_belongs_to_the_main_file_is_refused_elsewhere(section: str) -> None:
    _, (finding,) = examined(f"include: a.yml\n{RULES}", {"a.yml": f"{section}\n"})
    assert (finding.code, finding.span.source.name) == ("RP005", "conf/a.yml")
    assert "write it in the file that includes this one" in (finding.help or "")


def test_a_misspelt_section_of_an_included_file_has_its_suggestion() -> None:
    _, (finding,) = examined(f"include: a.yml\n{RULES}", {"a.yml": "targts: {}\n"})
    assert finding.help == "did you mean `targets`?"


def test_there_are_at_most_so_many_files() -> None:
    files = {f"{i}.yml": f"include: {i + 1}.yml\n" for i in range(1, 200)}
    _, (finding,) = examined(f"include: 1.yml\n{RULES}", files)
    assert (finding.code, finding.span.source.name) == ("RP006", f"conf/{MAX_FILES - 1}.yml")


def test_many_large_files_are_refused_before_they_take_long() -> None:
    files = {f"{i}.yml": f"lists: {{l{i}: [{'a, ' * 100_000}]}}\n" for i in range(60)}
    began = time.process_time()
    policy, findings = examined(f"include: [{', '.join(files)}]\n{RULES}", files)
    assert policy is None and 0 < len(findings) <= 200
    assert time.process_time() - began < 5


def test_a_text_alone_includes_nothing() -> None:
    policy, (finding,) = parse_with_warnings(Source("f", f"include: a.yml\n{RULES}"))
    assert policy is None
    assert (finding.code, finding.span.excerpt) == ("RP006", "a.yml")


def test_a_program_of_several_files_is_restored_without_them(language: object) -> None:
    schema = language.schema  # type: ignore[attr-defined]
    files = {"a.yml": "let: {tiny: tokens < 100}\nlists: {vips: [acme]}\n"}

    def load(path: str) -> Source:
        return Source(path, files[path])

    main = "include: a.yml\nrouting_policy:\n"
    main += "  - {name: small, condition: tiny and tenant in vips, route: openai/gpt-4}\n"
    main += "  - {name: default, route: openai/gpt-4}\n"
    program = compile_policy(Source("routing.yml", main), schema, load)
    again = restore(program.canonical, schema)
    assert again.digest == program.digest
    assert [clause.name for clause in again.clauses] == ["small", "default"]
    assert compile_policy(*reopen(program.canonical, schema)).digest == program.digest
