"""Files appear whole or not at all: full disks, interrupts, folders in the way."""

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
