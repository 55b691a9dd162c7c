"""The API's documentation is true, and no request it allows is a fault of ours."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.tabs.site import Site
from tests.web.conftest import programs
from tests.web.test_access import TABLE


def test_every_route_of_the_api_is_documented(site: Site) -> None:
    schema = httpx.get(f"{site.url}/api/openapi.json", trust_env=False).json()

    written = {f"{m.upper()} {path}" for path, of in schema["paths"].items() for m in of}
    apart = {"GET /api/health", "GET /api/metrics", "GET /api/docs", "GET /api/openapi.json"}
    assert written == {row for row in TABLE if " /api/" in row} - apart


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_the_page_needs_nothing_from_elsewhere(site: Site, language: str) -> None:
    page = httpx.get(
        f"{site.url}/api/docs", headers={"Accept-Language": language}, trust_env=False
    ).text

    assert f'lang="{language}"' in page
    assert "<script" not in page
    assert not re.search(r"""(src|href|action)\s*=\s*["']?(https?:)?//|url\(|@import""", page)
    assert "POST /api/generate" in page


def test_no_request_the_schema_allows_is_a_fault_of_ours(site: Site) -> None:
    with programs(site) as program:
        schema = schemathesis.openapi.from_dict(program.get("/api/openapi.json").json())
        operations = [result.ok() for result in schema.get_all_operations()]
        for operation in operations:
            if not operation.path.startswith("/api/events"):
                probe(site.url, dict(program.headers), operation)

    assert len(operations) >= 22


def probe(url: str, headers: dict[str, str], operation: Any) -> None:
    """Send what the schema allows of one operation, the same in every run."""

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        answer = case.call(base_url=url, headers=headers)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)

    send()
