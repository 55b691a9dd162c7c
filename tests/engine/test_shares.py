"""Links to single results: what opens them, what ends them, and what they give."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from itsdangerous import URLSafeSerializer
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.engine.census import Census
from studio.engine.darkroom import Darkroom
from studio.engine.database import Database
from studio.engine.history import History
from studio.engine.jobs import Job, NewJob
from studio.engine.ledger import Ledger
from studio.engine.shares import Shares, Standing
from studio.engine.store import Store
from studio.errors import StudioError
from tests.engine.conftest import Clock, MakeJob
from tests.engine.films import film, sound

SECRET = "a secret of sixteen characters and more"
DAY_S = 86_400.0
MARK = b"SECRET-PROMPT"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs")


@pytest.fixture
def shares(database: Database, ledger: Ledger, store: Store, clock: Clock) -> Shares:
    return Shares(database, ledger, Darkroom(store), SECRET, days=7, max_days=30, now=clock)


@pytest.fixture
def history(database: Database, ledger: Ledger, clock: Clock) -> History:
    return History(database, ledger, Census(database), now=clock)


Made = Callable[..., Job]


@pytest.fixture
def made(ledger: Ledger, store: Store, new_job: MakeJob, tmp_path: Path) -> Made:
    """Complete a job that kept these files, one PNG with a prompt in it unless told otherwise."""

    def complete(*files: Path, person: str = "anna") -> Job:
        order: NewJob = new_job(person)
        ledger.create(order)
        claim = ledger.claim("worker")
        assert claim is not None
        with store.draft(claim.job.job_id, claim.fence, date(2026, 11, 25)) as draft:
            for file in files or (_png(tmp_path / "made.png"),):
                with draft.add("save", file.name) as into:
                    into.write(file.read_bytes())
            assert ledger.complete(claim, draft.keep())
        return ledger.get(claim.job.job_id)

    return complete


def _png(path: Path) -> Path:
    info = PngInfo()
    info.add_text("prompt", MARK.decode())
    Image.new("RGB", (40, 30), "teal").save(path, pnginfo=info)
    return path


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(StudioError) as refused:
        act()
    return refused.value.code


def test_a_link_gives_the_picture_without_its_prompt_and_without_our_names(
    shares: Shares, made: Made, store: Store
) -> None:
    job = made()

    share = shares.make("anna", job.job_id)

    shared = shares.open(share.token)
    given = shares.file(share.token, shared.file_name)
    assert (shared.file_name, given.mime) == ("picture.png", "image/png")
    assert MARK in store.path(job.outputs[0]).read_bytes()
    assert MARK not in given.path.read_bytes()
    assert job.job_id not in share.token + shared.file_name


def test_the_copy_is_made_once_and_goes_with_the_job(
    shares: Shares, made: Made, store: Store
) -> None:
    job = made()
    share = shares.make("anna", job.job_id)
    first = shares.file(share.token, "picture.png").path
    before = first.stat()

    again = shares.file(share.token, "picture.png").path

    assert again.stat() == before
    store.remove(job)
    assert not first.exists()


def test_another_persons_result_cannot_be_shared(shares: Shares, made: Made) -> None:
    job = made(person="anna")

    assert refusal(lambda: shares.make("ben", job.job_id)) == "job_unknown"


def test_what_is_not_there_cannot_be_shared(shares: Shares, made: Made, history: History) -> None:
    job = made()

    assert refusal(lambda: shares.make("anna", "none")) == "job_unknown"
    assert refusal(lambda: shares.make("anna", job.job_id, "009.png")) == "file_unknown"
    history.delete("anna", [job.job_id])
    assert refusal(lambda: shares.make("anna", job.job_id)) == "job_unknown"


def test_a_text_is_not_shared(shares: Shares, made: Made, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the prompt was")

    job = made(tmp_path / "a.txt")

    assert refusal(lambda: shares.make("anna", job.job_id)) == "share_unsupported"
    assert shares.listing("anna") == []


def test_a_link_ends_after_its_days(shares: Shares, made: Made, clock: Clock) -> None:
    share = shares.make("anna", made().job_id, days=2)
    clock.pass_s(2 * DAY_S - 10)
    shares.open(share.token)

    clock.pass_s(10)

    assert refusal(lambda: shares.open(share.token)) == "share_unknown"
    assert refusal(lambda: shares.file(share.token, "picture.png")) == "share_unknown"
    assert [one.standing for one in shares.listing("anna")] == [Standing.EXPIRED]


@pytest.mark.parametrize("days", [0, -1, 31, 10**9])
def test_a_link_lasts_no_longer_than_the_host_allows(shares: Shares, made: Made, days: int) -> None:
    job = made()

    assert refusal(lambda: shares.make("anna", job.job_id, days=days)) == "field_out_of_range"


def test_a_revoked_link_is_closed_and_a_new_one_is_another(shares: Shares, made: Made) -> None:
    job = made()
    old = shares.make("anna", job.job_id)

    shares.revoke("anna", old.share_id)
    shares.revoke("anna", old.share_id)
    new = shares.make("anna", job.job_id)

    assert refusal(lambda: shares.open(old.token)) == "share_unknown"
    assert shares.open(new.token).share.share_id == new.share_id != old.share_id
    assert {one.standing for one in shares.listing("anna")} == {Standing.REVOKED, Standing.ACTIVE}


def test_nobody_revokes_or_lists_anothers_link(shares: Shares, made: Made) -> None:
    share = shares.make("anna", made().job_id)

    assert refusal(lambda: shares.revoke("ben", share.share_id)) == "share_unknown"
    assert shares.listing("ben") == []
    shares.open(share.token)


def test_a_result_has_one_link_and_asking_again_moves_its_end(
    shares: Shares, made: Made, clock: Clock
) -> None:
    job = made()
    first = shares.make("anna", job.job_id)
    clock.pass_s(DAY_S)

    again = shares.make("anna", job.job_id)

    assert again.token == first.token
    assert again.expires_us > first.expires_us + 0.9 * DAY_S * 1e6
    assert len(shares.listing("anna", job_id=job.job_id)) == 1


def test_two_presses_at_once_make_one_link(shares: Shares, made: Made) -> None:
    job, ready = made(), threading.Barrier(4)

    def press(_: int) -> str:
        ready.wait(timeout=10)
        return shares.make("anna", job.job_id).token

    with ThreadPoolExecutor(4) as pool:
        tokens = set(pool.map(press, range(4)))

    assert len(tokens) == 1
    assert len(shares.listing("anna")) == 1


def test_a_deleted_jobs_link_is_closed_until_it_is_restored(
    shares: Shares, made: Made, history: History
) -> None:
    job = made()
    share = shares.make("anna", job.job_id)

    history.delete("anna", [job.job_id])

    assert refusal(lambda: shares.open(share.token)) == "share_unknown"
    assert [one.standing for one in shares.listing("anna")] == [Standing.HIDDEN]
    history.restore("anna", [job.job_id])
    shares.open(share.token)


def test_a_purged_jobs_links_are_gone(
    shares: Shares, made: Made, history: History, store: Store, clock: Clock, database: Database
) -> None:
    job = made()
    share = shares.make("anna", job.job_id)
    history.delete("anna", [job.job_id])
    clock.pass_s(2 * DAY_S)

    assert history.purge(DAY_S, store.remove) == 1

    assert refusal(lambda: shares.open(share.token)) == "share_unknown"
    assert database.read(database.tables.share.select().count) == 0


def test_a_forged_token_opens_nothing(shares: Shares, made: Made) -> None:
    share = shares.make("anna", made().job_id)
    body, _, signature = share.token.rpartition(".")
    forged = [
        "",
        ".",
        share.share_id,
        body,
        f"{body}.",
        f"{body}.{signature[:-1]}",
        f"{signature}.{body}",
        str(
            URLSafeSerializer("another secret altogether", salt="studio.share").dumps(
                share.share_id
            )
        ),
        str(URLSafeSerializer(SECRET, salt="studio.person").dumps(share.share_id)),
        str(URLSafeSerializer(SECRET, salt="studio.share").dumps("no-such-share-here")),
        str(URLSafeSerializer(SECRET, salt="studio.share").dumps({"share_id": share.share_id})),
        str(URLSafeSerializer(SECRET, salt="studio.share").dumps("x' OR 1=1 --")),
        "é" * 400,
    ]

    assert {refusal(lambda token=token: shares.open(token)) for token in forged} == {  # type: ignore[misc]
        "share_unknown"
    }


@pytest.mark.parametrize(
    "name",
    ["001.png", "", "picture.jpg", "../picture.png", "small.webp", "play.mp4", "PICTURE.PNG"],
)
def test_a_link_gives_only_what_it_is_for(shares: Shares, made: Made, name: str) -> None:
    share = shares.make("anna", made().job_id)

    assert refusal(lambda: shares.file(share.token, name)) == "share_unknown"


def test_one_of_several_files_is_shared_and_no_other(
    shares: Shares, made: Made, tmp_path: Path
) -> None:
    job = made(_png(tmp_path / "a.png"), sound(tmp_path / "b.wav", "wav", "pcm_s16le"))

    share = shares.make("anna", job.job_id, "002.wav")

    assert shares.open(share.token).file_name == "sound.wav"
    assert shares.file(share.token, "small.webp").mime == "image/webp"
    assert refusal(lambda: shares.file(share.token, "picture.png")) == "share_unknown"


def test_a_film_that_browsers_do_not_play_is_shared_with_the_copy_they_do(
    shares: Shares, made: Made, tmp_path: Path
) -> None:
    path = film(tmp_path / "a.mp4", "mp4", "mpeg4")

    share = shares.make("anna", made(path).job_id)

    assert shares.file(share.token, "film.mp4").path.read_bytes()[4:8] == b"ftyp"
    played = shares.file(share.token, "play.mp4")
    assert b"h264" in played.path.read_bytes() or b"avc1" in played.path.read_bytes()
    assert shares.file(share.token, "small.webp").path.is_file()


def test_ended_links_are_forgotten_after_a_month(shares: Shares, made: Made, clock: Clock) -> None:
    kept, ended, revoked = (shares.make("anna", made().job_id, days=d) for d in (30, 1, 30))
    shares.revoke("anna", revoked.share_id)
    clock.pass_s(20 * DAY_S)
    assert shares.sweep(30 * DAY_S) == 0

    clock.pass_s(9.9 * DAY_S)
    gone = shares.sweep(25 * DAY_S)

    assert gone == 2
    assert [one.share_id for one in shares.listing("anna")] == [kept.share_id]
    assert ended.share_id != kept.share_id
