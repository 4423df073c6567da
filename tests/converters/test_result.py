"""Files appear whole or not at all: full disks, interrupts, folders in the way."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from converters import result


def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    """The system itself refuses the write: files may not grow beyond 1000 bytes."""
    script = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from converters.result import written_whole

        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            with written_whole(Path(sys.argv[1], "model.pte")) as temporary:
                temporary.write_bytes(bytes(100_000))
        except ValueError as e:
            print(e)
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot write ") and "File too large" in done.stdout
    assert "free space or choose another --output-dir; nothing was kept" in done.stdout
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("wrong numbers")])
def test_what_was_there_stays_when_the_new_one_fails(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "model.pte"
    path.write_text("old")
    with pytest.raises(type(error)), result.written_whole(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["model.pte"]


def test_a_folder_gives_way_to_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.mlpackage"
    for text in ("first", "second"):
        with result.written_whole(path) as temporary:
            temporary.mkdir()
            (temporary / text).touch()
    assert [p.name for p in path.iterdir()] == ["second"] and list(path.parent.iterdir()) == [path]


def test_staging_can_be_removed_from_outside(tmp_path: Path) -> None:
    with result.staging(tmp_path, ".x-") as folder:
        (folder / "file").touch()
        result.remove_staging()
        assert not folder.exists()
    result.remove_staging()
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write to .*out: Not a directory; choose another --output-dir"):
        result.written_whole(tmp_path / "file" / "out" / "m.pte").__enter__()


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/picture.jpg"),
        PermissionError(errno.EACCES, "Permission denied", "/sys/devices/cpu"),
        OSError(errno.EIO, "Input/output error"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        OSError("a runtime's own words"),
    ],
)
def test_an_error_that_is_not_about_writing_here_keeps_its_meaning(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(type(error)) as caught, result.staging(tmp_path / "out", ".x-"):
        raise error
    assert caught.value is error and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "{out}"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/tmp/of/a/tool"), "/tmp/of/a/tool"),
        (OSError(errno.EFBIG, "File too large"), "{out}"),
    ],
)
def test_no_room_is_said_whoever_writes(tmp_path: Path, error: OSError, where: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError) as caught, result.staging(out, ".x-", "choose another --etrecord"):
        raise error
    said = f"cannot write {where.format(out=out)}: {error.strerror}; free space or choose another --etrecord"
    assert str(caught.value) == f"{said}; nothing was kept"


def test_what_cannot_be_written_there_is_said_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot write .*model\.pte: Is a directory; free space or"):  # noqa: SIM117
        with result.staging(tmp_path, ".x-") as folder:
            (folder / "model.pte").mkdir()
            (folder / "model.pte").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="picture"), result.staging(tmp_path, ".x-"):
        (tmp_path / "picture").read_bytes()


def test_folders_made_in_vain_go_away_and_others_stay(tmp_path: Path) -> None:
    (tmp_path / "empty before").mkdir()
    for kept in ("empty before", "new/and newer"):
        with pytest.raises(RuntimeError), result.staging(tmp_path / kept, ".x-"):
            raise RuntimeError("wrong numbers")
    assert [path.name for path in tmp_path.iterdir()] == ["empty before"]
    with result.staging(tmp_path / "new/and newer", ".x-") as folder:
        (folder.parent / "file").touch()
    assert (tmp_path / "new/and newer/file").exists()


def tree(folder: Path) -> dict[str, str | None]:
    """Return every path below a folder with its content, None for folders."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in paths}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder with a file, a package (a folder) and a file that is to go."""
    place = tmp_path / "place"
    (place / "model.mlpackage").mkdir(parents=True)
    (place / "model.mlpackage/weights").write_text("old")
    (place / "model.pte").write_text("old")
    (place / "gone.pte").write_text("old")
    return place


def made(tmp_path: Path) -> list[tuple[Path | None, Path]]:
    """Write what is to be published; return the moves: two that overwrite, one that is new, one that removes."""
    new, place = tmp_path / "new", tmp_path / "place"
    (new / "model.mlpackage").mkdir(parents=True)
    (new / "model.mlpackage/Manifest").write_text("new")
    for name in ("model.pte", "model.tflite"):
        (new / name).write_text("new")
    names = ("model.mlpackage", "model.pte", "model.tflite")
    return [*((new / name, place / name) for name in names), (None, place / "gone.pte")]


def test_all_are_published_and_nothing_is_left_beside_them(tmp_path: Path, published: Path) -> None:
    result.publish_all(made(tmp_path))
    assert tree(published) == {
        "model.mlpackage": None, "model.mlpackage/Manifest": "new", "model.pte": "new", "model.tflite": "new",
    }  # fmt: skip


IN_THE_WAY = {
    "a full folder where a file goes": ("x.json", "x.json is a folder, where a file is to be written; move it away"),
    "a file where a folder goes": ("x.mlpackage", "x.mlpackage is a file, where a folder is to be written; move it"),
    "a file where its folder should be": ("file/x", "cannot write .*: Not a directory; nothing was changed"),
    "a folder that is not there": ("nowhere/x", "cannot write .*: No such file or directory; nothing was changed"),
    "a file that went away": ("y", "cannot write .*: No such file or directory; nothing was changed"),
}


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_one_that_fails_undoes_all(tmp_path: Path, published: Path, kind: str, position: int) -> None:
    """The first, a middle or the last move fails, for real: what was there is there again, what was not is not."""
    name, message = IN_THE_WAY[kind]
    (published / "x.json").mkdir()
    (published / "x.json/inside").write_text("somebody's")
    (published / "x.mlpackage").write_text("somebody's")
    (published / "file").write_text("somebody's")
    before = tree(published)
    moves = made(tmp_path)
    source = tmp_path / "source"
    if name == "x.mlpackage":
        source.mkdir()
    elif name != "y":
        source.write_text("new")
    moves.insert(position, (source, published / name))
    with pytest.raises(ValueError, match=message):
        result.publish_all(moves)
    assert tree(published) == before


def test_an_interrupt_undoes_all(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, moves, replace = tree(published), made(tmp_path), os.replace

    def interrupted(source: Path, target: Path) -> None:
        if Path(target).name == "model.tflite":
            monkeypatch.setattr(os, "replace", replace)
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result.publish_all(moves)
    assert tree(published) == before
