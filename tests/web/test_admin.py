"""The admin's routes: what they tell, what they change, and that others' works stay closed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis

from studio.engine.people import Role
from tests.tabs.site import Site
from tests.web.conftest import Ended, Order, events, members, programs
from tests.web.test_openapi import probe
from tests.web.test_rest import png

PROMPT = "a lighthouse nobody else may read of"


@pytest.fixture
def overseer(site: Site) -> Iterator[httpx.Client]:
    with members(site, role=Role.ADMIN) as admin:
        yield admin


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def lines(overseer: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    answer = overseer.get("/api/admin/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["jobs"])


def test_the_list_of_jobs_holds_no_prompt_and_no_file(
    overseer: httpx.Client, program: httpx.Client, order: Order, ended: Ended
) -> None:
    ref = program.post("/api/upload", files={"file": ("a.png", png())}).json()["filename"]
    job = ended(order(prompt=PROMPT)["job_id"])

    told = overseer.get("/api/admin/jobs").text

    assert job["job_id"] in told
    for secret in (PROMPT, "lighthouse", ref, job["outputs"][0]["name"], "outputs"):
        assert secret not in told
    one = lines(overseer)[0]
    assert (one["job_id"], one["workflow"]) == (job["job_id"], job["workflow"])
    assert (one["status"], one["email"], one["error"]) == ("completed", None, None)


def test_an_opened_job_shows_itself_and_its_files_to_the_one_who_opened_it(
    site: Site, overseer: httpx.Client, program: httpx.Client, ended: Ended
) -> None:
    ref = program.post("/api/upload", files={"file": ("a.png", png())}).json()["filename"]
    body = {"workflow": "image_blend_pixel", "images": [ref, ref]}
    job = ended(program.post("/api/generate", json=body).json()["job_id"])
    mine = job["outputs"][0]
    given = f"/inputs/{ref}?job={job['job_id']}"
    files = [mine["url"], mine["thumbnail_url"], mine["download_url"], given]
    assert [overseer.get(url).status_code for url in files] == [404] * 4

    opened = overseer.post(f"/api/admin/jobs/{job['job_id']}/open")

    assert opened.status_code == 200, opened.text
    shown = opened.json()
    assert shown["values"] == job["values"]
    assert [one.partition("?")[0] for one in shown["inputs"]] == [f"/inputs/{ref}"]
    answers = [overseer.get(url) for url in files]
    assert [one.status_code for one in answers] == [200] * 4
    assert {one.headers["cache-control"] for one in answers} == {"private, no-store"}
    assert overseer.get(f"/inputs/{ref}").status_code == 404
    assert overseer.get(f"/api/status/{job['job_id']}").status_code == 404
    with members(site, role=Role.ADMIN) as other, members(site) as member, programs(site) as guest:
        for one in (other, member, guest):
            assert [one.get(url).status_code for url in files] == [404] * 4
    with programs(site) as guest:
        ours = guest.post("/api/upload", files={"file": ("b.png", png("blue"))}).json()["filename"]
        # An opened job opens no other file of anybody.
        assert overseer.get(f"/inputs/{ours}?job={job['job_id']}").status_code == 404
    [deed] = [
        one for one in overseer.get("/api/admin/deeds").json()["deeds"] if one["act"] == "open"
    ]
    assert deed["about"] == job["job_id"]


def test_blocking_cancels_what_waits_and_keeps_the_guest_out(
    site: Site, overseer: httpx.Client, program: httpx.Client, order: Order
) -> None:
    assert site.practice is not None
    site.practice.faults.hold("KSampler")
    try:
        running, waiting = order(steps=4)["job_id"], [order()["job_id"] for _ in range(4)][-1]
        person = program.get("/api/me").json()["person"]

        blocked = overseer.post(f"/api/admin/people/{person}/block")

        assert blocked.json()["blocked"] is True
        assert code(program.get(f"/api/status/{waiting}")) == (401, "person_unknown")
        stopped = site.studio.ledger.get(waiting)
        assert stopped.cancel_wanted or stopped.state == "cancelled"
    finally:
        site.practice.faults.release()
    assert site.studio.ledger.get(running).cancel_wanted
    overseer.post(f"/api/admin/people/{person}/unblock").raise_for_status()
    assert events(program, waiting)[-1]["status"] == "cancelled"


def test_who_is_known_by_a_programs_session_alone_is_not_said_to_be_kept_out(
    overseer: httpx.Client,
) -> None:
    refused = overseer.post(f"/api/admin/people/s-{'1' * 32}/block")

    assert code(refused) == (409, "guest_fleeting")


def test_a_blocked_members_session_and_tokens_do_nothing(
    site: Site, overseer: httpx.Client
) -> None:
    with members(site) as member:
        person = member.get("/api/me").json()["person"]
        overseer.post(f"/api/admin/people/{person}/block").raise_for_status()
        assert member.get("/api/me").status_code == 401

        overseer.post(f"/api/admin/people/{person}/unblock").raise_for_status()
        assert member.get("/api/me").status_code == 200


def test_any_waiting_job_can_be_put_first_or_cancelled(
    site: Site, overseer: httpx.Client, order: Order
) -> None:
    assert site.practice is not None
    site.practice.faults.hold("KSampler")
    try:
        waiting = [order()["job_id"] for _ in range(6)][-1]
        first = overseer.post(f"/api/admin/jobs/{waiting}/priority")
        high = overseer.post(f"/api/admin/jobs/{waiting}/priority", json={"priority": 7})
        stopped = overseer.post(f"/api/admin/jobs/{waiting}/cancel")
    finally:
        site.practice.faults.release()

    assert (first.json()["priority"], high.json()["priority"]) == (1, 7)
    assert stopped.json()["status"] == "cancelled"
    for wrong in (-1, 1_000_001, "first", True):
        answer = overseer.post(f"/api/admin/jobs/{waiting}/priority", json={"priority": wrong})
        assert answer.status_code == 422


def test_an_invitation_is_a_link_for_one_person(site: Site, overseer: httpx.Client) -> None:
    made = overseer.post("/api/admin/invitations", json={"days": 2})

    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert made.json()["url"] == (f"{site.url}/account/register?invitation={made.json()['code']}")
    assert code(overseer.post("/api/admin/invitations", json={"days": 0}))[0] == 422


def test_roles_change_at_once(site: Site, overseer: httpx.Client) -> None:
    with members(site) as member:
        person = member.get("/api/me").json()["person"]
        assert code(member.get("/api/admin/limits")) == (403, "admin_needed")

        overseer.post(f"/api/admin/people/{person}/role", json={"role": "admin"}).raise_for_status()
        assert member.get("/api/admin/limits").status_code == 200

        overseer.post(
            f"/api/admin/people/{person}/role", json={"role": "member"}
        ).raise_for_status()
        assert code(member.get("/api/admin/limits")) == (403, "admin_needed")
        wrong = overseer.post(f"/api/admin/people/{person}/role", json={"role": "king"})
        assert code(wrong) == (422, "field_not_a_choice")


def test_an_admins_read_only_token_changes_and_opens_nothing(site: Site, order: Order) -> None:
    people = site.studio.people
    root = people.add("reader@example.com", "correct horse battery", role=Role.ADMIN)
    _, token = people.make_token(root.person, "reader", writes=False)
    job_id = order()["job_id"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=20, trust_env=False) as reader:
        assert reader.get("/api/admin/people").status_code == 200
        for path in (
            f"/api/admin/jobs/{job_id}/open",
            f"/api/admin/jobs/{job_id}/cancel",
            f"/api/admin/people/{root.person}/block",
            "/api/admin/invitations",
        ):
            assert code(reader.post(path)) == (403, "token_read_only")


def test_servers_are_shown_with_addresses_to_admins_only(
    site: Site, overseer: httpx.Client
) -> None:
    assert site.practice is not None

    house = overseer.get("/api/admin/servers").json()

    assert [one["url"] for one in house["servers"]] == [site.practice.url]
    assert [one["online"] for one in house["workers"]] == [True]
    limits = overseer.get("/api/admin/limits").json()["limits"]
    assert (limits["PROMPT_MAX_CHARS"], limits["STUDIO_ACCOUNTS"]) == (1000, "guests")


def test_no_request_the_schema_allows_an_admin_is_a_fault_of_ours(
    site: Site, overseer: httpx.Client
) -> None:
    schema = schemathesis.openapi.from_dict(overseer.get("/api/openapi.json").json())
    ours = [
        one.ok() for one in schema.get_all_operations() if one.ok().path.startswith("/api/admin/")
    ]
    for operation in ours:
        probe(site.url, dict(overseer.headers), operation)

    assert len(ours) == 12
