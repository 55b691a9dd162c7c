from __future__ import annotations

from studio.engine.accounts import Guests


def test_a_guest_is_known_again_by_the_cookie() -> None:
    person, cookie = Guests("secret").new()

    assert Guests("secret").read(cookie) == person


def test_two_guests_are_two_persons() -> None:
    guests = Guests("secret")

    assert guests.new()[0] != guests.new()[0]


def test_a_forged_or_foreign_cookie_proves_nobody() -> None:
    person, cookie = Guests("other secret").new()
    guests = Guests("secret")

    assert guests.read(cookie) is None
    assert guests.read(person) is None
    assert guests.read(cookie[:-2] + "xx") is None
    assert guests.read("") is None
    assert guests.read(None) is None


def test_a_program_is_the_same_guest_for_its_whole_session() -> None:
    guests = Guests("secret")

    assert guests.of_session("abc") == guests.of_session("abc")
    assert guests.of_session("abc") != guests.of_session("abd")
    assert "abc" not in guests.of_session("abc")


def test_without_a_session_every_call_is_a_guest_of_its_own() -> None:
    guests = Guests("secret")

    assert guests.of_session(None) != guests.of_session("")


def test_a_token_proves_its_person_and_is_no_cookie() -> None:
    guests = Guests("secret")
    person, cookie = guests.new()

    token = guests.token(person)

    assert guests.read_token(token) == person
    assert guests.read(token) is None
    assert guests.read_token(cookie) is None
    assert guests.read_token(f"st_{cookie}") is None
    assert Guests("other secret").read_token(token) is None
