"""The public share link: refused, opened, watched, renewed; and told in seconds where it fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio import networking, tunneling

from studio.build import build
from studio.engine.people import Role
from studio.errors import StudioError
from studio.practice import PracticeServer
from studio.settings import PROJECT, load
from studio.tabs import make_demo
from studio.tabs.app import Page
from studio.tabs.asking import Asker
from studio.tabs.tunnel import Pace, ShareLink, share_refusal
from tests.tabs.frpc import program
from tests.tabs.site import MODELS, Site, free_port, served

QUICK = Pace(open_s=5.0, life_s=3600.0, pause_s=0.05, pause_at_most_s=0.2)


def settings(folder: Path, **given: Any) -> Any:
    return load(
        env_file=None,
        data_dir=folder / "data",
        outputs_dir=folder / "outputs",
        log_dir=folder / "logs",
        workflows_dir=PROJECT / "workflows",
        **given,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "STUDIO_ACCOUNTS is not set"),
        ({"studio_accounts": "off"}, "without accounts"),
        ({"studio_accounts": "off", "studio_language": "zh-TW"}, "沒有帳號時"),
    ],
)
def test_a_studio_whose_host_let_nobody_in_is_not_shared(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    refusal = share_refusal(settings(tmp_path, **given))

    assert refusal is not None
    assert refusal.code == "share_refused"
    assert refusal.params["reason"].startswith(said)


@pytest.mark.parametrize("accounts", ["guests", "required"])
def test_a_studio_whose_host_said_who_may_come_in_is_shared(tmp_path: Path, accounts: str) -> None:
    assert share_refusal(settings(tmp_path, studio_accounts=accounts)) is None


# --- the link alone ------------------------------------------------------------------------------

Use = Callable[[str], Path]


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Put a program in the place of Gradio's, and a server that is not there for its servers."""

    def put(kind: str) -> Path:
        path = program(tmp_path, kind)
        monkeypatch.setattr(tunneling, "BINARY_PATH", str(path))
        return path

    nowhere = f"127.0.0.1:{free_port()}"
    monkeypatch.setattr(networking, "GRADIO_SHARE_SERVER_ADDRESS", nowhere)
    monkeypatch.setattr(tunneling, "BINARY_URL", f"http://{nowhere}/frpc")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return put


@contextmanager
def opened(pace: Pace = QUICK, **given: Any) -> Iterator[ShareLink]:
    link = ShareLink(lambda: ("0.0.0.0", 9), protocol="http", pace=pace, **given)  # noqa: S104
    link.start()
    try:
        yield link
    finally:
        link.stop()
        assert tunneling.CURRENT_TUNNELS == []


def pid_of(link: ShareLink) -> int:
    assert link._tunnel is not None
    assert link._tunnel.proc is not None
    return int(link._tunnel.proc.pid)


def test_a_link_is_told_with_its_end(use: Use, caplog: pytest.LogCaptureFixture) -> None:
    use("works")
    with opened(now=lambda: 1_800_000_000.0, pace=Pace(open_s=5.0)) as link:
        assert link.wait()

        assert link.link is not None
        assert link.link.ends_at.timestamp() == 1_800_000_000 + 7 * 86_400
        assert link.address.startswith("http://127.0.0.1:")
        assert f"Public link: {link.address} (until 20" in caplog.text
    assert link.address == ""


def test_a_link_that_dies_is_opened_anew_elsewhere(
    use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    use("works")
    with opened() as link:
        assert link.wait()
        first = link.address

        os.kill(pid_of(link), signal.SIGKILL)

        assert link.wait(first)
        link.wait("")
        assert link.address not in ("", first)
        assert "The public link is gone" in caplog.text


def test_a_link_whose_week_is_over_is_opened_anew(
    use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    use("works")
    with opened(Pace(open_s=5.0, life_s=0.3, pause_s=0.05)) as link:
        assert link.wait()
        first = link.address

        link.wait(first)
        link.wait("")

        assert link.address != first
        assert "time is over" in caplog.text


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("silent", "share.link.blocked"),
        ("dies", "share.link.blocked"),
        ("blocked", "share.link.blocked"),
    ],
)
def test_a_tunnel_that_does_not_come_through_is_told_and_tried_again(
    use: Use, caplog: pytest.LogCaptureFixture, kind: str, problem: str
) -> None:
    broken = use(kind)
    with opened(Pace(open_s=1.0, pause_s=0.05)) as link:
        assert link.wait(timeout_s=10)
        assert link.problem == problem
        assert "port 7000" in caplog.text

        program(broken.parent, "works").replace(broken)

        assert link.wait(problem)
        assert link.address
        assert caplog.text.count("port 7000") == 1


def test_without_the_program_and_a_way_to_it_that_is_told(
    use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    use("works").unlink()
    with opened() as link:
        assert link.wait(timeout_s=10)

        assert link.problem == "share.link.no_program"
        assert "could not be fetched" in caplog.text


def test_a_share_service_that_does_not_answer_is_told(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("works")
    monkeypatch.setattr(networking, "GRADIO_SHARE_SERVER_ADDRESS", None)
    monkeypatch.setattr(networking, "GRADIO_API_SERVER", f"http://127.0.0.1:{free_port()}/")
    with opened() as link:
        assert link.wait(timeout_s=10)

        assert link.problem == "share.link.no_answer"


def test_stopping_before_the_page_is_served_opens_nothing(use: Use) -> None:
    use("works")
    link = ShareLink(lambda: None)
    link.start()

    link.stop()

    assert link.address == link.problem == ""


# --- with the page -------------------------------------------------------------------------------


def shown_to(site: Site, person: str) -> str:
    """Give the page's head as one person sees it."""
    handlers = (getattr(block.fn, "__self__", None) for block in site.demo.fns.values())
    page = next(one for one in handlers if isinstance(one, Page))
    return str(asyncio.run(page._house(Asker(person, "en", "")))[0])


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    with PracticeServer(pace_s=0.01, models=MODELS) as server:
        yield server


def test_the_page_is_reached_by_the_link_and_knows_who_comes(
    use: Use, practice: PracticeServer, tmp_path: Path
) -> None:
    use("works")
    given = {"studio_accounts": "guests", "studio_share": True, "rate_guest": 1}
    with served(tmp_path, practice, **given) as site:
        link = site.demo.link
        assert link is not None
        assert link.wait()
        through = httpx.Client(base_url=link.address.replace("https", "http"), trust_env=False)

        with through, httpx.Client(base_url=site.url, trust_env=False) as here:
            page = through.get("/", timeout=20)
            config = through.get("/config", timeout=20).json()
            health = here.get("/api/health").text

            ann = site.studio.people.add("ann@example.com", "a good long one", role=Role.ADMIN)
            ben = site.studio.people.add("ben@example.com", "a good long one", role=Role.MEMBER)
            told = [shown_to(site, who) for who in (ann.person, ben.person, "g-cleo")]

        assert link.address in told[0]
        assert all(link.address not in head for head in told[1:])
        assert page.status_code == 200
        assert "secure" in page.headers["set-cookie"].lower()
        assert config["root"] == link.address
        assert link.address not in health


def test_a_page_without_the_program_is_served_here_all_the_same(
    use: Use, practice: PracticeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use("works").unlink()
    with served(tmp_path, practice, studio_accounts="required", studio_share=True) as site:
        assert site.demo.link is not None
        assert site.demo.link.wait(timeout_s=10)

        assert httpx.get(f"{site.url}/api/health", trust_env=False).status_code == 200
        assert "served here all the same" in caplog.text


def test_a_page_that_must_not_be_shared_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    studio = build(settings(tmp_path))

    async def launched() -> None:  # inside a loop, else Gradio makes loops of its own
        make_demo(studio).launch(share=True, prevent_thread_lock=True, quiet=True)

    with pytest.raises(StudioError) as refused:
        asyncio.run(launched())

    assert refused.value.code == "share_refused"
    studio.stop()
