"""The command line of bench_arm: configuration, messages, output on this machine; not devices."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from edge_vit import bench_arm

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
    config = bench_arm.config_from(bench_arm.build_parser().parse_args(words))
    s = config.settings
    assert (config.serials, config.adb, config.take_all, config.local) == (("A", "B"), "/x/adb", False, False)
    assert (s.cores, s.threads, s.runs, s.min_s, s.max_s) == ("big", 4, 99, 7, 70)
    assert (s.warmup_runs, s.warmup_s, s.max_warmup_s) == (3, 2, 9)
    assert (s.repeat, s.cool_down_s, s.rounds, s.sustained_min, s.max_drift) == (2, 5, 4, 10, 0.1)
    assert (s.runner, s.litert_version, s.emulated_runs) == (Path("/x/run"), "2.2.0", 3)
    assert (config.csv, config.plot, config.results, config.cache_dir) == (
        Path("a.csv"), Path("a.svg"), Path("r"), tmp_path,
    )  # fmt: skip


def test_defaults_are_the_documented_method() -> None:
    s = bench_arm.config_from(bench_arm.build_parser().parse_args([str(INT8)])).settings
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
    ],
)
def test_misuse_exits_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert bench_arm.main(words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and message in said.err and said.err.count("\n") == 1 and not said.out


def test_a_pte_cannot_be_emulated(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    program = tmp_path / "m.pte"
    program.write_bytes(b"pte")
    assert bench_arm.main([str(program), "--emulate"]) == 2
    assert "--emulate runs LiteRT and so takes .tflite, not m.pte" in capsys.readouterr().err


def test_without_adb_the_message_is_one_line(capsys: pytest.CaptureFixture) -> None:
    assert bench_arm.main([str(INT8), "--adb", "/no/adb"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: no adb program at /no/adb; install") and said.err.count("\n") == 1


def test_cores_that_are_none_are_told(capsys: pytest.CaptureFixture) -> None:
    assert bench_arm.main([str(INT8), "--local", "--cores", "fast"]) == 1
    assert "--cores is 'fast'; choose all, big, little" in capsys.readouterr().err


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
    assert bench_arm.main([str(INT8), "--local", "--runner", str(crashing)]) == 1
    out = capsys.readouterr().out
    assert "failed: runner failed" in out
    assert "Failed:\nlocal: tiny_int8.tflite: litert_runner crashed (SIGABRT) on tiny_int8.tflite on local" in out


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
        config = bench_arm.config_from(bench_arm.build_parser().parse_args([str(model_for_the_app), *words]))
        assert (config.settings.via_app, config.settings.app) == expected


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
