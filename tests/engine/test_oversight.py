"""What admins see and do, on each database: through the room alone, with no worker running."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import fields

import pytest

from studio.build import Studio, build
from studio.engine.jobs import Job, NewJob, State
from studio.engine.oversight import Admin
from studio.engine.people import Account, Role
from studio.errors import StudioError
from studio.settings import PROJECT, load

WORD = "correct horse battery"
GUEST = f"g-{'0' * 32}"


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def joined(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A studio whose parts are joined and do not run, on each database."""
    folder = tmp_path_factory.mktemp("studio")
    server = request.getfixturevalue("mariadb") if request.param == "mariadb" else None
    built = build(
        load(
            env_file=None,
            data_dir=folder / "data",
            outputs_dir=folder / "outputs",
            log_dir=folder / "logs",
            workflows_dir=PROJECT / "workflows",
            database_url=server.new_database() if server else "",
        )
    )
    yield built
    built.stop()


@pytest.fixture
def studio(joined: Studio) -> Iterator[Studio]:
    """The same, without rows."""
    yield joined
    for field in fields(joined.database.tables):
        joined.database.tx(getattr(joined.database.tables, field.name).delete().execute)


@pytest.fixture
def root(studio: Studio) -> Account:
    return studio.people.add("root@example.com", WORD, role=Role.ADMIN)


@pytest.fixture
def admin(studio: Studio, root: Account) -> Admin:
    return studio.oversight.admit(root)


Order = Callable[..., Job]


@pytest.fixture
def order(studio: Studio) -> Order:
    def ordered(person: str = GUEST) -> Job:
        return studio.ledger.create(
            NewJob(
                job_id=str(uuid.uuid4()),
                person=person,
                tab="text_to_image",
                workflow="text_to_image",
                values={"prompt": "a secret lighthouse"},
                words="a secret lighthouse",
            )
        )

    return ordered


def code(work: Callable[[], object]) -> str:
    with pytest.raises(StudioError) as caught:
        work()
    return caught.value.code


def test_nobody_but_an_admin_is_admitted(studio: Studio, root: Account) -> None:
    member = studio.people.add("ann@example.com", WORD, role=Role.MEMBER)
    studio.people.add("other@example.com", WORD, role=Role.ADMIN)
    studio.people.block(root.person)
    blocked = studio.people.account(root.person)

    for account in (None, member, blocked):
        assert code(lambda account=account: studio.oversight.admit(account)) == "admin_needed"


# Jobs ---------------------------------------------------------------------------------------------


def test_a_list_of_jobs_tells_nothing_of_what_was_asked(admin: Admin, order: Order) -> None:
    job = order()

    [line], _ = admin.jobs()

    assert (line.job_id, line.person, line.email) == (job.job_id, GUEST, "")
    assert "lighthouse" not in repr(line)


def test_jobs_come_newest_first_by_pages_and_by_state(
    studio: Studio, admin: Admin, order: Order
) -> None:
    ids = [order().job_id for _ in range(5)]
    for job_id in ids[1:4]:
        studio.desk.stop(job_id)

    first, key = admin.jobs(limit=3)
    rest, end = admin.jobs(after=key, limit=3)
    stopped, more = admin.jobs(state=State.CANCELLED, limit=2)
    last, _ = admin.jobs(state=State.CANCELLED, after=more, limit=2)

    assert [line.job_id for line in first + rest] == ids[::-1]
    assert end is None
    assert [line.job_id for line in stopped + last] == ids[3:0:-1]
    assert admin.jobs(state=State.PROCESSING) == ([], None)


def test_what_its_person_deleted_is_out_of_an_admins_sight_too(
    studio: Studio, admin: Admin, order: Order
) -> None:
    job = order()
    studio.desk.stop(job.job_id)
    studio.desk.delete(GUEST, [job.job_id])

    assert admin.jobs() == ([], None)
    assert code(lambda: admin.open(job.job_id)) == "job_unknown"
    assert admin.deeds() == []


def test_opening_a_job_is_written_down_and_lets_its_files_be_read_for_an_hour(
    studio: Studio, root: Account, admin: Admin, order: Order
) -> None:
    job, other = order(), studio.people.add("two@example.com", WORD, role=Role.ADMIN)
    assert studio.oversight.owner_for(root, job.job_id) is None

    details = admin.open(job.job_id)

    assert details.job.values["prompt"] == "a secret lighthouse"
    [line] = admin.deeds()
    assert (line.admin_email, line.deed.act, line.deed.about) == (root.email, "open", job.job_id)
    assert studio.oversight.owner_for(root, job.job_id) == GUEST
    assert studio.oversight.owner_for(other, job.job_id) is None
    assert studio.oversight.owner_for(None, job.job_id) is None

    audit = studio.database.tables.audit
    studio.database.tx(audit.update(at_us=audit.at_us - 3_601_000_000).execute)
    assert studio.oversight.owner_for(root, job.job_id) is None


def test_a_job_that_is_put_first_goes_before_the_one_that_was_first(
    studio: Studio, admin: Admin, order: Order
) -> None:
    order()
    once, again = order(), order()

    admin.set_priority(once.job_id)
    line = admin.set_priority(again.job_id)

    assert line.priority == 2
    claim = studio.ledger.claim("w")
    assert claim is not None
    assert claim.job.job_id == again.job_id


def test_any_job_can_be_cancelled_once(studio: Studio, admin: Admin, order: Order) -> None:
    job = order()

    line = admin.cancel(job.job_id)

    assert line.state is State.CANCELLED
    assert code(lambda: admin.set_priority(job.job_id)) == "job_ended"
    assert code(lambda: admin.cancel("none")) == "job_unknown"
    assert [line.deed.act for line in admin.deeds()] == ["cancel"]


# People -------------------------------------------------------------------------------------------


def test_blocking_stops_what_waits_and_what_runs(
    studio: Studio, admin: Admin, order: Order
) -> None:
    ann = studio.people.add("ann@example.com", WORD, role=Role.MEMBER)
    running = order(ann.person)
    assert studio.ledger.claim("w") is not None
    waiting, bystander = order(ann.person), order()

    admin.block(ann.person)

    assert studio.ledger.get(waiting.job_id).state is State.CANCELLED
    assert studio.ledger.get(running.job_id).cancel_wanted
    assert studio.ledger.get(bystander.job_id).state is State.PENDING
    assert code(lambda: studio.people.login("ann@example.com", WORD)) == "account_blocked"

    admin.block(ann.person, on=False)
    assert studio.people.login("ann@example.com", WORD)
    assert [line.deed.act for line in admin.deeds()] == ["unblock", "block"]


def test_a_guest_is_blocked_by_its_id_and_found_among_the_blocked(
    studio: Studio, admin: Admin, order: Order
) -> None:
    order()
    [known], _ = admin.people(text=GUEST)
    assert (known.person, known.email, known.pending, known.blocked) == (GUEST, "", 1, False)

    admin.block(GUEST)

    blocked = [line.person for line in admin.people()[0] if line.blocked]
    assert blocked == [GUEST]
    admin.block(GUEST, on=False)
    assert not studio.people.was_guest(GUEST)


def test_an_unknown_id_and_a_programs_session_cannot_be_blocked(admin: Admin) -> None:
    for person in ("g-nobody", f"g-{'1' * 32}", "", "../x"):
        assert code(lambda person=person: admin.block(person)) == "account_unknown"
    assert code(lambda: admin.block(f"s-{'1' * 32}")) == "guest_fleeting"


def test_the_last_admin_keeps_house(admin: Admin, root: Account) -> None:
    assert code(lambda: admin.block(root.person)) == "last_admin"
    assert code(lambda: admin.set_role(root.person, Role.MEMBER)) == "last_admin"
    assert code(lambda: admin.delete(root.person)) == "last_admin"
    assert admin.deeds() == []


def test_people_come_by_pages_and_are_found_by_address_or_name(
    studio: Studio, admin: Admin
) -> None:
    for n in range(4):
        studio.people.add(f"p{n}@example.com", WORD, name=f"Person {n} 小明", role=Role.MEMBER)
    account = studio.database.tables.account
    studio.database.tx(account.update(created_us=1).execute)  # all at the same moment

    seen, key = [], None
    while page := admin.people(after=key, limit=2):
        seen += [line.email for line in page[0]]
        key = page[1]
        if key is None:
            break

    assert sorted(seen) == [*(f"p{n}@example.com" for n in range(4)), "root@example.com"]
    assert [line.email for line in admin.people(text="P2@EXAMPLE")[0]] == ["p2@example.com"]
    assert [line.email for line in admin.people(text="person 3")[0]] == ["p3@example.com"]
    assert admin.people(text="%")[0] == []


def test_who_is_deleted_takes_works_along(studio: Studio, admin: Admin, order: Order) -> None:
    ann = studio.people.add("ann@example.com", WORD, role=Role.MEMBER)
    job = order(ann.person)

    admin.delete(ann.person)

    assert code(lambda: studio.desk.job(ann.person, job.job_id)) == "job_unknown"
    assert [line.email for line in admin.people()[0]] == ["root@example.com"]
    assert [(line.deed.act, line.about_email) for line in admin.deeds()] == [("delete", "")]
