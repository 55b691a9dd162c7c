"""What is written down against what is there: settings, words, error codes, manifests, README."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from string import Formatter

import pytest
import yaml
from dotenv import dotenv_values

from studio import errors, settings, texts
from studio.engine.workflow.manifest import (
    Before,
    Derived,
    Length,
    Manifest,
    ModelFile,
    ModelNeed,
    OutputSpec,
    Parameter,
    Rule,
    Variant,
)
from studio.settings import PROJECT, Settings
from tests.shipped import CATALOG

READMES = ("README.md", "README.zh-TW.md")
SOURCES = sorted(path for path in (PROJECT / "studio").rglob("*.py"))


# --- what the code says -------------------------------------------------------------------------


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def literals(path: Path) -> Iterator[str]:
    """Every whole text in the code: no docstring, no part of an f-string."""
    apart = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    } | {
        id(part)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            yield node.value


def patterns(path: Path) -> Iterator[str]:
    """Every f-string that begins like a text key, as a regular expression."""
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.JoinedStr) or not node.values:
            continue
        first = node.values[0]
        if isinstance(first, ast.Constant) and re.match(r"[a-z_]+\.", str(first.value)):
            yield "".join(
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z0-9_]+"
                for part in node.values
            )


def tracked() -> list[Path]:
    """Every text file that the repository holds."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True, timeout=30
    )
    paths = [PROJECT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8000]]


# --- settings -----------------------------------------------------------------------------------


def default_text(field: str) -> str:
    """Write a field's default as `.env` and README show it."""
    default = Settings.model_fields[field].default
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, (int, float, str, Path)):
        return str(default)
    return ""


DEFAULTS = {settings.env_name(field): default_text(field) for field in Settings.model_fields}


def test_env_example_names_every_setting_once_with_its_default() -> None:
    text = (PROJECT / ".env.example").read_text("utf-8")
    lines = re.findall(r"^# ([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE)

    assert len(lines) == len(dict(lines))
    assert dict(lines) == DEFAULTS


def test_env_example_with_every_line_taken_in_is_the_default(tmp_path: Path) -> None:
    text = (PROJECT / ".env.example").read_text("utf-8")
    path = tmp_path / ".env"
    path.write_text(re.sub(r"^# (?=[A-Z][A-Z0-9_]*=)", "", text, flags=re.MULTILINE), "utf-8")

    assert len(dotenv_values(path)) == len(DEFAULTS)
    assert Settings(_env_file=path) == Settings(_env_file=None)


@pytest.mark.parametrize("readme", READMES)
def test_readme_lists_every_setting_with_its_default(readme: str) -> None:
    rows = table(readme, r"`([A-Z][A-Z0-9_]*)`")

    assert {name: cells[0].strip("`") for name, cells in rows.items()} == DEFAULTS


def test_every_setting_is_read_by_somebody() -> None:
    named = {
        node.attr
        for path in [*SOURCES, PROJECT / "studio_app.py"]
        if path.name != "settings.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
    }
    folded = {
        field
        for field in Settings.model_fields  # into comfy_urls, database_url, redis_url
        if field in ("comfy_host", "comfy_port", "redis_host", "redis_port", "redis_password")
        or field.startswith("db_")
    }
    by_method = {
        "comfy_token": "headers_for",
        "comfy_headers": "headers_for",
    }

    fields = set(Settings.model_fields) - folded
    unread = {field for field in fields if by_method.get(field, field) not in named}
    assert unread == set()


# --- error codes and words ----------------------------------------------------------------------


def test_every_error_code_has_a_sentence_and_a_hint() -> None:
    needed = {f"error.{code}{tail}" for code in errors.CODES for tail in ("", ".hint")}
    written = {key for key in texts.words("en") if key.startswith("error.")}

    assert written == needed


def test_every_raised_code_is_registered() -> None:
    raised = {
        str(node.args[0].value)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("StudioError", "Failure")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }

    assert raised - set(errors.CODES) == set()


def test_every_registered_code_is_raised_somewhere() -> None:
    said = {text for path in SOURCES if path.name != "errors.py" for text in literals(path)}

    assert set(errors.CODES) - said == set()


def test_both_languages_have_the_same_keys() -> None:
    english, chinese = (set(texts.words(language)) for language in texts.LANGUAGES)

    assert english ^ chinese == set()


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_both_languages_fill_the_same_places() -> None:
    english, chinese = (texts.words(language) for language in texts.LANGUAGES)

    differing = {key for key in english if places(english[key]) != places(chinese.get(key, ""))}
    assert differing == set()


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_no_text_is_empty(language: str) -> None:
    assert {key for key, text in texts.words(language).items() if not text.strip()} == set()


def test_chinese_is_written_as_in_taiwan() -> None:
    """Simplified characters and mainland words that slip in most easily."""
    wrong = re.compile(
        "[图话页务发处这个吗们无应种类视频错误删选择队败]|視頻|默認|服務器|隊列|軟件|文件夾|信息|上載"
    )

    assert {key for key, text in texts.words("zh-TW").items() if wrong.search(text)} == set()


def test_every_text_key_in_the_code_exists() -> None:
    known = set(texts.words("en"))
    spaces = {key.split(".")[0] for key in known if "." in key}
    looks_like_key = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(spaces)))})(\.[a-z0-9_]+)+")

    missing = {
        f"{path.relative_to(PROJECT)}: {text}"
        for path in SOURCES
        for text in literals(path)
        if looks_like_key.fullmatch(text) and text not in known and not is_file_name(text)
    }
    assert missing == set()


def is_file_name(text: str) -> bool:
    return text.endswith((".py", ".js", ".css", ".json", ".yaml", ".db", ".log", ".png"))


def test_no_text_is_left_that_nobody_says() -> None:
    said = {text for path in SOURCES for text in literals(path)}
    made = [re.compile(pattern) for path in SOURCES for pattern in patterns(path)]

    idle = {
        key
        for key in texts.words("en")
        if key not in said and not any(pattern.fullmatch(key) for pattern in made)
    }
    assert idle == set()


# --- workflows ----------------------------------------------------------------------------------


def test_no_workflow_is_broken() -> None:
    assert CATALOG.broken == ()


def translated(node: object, where: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Every `{en: ..., ...}` of a manifest, with its place."""
    if isinstance(node, dict):
        if "en" in node or "zh-TW" in node:
            yield where, node
        for key, below in node.items():
            yield from translated(below, f"{where}.{key}")
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from translated(below, f"{where}.{index}")


@pytest.mark.parametrize("name", sorted(CATALOG.workflows))
def test_a_manifest_speaks_both_languages_everywhere(name: str) -> None:
    manifest = yaml.safe_load((PROJECT / "workflows" / f"{name}.yaml").read_text("utf-8"))

    words = dict(translated(manifest, name))
    assert {where for where, said in words.items() if set(said) != set(texts.LANGUAGES)} == set()
    labelled = {f"{name}.parameters.{index}.label" for index in range(len(manifest["parameters"]))}
    assert labelled | {f"{name}.title"} <= set(words)


PARTS = {
    "manifest": Manifest,
    "parameter": Parameter,
    "variant": Variant,
    "derived": Derived,
    "length": Length,
    "rule": Rule,
    "before": Before,
    "output": OutputSpec,
    "model": ModelNeed,
    "file": ModelFile,
}


@pytest.mark.parametrize("readme", READMES)
def test_readme_lists_every_key_of_a_manifest(readme: str) -> None:
    text = (PROJECT / readme).read_text("utf-8")
    first_cells = re.findall(r"^\| ((?:`[a-z]+\.[a-z0-9_]+`[,、 ]*)+) \|", text, re.MULTILINE)
    listed = [key for cell in first_cells for key in re.findall(r"`([a-z]+\.[a-z0-9_]+)`", cell)]

    there = [f"{part}.{key}" for part, kind in PARTS.items() for key in kind.model_fields]
    assert sorted(listed) == sorted(there)


# --- README -------------------------------------------------------------------------------------


def table(readme: str, first: str) -> dict[str, list[str]]:
    """Rows of a README's tables whose first cell matches: its name -> the other cells."""
    rows: dict[str, list[str]] = {}
    for line in (PROJECT / readme).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        match = re.fullmatch(first, cells[0])
        if line.startswith("| ") and match:
            assert match[1] not in rows, f"{match[1]} stands twice in {readme}"
            rows[match[1]] = cells[1:]
    return rows


@pytest.mark.parametrize("readme", READMES)
def test_readme_lists_every_workflow_with_tab_version_and_memory(readme: str) -> None:
    language = "zh-TW" if "zh" in readme else "en"
    rows = table(readme, r"`([a-z][a-z0-9_]*)`")

    assert {name: tuple(cells[:3]) for name, cells in rows.items()} == {
        name: (
            CATALOG.tab(workflow.manifest.tab).title[language],
            workflow.manifest.minimum_comfyui,
            f"{workflow.manifest.vram_gb:g} GB",
        )
        for name, workflow in CATALOG.workflows.items()
    }


@pytest.mark.parametrize("readme", READMES)
def test_readme_says_where_every_needed_model_file_comes_from_and_goes(readme: str) -> None:
    needed = {
        need.model for workflow in CATALOG.workflows.values() for need in workflow.manifest.models
    }
    rows = table(readme, r"\[`([^`]+\.safetensors)`\]\(.*\)")
    links = dict(re.findall(r"\[`([^`]+\.safetensors)`\]\(([^)]+)\)", read(readme)))

    for name in needed:
        model = CATALOG.models[name]
        assert rows[model.file][0] == f"`models/{model.folder}`"
        assert links[model.file] == model.url
    assert set(rows) <= {model.file for model in CATALOG.models.values()}


@cache
def read(name: str) -> str:
    return (PROJECT / name).read_text("utf-8")


@pytest.mark.parametrize("readme", READMES)
def test_readme_points_only_at_files_that_are_there(readme: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", read(readme))
    local = [target for target in targets if "://" not in target]

    assert local
    assert [target for target in local if not (PROJECT / target).exists()] == []


@pytest.mark.parametrize("readme", READMES)
def test_readme_names_only_make_targets_that_are_there(readme: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))

    assert set(re.findall(r"`?make ([a-z]+)\b`?", code_of(readme))) <= targets


def code_of(readme: str) -> str:
    """Only what is set as code: prose may say "make it"."""
    text = read(readme)
    return "\n".join(re.findall(r"```.*?```", text, re.DOTALL) + re.findall(r"`[^`\n]+`", text))


def test_both_readmes_have_the_same_sections_and_code() -> None:
    english, chinese = (read(name) for name in READMES)

    def depths(text: str) -> list[int]:
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        return [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]

    def languages(text: str) -> list[str]:
        return re.findall(r"^```([a-z]+)$", text, re.MULTILINE)

    assert depths(english) == depths(chinese)
    assert languages(english) == languages(chinese)


def test_readme_begins_with_what_a_space_needs() -> None:
    _, front, _ = read("README.md").split("---\n", 2)
    card = yaml.safe_load(front)

    requirement = re.search(r"^gradio>=([\d.]+),<(\d+)$", read("requirements.txt"), re.MULTILINE)
    assert requirement
    assert card["sdk"] == "gradio"
    assert (PROJECT / card["app_file"]).is_file()
    assert str(card["sdk_version"]).startswith(requirement[1])
    assert int(str(card["sdk_version"]).split(".")[0]) < int(requirement[2])
    assert str(card["python_version"]) == "3.11"
    assert card["license"] == "mit"
    assert card["title"]
    assert card["emoji"]


# --- nothing of one machine ---------------------------------------------------------------------


def test_no_file_names_a_machine_or_a_package_host() -> None:
    """Folders of whoever wrote it; an invented home may stand in a test."""
    folders = r"work/|root/|tmp/(?:bash|pytest|team)"
    homes = r"home/[a-z]\w*/|Users/[A-Za-z]\w*/"
    hosts = "|".join(re.escape(host) for host in ("pypi" + ".org", "python" + "hosted.org"))
    found = set()
    for path in tracked():
        name = str(path.relative_to(PROJECT))
        mine = folders if name.startswith("tests/") else f"{folders}|{homes}"
        for match in re.finditer(rf"(?<![\w.~$/])/(?:{mine})|{hosts}", path.read_text("utf-8")):
            found.add(f"{name}: {match[0]}")

    assert found == set()
