"""Files of a conversion appear together, or all stays as it was: artefacts, an ETRecord, the app's assets."""

from pathlib import Path

import pytest

from converters.manifest import load_for, manifest_path
from edge_vit.deployment import android
from edge_vit.deployment.publishing import Places, staged


@pytest.fixture
def app(tmp_path):
    project = tmp_path / "demo"
    (project / "app/src/main").mkdir(parents=True)
    return project


@pytest.fixture
def publish(make_model, tmp_path):
    """Return a function that publishes three made-up files, an ETRecord and the app's copies, as a conversion does."""

    def publish(places):
        with staged(places) as files:
            paths = []
            for suffix, target in ((".tflite", "tflite"), (".pte", "executorch"), (".mlpackage", "coreml")):
                made = make_model(f"demo_int8{suffix}", changes={"target": target})
                for path in (made, manifest_path(made)):
                    path.rename(files.folder / path.name)
                paths.append(files.folder / made.name)
            if files.etrecord is not None:
                files.etrecord.write_text("record")
            files.publish(paths)

    return publish


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def test_all_files_appear(publish, tmp_path, app):
    publish(Places(folder=tmp_path / "out/new", etrecord=tmp_path / "records/new/r.bin", app=app))
    names = {"demo_int8.tflite", "demo_int8.pte", "demo_int8.mlpackage"}
    assert set(tree(tmp_path / "out/new")) == names | {f"{name}.json" for name in names}
    assert tree(tmp_path / "records") == {"new": None, "new/r.bin": b"record"}
    assets = tree(app / android.ASSETS)
    assert set(assets) == {n for n in tree(tmp_path / "out/new") if not n.startswith("demo_int8.mlpackage")}
    assert load_for(app / android.ASSETS / "demo_int8.pte").target == "executorch"


def test_what_was_there_is_replaced(publish, tmp_path, app):
    places = Places(folder=tmp_path / "out", etrecord=tmp_path / "r.bin", app=app)
    (tmp_path / "out").mkdir()
    for name in ("out/demo_int8.pte", "out/demo_int8.pte.json", "out/other.pte", "r.bin"):
        (tmp_path / name).write_text("old")
    publish(places)
    assert (tmp_path / "r.bin").read_text() == "record" and (tmp_path / "out/other.pte").read_text() == "old"
    assert load_for(tmp_path / "out/demo_int8.pte") and len(tree(tmp_path / "out")) == 7


FAILS = {  # a path that cannot be written, and what is said
    "the first file": ("out/demo_int8.tflite/inside", "demo_int8.tflite is a folder, where a file is to be written"),
    "a manifest": ("out/demo_int8.tflite.json/inside", "demo_int8.tflite.json is a folder, where a file"),
    "the second target": ("out/demo_int8.pte/inside", "demo_int8.pte is a folder, where a file is to be written"),
    "the third target's manifest": ("out/demo_int8.mlpackage.json/inside", "demo_int8.mlpackage.json is a folder"),
    "the record": ("records/r.bin/inside", "r.bin is a folder, where a file is to be written"),
    "the app's copy": ("demo/app/src/main/assets/models/demo_int8.tflite/inside", "demo_int8.tflite is a folder"),
    "the app's last manifest": ("demo/app/src/main/assets/models/demo_int8.pte.json/inside", "json is a folder"),
}


@pytest.mark.parametrize("kind", FAILS)
def test_one_that_cannot_be_written_leaves_everything_as_it_was(kind, publish, tmp_path, app):
    """A good conversion is there already; of the next one, one path is taken by a full folder."""
    in_the_way, message = FAILS[kind]
    places = Places(folder=tmp_path / "out", etrecord=tmp_path / "records/r.bin", app=app)
    publish(places)
    for path in (tmp_path / "out").iterdir():
        path.write_text("a good file of before")
    folder = (tmp_path / in_the_way).parent
    folder.unlink()
    folder.mkdir()
    (tmp_path / in_the_way).write_text("somebody's")
    before = {name: tree(tmp_path / name) for name in ("out", "records", "demo")}
    with pytest.raises(ValueError, match=message):
        publish(places)
    assert {name: tree(tmp_path / name) for name in ("out", "records", "demo")} == before


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ("out", r"cannot write to .*out: .*; choose another --output-dir"),
        ("records", r"cannot write to .*records: .*; choose another --etrecord"),
        ("demo/app/src/main/assets/models", r"cannot write to .*models: .*; choose another project with --into, in"),
        ("demo/app/src/main/assets", r"cannot write to .*models: .*; choose another project with --into, in"),
    ],
)
def test_places_are_tried_before_anything_is_made(taken, message, tmp_path, app):
    path = tmp_path / taken
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file where a folder is expected")
    before = tree(tmp_path)
    with (
        pytest.raises(ValueError, match=message),
        staged(Places(folder=tmp_path / "out", etrecord=tmp_path / "records/r.bin", app=app)),
    ):
        pytest.fail("nothing may be made")
    assert tree(tmp_path) == before


def test_what_the_app_would_refuse_is_not_published_either(make_model, tmp_path, app):
    made = make_model(shape=(4, 32, 32, 3))
    with pytest.raises(ValueError, match="takes batches of 4; the app classifies one picture at a time"):  # noqa: SIM117
        with staged(Places(folder=tmp_path / "out", app=app)) as files:
            for path in (made, manifest_path(made)):
                path.rename(files.folder / path.name)
            files.publish([files.folder / made.name])
    assert not (tmp_path / "out").exists() and not (app / "app/src/main/assets").exists()


def test_the_app_s_project_is_checked(tmp_path):
    with (
        pytest.raises(ValueError, match="nowhere is not the app's project"),
        staged(Places(folder=tmp_path / "out", app=Path("nowhere"))),
    ):
        pytest.fail("nothing may be made")
    assert not any(tmp_path.iterdir())


def test_models_are_put_in_all_or_none(make_model, tmp_path, app, capsys):
    """`python -m edge_vit.deployment.android --only` brings back what it removed."""
    assert android.main([str(make_model("a.pte")), "--into", str(app)]) == 0
    assets = app / android.ASSETS
    (assets / "c.pte.json/inside").mkdir(parents=True)
    before = tree(assets)
    models = [str(make_model(name)) for name in ("b.pte", "c.pte")]
    assert android.main([*models, "--into", str(app), "--only"]) == 1
    assert "c.pte.json is a folder, where a file is to be written; move it away" in capsys.readouterr().err
    assert tree(assets) == before
