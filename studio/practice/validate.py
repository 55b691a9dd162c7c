"""Check a prompt as ComfyUI does: what is refused, what is let through, and in which words.

Learned from `prompt_post_and_validation.json` and `v3_dynamic_inputs.json`. Only nodes upstream
of an output are looked at; values are converted in place, as the real server does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from studio.practice.definitions import Definition, Definitions
from studio.practice.files import Folders

_LONG_LIST: Final = 20
_CONVERT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "INT": int,
    "FLOAT": float,
    "STRING": str,
    "BOOLEAN": bool,
}
_FILE_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "LoadImage": ("image", "image"),
    "LoadImageMask": ("image", "image"),
    "LoadImageOutput": ("image", "image"),
    "LoadAudio": ("audio", "audio"),
    "LoadVideo": ("file", "video"),
}
Fault = dict[str, Any]


@dataclass(slots=True)
class Verdict:
    """What became of a prompt: `error` None = accepted, perhaps without some outputs."""

    error: Fault | None
    outputs: list[str]
    node_errors: dict[str, Any]


@dataclass(slots=True)
class _Found:
    """One node's result; `valid` is False and `faults` empty when the fault lies upstream."""

    valid: bool = False
    faults: list[Fault] = field(default_factory=list)


def fault(kind: str, message: str, details: str, extra_info: dict[str, Any]) -> Fault:
    """Shape one error as the server does."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def validate(
    prompt: Any, definitions: Definitions, folders: Folders, targets: list[str] | None = None
) -> Verdict:
    """Check a whole prompt. Raises what the real server answers with a 500 for."""
    refused = _unknown_nodes(prompt, definitions)
    if refused is not None:
        return Verdict(refused, [], {})
    outputs = [
        node
        for node in prompt
        if definitions.get(prompt[node]["class_type"])["output_node"]
        and (targets is None or node in targets)
    ]
    if not outputs:
        return Verdict(fault("prompt_no_outputs", "Prompt has no outputs", "", {}), [], {})
    return _Check(prompt, definitions, folders).outputs(outputs)


def _unknown_nodes(prompt: Any, definitions: Definitions) -> Fault | None:
    """Find the first node without a known class; the answer names only that one."""
    for node in prompt:
        if "class_type" not in prompt[node]:
            message = "Cannot execute because a node is missing the class_type property."
        elif (class_type := prompt[node]["class_type"]) not in definitions:
            message = f"Cannot execute because node {class_type} does not exist."
        else:
            continue
        return fault("invalid_prompt", message, f"Node ID '#{node}'", {})
    return None


class _Check:
    """One walk over one prompt; every node is checked once."""

    def __init__(self, prompt: dict[str, Any], definitions: Definitions, folders: Folders) -> None:
        self._prompt = prompt
        self._definitions = definitions
        self._folders = folders
        self._found: dict[str, _Found] = {}
        self._node_errors: dict[str, Any] = {}

    def outputs(self, outputs: list[str]) -> Verdict:
        good: list[str] = []
        told: list[Fault] = []
        for output in outputs:
            found = self._output(output)
            if found.valid:
                good.append(output)
            else:
                told += found.faults
                self._blame(output)
        error = None
        if not good:
            details = "\n".join(f"{one['message']}: {one['details']}" for one in told)
            error = fault(
                "prompt_outputs_failed_validation",
                "Prompt outputs failed validation",
                details,
                {},
            )
        return Verdict(error, good, self._node_errors)

    def _output(self, output: str) -> _Found:
        try:
            return self._node(output)
        except Exception as problem:  # noqa: BLE001 - the server tells whatever went wrong
            extra = {
                "exception_type": type(problem).__name__,
                "traceback": _trace("validate_prompt", "validate_inputs"),
            }
            told = fault(
                "exception_during_validation", "Exception when validating node", str(problem), extra
            )
            self._found[output] = _Found(False, [told])
            return self._found[output]

    def _blame(self, output: str) -> None:
        """Collect every node with faults of its own for the answer's `node_errors`."""
        for node, found in self._found.items():
            if found.valid or not found.faults:
                continue
            entry = self._node_errors.setdefault(
                node,
                {
                    "errors": found.faults,
                    "dependent_outputs": [],
                    "class_type": self._prompt[node]["class_type"],
                },
            )
            entry["dependent_outputs"].append(output)

    def _node(self, node: str) -> _Found:
        if node in self._found:
            return self._found[node]
        # A node met again while it is being checked (a cycle) counts as invalid without a reason.
        found = self._found[node] = _Found()
        class_type = self._prompt[node]["class_type"]
        inputs = self._prompt[node]["inputs"]
        upstream = True
        for entry in _entries(self._definitions.get(class_type), inputs):
            upstream = self._input(entry, inputs, class_type, found) and upstream
        if not found.faults and upstream:
            self._files(class_type, inputs, found)
        found.valid = upstream and not found.faults
        return found

    def _input(self, entry: _Entry, inputs: dict[str, Any], class_type: str, found: _Found) -> bool:
        """Check one input; gives False when the node it links to is invalid."""
        if entry.name not in inputs:
            if entry.required:
                found.faults.append(
                    fault(
                        "required_input_missing",
                        "Required input is missing",
                        entry.name.rsplit(".", 1)[-1],
                        {"input_name": entry.name},
                    )
                )
            return True
        value = inputs[entry.name]
        if isinstance(value, list):
            return self._link(entry, value, found)
        _value(entry, inputs, found, listed=class_type not in _FILE_WORDS)
        return True

    def _link(self, entry: _Entry, value: list[Any], found: _Found) -> bool:
        if len(value) != 2:
            found.faults.append(
                fault(
                    "bad_linked_input",
                    "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                    entry.name,
                    {**entry.extra(), "received_value": value},
                )
            )
            return True
        source = value[0]
        given = tuple(self._definitions.get(self._prompt[source]["class_type"])["output"])[value[1]]
        if not _fits(given, entry.type):
            told = f"{entry.name}, received_type({given}) mismatch input_type({entry.type})"
            extra = {**entry.extra(), "received_type": given, "linked_node": value}
            found.faults.append(
                fault(
                    "return_type_mismatch",
                    "Return type mismatch between linked nodes",
                    told,
                    extra,
                )
            )
            return True
        return self._source(entry, value)

    def _source(self, entry: _Entry, link: list[Any]) -> bool:
        """Check the linked node; what breaks in there is told at that node."""
        try:
            return self._node(link[0]).valid
        except Exception as problem:  # noqa: BLE001 - the server tells whatever went wrong
            extra = {
                **entry.extra(),
                "exception_message": str(problem),
                "exception_type": type(problem).__name__,
                "traceback": _trace("validate_inputs", "validate_inputs"),
                "linked_node": link,
            }
            told = fault(
                "exception_during_inner_validation",
                "Exception when validating inner node",
                str(problem),
                extra,
            )
            self._found[link[0]] = _Found(False, [told])
            return False

    def _files(self, class_type: str, inputs: dict[str, Any], found: _Found) -> None:
        """Check that an input file is there (`custom_validation_failed`)."""
        if class_type not in _FILE_WORDS:
            return
        name, word = _FILE_WORDS[class_type]
        value = inputs[name]
        if isinstance(value, list):
            return
        path = self._folders.annotated(str(value))
        if path is None or not path.is_file():
            found.faults.append(
                fault(
                    "custom_validation_failed",
                    "Custom validation failed for node",
                    f"{name} - Invalid {word} file: {value}",
                    {"input_name": name},
                )
            )


@dataclass(frozen=True, slots=True)
class _Entry:
    """One input as declared, dynamic ones already spelt out."""

    name: str
    spec: list[Any]
    required: bool

    @property
    def type(self) -> Any:
        return self.spec[0]

    @property
    def options(self) -> dict[str, Any]:
        return self.spec[1] if len(self.spec) > 1 else {}

    def extra(self) -> dict[str, Any]:
        return {"input_name": self.name, "input_config": self.spec}


def _entries(definition: Definition, inputs: Mapping[str, Any]) -> Iterable[_Entry]:
    """Yield a node's inputs; autogrow and dynamic combos become the inputs they stand for."""
    for section in ("required", "optional"):
        for name, spec in definition["input"].get(section, {}).items():
            yield from _spelt_out(name, spec, section == "required", inputs)


def _spelt_out(
    name: str, spec: list[Any], required: bool, inputs: Mapping[str, Any]
) -> Iterable[_Entry]:
    if spec[0] == "COMFY_AUTOGROW_V3":
        template = spec[1]["template"]
        one = next(iter(template["input"]["required"].values()))
        for place in range(template["max"]):
            # None is required here: leaving them out fails only when the node runs.
            yield _Entry(f"{name}.{template['prefix']}{place}", one, False)
    elif spec[0] == "COMFY_DYNAMICCOMBO_V3":
        keys = [option["key"] for option in spec[1]["options"]]
        yield _Entry(name, ["COMBO", {"options": keys}], required)
        for option in spec[1]["options"]:
            if option["key"] == inputs.get(name):
                for sub, sub_spec in option["inputs"].get("required", {}).items():
                    yield _Entry(f"{name}.{sub}", sub_spec, True)
                for sub, sub_spec in option["inputs"].get("optional", {}).items():
                    yield _Entry(f"{name}.{sub}", sub_spec, False)
    else:
        yield _Entry(name, spec, required)


def _value(entry: _Entry, inputs: dict[str, Any], found: _Found, *, listed: bool) -> None:
    """Convert and check a plain value; the converted one stays in the prompt."""
    value = inputs[entry.name]
    if isinstance(value, dict) and "__value__" in value:
        value = inputs[entry.name] = value["__value__"]
    if isinstance(entry.type, str) and entry.type in _CONVERT:
        try:
            value = inputs[entry.name] = _CONVERT[entry.type](value)
        except (TypeError, ValueError, OverflowError) as problem:
            found.faults.append(_not_converted(entry, value, problem))
            return
    told = _out_of_range(entry, value) or (_not_listed(entry, value) if listed else None)
    if told is not None:
        found.faults.append(told)


def _not_converted(entry: _Entry, value: Any, problem: Exception) -> Fault:
    return fault(
        "invalid_input_type",
        f"Failed to convert an input value to a {entry.type} value",
        f"{entry.name}, {value}, {problem}",
        {**entry.extra(), "received_value": value, "exception_message": str(problem)},
    )


def _out_of_range(entry: _Entry, value: Any) -> Fault | None:
    if entry.type not in ("INT", "FLOAT"):
        return None
    low, high = entry.options.get("min"), entry.options.get("max")
    extra = {**entry.extra(), "received_value": value}
    if low is not None and value < low:
        message = f"Value {value} smaller than min of {low}"
        return fault("value_smaller_than_min", message, entry.name, extra)
    if high is not None and value > high:
        message = f"Value {value} bigger than max of {high}"
        return fault("value_bigger_than_max", message, entry.name, extra)
    return None


def _not_listed(entry: _Entry, value: Any) -> Fault | None:
    if isinstance(entry.type, list):
        choices = entry.type
    elif entry.type == "COMBO":
        choices = entry.options.get("options", [])
    else:
        return None
    if value in choices:
        return None
    extra = {**entry.extra(), "received_value": value}
    shown = str(choices)
    if len(choices) > _LONG_LIST:
        shown = f"(list of length {len(choices)})"
        extra["input_config"] = None
    details = f"{entry.name}: '{value}' not in {shown}"
    return fault("value_not_in_list", "Value not in list", details, extra)


def _fits(given: Any, wanted: Any) -> bool:
    """Tell whether an output type may enter an input type; `*` and match types take anything."""
    if given == wanted or "*" in (given, wanted):
        return True
    if not isinstance(given, str) or not isinstance(wanted, str):
        return False
    if "COMFY_MATCHTYPE_V3" in (given, wanted):
        return True
    return set(given.split(",")) <= set(wanted.split(","))


def _trace(outer: str, inner: str) -> list[str]:
    """Give a traceback of the recorded shape: it names files of the server, on purpose."""
    return [
        f'  File "/comfyui/execution.py", line 1043, in {outer}\n    (source line omitted)\n',
        f'  File "/comfyui/execution.py", line 818, in {inner}\n    (source line omitted)\n',
    ]
