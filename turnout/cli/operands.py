"""A condition with the value of each operand written below it.

  tokens < 100 and tier == "free"
  500              "pro"
  false            false

The values stand below the words that they are of; the last line is the truth of each comparison.
A `let` name is followed by what it stands for, in the same form.
"""

from collections.abc import Mapping

from turnout.dsl.atoms import atoms
from turnout.dsl.core import Clause, Const, Named, Read, Term
from turnout.dsl.interpret.traced import Node, evaluate
from turnout.dsl.schema import Value
from turnout.dsl.source import Span
from turnout.dsl.walk import children

from .report import printable

_Seen = Mapping[str, Value | None]
_Mark = tuple[int, str]  # where it stands in the line, and what


def values_below(condition: Term, seen: _Seen) -> list[str]:
    """The lines of a condition: its text, the values below it, then its definitions alike."""
    lines: list[str] = []
    told: set[str] = set()
    queue: list[tuple[str, Term]] = [("", condition)]
    while queue:
        name, term = queue.pop(0)
        prefix = f"{name}: " if name else ""
        inner = _named_in(term)
        lines += [
            (prefix if number == 0 else " " * len(prefix)) + line
            for number, line in enumerate(_block(term, seen))
        ]
        for definition in inner:
            if definition.name not in told:
                told.add(definition.name)
                queue.append((definition.name, definition.operand))
    reasons = _reasons(evaluate(condition, seen))
    return lines + [f"unknown: {text} ({why})" for text, why in reasons.items()]


def rule_below(clause: Clause, seen: _Seen) -> list[str]:
    """The lines of a rule's condition; of what kept it from firing, where that is not written."""
    truth = evaluate(clause.applies, seen)
    if clause.test is not None and evaluate(clause.test, seen).value is truth.value:
        return values_below(clause.test, seen)
    if truth.value is True:
        return ["always"]
    return [printable(truth.text), *_block(clause.applies, seen)]


def shown(node: Node) -> str:
    """A value as the language writes it; what is not there is `unknown`."""
    return printable(node.written) if node.written is not None else "unknown"


def _block(condition: Term, seen: _Seen) -> list[str]:
    """One condition's text and the rows below it."""
    span = condition.span
    if span is None:  # made by lowering, such as a cost: the parts in a line
        return [
            ", ".join(f"{printable(leaf.text)} {shown(leaf)}" for leaf in _leaves(condition, seen))
        ]
    text, columns = _on_one_line(span)
    operands: list[_Mark] = []
    truths: list[_Mark] = []
    stack = [condition]
    while stack:
        term = stack.pop()
        place = _column(term.span, span, columns)
        if isinstance(term, Named):
            if place is not None:
                operands.append((place, shown(evaluate(term, seen))))
            continue
        if isinstance(term, Read) and place is not None:
            operands.append((place, shown(evaluate(term, seen))))
        stack.extend(part for part in children(term) if not isinstance(part, Const))
    for atom in atoms(condition):
        place = _column(atom.span, span, columns)
        if place is not None and not isinstance(atom, Read | Named):
            truths.append((place, shown(evaluate(atom, seen))))
    return [printable(text), *_rows(operands), *_rows(truths)]


def _named_in(condition: Term) -> list[Named]:
    """The definitions that a condition names itself, from left to right."""
    found: list[Named] = []
    stack: list[Term] = [condition]
    while stack:
        term = stack.pop()
        if isinstance(term, Named):
            if term.span is not None:
                found.append(term)
        else:
            stack.extend(reversed(children(term)))
    return found


def _on_one_line(span: Span) -> tuple[str, dict[int, int]]:
    """The text with its white space made single, and the column of each of its characters."""
    excerpt = span.excerpt
    if span.meant is not None:  # YAML's escapes: columns of the file are not those of the text
        return " ".join(span.text.split()), {}
    text: list[str] = []
    columns: dict[int, int] = {}
    for offset, character in enumerate(excerpt):
        is_space = character.isspace()
        if is_space and (not text or text[-1] == " "):
            continue
        columns[span.start + offset] = len(text)
        text.append(" " if is_space else character)
    return "".join(text).rstrip(), columns


def _column(span: Span | None, whole: Span, columns: Mapping[int, int]) -> int | None:
    if span is None or span.source is not whole.source:
        return None
    return columns.get(span.start) if whole.start <= span.start < whole.end else None


def _rows(marks: list[_Mark]) -> list[str]:
    """Marks laid out in as few lines as keep them apart."""
    rows: list[str] = []
    for column, word in sorted(set(marks)):
        for number, row in enumerate(rows):
            if len(row) < column or (not row and column == 0):
                rows[number] = f"{row:{column}}{word}"
                break
        else:
            rows.append(" " * column + word)
    return rows


def _leaves(condition: Term, seen: _Seen) -> list[Node]:
    found: dict[str, Node] = {}
    stack = [evaluate(condition, seen)]
    while stack:
        node = stack.pop()
        if not node.children:
            found.setdefault(node.text, node)
        stack.extend(reversed(node.children))
    return list(found.values())


def _reasons(node: Node) -> dict[str, str]:
    """Why leaves are unknown, by their text."""
    found: dict[str, str] = {}
    stack = [node]
    while stack:
        part = stack.pop()
        if part.value is None and not part.children and part.reason is not None:
            found.setdefault(printable(part.text), printable(part.reason))
        stack.extend(reversed(part.children))
    return found
