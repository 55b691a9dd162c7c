"""The small formulas of manifests: `4 * round(seconds * fps / 4) + 1`.

Numbers, names, `+ - * /`, and `ceil floor round sqrt min max`; nothing else is taken, so that a
manifest can compute and never act. A name is a parameter, an earlier derived value, or a measure
of a given file: `audio.seconds`, `image.width`, `image.height`. `text.seconds` is about how long a
text takes to say.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from studio.engine.workflow.faults import FaultError

# Sums of floats miss whole numbers by a hair: 2.2 s at 25 a second are 55 frames, not 56.
_HAIR: Final = 1e-6

_OPERATORS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "ceil": lambda x: math.ceil(x - _HAIR),
    "floor": lambda x: math.floor(x + _HAIR),
    "round": lambda x: math.floor(x + 0.5),
    "sqrt": math.sqrt,
    "min": min,
    "max": max,
}


@cache
def names(formula: str) -> frozenset[str]:
    """Name what a formula reads. Raises `FaultError` for what is no formula."""
    return frozenset(_names(_parsed(formula)))


def value(formula: str, values: Mapping[str, Any]) -> int | float:
    """Work a formula out; `values` hold all its names. Raises `FaultError` where it cannot."""
    try:
        found: int | float = _value(_parsed(formula), values)
    except (ArithmeticError, TypeError, ValueError) as exc:
        raise FaultError.of("fault.formula.fails", formula=formula, detail=exc) from exc
    return found


@cache
def _parsed(formula: str) -> ast.expr:
    try:
        tree = ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise FaultError.of("fault.formula.none", formula=formula) from exc
    for part in ast.walk(tree):
        if not _allowed(part):
            raise FaultError.of("fault.formula.parts", formula=formula)
    return tree


def _allowed(part: ast.AST) -> bool:
    match part:
        case ast.Constant(value=number):
            return type(number) in (int, float)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            several = name in ("min", "max")
            return name in _FUNCTIONS and (len(args) > 1 if several else len(args) == 1)
        case ast.Attribute(value=ast.Name()) | ast.BinOp() | ast.UnaryOp(op=ast.USub()):
            return True
        case ast.USub() | ast.Load() | ast.Name():
            return True
        case _:
            return type(part) in _OPERATORS


def _names(part: ast.expr) -> Iterator[str]:
    match part:
        case ast.Name(id=name):
            yield name
        case ast.Attribute(value=ast.Name(id=name), attr=measure):
            yield f"{name}.{measure}"
        case ast.BinOp(left=left, right=right):
            yield from _names(left)
            yield from _names(right)
        case ast.UnaryOp(operand=operand):
            yield from _names(operand)
        case ast.Call(args=args):
            for arg in args:
                yield from _names(arg)
        case _:
            pass


def _value(part: ast.expr, values: Mapping[str, Any]) -> Any:
    match part:
        case ast.Constant(value=number):
            return number
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(operand=operand):
            return -_value(operand, values)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(arg, values) for arg in args))
        case _:
            return values[next(_names(part))]
