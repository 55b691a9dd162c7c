"""Progress over a whole run, in and out of order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.engine.comfy.events import (
    Back,
    Cached,
    Ended,
    Failed,
    Interrupted,
    Lost,
    NodeFinished,
    NodeOutput,
    NodeProgress,
    NodeStarted,
    Preview,
    Queued,
    RunEvent,
    Silent,
    Started,
    Succeeded,
    Unknown,
)
from studio.engine.progress import Progress
from studio.texts import LANGUAGES, words

GRAPH = {
    "unet": {"class_type": "UNETLoader", "inputs": {}},
    "positive": {"class_type": "CLIPTextEncode", "inputs": {}},
    "latent": {"class_type": "EmptyLatentImage", "inputs": {}},
    "sampler": {"class_type": "KSampler", "inputs": {"steps": 10}},
    "decode": {"class_type": "VAEDecode", "inputs": {}},
    "save": {"class_type": "SaveImage", "inputs": {}},
}
TITLES = {"sampler": "Sampler", "unet": "Model"}
P = "a-prompt"

nodes = st.sampled_from([*GRAPH, "not in the graph", ""])
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 30)
EVENTS: st.SearchStrategy[RunEvent] = st.one_of(
    st.builds(Queued, st.integers(0, 9)),
    st.just(Started(P)),
    st.builds(Cached, st.just(P), st.lists(nodes).map(tuple)),
    st.builds(NodeStarted, st.just(P), nodes),
    st.builds(NodeProgress, st.just(P), nodes, numbers, numbers),
    st.builds(NodeFinished, st.just(P), nodes),
    st.builds(NodeOutput, st.just(P), nodes, st.just(())),
    st.builds(Preview, st.just(P), nodes, st.just("image/jpeg"), st.just(b"")),
    st.just(Succeeded(P)),
    st.just(Ended(P)),
    st.just(Failed(P, "sampler", "KSampler", "Error", "no")),
    st.just(Interrupted(P, None)),
    st.just(Lost("gone")),
    st.just(Back()),
    st.just(Silent(P, 5.0)),
    st.just(Unknown("new")),
)


def follow(*events: RunEvent, typical_s: float | None = None) -> Progress:
    """Read events one second apart, from second 1 on."""
    progress = Progress(GRAPH, TITLES, typical_s, now=0.0)
    for second, event in enumerate(events, start=1):
        progress.read(event, now=float(second))
    return progress


@given(st.lists(st.tuples(EVENTS, st.floats(-5, 50)), max_size=60))
def test_the_fraction_never_falls_and_is_1_only_after_the_end(
    steps: list[tuple[RunEvent, float]],
) -> None:
    progress = Progress(GRAPH, TITLES, 30.0, now=0.0)
    now, last, ended = 0.0, 0.0, False
    for event, passed in steps:
        now += passed
        progress.read(event, now)
        ended = ended or isinstance(event, Ended)
        view = progress.view(now)

        assert last <= view.fraction <= 1.0
        assert (view.fraction == 1.0) is ended
        assert view.eta_s is None or view.eta_s >= 0.0
        assert 0 <= view.step <= view.steps or view.steps == 0
        last = view.fraction


def test_a_whole_run_goes_through_its_phases() -> None:
    progress = Progress(GRAPH, TITLES, None, now=0.0)
    seen = [progress.view(0.0).phase]
    run = [
        Started(P),
        NodeStarted(P, "unet"),
        NodeStarted(P, "positive"),
        NodeStarted(P, "sampler"),
        NodeStarted(P, "decode"),
        NodeStarted(P, "save"),
    ]
    for event in run:
        progress.read(event, 1.0)
        seen.append(progress.view(1.0).phase)

    assert seen == [
        "phase.queued",
        "phase.working",
        "phase.loading",
        "phase.working",
        "phase.sampling",
        "phase.decoding",
        "phase.saving",
    ]


def test_every_phase_has_words_in_each_language() -> None:
    phases = {"queued", "loading", "sampling", "decoding", "saving", "working"}

    assert all(f"phase.{phase}" in words(language) for phase in phases for language in LANGUAGES)


def test_sampler_steps_move_the_whole() -> None:
    progress = follow(Started(P), NodeStarted(P, "sampler"), NodeProgress(P, "sampler", 5, 10))
    half = progress.view(3.0)
    progress.read(NodeProgress(P, "sampler", 10, 10), 4.0)
    full = progress.view(4.0)

    assert (half.step, half.steps, half.node_title) == (5, 10, "Sampler")
    # The sampler's ten steps are half of this graph's weight.
    assert full.fraction - half.fraction == pytest.approx(half.fraction, abs=0.01)


def test_a_node_is_done_when_the_next_one_begins() -> None:
    loading = follow(Started(P), NodeStarted(P, "unet"))
    loaded = follow(Started(P), NodeStarted(P, "unet"), NodeStarted(P, "positive"))

    assert loading.view(9.0).fraction == 0.0
    assert loaded.view(9.0).fraction == pytest.approx(4.0 / 19.3)


def test_what_a_node_reads_is_done_even_if_its_events_were_missed() -> None:
    graph = GRAPH | {
        "sampler": {
            "class_type": "KSampler",
            "inputs": {"steps": 10, "model": ["unet", 0], "positive": ["positive", 0]},
        }
    }
    adopted = Progress(graph, TITLES, None, now=0.0)
    adopted.read(NodeProgress(P, "sampler", 5, 10), 1.0)

    assert adopted.view(1.0).fraction == pytest.approx((4.0 + 1.0 + 5.0) / 19.3)


def test_the_pace_of_a_sampler_is_not_measured_across_another_node() -> None:
    progress = Progress(GRAPH, TITLES, None, now=0.0)
    for step in range(1, 6):
        progress.read(NodeProgress(P, "sampler", step, 10), float(step))
    progress.read(NodeProgress(P, "decode", 7, 20), 1000.0)

    # 4 seconds for 4 steps of weight 1: not hundreds for the wait in between.
    assert progress.view(5.0).eta_s == pytest.approx(8.25, abs=0.01)


def test_cached_nodes_count_as_done_at_once() -> None:
    cached = follow(Started(P), Cached(P, tuple(node for node in GRAPH if node != "save")))

    assert cached.view(3.0).fraction > 0.9


def test_a_second_start_does_not_take_back_what_was_reached() -> None:
    progress = follow(NodeStarted(P, "save"), Started(P), NodeStarted(P, "unet"))
    before = follow(NodeStarted(P, "save")).view(9.0)

    assert progress.view(9.0).fraction >= before.fraction


def test_success_is_not_yet_the_end() -> None:
    progress = follow(Started(P), Succeeded(P))
    near = progress.view(3.0).fraction
    progress.read(Ended(P), 3.0)

    assert near == 0.99
    assert progress.view(3.0).fraction == 1.0


@pytest.mark.parametrize("end", [Failed(P, "sampler", "K", "E", "m"), Interrupted(P, "sampler")])
def test_a_run_that_failed_never_looks_complete(end: RunEvent) -> None:
    progress = follow(Started(P), NodeStarted(P, "sampler"), end)

    assert progress.view(9.0).fraction < 1.0


def test_the_time_left_follows_the_steps_seen_and_counts_down() -> None:
    progress = Progress(GRAPH, TITLES, None, now=0.0)
    progress.read(NodeStarted(P, "sampler"), 0.0)
    progress.read(NodeProgress(P, "sampler", 1, 10), 60.0)  # a minute of loading says nothing
    unknown = progress.view(60.0).eta_s
    progress.read(NodeProgress(P, "sampler", 3, 10), 64.0)
    eta = progress.view(64.0).eta_s
    later = progress.view(67.0).eta_s

    assert unknown is None
    assert eta is not None
    assert 14.0 <= eta <= 40.0
    assert later == pytest.approx(eta - 3.0)


def test_past_runs_tell_the_time_left_before_the_first_step() -> None:
    progress = Progress(GRAPH, TITLES, 40.0, now=0.0)
    waiting = progress.view(5.0).eta_s
    progress.read(Started(P), 10.0)

    assert waiting is None
    assert progress.view(15.0).eta_s == pytest.approx(35.0)
    assert progress.view(500.0).eta_s == 0.0


def test_an_empty_graph_does_not_divide_by_zero() -> None:
    progress = Progress({}, {}, None, now=0.0)
    progress.read(NodeStarted(P, "anything"), 1.0)

    assert 0.0 <= progress.view(1.0).fraction <= 0.99
