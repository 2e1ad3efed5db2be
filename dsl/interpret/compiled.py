"""The fast interpretation: a program as one Python function that returns the rule's index.

Code is built from `ast` nodes, never from text, and runs without builtins, so that nothing in a
policy can become code. Every condition is emitted in the form "is true": a plain Python truth in
which the unknown is already false. Its twin "is false" serves negation. Values are Python values
or None. Terms that are deep, or that are used more than once, become locals of the function, so
code stays linear in the size of the program and nesting never exhausts Python's own compiler.

A value that costs a call (`Attribute.fetched`) is asked for only where the other values leave the
outcome open: it is tried first with every test of such a value going the best way and the worst.

Above INDEXED_FROM rules a program is decided through an index (`index.py`) of the same tests.

Law: equals `traced` for every program and snapshot (tests/dsl/test_dsl_laws.py).
Cost: about 0.3 to 0.6 microseconds for 20 rules on a plain dict.
This file is over 300 lines because the emitter is one table with a case for each term.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from turnout.dsl.core import (
    LIMIT,
    And,
    Arithmetic,
    CeilDiv,
    Coalesce,
    Compare,
    Const,
    If,
    Known,
    Member,
    Named,
    Not,
    Or,
    Program,
    Read,
    Switch,
    Term,
    TextTest,
)
from turnout.dsl.interval import WORD, Bounds, combine
from turnout.dsl.pattern import finder
from turnout.dsl.schema import Type, Value
from turnout.dsl.walk import children, leaves_first, reads

from .index import Index

# From this many rules on the index is faster than trying them one after the other: measured by
# benchmarks/decision.py, where the two cross at about 75 rules.
INDEXED_FROM = 100
# Deeper Python expressions than this many terms are cut by a local variable.
MAX_DEPTH = 12

_LOAD = ast.Load()
_SNAPSHOT = "s"
_OPERATORS: dict[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
}
_OPPOSITES = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_CALCULATIONS: dict[str, type[ast.operator]] = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult}
_METHODS = {"starts_with": "startswith", "ends_with": "endswith"}


Decide = Callable[[Mapping[str, Value | None]], int]
Test = Callable[[Mapping[str, Value | None]], bool]


def compile_program(program: Program) -> Decide:
    """A function from snapshot to the index of the first clause that applies, -1 for none.

    The snapshot answers every key of `Program.slots` (a `Snapshot` does so by itself). A slot is
    asked for just before the first rule that may read it, and at most once; with many rules what
    the index goes by is asked for first. What reading a slot raises comes out of the function.
    """
    if len(program.clauses) >= INDEXED_FROM:
        indexed = compile_indexed(program)
        if indexed is not None:
            return indexed
    return compile_linear(program)


def compile_linear(program: Program) -> Decide:
    """As `compile_program`: every rule is tried until one applies."""
    fetched = _fetched(program)
    emitter = _Emitter(clause.applies for clause in program.clauses)
    for clause in program.clauses:
        give_back = ast.Return(ast.Constant(clause.index))
        if emitter.emit_if(clause.applies, give_back, fetched):
            break
    emitter.body.append(ast.Return(ast.Constant(-1)))
    return cast("Decide", emitter.build("decide"))


def compile_indexed(program: Program) -> Decide | None:
    """As `compile_program`, through an index; None where an index would not help."""
    fetched = _fetched(program)
    rules = [clause.applies for clause in program.clauses]
    if any(clause.index != at for at, clause in enumerate(program.clauses)):
        return None  # what is left of a program (`residual`) keeps the numbers of its rules
    index = Index.of(rules, program.slots)
    return None if index is None else index.compile(lambda at: compile_test(rules[at], fetched))


def compile_test(term: Term, fetched: frozenset[str] = frozenset()) -> Test:
    """A function from snapshot to whether a condition is true.

    The keys in `fetched` are asked for only where the others leave that open.
    """
    emitter = _Emitter([term])
    if not emitter.emit_if(term, ast.Return(ast.Constant(True)), fetched):
        emitter.body.append(ast.Return(ast.Constant(False)))
    return cast("Test", emitter.build("test"))


def compile_term(
    term: Term, fetched: frozenset[str] = frozenset()
) -> Callable[[Mapping[str, Value | None]], Value | None]:
    """A function from snapshot to the term's value; None is the unknown.

    All slots of the term are asked for, each once; of a condition those in `fetched` only where
    the others leave its value open.
    """
    emitter = _Emitter([term])
    if term.type is Type.BOOL and not fetched.isdisjoint(reads([term])):
        best, worst = (
            emitter.settle(emitter.emit(_assume(term, fetched, outcome))).value
            for outcome in (True, False)
        )
        is_decided = ast.Compare(best, [ast.Is()], [worst])
        emitter.body.append(ast.If(is_decided, [ast.Return(best)], []))
    form = emitter.emit(term)
    value = emitter.settle(form).value if term.type is Type.BOOL else form.value
    emitter.body.append(ast.Return(value))
    return cast("Callable[[Mapping[str, Value | None]], Value | None]", emitter.build("value"))


def _fetched(program: Program) -> frozenset[str]:
    return frozenset(key for key, slot in program.slots.items() if slot.attribute.fetched)


def _assume(term: Term, keys: frozenset[str], outcome: bool) -> Term:
    """The condition with every test of the keys replaced as if it went for it, or against it.

    Kleene's `and` and `or` keep the order false < unknown < true and `not` turns it round, so the
    condition's value lies between the two outcomes, whatever the keys turn out to be.
    """
    towards, away = Const(outcome, Type.BOOL), Const(not outcome, Type.BOOL)
    touched: set[int] = set()
    found: dict[int, tuple[Term, Term]] = {}  # instead of a part: as it stands, and under `not`
    for part in leaves_first([term]):
        below = children(part)
        is_read = isinstance(part, Read) and part.key in keys
        if not is_read and touched.isdisjoint(id(child) for child in below):
            continue
        touched.add(id(part))
        if part.type is not Type.BOOL:
            continue
        pairs = [found.get(id(child), (child, child)) for child in below]
        match part:
            case And() | Or():
                plain, turned = (tuple(pair[side] for pair in pairs) for side in (0, 1))
                found[id(part)] = type(part)(plain), type(part)(turned)
            case Not():
                found[id(part)] = Not(pairs[0][1]), Not(pairs[0][0])
            case Named():
                found[id(part)] = pairs[0]
            case _:
                found[id(part)] = towards, away
    return found[id(term)][0] if touched else term


@dataclass(slots=True)
class _Form:
    """A term as Python expressions.

    `value` computes the value or None. A condition has `true` and `false` besides; its `value` is
    there only where it is a leaf. A leaf is a name or a constant: it may be repeated.
    """

    value: ast.expr
    true: ast.expr
    false: ast.expr
    is_leaf: bool = False
    is_nullable: bool = True
    depth: int = 0
    bounds: Bounds = WORD


class _Emitter:
    """Emits terms into the body of one function."""

    def __init__(self, roots: Iterable[Term]) -> None:
        self.body: list[ast.stmt] = []
        self._forms: dict[int, _Form] = {}
        self._slots: dict[str, str] = {}
        self._locals = 0
        roots = list(roots)
        self._roots = roots  # identities stay theirs for as long as these live
        self._bound: dict[str, object] = {"__builtins__": {}}
        self._uses = Counter(id(root) for root in roots)
        for part in leaves_first(roots):
            self._uses.update(id(child) for child in children(part))

    def build(self, name: str) -> Callable[..., object]:
        """Compile what was emitted."""
        arguments = ast.arguments(
            posonlyargs=[],
            args=[ast.arg(_SNAPSHOT)],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[],
        )
        function = ast.FunctionDef(name=name, args=arguments, body=self.body, decorator_list=[])
        function.type_params = []  # type: ignore[attr-defined]  # Python 3.12 wants it
        module = ast.fix_missing_locations(ast.Module([function], []))
        exec(compile(module, "<policy>", "exec"), self._bound)
        return cast("Callable[..., object]", self._bound[name])

    def emit_if(self, term: Term, then: ast.stmt, fetched: frozenset[str]) -> bool:
        """Do something where a condition is true; whether it always is."""
        keys = fetched.intersection(reads([term]))
        if not keys:
            return self._when(self.emit(term).true, then)
        if self._when(self.emit(_assume(term, keys, False)).true, then):
            return True
        best = self.emit(_assume(term, keys, True)).true
        if not _is_constant(best, False):
            with self._inside(best):
                self._when(self.emit(term).true, then)
        return False

    def _when(self, truth: ast.expr, then: ast.stmt) -> bool:
        is_sure = _is_constant(truth, True)
        if not _is_constant(truth, False):
            self.body.append(then if is_sure else ast.If(truth, [then], []))
        return is_sure

    @contextmanager
    def _inside(self, test: ast.expr) -> Iterator[None]:
        """What is emitted now happens under a test; what it named is forgotten after it."""
        outer, self.body = self.body, []
        forms, slots = len(self._forms), len(self._slots)
        yield
        outer.append(ast.If(test, self.body, []))
        self.body = outer
        while len(self._forms) > forms:
            self._forms.popitem()
        while len(self._slots) > slots:
            self._slots.popitem()

    def emit(self, root: Term) -> _Form:
        """The form of a term; its slots and shared parts are emitted into the body first."""
        self._roots.append(root)
        for key in reads([root]):
            if key not in self._slots:
                load = ast.Subscript(_name(_SNAPSHOT), ast.Constant(key), _LOAD)
                self._slots[key] = self._assign(load)
        for part in leaves_first([root]):
            if id(part) not in self._forms:
                form = self._form(part)
                if not form.is_leaf and (form.depth >= MAX_DEPTH or self._uses[id(part)] > 1):
                    form = self.settle(form) if part.type is Type.BOOL else self._bind(form)
                self._forms[id(part)] = form
        return self._forms[id(root)]

    def settle(self, truth: _Form) -> _Form:
        """A condition as a leaf: True, False or None in a local."""
        if truth.is_leaf:
            return truth
        value = ast.IfExp(
            truth.true,
            ast.Constant(True),
            ast.IfExp(truth.false, ast.Constant(False), ast.Constant(None)),
        )
        return _truth_leaf(_name(self._assign(value)))

    def _bind(self, form: _Form) -> _Form:
        name = _name(self._assign(form.value))
        return _value(name, form.bounds, is_leaf=True, is_nullable=form.is_nullable)

    def _assign(self, value: ast.expr) -> str:
        name = self._fresh()
        self.body.append(ast.Assign([ast.Name(name, ast.Store())], value))
        return name

    def _fresh(self) -> str:
        self._locals += 1
        return f"v{self._locals}"

    def _of(self, term: Term) -> _Form:
        return self._forms[id(term)]

    def _held(self, form: _Form) -> tuple[ast.expr, ast.expr]:
        """Expressions for the first use of a value and for every later one, to its right."""
        if form.is_leaf:
            return form.value, form.value
        name = self._fresh()
        return ast.NamedExpr(ast.Name(name, ast.Store()), form.value), _name(name)

    def _checked(self, *forms: _Form) -> tuple[list[ast.expr], list[ast.expr]]:
        """Checks that no value is unknown, and expressions for the values after these checks."""
        checks: list[ast.expr] = []
        values: list[ast.expr] = []
        for form in forms:
            if form.is_nullable:
                first, later = self._held(form)
                checks.append(_is_not(first, None))
                values.append(later)
            else:
                values.append(form.value)
        return checks, values

    # --- one case for each term ----------------------------------------------------------------

    def _form(self, term: Term) -> _Form:
        match term:
            case Const(value, type_):
                return _constant(value, type_)
            case Read(key, type_):
                name = _name(self._slots[key])
                return _truth_leaf(name) if type_ is Type.BOOL else _value(name, WORD, is_leaf=True)
            case Named(_, operand):
                return self._of(operand)
            case Not(operand):
                form = self._of(operand)
                return _truth(form.false, form.true, form.depth + 1)
            case And(operands):
                forms = [self._of(operand) for operand in operands]
                return _truth(
                    _all(*(form.true for form in forms)),
                    _any(*(form.false for form in forms)),
                    _deeper(*forms),
                )
            case Or(operands):
                forms = [self._of(operand) for operand in operands]
                return _truth(
                    _any(*(form.true for form in forms)),
                    _all(*(form.false for form in forms)),
                    _deeper(*forms),
                )
            case Compare(operator, left, right):
                if left.type is Type.BOOL:
                    return self._compare_truths(operator, left, right)
                return self._compare(operator, self._of(left), self._of(right))
            case Member(operand, values):
                form = self._leaf_if_bool(operand)
                choices = ast.Set([ast.Constant(v) for v in sorted(values, key=repr)])
                if not values:
                    checks, _ = self._checked(form)
                    return _truth(ast.Constant(False), _all(*checks), form.depth + 1)
                checks, (given,) = self._checked(form)
                return _truth(
                    # None is no member, so the positive form needs no check.
                    ast.Compare(form.value, [ast.In()], [choices]),
                    _all(*checks, ast.Compare(given, [ast.NotIn()], [choices])),
                    form.depth + 1,
                )
            case TextTest(kind, operand, text):
                form = self._of(operand)
                checks, (given,) = self._checked(form)
                found = self._text_test(kind, given, text)
                return _truth(
                    _all(*checks, found),
                    _all(*checks, ast.UnaryOp(ast.Not(), found)),
                    form.depth + 1,
                )
            case Known(operand):
                form = self._leaf_if_bool(operand)
                if not form.is_nullable:
                    return _constant(True, Type.BOOL)
                return _truth(
                    _is_not(form.value, None),
                    ast.Compare(form.value, [ast.Is()], [ast.Constant(None)]),
                    form.depth + 1,
                )
            case Coalesce(operand, default, type_):
                return self._coalesce(operand, default, type_)
            case Arithmetic(operator, left, right):
                return self._arithmetic(term, operator, self._of(left), self._of(right))
            case CeilDiv(operand, divisor):
                form = self._of(operand)
                checks, (given,) = self._checked(form)
                down = ast.BinOp(_minus(given), ast.FloorDiv(), ast.Constant(divisor))
                bounds = combine(term, self._bounds)
                return _value(
                    _unless_unknown(checks, _minus(down)),
                    bounds,
                    is_nullable=form.is_nullable,
                    depth=form.depth + 1,
                )
            case If(test, then, otherwise, type_):
                form = self._of(test)
                # The test stands twice in the result: a small one may, a larger one is a local.
                small = form if form.depth <= 2 else self.settle(form)
                return self._if(term, small, then, otherwise, type_)
            case Switch(operand, cases, type_):
                return self._switch(term, self._leaf(operand), cases, type_)

    def _compare(self, operator: str, left: _Form, right: _Form) -> _Form:
        checks, (a, b) = self._checked(left, right)
        depth = _deeper(left, right)
        same: list[ast.expr] = [ast.Compare(a, [_OPERATORS[operator]()], [b])]
        opposite: list[ast.expr] = [ast.Compare(a, [_OPERATORS[_OPPOSITES[operator]]()], [b])]
        if operator in ("==", "!=") and left.is_leaf and not right.is_nullable:
            # An unknown equals no known value: only the negative form needs the check.
            is_equal = operator == "=="
            return _truth(
                _all(*(() if is_equal else checks), *same),
                _all(*(checks if is_equal else ()), *opposite),
                depth,
            )
        return _truth(_all(*checks, *same), _all(*checks, *opposite), depth)

    def _compare_truths(self, operator: str, left: Term, right: Term) -> _Form:
        for one, other in ((left, right), (right, left)):
            if isinstance(other, Const) and other.value is not None:
                form = self._of(one)
                if (operator == "==") is bool(other.value):
                    return _truth(form.true, form.false, form.depth)
                return _truth(form.false, form.true, form.depth)
        return self._compare(operator, self._leaf(left), self._leaf(right))

    def _coalesce(self, operand: Term, default: Term, type_: Type) -> _Form:
        form, other = self._leaf_if_bool(operand), self._of(default)
        if not form.is_nullable:
            return form
        if type_ is Type.BOOL:
            is_unknown = ast.Compare(form.value, [ast.Is()], [ast.Constant(None)])
            return _truth(
                _any(form.true, _all(is_unknown, other.true)),
                _any(form.false, _all(is_unknown, other.false)),
                _deeper(form, other),
            )
        first, later = self._held(form)
        low, high = zip(form.bounds, other.bounds, strict=True)
        return _value(
            ast.IfExp(_is_not(first, None), later, other.value),
            (min(low), max(high)),
            is_nullable=other.is_nullable,
            depth=_deeper(form, other),
        )

    def _arithmetic(self, term: Term, operator: str, left: _Form, right: _Form) -> _Form:
        checks, (a, b) = self._checked(left, right)
        result: ast.expr
        if operator in _CALCULATIONS:
            result = ast.BinOp(a, _CALCULATIONS[operator](), b)
        else:
            a_first, a_later = (a, a) if _repeats(a) else self._named(a)
            b_first, b_later = (b, b) if _repeats(b) else self._named(b)
            order = _OPERATORS["<=" if operator == "min" else ">="]()
            result = ast.IfExp(ast.Compare(a_first, [order], [b_first]), a_later, b_later)
        low, high = combine(term, self._bounds)
        is_nullable = left.is_nullable or right.is_nullable
        if low < -LIMIT or high > LIMIT:
            first, later = self._named(result)
            fits = ast.Compare(
                ast.Constant(-LIMIT), [ast.LtE(), ast.LtE()], [first, ast.Constant(LIMIT)]
            )
            result = ast.IfExp(fits, later, ast.Constant(None))
            is_nullable = True
        return _value(
            _unless_unknown(checks, result),
            (max(low, -LIMIT), min(high, LIMIT)),
            is_nullable=is_nullable,
            depth=_deeper(left, right),
        )

    def _if(self, term: Term, test: _Form, then: Term, otherwise: Term, type_: Type) -> _Form:
        yes, no = self._of(then), self._of(otherwise)
        if type_ is Type.BOOL:
            return _truth(
                _any(_all(test.true, yes.true), _all(test.false, no.true)),
                _any(_all(test.true, yes.false), _all(test.false, no.false)),
                _deeper(test, yes, no),
            )
        rest = ast.IfExp(test.false, no.value, ast.Constant(None))
        return _value(
            ast.IfExp(test.true, yes.value, rest),
            combine(term, self._bounds),
            depth=_deeper(test, yes, no),
        )

    def _switch(
        self, term: Term, operand: _Form, cases: tuple[tuple[Value, Term], ...], type_: Type
    ) -> _Form:
        first_of: dict[Value, _Form] = {}
        for key, case in cases:
            first_of.setdefault(key, self._of(case))
        depth = _deeper(operand, *first_of.values()) + len(first_of).bit_length()

        def hit(key: Value) -> ast.expr:
            return ast.Compare(operand.value, [ast.Eq()], [ast.Constant(key)])

        if type_ is Type.BOOL:
            return _truth(
                _any(*(_all(hit(key), case.true) for key, case in first_of.items())),
                _any(*(_all(hit(key), case.false) for key, case in first_of.items())),
                depth,
            )

        def search(some: list[tuple[Value, _Form]]) -> ast.expr:
            # Halving keeps the expression as deep as the logarithm of the number of cases.
            if not some:
                return ast.Constant(None)
            if len(some) == 1:
                key, case = some[0]
                return ast.IfExp(hit(key), case.value, ast.Constant(None))
            half = some[: len(some) // 2]
            among = ast.Set([ast.Constant(key) for key, _ in half])
            is_there = ast.Compare(operand.value, [ast.In()], [among])
            return ast.IfExp(is_there, search(half), search(some[len(half) :]))

        return _value(search(list(first_of.items())), combine(term, self._bounds), depth=depth)

    def _text_test(self, kind: str, value: ast.expr, text: str) -> ast.expr:
        if kind == "has":
            return ast.Compare(ast.Constant(text), [ast.In()], [value])
        if kind == "matches":
            name = f"p{len(self._bound)}"
            self._bound[name] = finder(text)
            return ast.Call(_name(name), [value], [])
        method = ast.Attribute(value, _METHODS[kind], _LOAD)
        return ast.Call(method, [ast.Constant(text)], [])

    def _bounds(self, term: Term) -> Bounds:
        return self._of(term).bounds

    def _leaf(self, term: Term) -> _Form:
        form = self._of(term)
        if form.is_leaf:
            return form
        return self.settle(form) if term.type is Type.BOOL else self._bind(form)

    def _leaf_if_bool(self, term: Term) -> _Form:
        return self._leaf(term) if term.type is Type.BOOL else self._of(term)

    def _named(self, value: ast.expr) -> tuple[ast.expr, ast.expr]:
        name = self._fresh()
        return ast.NamedExpr(ast.Name(name, ast.Store()), value), _name(name)


# --- forms and expressions -----------------------------------------------------------------------

_NOTHING = ast.Constant(None)


def _truth(true: ast.expr, false: ast.expr, depth: int) -> _Form:
    return _Form(_NOTHING, true, false, depth=depth)


def _truth_leaf(name: ast.expr) -> _Form:
    is_false = ast.Compare(name, [ast.Is()], [ast.Constant(False)])
    return _Form(name, name, is_false, is_leaf=True)


def _value(
    value: ast.expr,
    bounds: Bounds,
    *,
    is_leaf: bool = False,
    is_nullable: bool = True,
    depth: int = 0,
) -> _Form:
    return _Form(value, _NOTHING, _NOTHING, is_leaf, is_nullable, depth, bounds)


def _constant(value: Value | None, type_: Type) -> _Form:
    if type_ is not Type.BOOL and isinstance(value, int) and not -LIMIT <= value <= LIMIT:
        value = None
    number = value if isinstance(value, int) else 0
    return _Form(
        ast.Constant(value),
        ast.Constant(value is True),
        ast.Constant(value is False),
        is_leaf=True,
        is_nullable=value is None,
        bounds=(number, number),
    )


def _deeper(*forms: _Form) -> int:
    return 1 + max((form.depth for form in forms), default=0)


def _name(name: str) -> ast.expr:
    return ast.Name(name, _LOAD)


def _minus(value: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.USub(), value)


def _repeats(value: ast.expr) -> bool:
    return isinstance(value, (ast.Name, ast.Constant))


def _is_not(value: ast.expr, constant: bool | None) -> ast.expr:
    return ast.Compare(value, [ast.IsNot()], [ast.Constant(constant)])


def _is_constant(value: ast.expr, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def _unless_unknown(checks: list[ast.expr], value: ast.expr) -> ast.expr:
    return ast.IfExp(_all(*checks), value, ast.Constant(None)) if checks else value


def _all(*truths: ast.expr) -> ast.expr:
    return _join(ast.And(), truths, neutral=True)


def _any(*truths: ast.expr) -> ast.expr:
    return _join(ast.Or(), truths, neutral=False)


def _join(operator: ast.boolop, truths: Iterable[ast.expr], *, neutral: bool) -> ast.expr:
    kept: list[ast.expr] = []
    for truth in truths:
        if _is_constant(truth, not neutral):
            return ast.Constant(not neutral)
        if isinstance(truth, ast.BoolOp) and isinstance(truth.op, type(operator)):
            kept.extend(truth.values)
        elif not _is_constant(truth, neutral):
            kept.append(truth)
    if not kept:
        return ast.Constant(neutral)
    return kept[0] if len(kept) == 1 else ast.BoolOp(operator, kept)
