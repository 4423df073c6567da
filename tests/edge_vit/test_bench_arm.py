"""The command line of bench_arm: configuration, messages, output on this machine; not devices."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from edge_vit import bench_arm
from edge_vit.devices import runner_build

DATA = Path(__file__).parents[1] / "devices" / "data"
INT8, FLOAT = DATA / "tiny_int8.tflite", DATA / "tiny_fp32.tflite"


def test_help_needs_nothing() -> None:
    code = (
        "import sys; from edge_vit import bench_arm\n"
        "try: bench_arm.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "heavy = {'numpy', 'torch', 'ai_edge_litert', 'adbutils'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    assert "--sustained MINUTES" in done.stdout and "--emulate" in done.stdout


def test_every_flag_reaches_the_settings(tmp_path: Path) -> None:
    words = [str(INT8), "--serial", "A", "--serial", "B", "--adb", "/x/adb", "--cores", "big", "--threads", "4"]
    words += [
        "--runs",
        "99",
        "--min-seconds",
        "7",
        "--max-seconds",
        "70",
        "--warmup-runs",
        "3",
        "--warmup-seconds",
        "2",
    ]
    words += ["--max-warmup-seconds", "9", "--repeat", "2", "--cool-down", "5", "--rounds", "4", "--sustained", "10"]
    words += ["--max-drift", "0.1", "--runner", "/x/run", "--litert-version", "2.2.0", "--emulated-runs", "3"]
    words += ["--csv", "a.csv", "--plot", "a.svg", "--results", "r", "--cache-dir", str(tmp_path)]
    request = bench_arm.request_from(bench_arm.build_parser().parse_args(words))
    s = request.settings
    assert (request.serials, request.adb, request.take_all, request.is_local) == (("A", "B"), "/x/adb", False, False)
    assert (s.cores, s.threads, s.runs, s.min_s, s.max_s) == ("big", 4, 99, 7, 70)
    assert (s.warmup_runs, s.warmup_s, s.max_warmup_s) == (3, 2, 9)
    assert (s.repeat, s.cool_down_s, s.rounds, s.sustained_min, s.max_drift) == (2, 5, 4, 10, 0.1)
    assert (s.runner, s.litert_version, s.emulated_runs) == (Path("/x/run"), "2.2.0", 3)
    assert (request.csv, request.plot, request.results, request.cache_dir) == (
        Path("a.csv"), Path("a.svg"), Path("r"), tmp_path,
    )  # fmt: skip


def test_defaults_are_the_documented_method() -> None:
    s = bench_arm.request_from(bench_arm.build_parser().parse_args([str(INT8)])).settings
    assert (s.runs, s.min_s, s.warmup_runs, s.threads, s.max_drift) == (50, 5, 10, 1, 0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["/no/such.tflite"], "no model /no/such.tflite"),
        ([__file__], "is neither a .tflite nor a .pte; bench_arm runs these two"),
        ([str(INT8), str(INT8)], "two models have the same file name"),
        ([str(INT8), "--local", "--all"], "choose one of --local, --emulate, and devices"),
        ([str(INT8), "--serial", "A", "--all"], "choose --serial or --all, not both"),
        ([str(INT8), "--by-operator"], "--by-operator counts instructions and so needs --emulate"),
        ([str(INT8), "--emulate", "--plot", "x.svg"], "--emulate has no latencies"),
        ([str(INT8), "--runs", "0"], "runs is 0; it must be at least 1"),
        ([str(INT8), "--threads", "9999"], "threads is 9999; it must be at most 1024"),
        ([str(INT8), "--min-seconds", "nan"], "min_s is nan; it must not be negative"),
        ([str(INT8), "--max-seconds", "inf"], "max_s is inf; it must be at most 86400"),
        ([str(INT8), "--max-seconds", "1"], "min_s is 5.0; it must be at most max_s, which is 1"),
        ([str(INT8), "--warmup-seconds", "40"], "warmup_s is 40.0; it must be at most max_warmup_s, which is 30"),
        ([str(INT8), "--sustained", "-1"], "sustained_min is -1.0; it must not be negative"),
        ([str(INT8), "--max-drift", "nan"], "max_drift is nan; it must be positive"),
        ([str(INT8), "--max-drift", "101"], "max_drift is 101.0; it must be at most 100"),
        ([str(INT8), "--warmup-runs", "-1"], "warmup_runs is -1; it must not be negative"),
        ([str(INT8), "--emulate", "--emulated-runs", "0"], "emulated_runs is 0; it must be at least 1"),
        ([str(INT8), "--litert-version", "../2.3.0"], "--litert-version '../2.3.0' is no release, such as 2.3.0"),
        ([str(INT8), "--cores", "fast"], "--cores is 'fast'; choose all, big, little, or a hexadecimal mask"),
        ([str(INT8), "--local", "--plot", "x.png"], "--plot x.png: only .svg can be drawn"),
        ([str(INT8), "--local", "--cache-dir", str(INT8)], "tiny_int8.tflite is not a folder"),
        ([str(INT8), "--emulate", "--cache-dir", str(INT8)], "tiny_int8.tflite is not a folder"),
        ([str(INT8), "--emulate", "--cpu", "z80"], "unknown core 'z80'; choose from "),
        ([str(INT8), "--local", "--half"], "--half is counted and not timed, and so needs --emulate"),
        ([str(INT8), "--emulate", "--half"], "cortex-a53 does not compute in float16; choose with --cpu from armv8.6-"),
        ([str(INT8), "--emulate", "--threads", "0"], "threads is 0; it must be at least 1"),
        ([str(INT8), "--local", "--cpu", "cortex-a53"], "--cpu names a core to emulate and so needs --emulate"),
        (["nowhere.onnx", "--simulate", "hexagon"], "nowhere.onnx: no such artefact"),
        ([str(INT8), "--simulate", "hexagon"], "tiny_int8.tflite is no .onnx, which hexagon runs"),
    ],
)
def test_misuse_exits_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert bench_arm.main(words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and message in said.err and said.err.count("\n") == 1 and not said.out


@pytest.mark.needs_executorch
def test_a_damaged_pte_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("executorch")
    program = tmp_path / "m.pte"
    program.write_bytes(bytes(1000))
    assert bench_arm.main([str(program), "--emulate", "--cpu", "cortex-a76"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "m.pte: damaged .pte file" in said[0]


def test_without_adb_the_message_is_one_line(capsys: pytest.CaptureFixture) -> None:
    assert bench_arm.main([str(INT8), "--adb", "/no/adb"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: no adb program at /no/adb; install") and said.err.count("\n") == 1


@pytest.mark.parametrize("where", [["--local"], ["--emulate"]])
def test_a_cache_that_is_a_file_is_one_line(
    where: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGE_VIT_CACHE", str(tmp_path / "file"))
    pytest.importorskip("ai_edge_litert")
    assert bench_arm.main([str(INT8), *where]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (
        len(said) == 1 and f"in {tmp_path / 'file'} (it is a file); choose another folder with --cache-dir" in said[0]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--local --results {file}", "cannot write {file}/results.jsonl: Not a directory"),
        ("--local --results {folders}", "cannot read {folders}/results.jsonl: Is a directory"),
        ("--local --results {damaged}", "{damaged}/results.jsonl line 1 is not a record; repair or remove it"),
        ("--local --results {binary}", "{binary}/results.jsonl is not text; repair or remove it"),
        ("--local --csv {file}/x.csv", "cannot write {file}/x.csv: Not a directory"),
        ("--local --csv {folders}", "cannot write {folders}: Is a directory"),
        ("--local --plot {file}/x.svg", "cannot write {file}/x.svg: Not a directory"),
        ("--emulate --results {file}", "cannot write {file}/instructions.jsonl: Not a directory"),
        ("--emulate --results {folders}", "cannot read {folders}/instructions.jsonl: Is a directory"),
        ("--emulate --results {damaged}", "{damaged}/instructions.jsonl line 1 is not a record; repair or remove it"),
    ],
)
def test_places_are_tried_before_measuring(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    places = {name: tmp_path / name for name in ("file", "folders", "damaged", "binary")}
    places["file"].touch()
    for name in ("results.jsonl", "instructions.jsonl"):
        (places["folders"] / name).mkdir(parents=True)
        for place, text in (("damaged", b"{}\n"), ("binary", b"\xff\xfe")):
            places[place].mkdir(exist_ok=True)
            (places[place] / name).write_bytes(text)
    before = sorted(tmp_path.rglob("*"))
    # Nothing can be kept in such a cache: it would say so if it came to measuring.
    command = [str(INT8), "--cache-dir", "/proc/none", *words.format(**places).split()]
    assert bench_arm.main(command) == 1
    assert capsys.readouterr().err == f"error: {message.format(**places)}\n"
    assert sorted(tmp_path.rglob("*")) == before


QUICK = ["--local", "--runs", "50", "--min-seconds", "0", "--warmup-seconds", "0", "--max-warmup-seconds", "1"]


@pytest.mark.needs_tflite
@pytest.mark.parametrize(
    ("words", "full"),
    [(["--results", "r"], "r/results.md"), (["--csv", "x.csv"], "x.csv"), (["--plot", "x.svg"], "x.svg")],
)
def test_records_outlive_a_full_disk(
    words: list[str], full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("ai_edge_litert")
    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()
    Path(f"{full}.part").symlink_to("/dev/full")
    assert bench_arm.main([str(INT8), *QUICK, *words]) == 1
    said = capsys.readouterr()
    (record,) = json.loads(said.out)
    assert record["is_complete"] and len(record["rounds"][0]["samples_us"]) >= 50
    (error,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert error == f"error: cannot write {full}: No space left on device; all records are on standard output"


@pytest.mark.needs_tflite
def test_a_disk_that_fills_while_records_are_appended_spoils_none(tmp_path: Path, cache_dir: Path) -> None:
    """A limit on the size of files breaks the append off in the middle, as a full disk does."""
    pytest.importorskip("ai_edge_litert")
    runner_build.local_runner(cache_dir)  # compiled before the limit is set
    limit, path = 32 << 20, tmp_path / "results.jsonl"
    old = {"figures": {"num_samples": 0, "marks": []}, "device": {}, "runner": {}, "emulated": True}
    old |= dict.fromkeys(("model", "device_name", "cores", "threads"), "old") | {"padding": ""}
    old["padding"] = "x" * (limit - len(json.dumps(old)) - 500)
    path.write_text(json.dumps(old) + "\n")
    code = (
        "import resource, sys; from edge_vit import bench_arm\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "raise SystemExit(bench_arm.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(INT8), *QUICK, "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"error: cannot write {path}: File too large; all records are on standard output" in done.stderr
    assert json.loads(done.stdout)[0]["is_complete"]
    assert path.read_text() == json.dumps(old) + "\n"


@pytest.mark.needs_tflite
def test_local_run_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("ai_edge_litert")
    words = [
        str(FLOAT),
        str(INT8),
        "--local",
        "--min-seconds",
        "0.1",
        "--warmup-seconds",
        "0",
        "--max-warmup-seconds",
        "1",
    ]
    words += ["--rounds", "2", "--csv", str(tmp_path / "x.csv"), "--plot", str(tmp_path / "x.svg")]
    assert bench_arm.main([*words, "--results", str(tmp_path / "r"), "--json"]) == 0
    said = capsys.readouterr()
    first, second = json.loads(said.out)
    assert first["figures"]["p50"] > 0 and second["ratio"]["value"] > 1
    assert "local: running tiny_fp32.tflite" in said.err
    assert (tmp_path / "x.csv").read_text().count("\n") == 3
    ElementTree.parse(tmp_path / "x.svg")
    assert "tiny_int8.tflite" in (tmp_path / "r" / "results.md").read_text()


@pytest.mark.needs_tflite
def test_a_failed_model_exits_with_1_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    crashing = tmp_path / "litert_runner"
    crashing.write_text("#!/bin/sh\nkill -ABRT $$\n")
    pytest.importorskip("ai_edge_litert")
    why = "local: tiny_int8.tflite: litert_runner crashed (SIGABRT) on tiny_int8.tflite on local"
    for words in ([], ["--json"]):
        assert bench_arm.main([str(INT8), "--local", "--runner", str(crashing), *words]) == 1
        said = capsys.readouterr()
        assert f"error: {why}" in said.err.splitlines()
        if words:
            assert json.loads(said.out)[0]["failure"]["kind"] == "runner failed"
        else:
            assert "failed: runner failed" in said.out and f"Failed:\n{why}" in said.out


@pytest.fixture
def model_for_the_app(tmp_path: Path) -> Path:
    model = tmp_path / "m.tflite"
    model.write_bytes(INT8.read_bytes())
    (tmp_path / "m.tflite.json").write_text("{}")
    return model


def test_flags_of_the_app_reach_the_settings(model_for_the_app: Path) -> None:
    apk = model_for_the_app.with_name("demo.apk")
    apk.write_bytes(b"apk")
    for words, expected in ((["--via-app"], (True, None)), (["--app", str(apk)], (True, apk)), ([], (False, None))):
        request = bench_arm.request_from(bench_arm.build_parser().parse_args([str(model_for_the_app), *words]))
        assert (request.settings.via_app, request.settings.app) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--via-app", "--cores", "f0"],
            "--cores f0: an app cannot be pinned to cores; leave --cores out with --via-app",
        ),
        (["--via-app", "--local"], "--via-app starts the demo app on a phone; leave --local and --emulate out"),
        (["--via-app", "--runner", "/x"], "the app brings its own runtime; leave --runner and --litert-version out"),
        (["--app", "/no/demo.apk"], "no file /no/demo.apk; --via-app takes each model with its manifest beside it"),
    ],
)
def test_flags_that_do_not_go_with_the_app(
    model_for_the_app: Path, words: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert bench_arm.main([str(model_for_the_app), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_model_for_the_app_needs_its_manifest(capsys: pytest.CaptureFixture) -> None:
    assert bench_arm.main([str(INT8), "--via-app"]) == 2
    assert "tiny_int8.tflite.json; --via-app takes each model with its manifest" in capsys.readouterr().err
