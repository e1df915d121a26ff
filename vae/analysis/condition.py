"""Conditions on the rows of a table, such as `latent_size <= 50 and not collapsed`: parsed, and never run as code.

They are written as in Python: comparisons of columns, numbers and text in quotes, `in` a list, `and`, `or`, `not` and
parentheses; `kld is None` asks for a missing value. Any other comparison with a missing value is neither true nor
false, and so is what `and`, `or` and `not` make of it, unless the other side decides (the three-valued logic of SQL). A
row meets a condition that is true of it.
"""

import ast
import difflib
import operator
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vae.errors import UserError

LONGEST = 2000
NUMBER, TEXT, TRUTH = "a number", "text", "true or false"
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
WRITE = "write comparisons of columns, joined by and, or, not"


@dataclass(frozen=True)
class Value:
    """A side of a comparison: what kind of value it has, None where all are missing, and its value in every row."""

    kind: str | None
    values: list
    name: str


def met(rows: pd.DataFrame, condition: str) -> list[bool]:
    """Whether each row meets the condition; UserError where it cannot be read, or compares what cannot be compared."""
    if len(condition) > LONGEST:
        raise UserError(f"the condition has more than {LONGEST} characters; shorten it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of Python, on code that it takes for a mistake
            tree = ast.parse(condition.strip(), mode="eval")
        return [truth is True for truth in _Reader(rows, condition).truths(tree.body)]
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        what = error.msg if isinstance(error, SyntaxError) else str(error) or "nested too deep"
        raise UserError(f"condition {condition!r}: {what}; {WRITE}") from None


def check_columns(names: Collection[str], known: Collection[str]) -> None:
    """Raise UserError for a name that is no column, with the nearest one that is."""
    for name in names:
        if name not in known:
            raise UserError(f"unknown column {name!r}{_nearest(name, known)}")


def _nearest(name: str, known: Collection[str]) -> str:
    guess = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {guess[0]!r}?" if guess else f"; the table has {', '.join(known)}"


class _Reader:
    """Reads a condition, part by part, into its truth in every row: True, False, or None for neither."""

    def __init__(self, rows: pd.DataFrame, condition: str):
        self.rows, self.condition = rows, condition

    def truths(self, node: ast.expr) -> list[bool | None]:
        """The truth of a part that is true or false."""
        if isinstance(node, ast.BoolOp):
            join = _all if isinstance(node.op, ast.And) else _any
            return [join(truths) for truths in zip(*map(self.truths, node.values))]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return [None if truth is None else not truth for truth in self.truths(node.operand)]
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            links = [self.link(*link) for link in zip(sides, node.ops, sides[1:])]
            return [_all(truths) for truths in zip(*links)]
        value = self.value(node)
        if value.kind not in (TRUTH, None):
            raise self.refusal(f"{value.name} is {value.kind}, and no condition; compare it with something")
        return value.values

    def link(self, left: ast.expr, comparison: ast.cmpop, right: ast.expr) -> list[bool | None]:
        """The truth of one comparison of a chain such as `10 <= latent_size <= 50`."""
        if isinstance(comparison, ast.Is | ast.IsNot):
            return self.missing(left, right, isinstance(comparison, ast.Is))
        if isinstance(comparison, ast.In | ast.NotIn):
            return self.contained(left, right, isinstance(comparison, ast.In))
        sides = self.value(left), self.value(right)
        self.check_kinds(*sides)
        compare = COMPARISONS[type(comparison)]
        if TRUTH in (sides[0].kind, sides[1].kind) and compare not in (operator.eq, operator.ne):
            raise self.refusal(f"{sides[0].name} is true or false, and neither more nor less than anything")
        return [None if a is None or b is None else compare(a, b) for a, b in zip(*(side.values for side in sides))]

    def missing(self, left: ast.expr, right: ast.expr, wanted: bool) -> list[bool | None]:
        """Of `column is None`, which is never missing itself."""
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise self.refusal("`is` takes None, for a missing value, alone; write == for values")
        return [(value is None) == wanted for value in self.value(left).values]

    def contained(self, left: ast.expr, right: ast.expr, wanted: bool) -> list[bool | None]:
        """Of `encoder in ["DNN1", "CNN1"]`, and of `"CNN" in label`."""
        value = self.value(left)
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            entries = [self.value(entry) for entry in right.elts]
            for entry in entries:
                self.check_kinds(value, entry)
            rows = zip(*(entry.values for entry in entries)) if entries else [()] * len(self.rows)
            return [
                None if a is None or (None in row and a not in row) else (a in row) == wanted
                for a, row in zip(value.values, rows)
            ]
        text = self.value(right)
        if isinstance(right, ast.Constant):
            raise self.refusal(f"`in` takes a list or a column of text; write [{ast.unparse(right)}]")
        if value.kind not in (TEXT, None) or text.kind not in (TEXT, None):
            raise self.refusal(f"{text.name} is {text.kind}; `in` takes a list in brackets, or looks for text in text")
        return [None if a is None or b is None else (a in b) == wanted for a, b in zip(value.values, text.values)]

    def value(self, node: ast.expr) -> Value:
        """A column, a number, a text, True or False."""
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
            node, sign = node.operand, -1
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | str) and sign == 1:
            kind = TEXT if isinstance(node.value, str) else TRUTH
            return Value(kind, [node.value] * len(self.rows), repr(node.value))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return Value(NUMBER, [sign * node.value] * len(self.rows), str(sign * node.value))
        name = _dotted(node)
        if name is None:
            raise self.refusal(f"{ast.unparse(node)!r} is neither a column nor a number nor text; {WRITE}")
        if name not in self.rows:
            nearest = _nearest(name, [*self.rows, "True", "False", "None"])
            raise self.refusal(f"unknown column {name!r} (text is written in quotes){nearest}")
        return _column(self.rows[name], name)

    def check_kinds(self, left: Value, right: Value) -> None:
        """Refuse to compare a number with text, which are never equal."""
        if None not in (left.kind, right.kind) and left.kind != right.kind:
            raise self.refusal(f"{left.name} is {left.kind}, {right.name} is {right.kind}; compare values of one kind")

    def refusal(self, reason: str) -> UserError:
        """The error that a condition cannot be read, for this reason."""
        return UserError(f"condition {self.condition!r}: {reason}")


def _dotted(node: ast.expr) -> str | None:
    """The name of a column, such as `kld`, or `objective.beta`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return None


def _column(column: pd.Series, name: str) -> Value:
    values = column.astype(object).where(column.notna(), None).tolist()
    kinds = {_kind(value) for value in values if value is not None}
    if len(kinds) > 1:
        return Value(TEXT, [None if value is None else str(value) for value in values], name)
    return Value(kinds.pop() if kinds else None, values, name)


def _kind(value: object) -> str:
    return TRUTH if isinstance(value, bool) else NUMBER if isinstance(value, int | float) else TEXT


def _all(truths: tuple[bool | None, ...]) -> bool | None:
    return False if False in truths else None if None in truths else True


def _any(truths: tuple[bool | None, ...]) -> bool | None:
    return True if True in truths else None if None in truths else False
