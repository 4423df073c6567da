"""bench_arm through the demo app: the script runs in a real shell, against a stand-in for Android's own commands."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from converters import manifest as manifests
from edge_vit.devices import records, via_app
from edge_vit.devices.machine import MachineError
from edge_vit.devices.runners import Call, Schedule

SCHEDULE = Schedule(warmup_runs=10, warmup_s=1, max_warmup_s=30, runs=50, min_s=5, max_s=300)
# What the app would do when it is started, in shell. It cannot write in a folder that it did not make itself.
AM = """#!/bin/sh
echo "$@" >> {log}
[ "$1" = start ] || exit 1
[ ! -d {files} ] || [ -f {files}/made-by-the-app ] || exit 0
mkdir -p {files}/models {files}/bench && : > {files}/made-by-the-app
case "$*" in *prepare*) exit 0 ;; esac
cp {record} {files}/bench/bench_arm.json
"""


@pytest.fixture
def runner(make_model):
    model = make_model()
    return via_app.ViaAppRunner(model, manifests.manifest_path(model))


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """Run a script with commands `pm` and `am` that behave like a phone's; returns code, lines, log, files left."""
    programs, files, log, record = tmp_path / "bin", tmp_path / "files", tmp_path / "log", tmp_path / "record"
    programs.mkdir()
    monkeypatch.setattr(via_app, "FILES", str(files))
    monkeypatch.setattr(via_app, "POLL_S", 0)

    def run(script, *, is_installed=True, record_text="{}", starts=True):
        record.write_text(record_text)
        log.write_text("")
        fail = "" if is_installed else "echo 'Failure [INSTALL_FAILED]'; exit 1"
        (programs / "pm").write_text(f"#!/bin/sh\necho pm $@ >> {log}\n{fail}\n")
        am = AM.format(log=log, record=record, files=files) if starts else "#!/bin/sh\nexit 1\n"
        (programs / "am").write_text(am)
        for program in programs.iterdir():
            program.chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={"PATH": path}, timeout=60)
        left = sorted(p.name for p in files.rglob("*") if p.is_file() and p.name != "made-by-the-app")
        return done.returncode, done.stdout.splitlines(), log.read_text(), left

    return run


def call(runner, tmp_path):
    folder = tmp_path / "pushed"
    folder.mkdir(exist_ok=True)
    for path in (runner.model, *runner.files().values()):
        (folder / path.name).write_bytes(path.read_bytes())
    return Call(
        folder=str(folder), model=f"./{runner.model.name}", inputs=(), output=None, threads=2, schedule=SCHEDULE
    )


def test_the_app_is_started_with_everything_and_nothing_is_left(runner, phone, tmp_path, ask):
    request = {"do": "record", "folder": str(runner.model.parent), "model": runner.model.name}
    made = ask(request | {"samples_us": [4000.0 + i for i in range(60)], "runs": 50})[0]["record"]
    script = runner.script(call(runner, tmp_path), None)
    code, lines, log, left = phone(script, record_text=json.dumps(made))
    assert code == 0 and left == []
    assert log.splitlines()[1] == "start -W -S -n edgevit.demo/.BenchActivity --ez prepare true"
    assert log.splitlines()[2] == (
        "start -W -S -n edgevit.demo/.BenchActivity --es model demo_int8.pte --es result bench_arm.json --ei threads 2"
        " --ei warmup_runs 10 --ei runs 50 --ef warmup_seconds 1 --ef max_warmup_seconds 30 --ef seconds 5"
        " --ef max_seconds 300"
    )
    output = runner.parse(lines)
    assert output.is_complete and output.samples_us == [4000.0 + i for i in range(60)]
    assert (output.first_us, output.load_us, output.peak_kb) == (9000, 21000, 40960)


def test_the_activity_knows_every_extra(runner, tmp_path):
    source = Path(__file__).parents[2] / "android_demo/app/src/main/java/edgevit/demo/BenchActivity.java"
    script = runner.script(call(runner, tmp_path), None)
    kinds = (("es", "getStringExtra"), ("ei", "getIntExtra"), ("ef", "getFloatExtra"), ("ez", "getBooleanExtra"))
    for kind, getter in kinds:
        names = [script.split()[i + 1] for i, word in enumerate(script.split()) if word == f"--{kind}"]
        assert names and all(f'{getter}("{name}"' in source.read_text() for name in names)


def test_the_app_makes_its_folder_once(runner, phone, tmp_path, ask):
    made = ask(
        {"do": "record", "folder": str(runner.model.parent), "model": runner.model.name, "samples_us": [], "runs": 1}
    )
    script = runner.script(call(runner, tmp_path), None)
    phone(script, record_text=json.dumps(made[0]["record"]))
    code, _, log, _ = phone(script, record_text=json.dumps(made[0]["record"]))
    assert code == 0 and "prepare" not in log


def test_a_folder_that_the_app_does_not_make_is_told(runner, phone, tmp_path, monkeypatch):
    monkeypatch.setattr(via_app, "FOLDER_WAIT_S", 2)
    (tmp_path / "files").mkdir()  # by the shell, before the app was first started
    code, _, _, _ = phone(runner.script(call(runner, tmp_path), None))
    assert code == via_app.NO_FOLDER and "did not make its folder" in via_app.explain(code)


def test_what_is_pushed_is_what_the_app_reads():
    demo = Path(__file__).parents[2] / "android_demo"
    catalog = (demo / "app/src/main/java/edgevit/demo/ModelCatalog.java").read_text()
    assert 'FOLDER = "models"' in catalog and "context.getExternalFilesDir(FOLDER)" in catalog
    readme = (demo / "README.md").read_text()
    assert f"{via_app.FILES}/models/" in readme and f"{via_app.FILES}/bench/" in readme
    assert 'applicationId = "edgevit.demo"' in (demo / "app/build.gradle.kts").read_text()
    assert via_app.FILES == "/sdcard/Android/data/edgevit.demo/files"


def test_an_apk_is_installed_first(make_model, phone, tmp_path):
    model = make_model()
    (tmp_path / "demo.apk").write_bytes(b"apk")
    runner = via_app.ViaAppRunner(model, manifests.manifest_path(model), tmp_path / "demo.apk")
    assert set(runner.files()) == {"demo_int8.pte.json", "edge_vit_demo.apk"} and len(runner.sha256) == 64
    _, _, log, _ = phone(runner.script(call(runner, tmp_path), None))
    assert log.splitlines()[:2] == ["pm install -r edge_vit_demo.apk", "pm path edgevit.demo"]


@pytest.mark.parametrize(
    "trouble, code, message",
    [
        ({"is_installed": False}, via_app.NOT_INSTALLED, "is not installed; build it"),
        ({"starts": False}, via_app.NOT_STARTED, "does not start"),
    ],
)
def test_failures_are_told_apart(trouble, code, message, runner, phone, tmp_path):
    found, lines, _, left = phone(runner.script(call(runner, tmp_path), None), **trouble)
    assert found == code and message in via_app.explain(code) and left == []
    assert not runner.parse(lines).is_complete


def test_an_app_that_writes_nothing_is_given_up(runner, phone, tmp_path):
    script = runner.script(call(runner, tmp_path), None).replace("/bench/bench_arm.json", "/bench/other.json")
    code, _, _, _ = phone(script)
    assert code == via_app.NO_RESULT and "wrote no result in time" in via_app.explain(code)
    assert via_app.explain(1) is None


def test_what_the_app_says_is_passed_on(runner):
    line = via_app.RESULT_MARK + json.dumps({"error": "demo_int8.pte: not the file that its manifest describes"})
    with pytest.raises(MachineError, match=r"could not measure demo_int8\.pte: demo_int8\.pte: not the file"):
        runner.parse([line])


def test_a_cut_line_is_no_result(runner):
    assert not runner.parse([via_app.RESULT_MARK + '{"rounds": [']).is_complete


def test_cores_cannot_be_chosen(runner, tmp_path):
    with pytest.raises(MachineError, match="an app cannot be pinned to cores"):
        runner.script(call(runner, tmp_path), 0xF0)


def test_a_missing_manifest_is_named(make_model, tmp_path):
    with pytest.raises(ValueError, match=r"no file .*gone\.json; measuring via the app takes a model"):
        via_app.ViaAppRunner(make_model(), tmp_path / "gone.json")


def test_an_apk_that_the_phone_refuses_is_told_with_its_reason(make_model, phone, tmp_path):
    model = make_model()
    (tmp_path / "demo.apk").write_bytes(b"apk")
    runner = via_app.ViaAppRunner(model, manifests.manifest_path(model), tmp_path / "demo.apk")
    code, lines, _, _ = phone(runner.script(call(runner, tmp_path), None), is_installed=False)
    assert code == via_app.REFUSED
    assert via_app.explain(code, ["Failure [INSTALL_FAILED]"]) == (
        "the demo app cannot be installed (Failure [INSTALL_FAILED])"
    )
    assert lines == ["Failure [INSTALL_FAILED]"]


def test_an_app_on_an_emulator_gives_a_count_and_no_times(runner, ask):
    request = {"do": "record", "folder": str(runner.model.parent), "model": runner.model.name, "is_emulated": True}
    made = ask(request | {"samples_us": [1000.0] * 50, "runs": 50})[0]["record"]
    output = runner.parse([via_app.RESULT_MARK + json.dumps(made)])
    assert output.is_complete and (output.samples_us, output.untimed) == ([], 50)
    record = records.Record(
        model="m", model_sha256="", model_bytes=1, device_name="phone", started="", threads=1, cores="all",
        max_drift=0.05, runs_asked=50, emulated=True,
    )  # fmt: skip
    record.add_round(output, 0)
    assert record.as_dict()["figures"] == {"num_samples": 50, "marks": ["emulated"]}
