"""The fleet: who takes the next prompt, and why nobody does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from studio import texts
from studio.engine.comfy import fleet as rooms
from studio.engine.comfy.client import ComfyClient, Patience
from studio.engine.comfy.fleet import STAND_IN, Fleet, ServerStatus
from studio.practice.server import PracticeServer

QUICK = Patience(
    connect=1, tick=0.05, ping=1, dead=4, deaf=1, first_pause=0.05, longest_pause=0.2, steady=5
)
DEADLINE_S = 10.0

MakeFleet = Callable[..., Fleet]
MakeServer = Callable[..., PracticeServer]


class Changes:
    """Waits for the fleet's bell."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rung = threading.Event()
        fleet.on_change(self._rung.set)

    def until(self, true: Callable[[Fleet], Any]) -> None:
        """Wait, bell by bell, until something holds."""
        while not true(self._fleet):
            assert self._rung.wait(DEADLINE_S), f"never came true: {self._fleet.views()}"
            self._rung.clear()


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    servers: list[PracticeServer] = []

    def make(**options: Any) -> PracticeServer:
        server = PracticeServer(pace_s=0.02, **options)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def make_fleet() -> Iterator[MakeFleet]:
    fleets: list[Fleet] = []

    def make(*urls: str, stand_in: str | None = None, **options: Any) -> Fleet:
        spare = ComfyClient(stand_in, patience=QUICK) if stand_in else None
        options = {"configured": stand_in is None, "probe_s": 0.2} | options
        fleet = Fleet([ComfyClient(url, patience=QUICK) for url in urls], stand_in=spare, **options)
        fleets.append(fleet)
        return fleet

    yield make
    for fleet in fleets:
        fleet.stop()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def online(fleet: Fleet) -> list[str]:
    return [view.name for view in fleet.views() if view.online]


def only(fleet: Fleet) -> ServerStatus:
    (view,) = fleet.views()
    return view


# The stand-in -----------------------------------------------------------------------------


def test_a_configured_server_that_is_away_never_falls_back_to_the_stand_in(
    make_server: MakeServer, make_fleet: MakeFleet, free_port: int
) -> None:
    spare = make_server()
    fleet = make_fleet(address(free_port), stand_in=spare.url, configured=True)
    fleet.start()
    Changes(fleet).until(lambda f: only(f).reason == rooms.AWAY)

    slot = fleet.take()

    assert slot is None
    assert fleet.free_slots == 0
    assert f"127.0.0.1:{free_port}" in fleet.why_none()


def test_the_stand_in_serves_while_nothing_answers_at_the_usual_address(
    make_server: MakeServer, make_fleet: MakeFleet, free_port: int
) -> None:
    spare = make_server()
    fleet = make_fleet(address(free_port), stand_in=spare.url)
    fleet.start()
    Changes(fleet).until(lambda f: f.free_slots)

    with fleet.take() as slot:  # type: ignore[union-attr]
        assert slot.server.stand_in
        assert slot.server.name == STAND_IN
    assert [view.stand_in for view in fleet.views()] == [False, True]
    assert fleet.why_none() == ""


def test_a_server_that_comes_up_later_takes_the_new_jobs_and_the_stand_in_none(
    make_server: MakeServer, make_fleet: MakeFleet, free_port: int
) -> None:
    """Noticed within 10 s; what runs on the stand-in may finish there."""
    spare = make_server()
    fleet = make_fleet(address(free_port), stand_in=spare.url)
    fleet.start()
    changes = Changes(fleet)
    changes.until(lambda f: f.free_slots)
    running = fleet.take()

    make_server(port=free_port)
    changes.until(lambda f: online(f) == [f"127.0.0.1:{free_port}"])

    slots = [fleet.take(), fleet.take(), fleet.take()]
    assert [slot and slot.server.name for slot in slots] == [f"127.0.0.1:{free_port}"] * 2 + [None]
    assert running is not None
    assert running.client.system().version  # still open for the one that runs
    assert fleet.find(STAND_IN) is not None
    running.release()
    assert fleet.take() is None


def test_a_server_once_seen_is_waited_for_when_it_goes_again(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    spare, real = make_server(), make_server()
    fleet = make_fleet(real.url, stand_in=spare.url)
    fleet.start()
    changes = Changes(fleet)
    changes.until(online)

    real.stop()
    changes.until(lambda f: not online(f))

    assert fleet.take() is None
    assert only(fleet).reason == rooms.AWAY


def test_nobody_serves_before_the_first_look(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    """Else the stand-in would take a job in the moment before the real server is seen."""
    spare, real = make_server(), make_server()
    fleet = make_fleet(real.url, stand_in=spare.url)

    assert fleet.take() is None
    assert only_reasons(fleet) == {rooms.STARTING}
    fleet.start()
    Changes(fleet).until(lambda f: f.free_slots)
    slot = fleet.take()
    assert slot is not None
    assert not slot.server.stand_in


def only_reasons(fleet: Fleet) -> set[str]:
    return {view.reason for view in fleet.views()}


# Slots ------------------------------------------------------------------------------------


def test_slots_go_to_the_least_used_server_and_come_back_once(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    one, two = make_server(), make_server()
    fleet = make_fleet(one.url, two.url, slots=2)
    fleet.start()
    Changes(fleet).until(lambda f: len(online(f)) == 2)

    taken = [slot for _ in range(4) if (slot := fleet.take()) is not None]

    names = [slot.server.name for slot in taken]
    assert names[:2] == names[2:] != names[:1] * 2
    assert fleet.free_slots == 0
    assert fleet.take() is None
    assert only_reasons(fleet) == {rooms.BUSY}
    taken[0].release()
    taken[0].release()
    assert fleet.free_slots == 1
    assert fleet.why_none() == ""


def test_among_equals_the_shorter_queue_is_chosen(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    """A ComfyUI may be shared with others."""
    one, two = make_server(), make_server()
    fleet = make_fleet(one.url, two.url)
    fleet.start()
    Changes(fleet).until(lambda f: len(online(f)) == 2)
    busy = fleet.find(one.url.partition("//")[2])
    assert busy is not None
    busy.client.queue_remaining = 7

    slot = fleet.take()

    assert slot is not None
    assert slot.server.url == two.url


def test_a_server_that_will_not_do_is_passed_over(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    one, two = make_server(), make_server()
    fleet = make_fleet(one.url, two.url)
    fleet.start()
    Changes(fleet).until(lambda f: len(online(f)) == 2)
    names = [view.name for view in fleet.views()]

    slot = fleet.take(refuse={names[0]})

    assert slot is not None
    assert slot.server.name == names[1]
    assert fleet.take(refuse=set(names)) is None
    assert fleet.why_none(refuse=set(names)).count("lacks something") == 2


def test_a_prompt_that_is_there_already_gets_a_slot_beyond_the_limit(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    server = make_server()
    fleet = make_fleet(server.url, slots=1)
    fleet.start()
    Changes(fleet).until(online)
    name = only(fleet).name

    with fleet.take(), fleet.adopt(name) as slot:  # type: ignore[union-attr]
        assert slot.server == fleet.find(name)
        assert only(fleet).in_use == 2
        assert fleet.free_slots == 0

    assert fleet.free_slots == 1
    assert fleet.adopt("no longer ours") is None
    assert fleet.find("no longer ours") is None


# What runs tell ---------------------------------------------------------------------------


class Two:
    """A fleet of two servers that are there, and a clock that tests move."""

    def __init__(self, make_server: MakeServer, make_fleet: MakeFleet) -> None:
        self.now = 0.0
        self.fleet = make_fleet(make_server().url, make_server().url, clock=lambda: self.now)
        self.fleet.start()
        Changes(self.fleet).until(lambda f: len(online(f)) == 2)
        self.first, self.second = (view.name for view in self.fleet.views())

    def taken(self, **wanted: Any) -> str | None:
        """Name the server that gets the next prompt."""
        slot = self.fleet.take(**wanted)
        if slot is None:
            return None
        with slot:
            return slot.server.name

    def reason(self, name: str) -> str:
        return next(view.reason for view in self.fleet.views() if view.name == name)


@pytest.fixture
def two(make_server: MakeServer, make_fleet: MakeFleet) -> Two:
    return Two(make_server, make_fleet)


def test_among_the_least_used_the_one_that_holds_the_models_is_chosen(two: Two) -> None:
    two.fleet.ran(two.second, ["unet.gguf", "ae.safetensors"])
    two.fleet.ran(two.first, ["other.safetensors", "ae.safetensors"])
    found = two.fleet.find(two.first)
    assert found is not None

    assert two.taken(models=["unet.gguf", "ae.safetensors"]) == two.second
    assert two.taken(models=["other.safetensors"]) == two.first
    assert two.taken() == two.first


def test_models_do_not_outweigh_use(two: Two) -> None:
    two.fleet.ran(two.first, ["a.gguf"])

    with two.fleet.take(models=["a.gguf"]):  # type: ignore[union-attr]
        assert two.taken(models=["a.gguf"]) == two.second


def test_a_run_without_models_unloads_none(two: Two) -> None:
    two.fleet.ran(two.second, ["a.gguf"])
    two.fleet.ran(two.second, [])

    assert two.taken(models=["a.gguf"]) == two.second


def test_a_slot_is_traded_for_a_better_one_or_for_itself(two: Two) -> None:
    two.fleet.ran(two.second, ["a.gguf"])
    slot = two.fleet.take()
    assert slot is not None

    better = two.fleet.trade(slot, models=["a.gguf"])
    assert better is not None
    assert (slot.server.name, better.server.name) == (two.first, two.second)
    same = two.fleet.trade(better, models=["a.gguf"])
    assert same is not None
    assert same.server.name == two.second
    assert two.fleet.trade(same, refuse={two.first, two.second}) is None
    assert two.fleet.free_slots == 4


def test_a_server_that_answers_badly_rests_longer_each_time(two: Two) -> None:
    rests = []
    for _ in range(7):
        two.fleet.ails(two.first)
        began = two.now
        assert two.reason(two.first) == rooms.SICK
        while two.taken() == two.second:
            two.now += 1
        rests.append(two.now - began)

    assert rests == [2, 4, 8, 16, 32, 60, 60]
    two.fleet.ails(two.first)
    two.fleet.well(two.first)
    assert two.taken() == two.first


def test_a_server_that_rests_is_not_counted_on(two: Two) -> None:
    two.fleet.ails(two.first)

    assert two.fleet.free_slots == 2
    assert not two.fleet.another(two.second)
    assert two.fleet.another(two.first)
    assert not two.fleet.another(two.first, refuse={two.second})
    assert "badly" in two.fleet.why_none(refuse={two.second})


def test_a_silent_server_gets_nothing_until_it_speaks(two: Two) -> None:
    two.fleet.silent(two.first)

    assert two.reason(two.first) == rooms.SILENT
    assert two.taken() == two.second
    two.fleet.well(two.first)
    assert two.taken() == two.first


def test_a_busy_server_is_another_one_all_the_same(two: Two) -> None:
    held = [two.fleet.take(refuse={two.first}) for _ in range(2)]

    assert all(held)
    assert two.fleet.another(two.first)


# Health -----------------------------------------------------------------------------------


def test_going_and_coming_is_noticed_and_rings(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    """Case chain-2: by the socket at once, not at the next look only."""
    server = make_server()
    fleet = make_fleet(server.url, probe_s=60)
    fleet.start()
    changes = Changes(fleet)
    changes.until(online)

    server.faults.restart(down_s=1.0)
    changes.until(lambda f: not online(f))
    changes.until(online)

    assert only(fleet).reason == ""


def test_one_that_forbids_is_told_from_one_that_is_away(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    server = make_server()
    server.faults.forbid()
    fleet = make_fleet(server.url)
    fleet.start()

    Changes(fleet).until(lambda f: only(f).reason == rooms.FORBIDDEN)

    assert "token" in fleet.why_none()
    assert "權杖" in fleet.why_none(language="zh-TW")


def test_a_view_tells_version_and_queue(make_server: MakeServer, make_fleet: MakeFleet) -> None:
    server = make_server(profile="newer")
    fleet = make_fleet(server.url)
    fleet.start()

    Changes(fleet).until(online)

    view = only(fleet)
    assert view.version == server.version
    assert (view.queue_remaining, view.in_use, view.reason) == (0, 0, "")


def test_without_any_server_the_reason_says_so() -> None:
    fleet = Fleet([], configured=True)

    assert fleet.take() is None
    assert fleet.why_none() == "No ComfyUI server is set up."


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_every_reason_has_words(language: str) -> None:
    keys = [
        value
        for value in vars(rooms).values()
        if isinstance(value, str) and value.startswith("server.reason.")
    ]

    for key in keys:
        assert "{" not in texts.text(key, language, server="gpu:8188")
    assert len(keys) == 9


# Models -----------------------------------------------------------------------------------


def test_choices_are_those_of_every_server_the_first_ones_first(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    one = make_server(models={"checkpoints": ["b.safetensors", "a.safetensors"]})
    two = make_server(models={"checkpoints": ["c.safetensors", "a.safetensors"]})
    fleet = make_fleet(one.url, two.url)
    fleet.start()
    Changes(fleet).until(lambda f: len(online(f)) == 2)

    listed = fleet.choices("checkpoints")

    assert sorted(listed) == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert listed[2] == "c.safetensors"
    assert fleet.choices("no_such_folder") == ()


def test_choices_are_kept_for_half_a_minute(make_server: MakeServer, make_fleet: MakeFleet) -> None:
    now = [0.0]
    names = ["a.safetensors"]
    server = make_server(models={"checkpoints": names})
    fleet = make_fleet(server.url, clock=lambda: now[0])
    fleet.start()
    Changes(fleet).until(online)
    first = fleet.choices("checkpoints")
    names.append("b.safetensors")

    kept = fleet.choices("checkpoints")
    now[0] = 31
    later = fleet.choices("checkpoints")

    assert first == kept == ("a.safetensors",)
    assert later == ("a.safetensors", "b.safetensors")


def test_a_server_that_went_away_keeps_its_place_in_the_choices(
    make_server: MakeServer, make_fleet: MakeFleet
) -> None:
    now = [0.0]
    server = make_server(models={"checkpoints": ["a.safetensors"]})
    fleet = make_fleet(server.url, clock=lambda: now[0])
    fleet.start()
    Changes(fleet).until(online)
    before = fleet.choices("checkpoints")

    server.faults.forbid()
    now[0] = 31
    refused = fleet.choices("checkpoints")
    server.stop()
    Changes(fleet).until(lambda f: not online(f))
    away = fleet.choices("checkpoints")

    assert before == refused == away == ("a.safetensors",)
