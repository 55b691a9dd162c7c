from __future__ import annotations

import contextlib
import datetime
import errno
import io
import os
import shutil
import subprocess
import sys
import wave
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from studio.engine.jobs import Job, Output, State
from studio.engine.store import Draft, Store
from studio.errors import StudioError

DAY = datetime.date(2026, 11, 25)
HOUSE = Path(__file__).parents[2]
MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(64)
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
WEBM = (
    b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm"
    + bytes(32)
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root)


def image(form: str, size: tuple[int, int] = (64, 48)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, "red").save(data, form)
    return data.getvalue()


def sound() -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return data.getvalue()


def add(draft: Draft, data: bytes, filename: str = "ComfyUI_00001_.png", node: str = "9") -> None:
    with draft.add(node, filename) as file:
        file.write(data)


def keep(store: Store, *files: bytes, job_id: str = "j-1", fence: int = 1) -> tuple[Output, ...]:
    with store.draft(job_id, fence, DAY) as draft:
        for data in files:
            add(draft, data)
        return draft.keep()


def everything(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


class TestKeeping:
    def test_files_are_kept_in_order_under_names_of_ours(self, store: Store, root: Path) -> None:
        first, second = keep(store, image("PNG"), image("JPEG", (30, 20)))

        assert everything(root) == [
            "2026/11/25/j-1/1/001.png",
            "2026/11/25/j-1/1/002.jpg",
        ]
        assert first == Output(
            0, "9", "image", "001.png", "2026/11/25/j-1/1/001.png", "image/png",
            len(image("PNG")), 64, 48,
        )  # fmt: skip
        assert (second.index, second.width_px, second.height_px) == (1, 30, 20)
        assert store.path(second).read_bytes() == image("JPEG", (30, 20))

    def test_nothing_is_seen_before_all_is_there(self, store: Store, root: Path) -> None:
        with store.draft("j-1", 1, DAY) as draft:
            add(draft, image("PNG"))
            assert not (root / "2026").exists()
            draft.keep()
            assert (root / "2026").exists()

    def test_a_draft_that_is_not_kept_leaves_nothing(self, store: Store, root: Path) -> None:
        with contextlib.suppress(ValueError), store.draft("j-1", 1, DAY) as draft:
            add(draft, image("PNG"))
            raise ValueError

        assert everything(root) == []

    def test_a_download_that_breaks_off_adds_nothing_and_others_are_kept(
        self, store: Store, root: Path
    ) -> None:
        with store.draft("j-1", 1, DAY) as draft:
            add(draft, image("PNG"))
            with contextlib.suppress(ConnectionError), draft.add("9", "b.png") as file:
                file.write(b"half")
                raise ConnectionError
            add(draft, image("GIF"))
            outputs = draft.keep()

        assert [output.name for output in outputs] == ["001.png", "002.gif"]
        assert len(everything(root)) == 2

    def test_two_claims_of_one_job_never_share_a_folder(self, store: Store) -> None:
        [old] = keep(store, image("PNG"), fence=1)
        [new] = keep(store, image("PNG", (8, 8)), fence=2)

        assert store.path(old) != store.path(new)

    def test_the_same_claim_may_keep_again(self, store: Store, root: Path) -> None:
        keep(store, image("PNG"), image("PNG"))
        [only] = keep(store, image("GIF"))

        assert everything(root) == [only.path]

    @pytest.mark.parametrize("job_id", ["../x", "a/b", "", ".", "..", "a\\b", ".drafts", "x" * 200])
    def test_a_job_id_that_is_no_plain_name_is_refused(
        self, store: Store, root: Path, job_id: str
    ) -> None:
        with pytest.raises(ValueError, match="folder"), store.draft(job_id, 1, DAY):
            pass

        assert not root.parent.joinpath("x").exists()


class TestKinds:
    @pytest.mark.parametrize(
        ("data", "filename", "kind", "mime", "name"),
        [
            (image("PNG"), "a.png", "image", "image/png", "001.png"),
            (image("WEBP"), "a.jpeg", "image", "image/webp", "001.webp"),
            (image("JPEG"), "a.php", "image", "image/jpeg", "001.jpg"),
            (image("GIF"), "a", "image", "image/gif", "001.gif"),
            (image("BMP"), "a", "image", "image/bmp", "001.bmp"),
            (image("TIFF"), "a", "image", "image/tiff", "001.tiff"),
            (MP4, "a.mp4", "video", "video/mp4", "001.mp4"),
            (WEBM, "a.webm", "video", "video/webm", "001.webm"),
            (sound(), "a.wav", "audio", "audio/wav", "001.wav"),
            (b"fLaC" + bytes(40), "a.flac", "audio", "audio/flac", "001.flac"),
            (b"ID3\x04" + bytes(40), "a.mp3", "audio", "audio/mpeg", "001.mp3"),
            (b"OggS" + bytes(40), "a.opus", "audio", "audio/ogg", "001.ogg"),
            ("一隻貓\n".encode(), "a.txt", "text", "text/plain; charset=utf-8", "001.txt"),
            (b'{"a": 1}', "a.json", "text", "application/json", "001.json"),
            (
                b"<script>alert(1)</script>",
                "a.html",
                "text",
                "text/plain; charset=utf-8",
                "001.txt",
            ),
            (b"<svg onload='x'/>", "a.svg", "file", "application/octet-stream", "001.svg"),
            (bytes(range(256)), "../../x.glb", "file", "application/octet-stream", "001.glb"),
            (b"v 0 0 0\n", "a.OBJ", "file", "application/octet-stream", "001.obj"),
            (
                b"\x76\x2f\x31\x01" + bytes(40),
                "a.exr",
                "file",
                "application/octet-stream",
                "001.exr",
            ),
            (bytes(40), "a.latent", "file", "application/octet-stream", "001.latent"),
            (bytes(range(256)), "a.exe", "file", "application/octet-stream", "001.bin"),
            (b"a,b\n", "a.csv", "text", "text/plain; charset=utf-8", "001.csv"),
            (HEIC, "a.png", "image", "image/heic", "001.heic"),
            (b"", "a.png", "file", "application/octet-stream", "001.bin"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_content_tells_what_a_file_is(
        self, store: Store, data: bytes, filename: str, kind: str, mime: str, name: str
    ) -> None:
        with store.draft("j-1", 1, DAY) as draft:
            add(draft, data, filename)
            [output] = draft.keep()

        assert (output.kind, output.mime, output.name) == (kind, mime, name)
        assert store.path(output).read_bytes() == data

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
    def test_the_size_of_a_picture_is_read_from_its_header(self, store: Store, form: str) -> None:
        [output] = keep(store, image(form, (33, 17)))

        assert (output.width_px, output.height_px) == (33, 17)

    def test_a_picture_too_large_for_memory_is_kept_with_its_size(self, store: Store) -> None:
        small, side = image("PNG"), (40_000).to_bytes(4, "big")
        header = small[12:16] + side + side + small[24:29]
        huge = small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]

        [output] = keep(store, huge)

        assert (output.width_px, output.height_px) == (40_000, 40_000)

    def test_a_broken_picture_is_kept_without_a_size(self, store: Store) -> None:
        [output] = keep(store, image("PNG")[:20])

        assert (output.kind, output.width_px) == ("image", 0)

    def test_large_texts_may_be_cut_in_the_middle_of_a_character(self, store: Store) -> None:
        [output] = keep(store, ("x" + "貓" * 5000).encode())

        assert output.kind == "text"


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        ["../secret", "/etc/passwd", "2026/../../secret", "", ".", "2026", "no/such.png"],
    )
    def test_no_path_leaves_the_root(self, store: Store, root: Path, path: str) -> None:
        (root.parent / "secret").write_text("secret")
        [output] = keep(store, image("PNG"))

        with pytest.raises(StudioError) as caught:
            store.path(replace(output, path=path))

        assert caught.value.code == "file_unknown"

    def test_a_link_out_of_the_root_is_not_followed(self, store: Store, root: Path) -> None:
        secret = root.parent / "secret"
        secret.write_text("secret")
        [output] = keep(store, image("PNG"))
        (root / "link.png").symlink_to(secret)
        (root / "up").symlink_to(root.parent)

        for path in ("link.png", "up/secret"):
            with pytest.raises(StudioError, match="file_unknown"):
                store.path(replace(output, path=path))

    def test_a_root_that_is_a_link_itself_is_fine(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "outputs").symlink_to(tmp_path / "disk")
        store = Store(tmp_path / "outputs")

        [output] = keep(store, image("PNG"))

        assert store.path(output).is_file()


class TestRemoving:
    def job(self, outputs: tuple[Output, ...], job_id: str = "j-1") -> Job:
        return Job(job_id, "anna", "t", "w", {}, State.COMPLETED, outputs=outputs)

    def test_a_removed_job_leaves_no_file_and_others_stay(self, store: Store, root: Path) -> None:
        outputs = keep(store, image("PNG"), image("PNG"))
        [other] = keep(store, image("PNG"), job_id="j-2")

        store.remove(self.job(outputs))
        store.remove(self.job(outputs))

        assert everything(root) == [other.path]

    def test_a_row_that_names_files_of_another_job_removes_nothing(
        self, store: Store, root: Path
    ) -> None:
        outputs = keep(store, image("PNG"), job_id="j-2")

        store.remove(self.job(outputs, "j-1"))

        assert everything(root) == [outputs[0].path]


class TestSweeping:
    def aged(self, folder: Path, seconds: float) -> None:
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))

    def test_abandoned_drafts_go_and_growing_ones_stay(self, store: Store, root: Path) -> None:
        for name in ("dead-1", "live-1"):
            folder = root / ".drafts" / name
            folder.mkdir(parents=True)
            (folder / "001.part").write_bytes(b"x")
            self.aged(folder, 7200)
        (root / ".drafts" / "live-1" / "002.part").write_bytes(b"x")

        assert store.sweep_drafts(3600) == 1
        assert {path.name for path in (root / ".drafts").iterdir()} == {"live-1"}

    def test_kept_folders_that_no_row_knows_go_when_old(self, store: Store, root: Path) -> None:
        [known] = keep(store, image("PNG"), job_id="j-1", fence=2)
        keep(store, image("PNG"), job_id="j-1", fence=1)
        keep(store, image("PNG"), job_id="lost")
        self.aged(root, 7200)
        [fresh] = keep(store, image("PNG"), job_id="fresh")

        removed = store.sweep_unknown(lambda asked: {("j-1", 2)} & set(asked), 3600)

        assert removed == 2
        assert everything(root) == sorted([known.path, fresh.path])
        assert not (root / "2026/11/25/lost").exists()

    def test_sweeping_an_empty_house_is_fine(self, store: Store) -> None:
        assert store.sweep_drafts(0) == 0
        assert store.sweep_unknown(lambda asked: set(), 0) == 0

    def test_links_are_never_swept_through(self, store: Store, root: Path, tmp_path: Path) -> None:
        treasure = tmp_path / "treasure"
        (treasure / "1").mkdir(parents=True)
        (treasure / "1" / "file").write_text("x")
        (root / "2026/11/25").mkdir(parents=True)
        (root / "2026/11/25/j-1").symlink_to(treasure)
        (root / ".drafts").mkdir()
        (root / ".drafts/d").symlink_to(treasure)

        store.sweep_unknown(lambda asked: set(), -1)
        store.sweep_drafts(-1)

        assert (treasure / "1" / "file").exists()


SMALL_FILES = """
import datetime, resource, sys
from pathlib import Path
from studio.engine.store import Store
from studio.errors import StudioError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with Store(Path(sys.argv[1])).draft("j-1", 1, datetime.date(2026, 11, 25)) as draft:
        with draft.add("9", "a.png") as file:
            file.write(b"x" * 50_000)
        with draft.add("9", "b.png") as file:
            for _ in range(10):
                file.write(b"x" * 30_000)
        draft.keep()
except StudioError as error:
    print(error.code)
"""


class TestFullDisk:
    def test_a_file_that_hits_the_limit_leaves_nothing_half(self, root: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", SMALL_FILES, str(root)],
            env=os.environ | {"PYTHONPATH": str(HOUSE)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )

        assert done.stdout.strip() == "disk_full"
        assert everything(root) == []

    def test_a_full_disk_is_told_at_the_write_and_leaves_nothing(self, small_disk: Path) -> None:
        store = Store(small_disk / "outputs")
        [before] = keep(store, image("PNG"), job_id="before")
        told: list[str] = []

        def download() -> None:
            with store.draft("j-1", 1, DAY) as draft, draft.add("9", "a.png") as file:
                try:
                    for _ in range(100):
                        file.write(b"x" * 65_536)
                except OSError as error:  # what an HTTP client would take for its own
                    told.append(repr(error))

        with pytest.raises(StudioError) as caught:
            download()

        assert (caught.value.code, told) == ("disk_full", [])
        assert everything(small_disk / "outputs") == [before.path]
        assert shutil.disk_usage(small_disk).free > 900_000

    def test_a_folder_that_cannot_be_made_is_a_full_disk_too(self, small_disk: Path) -> None:
        filler = (small_disk / "filler").open("wb", buffering=0)
        with filler, contextlib.suppress(OSError):
            while filler.write(b"x" * 4096):
                pass

        with pytest.raises(StudioError, match="disk_full"):
            keep(Store(small_disk / "outputs"), image("PNG"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte, where mounting is allowed (as root, under Linux)."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("no small disk can be mounted here; the limit of file sizes is tested")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_other_faults_of_the_disk_are_not_called_full(
    store: Store, code: int, raising: Callable[[int], OSError]
) -> None:
    with pytest.raises(OSError, match=os.strerror(code)), store.draft("j-1", 1, DAY):
        raise raising(code)


@pytest.fixture
def raising() -> Callable[[int], OSError]:
    return lambda code: OSError(code, os.strerror(code))
