"""Run a .tflite on an emulated ARM core and count the instructions of one inference.

What runs is the published aarch64 LiteRT library, XNNPACK and all, in our runner, under qemu's user-mode emulation of
a named core. A plugin counts executed instructions. The count is deterministic and stands in for cost where no ARM
machine is at hand; it knows nothing of memory, caches and pipelines, and the emulator's milliseconds say nothing at
all and are therefore never reported.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder
from converters.tflite.reader import read_model
from edge_vit.devices import packages, runner_build
from edge_vit.devices.host_run import input_flags, seeded_inputs
from edge_vit.emulation import qemu
from edge_vit.emulation.attribution import Profile, attribute, profiler_spans
from edge_vit.emulation.cores import core, make_roots
from edge_vit.emulation.qemu import Emulated

RUNNER_FLAGS = ("-DCOUNT_MARKS", "-rdynamic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What emulation needs, unpacked and compiled."""

    qemu: qemu.Qemu
    roots: Path
    library: Path
    runner: Path
    litert_version: str

    @property
    def runtime(self) -> str:
        """Name the runtime and its release."""
        return f"LiteRT {self.litert_version}"


def prepare(cache_dir: Path | None = None) -> Toolchain:
    """Fetch and compile what emulation needs, or return what is already there.

    Args:
        cache_dir: Where it is kept; the user's cache folder by default.

    Raises:
        ValueError: If something cannot be had, naming the package.
    """
    cache = cache_folder(cache_dir)
    emulator = qemu.prepare(cache)
    libc = packages.fetch_debian(
        cache / f"libc-{qemu.SUITE}-arm64", qemu.SUITE, "arm64", ["libc6", "libstdc++6", "libgcc-s1"]
    )
    version = runner_build.litert_version()
    return Toolchain(
        qemu=emulator,
        roots=packages.once(cache / "roots-3", lambda part: make_roots(part, libc)),
        library=runner_build.aarch64_library(cache, version),
        runner=runner_build.compile_c(cache, runner_build.RUNNER_SOURCE, runner_build.RUNNER_TARGET, RUNNER_FLAGS),
        litert_version=version,
    )


def count_instructions(
    model: Path, cpu: str = "cortex-a76", *, runs: int = 3, toolchain: Toolchain | None = None
) -> int:
    """Return the instructions that one steady inference executes on `cpu`."""
    return emulate(model, cpu, runs=runs, toolchain=toolchain).instructions


def by_operator(model: Path, cpu: str = "cortex-a76", *, toolchain: Toolchain | None = None) -> Profile:
    """Return where the instructions of one inference go, operator by operator."""
    profile = emulate(model, cpu, with_profile=True, toolchain=toolchain).profile
    assert profile is not None
    return profile


def emulate(
    model: Path,
    cpu: str = "cortex-a76",
    *,
    inputs: Sequence[bytes] | None = None,
    runs: int = 3,
    threads: int = 1,
    with_profile: bool = False,
    in_half: bool = False,
    toolchain: Toolchain | None = None,
) -> Emulated:
    """Run a model on an emulated core.

    Args:
        model: The .tflite file.
        cpu: One of CPUS.
        inputs: The bytes of each input tensor; seeded random ones by default.
        runs: Inferences after the first two, each of which is counted; the median is the result.
        threads: Threads among which the runtime shares the work. All of them are counted, and also what they do while
            they wait for each other, so that such counts do not repeat.
        with_profile: Also attribute one more inference to the operators. The counts above do not include profiling.
        in_half: Let XNNPACK compute float operators in float16 (its flag FORCE_FP16), on a core that can.
        toolchain: What `prepare` returned; called when absent.

    Raises:
        ValueError: If the model or a part of the toolchain is missing, or the run fails.
    """
    if not core(cpu).has_half and in_half:
        raise ValueError(f"{cpu} does not compute in float16; choose a core that does, or leave it out")
    if not model.is_file():
        raise ValueError(f"no model {model}")
    if runs < 1:
        raise ValueError(f"runs is {runs}; at least one inference must be counted")
    tools = toolchain or prepare()
    tensors = inputs if inputs is not None else seeded_inputs(read_model(model).input_tensors)
    flags = ["--threads", str(threads), *(["--half"] if in_half else [])]
    counted, output = _run(tools, model, cpu, tensors, [*flags, "--runs", str(runs)])
    counts = counted.inference_counts()
    instructions = sorted(counts[-runs:])[runs // 2]
    profile = None
    if with_profile:
        profiled, _ = _run(tools, model, cpu, tensors, [*flags, "--runs", "1", "--profile"])
        spans = profiler_spans([r for r in profiled.records if r["event"] == "operator"])
        profile = attribute(profiled.marks, spans, instructions, [op.kind for op in read_model(model).operators])
    return Emulated(cpu=cpu, instructions=instructions, per_inference=counts[-runs:], output=output, profile=profile)


def _run(
    tools: Toolchain, model: Path, cpu: str, inputs: Sequence[bytes], flags: Sequence[str]
) -> tuple[qemu.Run, bytes]:
    """Run the runner; return what it left, and the output's bytes."""
    with tempfile.TemporaryDirectory(prefix="edge_vit-emulate-") as scratch:
        output = Path(scratch) / "output"
        command = [str(tools.runner), "--library", str(tools.library), "--model", str(model.resolve())]
        command += ["--output", str(output), "--warmup-runs", "1", *flags, *input_flags(inputs, Path(scratch))]
        found = qemu.run(tools.qemu, cpu, tools.roots / cpu, command, what=model.name)
        return found, output.read_bytes()
