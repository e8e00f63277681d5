"""Finds every line of a source file that can be changed into a plausible fault."""

import ast
from collections.abc import Sequence

from mutation.edits import OPPOSITE, Mutant, changed_constant, one_more, spliced, swapped, within

SHOWN_ONLY = {"print", "warn", "debug", "info", "warning", "error", "exception"}
UNSEEN = {"__repr__", "__str__"}
Node = ast.expr | ast.stmt
FOR_TYPES = {"TYPE_CHECKING", "__name__"}


def sites(file: str, text: str) -> list[Mutant]:
    """Yields the mutants of a source, not yet compiled.

    Left out: docstrings, texts and what raises or prints them, annotations, decorators, blocks
    for types only, and functions that do nothing but word a message.
    """
    finder = _Finder(file, text)
    finder.visit(ast.parse(text))
    return finder.mutants


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str, text: str):
        self.file, self.lines = file, text.split("\n")
        self.scope: list[str] = []
        self.mutants: list[Mutant] = []

    def replace(self, kind: str, node: Node, new: str | None) -> None:
        """Makes a mutant that replaces a node on one line by `new`."""
        line, end = _end(node)
        if node.lineno == line:
            self.splice(kind, line, node.col_offset, end, new)

    def splice(self, kind: str, line: int, start: int, end: int, new: str | None) -> None:
        before = self.lines[line - 1]
        if new is None or (after := spliced(before, start, end, new)) == before:
            return
        function = ".".join(self.scope).removesuffix(".<locals>")
        self.mutants.append(Mutant(self.file, function, kind, line, before, after))

    def text(self, node: ast.expr) -> str:
        """Returns the text of a node on one line."""
        return within(self.lines[node.lineno - 1], node.col_offset, _end(node)[1])

    def between(self, kind: str, left: ast.expr, right: ast.expr) -> None:
        """Makes a mutant with another operator between two operands."""
        line, start = _end(left)
        if line == right.lineno:
            gap = within(self.lines[line - 1], start, right.col_offset)
            self.splice(kind, line, start, right.col_offset, swapped(gap))

    # Nodes that are skipped.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in UNSEEN or _words_only(node):
            return
        self.every([*node.args.defaults, *filter(None, node.args.kw_defaults)])
        self.scope += [node.name, "<locals>"]
        self.every(node.body)
        del self.scope[-2:]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        self.every(node.body)
        self.scope.pop()

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None: ...

    def visit_Assert(self, node: ast.Assert) -> None: ...

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":  # of zip: it asserts what holds
            self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.every([node.value] if node.value else [])

    def every(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    # Operators, constants, bounds.

    def visit_Compare(self, node: ast.Compare) -> None:
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            self.between("comparison", left, right)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        types = isinstance(node.op, ast.BitOr) and not self.scope
        if not types and not _is_text(node.left) and not _is_text(node.right):
            self.between("arithmetic", node.left, node.right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between("and_or", left, right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        kind = "condition" if isinstance(node.op, ast.Not) else "arithmetic"
        start = node.col_offset
        length = len("not ") if kind == "condition" else len("-")
        self.splice(kind, node.lineno, start, start + length, "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        self.replace("constant", node, changed_constant(node.value))

    def visit_Slice(self, node: ast.Slice) -> None:
        self.bounds([node.lower, node.upper])
        self.every([node.step] if node.step else [])

    def bounds(self, bounds: Sequence[ast.expr | None]) -> None:
        for bound in filter(None, bounds):
            if bound.lineno == bound.end_lineno:
                self.replace("bound", bound, one_more(self.text(bound), bound))
            if not isinstance(bound, ast.Constant):
                self.visit(bound)

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node)
        if name in SHOWN_ONLY:
            return
        if name in OPPOSITE:
            line, end = _end(node.func)
            self.splice("extreme", line, end - len(name), end, OPPOSITE[name])
        if name == "range":
            self.bounds([node.args[-1] if len(node.args) < 3 else node.args[1]])
            self.every(node.args[:-1])
        else:
            self.generic_visit(node)

    # Conditions and statements.

    def negate(self, test: ast.expr) -> None:
        plain = isinstance(test, (ast.Constant, ast.UnaryOp))
        if not plain and test.lineno == test.end_lineno:
            self.replace("condition", test, f"not ({self.text(test)})")

    def visit_If(self, node: ast.If) -> None:
        names = {item.id for item in ast.walk(node.test) if isinstance(item, ast.Name)}
        if not names & FOR_TYPES:
            self.negate(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.negate(test)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if node.lineno == node.end_lineno:
            self.replace("dropped", node, "pass")
        elif node.cause is None:
            start = node.col_offset
            self.splice("dropped", node.lineno, start, start + len("raise "), "")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and _called(node.value) not in SHOWN_ONLY:
            if node.lineno == node.end_lineno:
                self.replace("dropped", node, "pass")
            else:
                start = node.col_offset
                self.splice("dropped", node.lineno, start, start, "lambda: ")
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.replace("dropped", node, "pass")
        if not _is_text(node.value):
            self.between("arithmetic", node.target, node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not _first_of_its_name(node):
            self.replace("dropped", node, "pass")
        self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        self.replace("dropped", node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.replace("dropped", node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self.replace("dropped", node, "pass")


def _end(node: Node) -> tuple[int, int]:
    """Returns the line and the column after a node."""
    assert node.end_lineno is not None and node.end_col_offset is not None  # of what was parsed
    return node.end_lineno, node.end_col_offset


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _first_of_its_name(node: ast.Assign) -> bool:
    """True if a statement only assigns a new local name; without it the function fails at once."""
    own = {target.id for target in node.targets if isinstance(target, ast.Name)}
    read = {item.id for item in ast.walk(node.value) if isinstance(item, ast.Name)}
    return len(own) == len(node.targets) and not own & read


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) and _is_text(node.orelse)
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _is_text(node.func.value)  # "".join(...)
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, ast.JoinedStr)


def _words_only(node: ast.FunctionDef) -> bool:
    """True if a function only builds a message: it returns written texts, and decides nothing."""
    if not (isinstance(node.returns, ast.Name) and node.returns.id == "str"):
        return False
    inside = [item for statement in node.body for item in ast.walk(statement)]
    ends = [item.value for item in inside if isinstance(item, ast.Return) and item.value]
    decides = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.Raise)
    return all(map(_is_text, ends)) and not any(isinstance(item, decides) for item in inside)
