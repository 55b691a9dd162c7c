"""The result card: what is said at each moment, and that nothing a person wrote is markup."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any

import pytest
from PIL import Image

from studio import texts
from studio.engine.jobs import Failure, Given, State
from studio.tabs import result
from tests.tabs.make import job, news, output

EVIL = "<script>alert(1)</script>\"'`${x}"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def read(markup: str) -> _Tags:
    parser = _Tags()
    parser.feed(markup)
    return parser


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_at_work_the_line_says_phase_node_step_percent_and_time(language: str) -> None:
    line = read(
        result.status(
            news(
                fraction=0.63,
                phase="phase.sampling",
                node_title="KSampler",
                step=5,
                steps=8,
                eta_s=6.2,
            ),
            (),
            language,
        )
    ).words

    for word in (texts.text("phase.sampling", language), "KSampler 5/8", "63%", "6"):
        assert word in line


def test_in_the_queue_the_line_says_the_position() -> None:
    line = read(result.status(news(State.PENDING, phase="phase.waiting", position=3), (), "en"))

    assert "position in queue 3" in line.words


def test_an_unknown_phase_reads_as_the_state() -> None:
    assert "Processing" in result.status(news(phase="phase.of_the_moon"), (), "en")


def test_the_bar_says_its_place_to_everybody() -> None:
    tags = read(result.status(news(fraction=0.5), (), "en")).tags

    bar = next(attrs for _, attrs in tags if attrs.get("role") == "progressbar")
    assert bar["aria-valuenow"] == "50.0"
    assert ("i", {"style": "width:50.0%"}) in tags


def test_every_other_job_can_be_cancelled_from_its_row() -> None:
    other = job(State.PENDING, values={"prompt": EVIL})

    tags = read(result.status(news(), [other], "en")).tags

    button = next(attrs for tag, attrs in tags if tag == "button")
    assert (button["data-act"], button["data-job"]) == ("cancel", "job-1")


@pytest.mark.parametrize(
    "markup",
    [
        result.status(news(node_title=EVIL), [job(values={"prompt": EVIL})], "en"),
        result.ended(job(values={"prompt": EVIL}), "en"),
        result.ended(
            job(State.FAILED, failure=Failure("run_failed", {"node": EVIL, "reason": EVIL}, EVIL)),
            "en",
        ),
        result.recent([job(values={"prompt": EVIL})], "", "en"),
        result.empty([result.Example(1, EVIL)], "en"),
    ],
    ids=["status", "result", "failed", "recent", "example"],
)
def test_what_a_person_or_server_wrote_is_never_markup(markup: str) -> None:
    page = read(markup)

    assert "script" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_the_shape_to_come_is_known_before_the_picture() -> None:
    assert f"--ratio:{16 / 9:.4f}" in result.running(job(State.PROCESSING), news(), "en")


def test_the_preview_keeps_its_own_shape() -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 32)).save(picture, "JPEG")

    markup = result.running(job(State.PROCESSING), news(preview=picture.getvalue()), "en")

    assert "--ratio:2.0000" in markup
    assert "data:image/jpeg;base64," in markup


def test_a_preview_nobody_can_read_is_still_handed_on() -> None:
    markup = result.running(job(State.PROCESSING), news(preview=b"odd"), "en")

    assert "data:image/jpeg;base64,b2Rk" in markup


@pytest.mark.parametrize(
    ("values", "ratio"),
    [
        ({"aspect_ratio": "3:2"}, 1.5),
        ({"aspect_ratio": "0:2"}, 1.0),
        ({"prompt": "at 12:30 o'clock"}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_shape_is_read_from_the_values(values: dict[str, Any], ratio: float) -> None:
    assert result.ratio_of(job(values=values)) == ratio


def test_a_result_has_all_pictures_seed_time_and_actions() -> None:
    done = job(outputs=(output(1), output(2), output(3)), seed="18446744073709551615")

    page = read(result.ended(done, "en"))

    shown = [attrs for tag, attrs in page.tags if tag == "img"]
    assert [image["data-full"] for image in shown] == [
        f"outputs/job-1/{number:03}.png" for number in (1, 2, 3)
    ]
    assert "18446744073709551615" in page.words
    assert "6.4 s" in page.words
    downloads = [attrs for tag, attrs in page.tags if tag == "a"]
    assert [link["download"] for link in downloads] == [
        f"text_to_image_20261125_seed18446744073709551615_{number}.png" for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("kind", ["video", "audio", "text"])
def test_other_kinds_of_output_are_shown_in_their_way(kind: str) -> None:
    tags = {tag for tag, _ in read(result.ended(job(outputs=(output(1, kind),)), "en")).tags}

    assert {"video": "video", "audio": "audio", "text": "a"}[kind] in tags
    assert ("img" in tags) is (kind == "audio")  # its waveform


def test_a_failed_job_has_sentence_hint_retry_and_folded_details() -> None:
    failed = job(State.FAILED, failure=Failure("out_of_memory", {}, "Traceback ..."))

    page = read(result.ended(failed, "en"))

    sentence, hint = texts.explain_code("out_of_memory", {}, "en")
    assert sentence in page.words
    assert hint in page.words
    assert {"retry", "again"} <= {str(attrs.get("data-act")) for _, attrs in page.tags}
    assert ("details", {}) in page.tags


def test_a_cancelled_job_can_be_tried_again() -> None:
    acts = {
        attrs.get("data-act") for _, attrs in read(result.ended(job(State.CANCELLED), "en")).tags
    }

    assert "retry" in acts


def test_the_shown_one_of_the_last_results_is_marked() -> None:
    tags = read(result.recent([job()], "job-1", "en")).tags

    assert [a["aria-pressed"] for tag, a in tags if tag == "button"] == ["true"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (6.4, "6 s"), (89, "89 s"), (95, "2 min"), (600, "10 min")]
)
def test_time_left_is_said_as_a_person_would(seconds: float, words: str) -> None:
    assert words in result.eta(seconds, "en")


@pytest.mark.parametrize(("seconds", "words"), [(6.44, "6.4 s"), (754, "12 min 34 s")])
def test_time_taken_is_said_as_a_person_would(seconds: float, words: str) -> None:
    assert result.took(seconds, "en") == words


def test_jobs_without_a_prompt_are_told_apart_by_their_values() -> None:
    blend = job(values={"images": ["a", "b"], "blend_mode": "screen", "opacity": 0.5})

    assert result.summary(blend) == "screen · 0.5"


def test_a_long_prompt_is_cut() -> None:
    assert len(result.summary(job(values={"prompt": "cat " * 100}))) == 60


# --- notes, players, hints ---


def given(name: str, *notes: str) -> Given:
    return Given("image", "r.png", "image", "image/png", name, 10, notes=notes)


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_what_was_changed_of_a_file_stands_with_the_result(language: str) -> None:
    done = job(given=(given(EVIL, "note.first_frame"), given("b.png")))

    drawn = read(result.ended(done, language))

    assert texts.text("note.first_frame", language) in drawn.words
    assert EVIL in drawn.words
    assert "b.png" not in drawn.words
    assert "script" not in [tag for tag, _ in drawn.tags]


def test_a_film_that_browsers_do_not_play_says_that_a_copy_is_shown() -> None:
    done = job(outputs=(output(kind="video"),))

    drawn = read(result.ended(done, "en", {"001.mp4": "note.copy_shown"}))

    player = next(attrs for tag, attrs in drawn.tags if tag == "video")
    assert player["src"] == "play/job-1/001.mp4"
    assert player["poster"] == "thumbnails/job-1/001.mp4"
    assert texts.text("note.copy_shown") in drawn.words


def test_a_sound_has_a_player_over_its_waveform() -> None:
    tags = read(result.ended(job(outputs=(output(kind="audio"),)), "en")).tags

    assert next(a["src"] for t, a in tags if t == "audio") == "play/job-1/001.txt"
    assert next(a["src"] for t, a in tags if t == "img") == "thumbnails/job-1/001.txt"


def test_over_a_form_stands_what_will_not_work_as_text() -> None:
    drawn = read(result.hints([EVIL], ["Only with consent."], "en"))
    several = read(result.hints([EVIL, "b"], [], "en"))

    assert EVIL in drawn.words
    assert "Only with consent." in drawn.words
    assert "details" in [tag for tag, _ in several.tags]
    assert EVIL in several.words
    assert "hidden" in dict(read(result.hints([], [], "en")).tags[0][1])
