"""Each runner's exact command line, and what its recorded output means."""

import dataclasses
import functools
import hashlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_vit.devices import runners
from edge_vit.devices.runners import BenchmarkModel, Call, ExecutorRunner, LiteRTRunner, Schedule

SCHEDULE = Schedule(warmup_runs=10, warmup_s=1, max_warmup_s=30, runs=50, min_s=5, max_s=300)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_bytes(b"program")
    return path


def call(model: str, *inputs: str, output: str | None = "./out") -> Call:
    return Call(folder="/data/local/tmp/ev", model=model, inputs=inputs, output=output, threads=2, schedule=SCHEDULE)


def test_litert_runner_command(program: Path) -> None:
    runner = LiteRTRunner(program, program, "2.3.0")
    assert runner.script(call("./m.tflite", "./in0", "./in1"), 0xC0) == (
        "cd /data/local/tmp/ev && exec taskset c0 ./litert_runner --library ./libLiteRt.so --model ./m.tflite "
        "--input ./in0 --input ./in1 --output ./out --threads 2 --warmup-runs 10 --warmup-seconds 1 "
        "--max-warmup-seconds 30 --runs 50 --seconds 5 --max-seconds 300 2>&1"
    )
    assert set(runner.files()) == {"litert_runner", "libLiteRt.so"}
    assert runner.sha256 == hashlib.sha256(b"program").hexdigest()


LITERT_OUTPUT = """\
INFO: [environment.cc:36] Creating LiteRT environment with options
{"event":"ready","load_us":812.4,"compile_us":10423.1,"inputs":1,"outputs":1}
{"event":"first","us":6120.0}
{"event":"warmup","us":[5200.1,5100.0]}
{"event":"samples","us":[5000.0,5010.5]}
{"event":"samples","us":[5020.0]}
{"event":"end","steady":true,"peak_kb":61234}
""".splitlines()


def test_litert_runner_output(program: Path) -> None:
    found = LiteRTRunner(program, program, "2.3.0").parse(LITERT_OUTPUT)
    assert (found.load_us, found.compile_us, found.first_us) == (812.4, 10423.1, 6120.0)
    assert found.warmup_us == [5200.1, 5100.0] and found.samples_us == [5000.0, 5010.5, 5020.0]
    assert found.is_steady is True and found.peak_kb == 61234 and found.is_complete


def test_litert_runner_output_that_was_cut_short(program: Path) -> None:
    found = LiteRTRunner(program, program, "2.3.0").parse([*LITERT_OUTPUT[:5], '{"event":"samples","us":[50'])
    assert found.samples_us == [5000.0, 5010.5] and not found.is_complete and found.peak_kb is None


def test_benchmark_model_command(program: Path) -> None:
    assert BenchmarkModel(program, "2.3.0").script(call("./m.tflite"), None) == (
        "cd /data/local/tmp/ev && exec ./benchmark_model --graph=./m.tflite --num_threads=2 --num_runs=50 --min_secs=5 "
        "--max_secs=300 --warmup_runs=10 --warmup_min_secs=1 --run_delay=-1 --run_frequency=-1 "
        "--report_peak_memory_footprint=false --enable_op_profiling=false --verbose=false 2>&1"
    )


# The form of benchmark_model's output, after its source (benchmark_model.cc, stats_calculator.h).
BENCHMARK_OUTPUT = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [50]
INFO: Loaded model ./m.tflite
INFO: Initialized session in 11.231ms.
INFO: Running benchmark for at least 10 iterations and at least 1 seconds but terminate if exceeding 300 seconds.
INFO: count=182 first=7120 curr=5301 min=5202 max=7120 avg=5432.7 std=201 p5=5230 median=5390 p95=5801

INFO: Running benchmark for at least 50 iterations and at least 5 seconds but terminate if exceeding 300 seconds.
INFO: count=934 first=5301 curr=5299 min=5190 max=6233 avg=5.33e+03 std=88 p5=5222 median=5310 p95=5480

INFO: Inference timings in us: Init: 11231, First inference: 7120, Warmup (avg): 5432.7, Inference (avg): 5330.1
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
INFO: Memory footprint delta from the start of the tool (MB): init=3.5 overall=12.25
""".splitlines()


def test_benchmark_model_output(program: Path) -> None:
    found = BenchmarkModel(program, "2.3.0").parse(BENCHMARK_OUTPUT)
    assert found.summary == {
        "count": 934, "first": 5301, "curr": 5299, "min": 5190, "max": 6233, "avg": 5330.0, "std": 88,
        "p5": 5222, "median": 5310, "p95": 5480,
    }  # fmt: skip
    assert (found.compile_us, found.first_us, found.warmup_us) == (11231, 7120, [5432.7])
    assert found.peak_kb == 12.25 * 1024 and found.is_complete and found.samples_us == []


def test_benchmark_model_cut_after_the_warm_up_has_no_figures(program: Path) -> None:
    found = BenchmarkModel(program, "2.3.0").parse(BENCHMARK_OUTPUT[:8])
    assert not found.is_complete and found.summary == {}


def test_executor_runner_command(program: Path) -> None:
    linux = ExecutorRunner(program, "given", is_android=False)
    flags = (
        "./executor_runner --model_path=./m.pte --inputs=./a,./b --output_file=./out --num_executions=60 "
        "--cpu_threads=2 --print_output=none 2>&1"
    )
    assert linux.script(call("./m.pte", "./a", "./b"), 3) == f"cd /data/local/tmp/ev && exec taskset 3 {flags}"
    android = ExecutorRunner(program, "given", is_android=True)
    assert android.script(call("./m.pte", "./a", "./b"), None) == (
        "logcat -c; logcat -s ExecuTorch >/data/local/tmp/ev/executor_runner.log 2>/dev/null & log=$!; "
        f"sh -c 'echo \"@pid $$\"; cd /data/local/tmp/ev && exec {flags}'; code=$?; "
        "sleep 1; kill $log 2>/dev/null; cat /data/local/tmp/ev/executor_runner.log; exit $code"
    )


# A log that keeps its last 200 lines, as a phone's keeps its last kilobytes; who follows it misses none.
LOGCAT = """#!/bin/sh
case $1 in
-c) : >{folder}/log ;;
-s) exec tail -n +1 -f {folder}/log ;;
*) exec tail -n 200 {folder}/log ;;
esac
"""
EXECUTOR = """#!/bin/sh
{{
    echo 'I ExecuTorch: Model loaded in 42.5 ms.'
    i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo "I ExecuTorch: Iteration $i of 3000: 5.0 ms"; done
    echo 'I ExecuTorch: Model executed successfully 3000 time(s) in 15000 ms.'
}} >>{folder}/log
exit 7
"""


def test_a_long_run_loses_nothing_of_the_log(tmp_path: Path) -> None:
    for name, text in (("logcat", LOGCAT), ("executor_runner", EXECUTOR)):
        (tmp_path / name).write_text(text.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    runner = ExecutorRunner(tmp_path / "executor_runner", "given", is_android=True)
    script = runner.script(dataclasses.replace(call("./m.pte"), folder=str(tmp_path)), None)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=path, timeout=60)
    found = runner.parse(done.stdout.splitlines())
    assert done.returncode == 7 and found.load_us == 42500 and found.is_complete
    assert len(found.warmup_us) + len(found.samples_us) == 3000


# After executor_runner.cpp's log statements, as logcat shows them.
EXECUTOR_OUTPUT = [
    "--------- beginning of main",
    "11-21 02:27:44.133  3 3 I ExecuTorch: Model file ./m.pte is loaded.",
    "11-21 02:27:44.140  3 3 I ExecuTorch: Model loaded in 42.500000 ms.",
    *(
        f"11-21 02:27:45.1  3 3 I ExecuTorch: Iteration {i + 1} of 12: {9 if i == 0 else 5 + i / 10:f} ms"
        for i in range(12)
    ),
    "11-21 02:27:46.1  3 3 I ExecuTorch: Model executed successfully 12 time(s) in 70.0 ms.",
]


def test_executor_runner_output(program: Path) -> None:
    runner = ExecutorRunner(program, "given", is_android=True)
    runner.script(call("./m.pte"), None)
    found = runner.parse(EXECUTOR_OUTPUT)
    assert found.load_us == 42500 and found.first_us == 9000 and found.is_complete
    assert len(found.warmup_us) == 10 and found.samples_us == [6000.0, 6100.0]
    assert not runner.parse(EXECUTOR_OUTPUT[:-1]).is_complete


@pytest.mark.parametrize(
    ("code", "lines", "message"),
    [
        (
            139,
            ["{...}", "Segmentation fault"],
            r"litert_runner crashed \(SIGSEGV\) on m.tflite on X: Segmentation fault",
        ),
        (132, [], r"crashed \(SIGILL\) on m.tflite on X$"),
        (
            127,
            ["sh: ./litert_runner: not found"],
            r"does not start on X \(exit code 127\): sh: ./litert_runner: not found",
        ),
        (
            3,
            ["litert_runner: cannot open"],
            r"could not load LiteRT's library on X \(exit code 3, m.tflite\): litert_runner: ",
        ),
        (4, ["INFO: x"], r"could not load the model on X \(exit code 4, m.tflite\)$"),
        (6, [], "failed at an inference"),
        (77, [], r"litert_runner failed on X \(exit code 77, m.tflite\)"),
    ],
)
def test_failures_are_explained(program: Path, code: int, lines: list[str], message: str) -> None:
    error = runners.explain_failure(LiteRTRunner(program, program, "1"), code, lines, "m.tflite", "X")
    assert error.kind == "runner failed"
    with pytest.raises(ValueError, match=message):
        raise error


def choose(model: str, cache: Path, given: Path | None = None, is_android: bool = False, is_local: bool = False):
    return runners.choose_runner(
        Path(model), is_android=is_android, is_local=is_local, given=given, cache_dir=cache, version="2.3.0"
    )


def test_chooses_the_runner(program: Path, tmp_path: Path) -> None:
    assert choose("m.pte", tmp_path, program).name == "executor_runner"
    assert choose("m.tflite", tmp_path, program, is_android=True).name == "benchmark_model"
    with pytest.raises(ValueError, match=r"ExecuTorch publishes no executor_runner for phones; build it .* --runner"):
        choose("m.pte", tmp_path)
    with pytest.raises(ValueError, match="no runner /no/such"):
        choose("m.tflite", tmp_path, Path("/no/such"))
    with pytest.raises(ValueError, match=r"m\.onnx is neither a \.tflite nor a \.pte"):
        choose("m.onnx", tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real server that publishes one release's benchmark_model."""
    (tmp_path / "www" / "2.3.0").mkdir(parents=True)
    (tmp_path / "www" / "2.3.0" / "benchmark_model").write_bytes(b"\x7fELF published")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{{version}}/{{name}}"
        running.shutdown()
        thread.join()


def test_downloads_benchmark_model_once_and_keeps_its_checksum(server: str, tmp_path: Path) -> None:
    found = runners.download_benchmark_model(tmp_path, "2.3.0", server)
    assert found.read_bytes() == b"\x7fELF published" and found.stat().st_mode & 0o111
    assert runners.download_benchmark_model(tmp_path, "2.3.0", "http://127.0.0.1:1/{version}/{name}") == found
    found.write_bytes(b"tampered")
    with pytest.raises(ValueError, match=r"is not what was downloaded \(SHA-256 differs\); delete"):
        runners.download_benchmark_model(tmp_path, "2.3.0", server)


def test_without_the_release_s_own_the_latest_is_taken_and_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "www" / "latest").mkdir()
    (tmp_path / "www" / "latest" / "benchmark_model").write_bytes(b"\x7fELF latest")
    found = runners.download_benchmark_model(tmp_path, "9.9", server)
    assert found.read_bytes() == b"\x7fELF latest" and found.with_name("release").read_text() == "latest\n"
    assert runners.download_benchmark_model(tmp_path, "2.3.0", server).with_name("release").read_text() == "2.3.0\n"


def test_a_failed_download_says_what_to_do_instead(server: str, tmp_path: Path) -> None:
    for base in ("http://127.0.0.1:1/{version}/{name}", server):
        with pytest.raises(
            ValueError, match=r"cannot download benchmark_model 9\.9 from http.*give it with --runner PATH"
        ):
            runners.download_benchmark_model(tmp_path, "9.9", base)
    assert not (tmp_path / "benchmark_model-9.9-android-arm64").exists()
