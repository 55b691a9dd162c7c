"""Which function runs which class_type."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from studio.practice.nodes.values import Context, NodeError, Result

Run = Callable[..., Any]
_BY_NAME: Final[dict[str, Run]] = {}


def node(*class_types: str) -> Callable[[Run], Run]:
    """Register a function for class types.

    Its parameters are named as the node's inputs (a dot in a name is `__`); `ctx` asks for the
    `Context`. It gives a `Result`, or a bare value for one output.
    """

    def keep(run: Run) -> Run:
        for class_type in class_types:
            _BY_NAME[class_type] = run
        return run

    return keep


def find(class_type: str) -> Run | None:
    """Give the function of a class type, if it has one of its own."""
    return _BY_NAME.get(class_type)


def call(run: Run, ctx: Context, class_type: str, inputs: Mapping[str, Any]) -> Result:
    """Call a node's function with the inputs it knows; unknown ones are dropped."""
    wanted = inspect.signature(run).parameters
    given = {name.replace(".", "__"): value for name, value in inputs.items()}
    chosen = {name: given[name] for name in wanted if name in given}
    if "ctx" in wanted:
        chosen["ctx"] = ctx
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in wanted.values()):
        chosen = {**given, **chosen}
    absent = [
        name
        for name, one in wanted.items()
        if name not in chosen
        and one.default is inspect.Parameter.empty
        and one.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    if absent:
        raise NodeError(
            "TypeError",
            f"{class_type}.execute() missing 1 required positional argument: '{absent[0]}'",
        )
    result = run(**chosen)
    return result if isinstance(result, Result) else Result((result,))
