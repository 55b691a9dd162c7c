"""Every shipped manifest: each parameter changes what it binds to, and nothing else."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from studio.engine.workflow import formula
from studio.engine.workflow.binding import Workflow, bind, check, file_targets
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.graph import is_link, order
from studio.engine.workflow.manifest import Condition, Derived, Kind, Parameter, holds
from studio.engine.workflow.measures import Measure, derived, spoken_s
from studio.engine.workflow.parts import parts_of
from studio.engine.workflow.trial import candidates, forms
from studio.errors import StudioError
from studio.texts import LANGUAGES
from tests.shipped import CATALOG

Bound = Callable[..., dict[str, Any]]

WORKFLOWS = [pytest.param(w, id=name) for name, w in CATALOG.workflows.items()]
PARAMETERS = [
    pytest.param(w, p, id=f"{name}-{p.name}")
    for name, w in CATALOG.workflows.items()
    for p in w.manifest.parameters
]


GIVEN = [
    "another",
    *(f"a {kind}" for kind in Kind),
    *(f"another-{n}.png" for n in range(5)),
    *(f"picture-{n}.png" for n in range(6)),
]


def measures(workflow: Workflow) -> dict[str, Measure]:
    """Give files of one size, as long as the workflow takes them."""
    files = [p for p in workflow.manifest.parameters if p.type.file]
    longest = max((p.max_seconds or 0.0 for p in files), default=0.0)
    return dict.fromkeys(GIVEN, Measure(640, 480, seconds=longest))


def asking(workflow: Workflow, name: str) -> set[str]:
    """Name the inputs of parameters that heed another one: whether they count, or what they set."""
    return {
        target
        for p in workflow.manifest.parameters
        if name in p.when or any(name in variant.when for variant in p.variants)
        for target in p.targets()
    }


def satisfying(p: Parameter, condition: Condition) -> Any:
    """Give a value for which a condition holds."""
    return next(value for value in candidates(p) if condition.holds(value))


def takes_time(p: Parameter) -> bool:
    return p.type is Kind.TEXT and p.max_seconds is not None


def text_for(seconds: float | None) -> str:
    """Give a text that takes nearly so long to say."""
    letters = 1
    while spoken_s("a" * (letters + 10)) < (seconds or 0):
        letters += 10
    return "a" * letters


def full(workflow: Workflow, p: Parameter | None = None) -> dict[str, Any]:
    """Give a value for every parameter, so that no part of the graph is taken away.

    With `p`, the others are such that it counts.
    """
    rng = random.Random(1)  # noqa: S311 - no secret
    others = {q.name: q for q in workflow.manifest.parameters}
    needed = {n: satisfying(others[n], c) for n, c in (p.when if p else {}).items()}
    # As many pieces as there can be.
    counted = {q.name for q in others.values() if q.type is Kind.INTEGER and q.step is None}
    counted &= {name for rule in workflow.manifest.rules for name in rule.when}
    largest = {p.name: candidates(p)[-1] for p in workflow.manifest.parameters}
    defaults = {
        p.name: p.default
        for p in workflow.manifest.parameters
        if p.default is not None and p.type is not Kind.SEED and p.name not in counted
    }
    long = {q.name: text_for(q.max_seconds) for q in others.values() if takes_time(q)}
    values = largest | defaults | long | needed
    said = {q.name: values[q.name] for q in others.values() if holds(q.when, values)}
    return check(workflow, said, rng=rng, measures=measures(workflow))


def written(workflow: Workflow, values: dict[str, Any]) -> dict[str, Any]:
    """Bind all runs of a job, and give the plain input values by `node.input`."""
    refs = [
        ref for value in values.values() for ref in (value if isinstance(value, list) else [value])
    ]
    files = {ref: f"studio/{ref}" for ref in refs if isinstance(ref, str)}
    prompt: dict[str, Any] = {}
    for part in parts_of(workflow, values):
        prompt |= part.prompt(files)
    return {
        f"{node}.{name}": value
        for node, body in prompt.items()
        for name, value in body["inputs"].items()
        if not is_link(value)
    }


def others(p: Parameter, value: Any) -> Iterator[Any]:
    """Give values of the same kind that differ from `value`."""
    match p.type:
        case Kind.IMAGES:
            yield [f"another-{index}.png" for index in range(len(value))]
        case Kind.TEXT | Kind.MODEL | Kind.IMAGE | Kind.MASK | Kind.AUDIO | Kind.VIDEO:
            yield "another"
        case Kind.SEED:
            yield from ("18446744073709551615", "9007199254740993", "0")
        case _:
            span = {p.min, p.max, value + (p.step or 1)} if isinstance(value, float) else ()
            yield from (item for item in {*candidates(p), *span} if item not in (None, value))


def within(workflow: Workflow, values: dict[str, Any]) -> dict[str, float] | None:
    """Give what is derived; None where it leaves its limits."""
    try:
        return derived(workflow.manifest, values)
    except StudioError as error:
        if error.code != "derived_out_of_range":
            raise
        return None


def presets(workflow: Workflow, p: Parameter) -> set[str]:
    """Name what the rules that ask about a parameter set."""
    return {place for rule in workflow.manifest.rules if p.name in rule.when for place in rule.set}


def expected(workflow: Workflow, p: Parameter, values: dict[str, Any]) -> dict[str, Any]:
    """Say what a parameter's own lines in the manifest promise, by `node.input`."""
    value = values[p.name]
    if p.type is Kind.IMAGES:
        return {place: f"studio/{ref}" for place, ref in zip(p.bind, value, strict=False)}
    if p.type is Kind.CHOICE and not p.bind:
        return dict(p.settings(values))
    if p.type.file:
        value = f"studio/{value}"
    return dict.fromkeys(p.bind, int(value) if p.type is Kind.SEED else value)


def following(workflow: Workflow, name: str) -> Iterator[Derived]:
    """Give what is derived from a parameter or its file, at first or at second hand."""
    names = {name, *(f"{name}.{measure}" for measure in ("width", "height", "seconds"))}
    for one in workflow.manifest.derived:
        if names & (formula.names(one.value) | set(one.when)):
            names.add(one.name)
            yield one


@pytest.mark.parametrize(("workflow", "p"), PARAMETERS)
def test_a_parameter_changes_what_it_binds_to_and_nothing_else(
    workflow: Workflow, p: Parameter
) -> None:
    asked = {name for rule in workflow.manifest.rules for name in rule.when}
    asked |= {name for q in workflow.manifest.parameters for name in q.when}
    follow = list(following(workflow, p.name))
    base = full(workflow, p)
    before = written(workflow, base)
    changes = list(others(p, base[p.name]))
    for value in changes:
        values = base | {p.name: value}
        numbers = within(workflow, values)
        if numbers is None:
            continue  # refused, so nothing is bound in its place

        after = written(workflow, values)

        promised = expected(workflow, p, values)
        promised |= {
            place: numbers[d.name] for d in follow if d.name in numbers for place in d.bind
        }
        for place, new in promised.items():
            # A rule may take a node away that this value has no use for.
            assert after.get(place, new) == new, place
            assert place in after or p.name in asked, f"{place} was lost"
        same = set(before) & set(after) - set(promised)
        own = {*p.targets(), *(place for one in follow for place in one.bind)}
        own |= asking(workflow, p.name)
        assert {place for place in same if before[place] != after[place]} <= own | presets(
            workflow, p
        )
        if p.name not in asked:
            assert before.keys() == after.keys()
    assert changes or len(p.choices) == 1


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_binding_leaves_its_template_as_it_was(workflow: Workflow) -> None:
    before = copy.deepcopy(dict(workflow.graph.nodes))
    for values in forms(workflow):
        prompt = bind(workflow, values, files=_Same())
        for body in prompt.values():
            body["inputs"].clear()

    assert workflow.graph.nodes == before


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_no_form_holds_a_sample_file_or_a_loose_end(workflow: Workflow) -> None:
    samples = {
        workflow.graph.nodes[target.node]["inputs"][target.input]
        for target in file_targets(workflow)
    }
    for values in forms(workflow):
        prompt = bind(workflow, values, files=_Same())

        held = [
            v for body in prompt.values() for v in body["inputs"].values() if isinstance(v, str)
        ]
        assert not samples & set(held)
        assert "example.png" not in held
        assert set(order(prompt)) == set(prompt)
        reads = {v[0] for body in prompt.values() for v in body["inputs"].values() if is_link(v)}
        assert reads <= set(prompt)
        assert set(prompt) - reads == {output.node for output in workflow.manifest.outputs}


class _Same(dict[str, str]):
    """Every file keeps its reference as its name."""

    def __contains__(self, ref: object) -> bool:
        return True

    def __missing__(self, ref: str) -> str:
        return ref


@pytest.mark.parametrize("seed", ["0", "9007199254740993", "18446744073709551615"])
@pytest.mark.parametrize("name", ["text_to_image", "text_to_image_checkpoint"])
def test_seeds_are_exact_in_the_prompt(
    catalog: Catalog, bound: Bound, name: str, seed: str
) -> None:
    values = {"prompt": "a cat", "seed": seed}
    values |= {"model": "a.safetensors"} if name.endswith("checkpoint") else {}

    assert bound(catalog.workflow(name), values)["sampler"]["inputs"]["seed"] == int(seed)


def test_nothing_shipped_is_broken() -> None:
    assert CATALOG.broken == ()
    assert [tab.name for tab in CATALOG.tabs] == [
        "text_to_image",
        "face_swap",
        "image_blend",
        "image_edit",
        "sketch_to_image",
        "virtual_human",
        "video",
        "more",
    ]
    assert [endpoint.name for endpoint in CATALOG.endpoints] == [
        "text_to_image",
        "face_swap",
        "image_blend",
        "image_edit",
        "sketch_to_image",
        "virtual_human",
        "text_to_video",
        "image_to_video",
        "first_last_frame",
        "long_video",
        "upscale",
        "remove_background",
        "video_concat",
    ]


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_every_word_is_there_in_each_language(workflow: Workflow) -> None:
    manifest = workflow.manifest
    texts = [manifest.title, manifest.tab_title, manifest.help, manifest.note]
    for p in manifest.parameters:
        texts += [p.label, p.help, p.placeholder, *p.labels.values()]

    for words in filter(None, texts):
        assert set(words) == set(LANGUAGES)
        assert all(words.values())


def test_the_form_of_text_to_image_stands_in_the_order_of_the_page(catalog: Catalog) -> None:
    fields = catalog.tab("text_to_image").parameters

    assert [p.name for p in fields] == [
        "prompt",
        "negative_prompt",
        "model",
        "aspect_ratio",
        "width",
        "height",
        "batch_size",
        "seed",
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "lora",
        "lora_strength",
    ]
    assert [p.name for p in fields if p.advanced] == [p.name for p in fields[8:]]


@pytest.mark.parametrize(
    ("model", "low", "high", "multiple"),
    [
        ("z_image_turbo", 0.9e6, 1.1e6, 16),
        ("v1-5-pruned-emaonly-fp16.safetensors", 0.2e6, 0.3e6, 64),
        ("sdxl/sd_xl_base_1.0.safetensors", 0.95e6, 1.1e6, 64),
        ("ponyDiffusionV6.safetensors", 0.95e6, 1.1e6, 64),
    ],
)
def test_sizes_suit_the_model_and_the_shape(
    catalog: Catalog, bound: Bound, model: str, low: float, high: float, multiple: int
) -> None:
    tab = catalog.tab("text_to_image")
    for shape in set(tab.parameter("aspect_ratio").choices) - {"custom"}:
        values = {"prompt": "a cat", "model": model, "aspect_ratio": shape}

        canvas = bound(tab.pick(values), values)["latent"]["inputs"]

        width, height = (int(part) for part in shape.split(":"))
        assert low <= canvas["width"] * canvas["height"] <= high
        assert canvas["width"] % multiple == canvas["height"] % multiple == 0
        assert canvas["width"] / canvas["height"] == pytest.approx(width / height, rel=0.04)


def test_each_field_of_text_to_image_arrives_where_comfyui_reads_it(
    catalog: Catalog, bound: Bound
) -> None:
    said = {"prompt": "貓", "batch_size": 3, "seed": "5", "steps": 6, "cfg": 1.5}
    said |= {"sampler_name": "euler", "scheduler": "beta", "lora": "l", "lora_strength": 0.25}
    ours = bound(catalog.workflow("text_to_image"), said)
    more = {"model": "m", "negative_prompt": "狗", "steps": 30}
    theirs = bound(catalog.workflow("text_to_image_checkpoint"), said | more)

    for prompt, steps in ((ours, 6), (theirs, 30)):
        assert prompt["positive"]["inputs"]["text"] == "貓"
        assert prompt["latent"]["inputs"]["batch_size"] == 3
        sampler = {k: v for k, v in prompt["sampler"]["inputs"].items() if not is_link(v)}
        assert sampler == {
            "seed": 5,
            "steps": steps,
            "cfg": 1.5,
            "sampler_name": "euler",
            "scheduler": "beta",
            "denoise": 1.0,
        }
        assert prompt["lora"]["inputs"]["lora_name"] == "l"
        assert prompt["lora"]["inputs"]["strength_model"] == 0.25
    assert theirs["negative"]["inputs"]["text"] == "狗"
    assert theirs["checkpoint"]["inputs"]["ckpt_name"] == "m"
    assert ours["unet"]["inputs"]["unet_name"] == "z_image_turbo_bf16.safetensors"


def test_the_chosen_checkpoint_is_never_replaced_by_the_recommended_one(
    catalog: Catalog, bound: Bound
) -> None:
    listed = ["v1-5-pruned-emaonly-fp16.safetensors", "sub/mine.safetensors"]
    values = {"prompt": "a", "model": "mine.safetensors"}

    prompt = bound(catalog.workflow("text_to_image_checkpoint"), values, listed=lambda _: listed)

    assert prompt["checkpoint"]["inputs"]["ckpt_name"] == "sub/mine.safetensors"


def test_the_blend_keeps_only_what_its_pictures_and_fit_need(
    catalog: Catalog, bound: Bound
) -> None:
    workflow = catalog.workflow("image_blend_pixel")
    whole = bound(workflow, {"images": ["a", "b"]})
    fill = bound(workflow, {"images": ["a", "b", "c", "d"], "fit": "fill"})

    assert {body["class_type"] for body in whole.values()} == {
        "LoadImage",
        "GetImageSize",
        "ResizeAndPadImage",
        "EmptyImage",
        "ImageToMask",
        "ImageBlend",
        "ImageCompositeMasked",
        "SaveImage",
    }
    assert not any(node.endswith(("_3", "_4")) for node in whole)
    assert {body["class_type"] for body in fill.values()} == {
        "LoadImage",
        "GetImageSize",
        "ImageScale",
        "ImageBlend",
        "SaveImage",
    }
    assert fill["save"]["inputs"]["images"] == ["blend_4", 0]
    assert fill["blend_4"]["inputs"]["image1"] == ["blend_3", 0]


def test_without_a_lora_its_node_is_gone_and_read_past(catalog: Catalog, bound: Bound) -> None:
    workflow = catalog.workflow("text_to_image_checkpoint")
    without = bound(workflow, {"prompt": "a", "model": "m"})
    with_one = bound(workflow, {"prompt": "a", "model": "m", "lora": "l", "lora_strength": 0.5})

    assert "lora" not in without
    assert without["sampler"]["inputs"]["model"] == ["checkpoint", 0]
    assert without["positive"]["inputs"]["clip"] == ["checkpoint", 1]
    assert with_one["lora"]["inputs"]["strength_model"] == 0.5
    assert with_one["lora"]["inputs"]["strength_clip"] == 0.5
