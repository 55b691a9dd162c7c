"""The README's examples for curl, run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image

from studio.settings import PROJECT
from tests.tabs.site import Site


def examples(readme: str) -> str:
    """Give all shell lines of the section on REST."""
    section = (PROJECT / readme).read_text("utf-8").split("\n### REST\n")[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


def test_both_readmes_have_the_same_examples() -> None:
    assert examples("README.md") == examples("README.zh-TW.md")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is needed")
def test_the_examples_work(site: Site, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "base.png")
    lines = examples("README.md").replace("http://127.0.0.1:7860", site.url)

    ran = subprocess.run(
        ["sh", "-eu", "-c", f'{lines}\necho; echo "TOKEN=$TOKEN"'],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )

    assert "event: end" in ran.stdout
    assert '"error":{' not in ran.stdout
    with Image.open(tmp_path / "lighthouse.png") as picture:
        assert picture.size == (1024, 1024)
    token = ran.stdout.rpartition("TOKEN=")[2].strip()
    own = {"Authorization": f"Bearer {token}"}
    listed = httpx.get(f"{site.url}/api/history", headers=own, trust_env=False).json()
    assert [job["workflow"] for job in listed["jobs"]] == ["image_blend_pixel", "text_to_image"]
