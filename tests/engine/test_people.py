"""Accounts, sessions, tokens and invitations, on each database."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from argon2 import PasswordHasher

from studio.engine.database import Database
from studio.engine.people import PERSONAL_MARK, People, Registration, Role
from studio.errors import StudioError

WORD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
Make = Callable[..., People]


@pytest.fixture
def make(database: Database) -> Make:
    """Make the room of accounts, with a hash that takes no time."""

    def made(**more: object) -> People:
        return People(database, hasher=QUICK, **more)  # type: ignore[arg-type]

    return made


@pytest.fixture
def people(make: Make) -> People:
    return make()


def code(caught: pytest.ExceptionInfo[StudioError]) -> str:
    return caught.value.code


def test_who_registers_can_log_in_and_is_known_by_the_session(people: People) -> None:
    people.register("Ming@Example.com", WORD, name="小明")

    account, secret = people.login(" ming@example.COM ", WORD)

    assert (account.email, account.name, account.role) == ("ming@example.com", "小明", Role.MEMBER)
    assert people.of_session(secret) is not None


def test_a_guest_who_registers_keeps_the_id_and_the_old_cookie_opens_it_no_more(
    people: People,
) -> None:
    people.register("a@example.com", WORD, guest="g-1")

    assert people.login("a@example.com", WORD)[0].person == "g-1"
    assert people.was_guest("g-1")
    assert not people.was_guest("g-2")


def test_a_second_account_from_one_guest_is_a_person_of_its_own(people: People) -> None:
    people.register("a@example.com", WORD, guest="g-1")
    people.register("b@example.com", WORD, guest="g-1")

    assert people.login("b@example.com", WORD)[0].person != "g-1"


def test_registering_a_known_address_changes_nothing_and_tells_nothing(people: People) -> None:
    people.register("a@example.com", WORD)
    before = people.login("a@example.com", WORD)[0]

    people.register("a@example.com", "another long one", name="Thief", guest="g-9")

    assert people.login("a@example.com", WORD)[0].name == before.name
    assert not people.was_guest("g-9")


def test_one_address_registered_from_many_places_at_once_is_one_account(people: People) -> None:
    threads = [
        threading.Thread(target=people.register, args=("a@example.com", WORD)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert [one.email for one in people.listing()] == ["a@example.com"]


@pytest.mark.parametrize(
    ("email", "password", "why"),
    [
        ("", WORD, "field_required"),
        ("no address", WORD, "email_invalid"),
        ("a@b", WORD, "email_invalid"),
        ("a@example.com", "", "field_required"),
        ("a@example.com", "short", "password_length"),
        ("a@example.com", "x" * 201, "password_length"),
        ("a@example.com", "aaaaaaaaaaaa", "password_weak"),
        ("a@example.com", "A@example.com", "password_weak"),
        ("someone.long@example.com", "someone.long", "password_weak"),
    ],
)
def test_what_cannot_be_an_account_is_refused(
    people: People, email: str, password: str, why: str
) -> None:
    with pytest.raises(StudioError) as caught:
        people.register(email, password)

    assert code(caught) == why


@pytest.mark.parametrize(
    ("email", "password"),
    [("a@example.com", "wrong horse"), ("b@example.com", WORD), ("no address", WORD)],
)
def test_a_failed_login_does_not_tell_what_was_wrong(
    people: People, email: str, password: str
) -> None:
    people.register("a@example.com", WORD)

    with pytest.raises(StudioError) as caught:
        people.login(email, password)

    assert code(caught) == "login_failed"


def test_an_unknown_address_costs_a_hash_as_a_known_one_does(database: Database) -> None:
    class Counting(PasswordHasher):
        verified = 0

        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # noqa: A002
            Counting.verified += 1
            return super().verify(hash, password)

    people = People(database, hasher=Counting(time_cost=1, memory_cost=8, parallelism=1))

    with pytest.raises(StudioError):
        people.login("nobody@example.com", WORD)

    assert Counting.verified == 1


def test_a_change_of_the_password_ends_every_session(people: People) -> None:
    people.register("a@example.com", WORD)
    account, here = people.login("a@example.com", WORD)
    _, elsewhere = people.login("a@example.com", WORD)

    fresh = people.set_password(account.person, WORD, "another long one")

    assert people.of_session(here) is None
    assert people.of_session(elsewhere) is None
    assert people.of_session(fresh) == people.account(account.person)
    with pytest.raises(StudioError):
        people.login("a@example.com", WORD)


def test_the_password_is_asked_before_it_is_changed(people: People) -> None:
    people.register("a@example.com", WORD)
    account, secret = people.login("a@example.com", WORD)

    with pytest.raises(StudioError) as caught:
        people.set_password(account.person, "wrong horse", "another long one")

    assert code(caught) == "login_failed"
    assert people.of_session(secret) is not None


def test_sessions_outlive_the_process_and_end_by_logout_or_disuse(
    make: Make, database: Database
) -> None:
    people = make()
    people.register("a@example.com", WORD)
    _, used = people.login("a@example.com", WORD)
    _, left = people.login("a@example.com", WORD)
    again = make(session_days=30)
    assert again.of_session(used) is not None

    again.logout(used)
    session = database.tables.session
    long_ago = database.now_us() - 31 * 86_400_000_000
    database.tx(session.update(seen_us=long_ago).execute)

    assert again.of_session(used) is None
    assert again.of_session(left) is None
    assert again.sweep() == 1


def test_nothing_secret_is_kept_as_it_is(people: People, database: Database) -> None:
    people.register("a@example.com", WORD)
    account, secret = people.login("a@example.com", WORD)
    _, token = people.make_token(account.person, "laptop", writes=True)
    invitation = people.invite(account.person)

    rows = database.tables
    kept = " ".join(
        str(value)
        for table in (rows.account, rows.session, rows.token, rows.invitation)
        for row in database.read(lambda table=table: list(table.select().dicts()))
        for value in row.values()
    )

    assert not [one for one in (WORD, secret, token, invitation) if one in kept]


def test_a_token_is_its_persons_until_it_is_revoked(people: People) -> None:
    people.register("a@example.com", WORD)
    person = people.login("a@example.com", WORD)[0].person
    made, secret = people.make_token(person, "laptop", writes=False)

    found = people.of_token(secret)
    assert secret.startswith(PERSONAL_MARK)
    assert found is not None
    assert (found[0].person, found[1].writes) == (person, False)

    with pytest.raises(StudioError) as caught:
        people.revoke("g-other", made.token_id)
    assert code(caught) == "token_unknown"
    people.revoke(person, made.token_id)

    assert people.of_token(secret) is None
    assert people.tokens(person) == []


def test_tokens_are_named_and_not_endless(people: People) -> None:
    people.register("a@example.com", WORD)
    person = people.login("a@example.com", WORD)[0].person
    with pytest.raises(StudioError) as unnamed:
        people.make_token(person, "  ", writes=True)
    for count in range(50):
        people.make_token(person, f"n{count}", writes=True)

    with pytest.raises(StudioError) as caught:
        people.make_token(person, "one more", writes=True)

    assert (code(unnamed), code(caught)) == ("field_required", "too_many_tokens")


def test_an_invitation_lets_one_person_in(make: Make) -> None:
    people = make(registration=Registration.INVITATION)
    invitation = people.invite("g-admin")

    people.register("a@example.com", WORD, invitation=invitation)

    assert people.login("a@example.com", WORD)[0].email == "a@example.com"
    for used in (invitation, "", "made up"):
        with pytest.raises(StudioError) as caught:
            people.register("b@example.com", WORD, invitation=used)
        assert code(caught) == "invitation_invalid"


def test_an_invitation_is_over_after_its_days(make: Make, database: Database) -> None:
    people = make(registration=Registration.INVITATION)
    invitation = people.invite("g-admin", days=0)
    database.tx(database.tables.invitation.update(expires_us=database.now_us() - 1).execute)

    with pytest.raises(StudioError) as caught:
        people.register("a@example.com", WORD, invitation=invitation)

    assert code(caught) == "invitation_invalid"


def test_where_registration_is_closed_only_the_host_adds_people(make: Make) -> None:
    people = make(registration=Registration.CLOSED)
    with pytest.raises(StudioError) as caught:
        people.register("a@example.com", WORD)

    added = people.add("a@example.com", WORD, role=Role.ADMIN)

    assert code(caught) == "registration_closed"
    assert people.login("a@example.com", WORD)[0].person == added.person
    with pytest.raises(StudioError) as twice:
        people.add("A@example.com", WORD, role=Role.MEMBER)
    assert code(twice) == "account_exists"


def test_who_is_blocked_is_out_at_once_and_back_when_let_in(people: People) -> None:
    people.add("admin@example.com", WORD, role=Role.ADMIN)
    person = people.add("a@example.com", WORD, role=Role.MEMBER).person
    _, secret = people.login("a@example.com", WORD)
    _, token = people.make_token(person, "laptop", writes=True)

    people.block(person)

    assert people.of_session(secret) is None
    assert people.of_token(token) is None
    with pytest.raises(StudioError) as right:
        people.login("a@example.com", WORD)
    with pytest.raises(StudioError) as wrong:
        people.login("a@example.com", "wrong horse")
    assert (code(right), code(wrong)) == ("account_blocked", "login_failed")
    people.block(person, on=False)
    assert people.of_token(token) is not None


def test_a_guest_is_blocked_by_the_id_and_a_guest_again_when_let_in(people: People) -> None:
    people.block("g-1")
    assert people.was_guest("g-1")

    people.block("g-1", on=False)

    assert not people.was_guest("g-1")


def test_the_last_admin_stays_one(people: People) -> None:
    one = people.add("a@example.com", WORD, role=Role.ADMIN).person
    other = people.add("b@example.com", WORD, role=Role.ADMIN).person
    people.set_role(other, Role.MEMBER)

    for act in (
        lambda: people.set_role(one, Role.MEMBER),
        lambda: people.block(one),
        lambda: people.spare_last_admin(one),
    ):
        with pytest.raises(StudioError) as caught:
            act()
        assert code(caught) == "last_admin"


def test_a_closed_account_leaves_nothing_but_an_id_that_opens_nothing(
    people: People, database: Database
) -> None:
    people.register("a@example.com", WORD, name="Ming", guest="g-1")
    account, secret = people.login("a@example.com", WORD)
    _, token = people.make_token("g-1", "laptop", writes=True)

    people.close("g-1")

    assert people.of_session(secret) is None
    assert people.of_token(token) is None
    assert people.account("g-1") is None
    assert people.was_guest("g-1")
    kept = database.read(lambda: list(database.tables.account.select().dicts()))
    assert (kept[0]["email"], kept[0]["name"], kept[0]["password"]) == (None, "", "")
    people.register("a@example.com", WORD)
    assert people.login("a@example.com", WORD)[0].person != account.person


def test_an_address_another_has_is_not_taken_over(people: People) -> None:
    people.register("a@example.com", WORD)
    people.register("b@example.com", WORD)
    account, _ = people.login("b@example.com", WORD)

    with pytest.raises(StudioError) as caught:
        people.set_email(account.person, "a@example.com", WORD)

    assert code(caught) == "login_failed"
    assert people.set_email(account.person, "c@example.com", WORD).email == "c@example.com"


def test_the_host_sets_a_new_password_and_every_session_ends(people: People) -> None:
    people.register("a@example.com", WORD)
    _, secret = people.login("a@example.com", WORD)

    people.reset_password("a@example.com", "another long one")

    assert people.of_session(secret) is None
    people.login("a@example.com", "another long one")


def test_what_an_admin_did_is_written_down(people: People) -> None:
    people.note("u-admin", "open", "job-1")
    people.note("u-admin", "block", "g-1")

    assert [(one.act, one.about) for one in people.deeds()] == [("block", "g-1"), ("open", "job-1")]
