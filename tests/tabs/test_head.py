"""The head and the banner: which server, how long the queue, and what nobody may overlook."""

from __future__ import annotations

import pytest

from studio import texts
from studio.engine.desk import ServerView
from studio.engine.roster import Worker
from studio.tabs import head
from studio.tabs.head import House


def server(name: str = "gpu-1:8188", **more: object) -> ServerView:
    facts = {
        "url": f"http://{name}",
        "online": True,
        "practice": False,
        "version": "0.8.0",
        "queue_length": 0,
        "reason": "",
    } | more
    return ServerView(name=name, **facts)  # type: ignore[arg-type]


PRACTICE = server("practice", practice=True)
AWAY = server("gpu-2:8188", online=False, reason="server.reason.away")


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_practice_mode_says_so_and_how_to_connect(language: str) -> None:
    banner = head.banner(House((AWAY, PRACTICE), 0), language)

    assert texts.text("page.practice.say", language) in banner
    assert "<code>http://127.0.0.1:8188</code>" in banner


def test_the_practice_banner_says_what_the_house_agreed_on() -> None:
    assert texts.text("page.practice.say") == (
        "Practice mode: no ComfyUI connected. Pictures are drawn placeholders."
    )


def test_a_real_server_ends_practice_mode() -> None:
    house = House((server(), PRACTICE), 0)

    assert not house.practice
    assert "hidden" in head.banner(house, "en")


def worker(name: str, *, online: bool = True) -> Worker:
    return Worker(name, "host", 1, 0, 0, 2, 1, (), online)


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_the_workers_that_answer_are_counted(language: str) -> None:
    house = House((server(),), 0, (worker("a"), worker("b"), worker("c", online=False)))

    markup = head.head(house, head.Who("g-12ab", "guest"), language, mark="mark.svg")

    assert f"{texts.text('page.workers', language)}</span><b>2</b>" in markup
    assert "1/2, 1/2" in markup


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_a_house_without_a_worker_says_so(language: str) -> None:
    banner = head.banner(House((), 0, (), deserted=True), language)

    assert texts.text("page.no_worker", language) in banner


def test_a_server_that_is_away_is_named_with_its_reason() -> None:
    banner = head.banner(House((server(), AWAY), 0), "en")

    assert "gpu-2:8188" in banner
    assert "gpu-1:8188" not in banner


def test_an_unknown_reason_still_reads_as_a_sentence() -> None:
    banner = head.banner(House((server("x", online=False, reason="odd"),), 0), "en")

    assert "The ComfyUI server x does not answer" in banner


def test_the_queue_counts_our_waiting_jobs_and_the_servers_own() -> None:
    house = House((server(queue_length=2), server("b", online=False, queue_length=9)), 3)

    assert head.queue_length(house) == 5


@pytest.mark.parametrize(
    ("servers", "state"),
    [((server(),), "online"), ((AWAY,), "offline"), ((PRACTICE,), "practice")],
)
def test_the_head_tells_how_the_servers_are(servers: tuple[ServerView, ...], state: str) -> None:
    markup = head.head(House(servers, 0), head.Who("g-12ab", "guest"), "en", mark="mark.svg")

    assert f'data-state="{state}"' in markup
    assert "Guest 12AB" in markup


@pytest.mark.parametrize(("language", "other"), [("en", "zh-TW"), ("zh-TW", "en")])
def test_the_other_language_is_one_press_away(language: str, other: str) -> None:
    assert f'data-language="{other}"' in head.head(
        None, head.Who("g-1", "guest"), language, mark="mark.svg"
    )


def test_a_servers_name_is_never_markup() -> None:
    house = House((server("<b>x</b>", online=False),), 0)

    assert "<b>x" not in head.head(house, head.Who("g-1", "guest"), "en", mark="m") + head.banner(
        house, "en"
    )


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_the_public_link_is_shown_with_its_end_or_the_reason_why_there_is_none(
    language: str,
) -> None:
    def drawn(public: head.Public | None) -> str:
        who = head.Who("a-1", "admin", "Ann", public=public)
        return head.head(House((), 0), who, language, mark="mark.svg")

    there = drawn(head.Public("https://abc.gradio.live", "2026-12-03 10:00"))
    absent = drawn(head.Public(problem="<b>blocked</b>"))

    assert 'href="https://abc.gradio.live"' in there
    assert "2026-12-03 10:00" in there
    assert "&lt;b&gt;blocked" in absent
    assert texts.text("page.link_none", language) in absent
    assert texts.text("page.link", language) not in drawn(None)
