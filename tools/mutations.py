"""Mutants of the code: one small fault each, in the body of a function, drawn by a seed."""

from __future__ import annotations

import ast
import copy
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from pathlib import Path
from random import Random
from typing import Any, Final

KINDS: Final = ("comparison", "off by one", "dropped statement", "return None", "and/or", "dropped not", "+/-")
_AROUND: Final = 24
_OTHER: Final[dict[type[Any], type[Any]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault of a kind in a file (relative to the tree): from byte ``start`` to ``end`` stands ``after``."""

    file: str
    source: bytes = field(repr=False)
    kind: str
    line: int
    start: int
    end: int
    before: str
    after: str

    @property
    def mutated(self) -> bytes:
        return self.source[: self.start] + self.after.encode() + self.source[self.end :]

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def change(self) -> str:
        """The text that differs, with some letters of its line around."""
        head = self.source[: self.start].decode().rpartition("\n")[2].lstrip()
        tail = self.source[self.end :].decode().partition("\n")[0]
        texts = [head + text + tail for text in (self.before, self.after)]
        same = _count_same(*texts)
        end = _count_same(*(text[same:][::-1] for text in texts))
        cut = (text[max(0, same - _AROUND) : len(text) - max(0, end - _AROUND)] for text in texts)
        return " → ".join(" ".join(text.split())[:100] for text in cut)


def _count_same(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class _Finder(ast.NodeVisitor):
    """What can be mutated in the bodies of functions: no docstring, annotation, default, decorator or log message."""

    def __init__(self, file: str, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._file, self._source = file, source
        self._line_starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
        self._bound = Counter[str]()  # How often the function binds each of its names.

    def _add(self, kind: str, node: Any, after: str) -> None:
        start = self._line_starts[node.lineno - 1] + node.col_offset
        end = self._line_starts[node.end_lineno - 1] + node.end_col_offset
        before = ast.unparse(node)
        self.found.append(Mutant(self._file, self._source, kind, node.lineno, start, end, before, after))

    def _replace(self, kind: str, node: ast.expr, **fields: Any) -> None:
        """Add the expression with other fields, in parentheses, which fit everywhere."""
        other = copy.copy(node)
        vars(other).update(fields)
        self._add(kind, node, f"({ast.unparse(other)})")

    def visit_FunctionDef(self, node: Any) -> None:
        outer = self._bound
        names = (each for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store))
        self._bound = Counter(each.id for each in names)
        for statement in node.body:
            self.visit(statement)
        self._bound = outer

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: Any) -> None:
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.visit(statement)

    visit_Module = visit_ClassDef

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Pass over a text: before Python 3.12, what is in it has no place of its own."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if not _is_log(node):
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await) and not _is_log(node.value):
            self._drop(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = (each for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name))
        # Without its only assignment a name is unknown, which any test notices.
        if all(self._bound[name.id] != 1 for name in names if isinstance(name.ctx, ast.Store)):
            self._add("dropped statement", node, "pass")
        self.generic_visit(node)

    def _drop(self, node: ast.stmt) -> None:
        self._add("dropped statement", node, "pass")
        self.generic_visit(node)

    visit_Raise = visit_Delete = visit_Continue = _drop

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Add | ast.Sub) and not _is_text(node.value):
            self._add("+/-", node, ast.unparse(ast.AugAssign(node.target, _OTHER[type(node.op)](), node.value)))
        self._drop(node)

    def visit_Return(self, node: ast.Return) -> None:
        # Callers can't tell None from False.
        if node.value is not None and not (isinstance(node.value, ast.Constant) and not node.value.value):
            self._add("return None", node, "return None")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for place, operator in enumerate(node.ops):
            others = [*node.ops[:place], _OTHER[type(operator)](), *node.ops[place + 1 :]]
            self._replace("comparison", node, ops=others)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self._replace("and/or", node, op=_OTHER[type(node.op)]())
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._add("dropped not", node, f"({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Add | ast.Sub) and not (_is_text(node.left) or _is_text(node.right)):
            self._replace("+/-", node, op=_OTHER[type(node.op)]())
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if type(node.value) is int:
            for value in (node.value + 1, node.value - 1):
                self._add("off by one", node, str(value))


def _is_log(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).partition(".")[0] in ("log", "logger", "logging")


def _is_text(node: ast.expr) -> bool:
    """Return whether the operand of a sum is a text or a list as it stands there: the difference always fails."""
    return isinstance(node, ast.JoinedStr | ast.List) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def find_mutants(file: str, source: bytes) -> list[Mutant]:
    """Return all mutants of a file's source, in the order of its nodes."""
    finder = _Finder(file, source)
    finder.visit(ast.parse(source))
    return finder.found


def draw(root: Path, seed: str, number: int, places: Iterable[str]) -> list[Mutant]:
    """Return so many mutants of the modules in ``places``, one a file, the kinds in turn; fewer where files lack."""
    chance, drawn, kinds = Random(seed), list[Mutant](), deque(KINDS)
    modules = sorted(module for place in places for module in _modules_in(root / place))
    chance.shuffle(modules)
    mutants = {module: find_mutants(module.relative_to(root).as_posix(), module.read_bytes()) for module in modules}
    while kinds and len(drawn) < number:
        kind = kinds.popleft()
        module = next((one for one, found in mutants.items() if any(each.kind == kind for each in found)), None)
        if module is not None:
            drawn.append(chance.choice([each for each in mutants.pop(module) if each.kind == kind]))
            kinds.append(kind)
    return drawn


def _modules_in(place: Path) -> list[Path]:
    """Return the modules of a package, or the one module that it was made into."""
    module = place.with_suffix(".py")
    found = [module] if module.is_file() else [*place.rglob("*.py")]
    if not found:
        raise SystemExit(f"there is no module in {place}: give other --places")
    return found
