"""Run a .pte on an emulated ARM core and count the instructions of one inference: no Python under the emulator.

What runs is ExecuTorch's runtime and XNNPACK out of its published aarch64 wheel, which holds them as libraries with
their headers; a small C++ program is linked with them. Loading and one inference take a second; with Python and torch
under the emulator they took minutes. What is counted, and what it says, is told in emulation/tflite.py.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converters.cache import cache_folder
from converters.network import NetworkOperator
from edge_vit.devices import packages, runner_build
from edge_vit.devices.host_run import model_inputs, seeded_inputs
from edge_vit.emulation import qemu
from edge_vit.emulation.attribution import Span, attribute
from edge_vit.emulation.cores import core, make_roots
from edge_vit.emulation.qemu import Emulated

RUNNER_SOURCE = Path(__file__).with_name("csrc") / "pte_runner.cpp"
AARCH64_WHEEL = "manylinux_2_28_aarch64"
WHEEL_MEMBERS = r"^executorch/(lib/|include/)"
# A file's operators register themselves when these are loaded.
LIBRARIES = ("executorch", "executorch_threadpool", "executorch_backend_xnnpack", "executorch_kernels_optimized",
             "executorch_kernels_quantized")  # fmt: skip
# They ask for a newer C++ library than Debian 12 has.
SUITE = "trixie"
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
# XNNPACK's operators in a .pte file, and what TFLite calls them, where upper case is not enough.
_KINDS = {
    "Add": "ADD", "AvgPooling2d": "AVERAGE_POOL_2D", "BatchMatrixMultiply": "BATCH_MATMUL", "Clamp": "RELU6",
    "Conv2d": "CONV_2D", "DepthwiseConv2d": "DEPTHWISE_CONV_2D", "Divide": "DIV", "FullyConnected": "FULLY_CONNECTED",
    "GlobalAvgPooling2d": "MEAN", "Hardswish": "HARD_SWISH", "Multiply": "MUL", "Sigmoid": "LOGISTIC",
    "Subtract": "SUB",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PteToolchain:
    """What running a .pte takes, unpacked and compiled."""

    qemu: qemu.Qemu
    roots: Path
    libraries: Path
    runner: Path
    executorch_version: str

    @property
    def runtime(self) -> str:
        """Name the runtime and its release."""
        return f"ExecuTorch {self.executorch_version}"


def prepare(cache_dir: Path | None = None) -> PteToolchain:
    """Fetch and compile everything, or return what is already there.

    Args:
        cache_dir: Where it is kept; the user's cache folder by default.

    Raises:
        ValueError: If a package cannot be had, or ExecuTorch, whose release is taken, is not installed.
    """
    cache = cache_folder(cache_dir)
    version = _installed_version()
    libc = packages.fetch_debian(cache / f"libc-{SUITE}-arm64", SUITE, "arm64", PACKAGES)
    wheel = packages.fetch_wheel(
        cache / f"executorch-{version}-aarch64-libraries", f"executorch=={version}", platform=AARCH64_WHEEL,
        members=WHEEL_MEMBERS,
    )  # fmt: skip
    return PteToolchain(
        qemu=qemu.prepare(cache),
        roots=packages.once(cache / f"roots-{SUITE}-3", lambda part: make_roots(part, libc)),
        libraries=wheel / "executorch/lib",
        runner=_compile(cache, wheel / "executorch", version),
        executorch_version=version,
    )


def run(
    model: Path, data: bytes, cpu: str = "cortex-a76", *, threads: int = 1, toolchain: PteToolchain | None = None
) -> bytes:
    """Return the bytes of a model's output for those of its input; arguments and errors as `emulate`."""
    _check(model, cpu)
    return _run(toolchain or prepare(), model, cpu, data, threads=threads, runs=1, with_profile=False)[1]


def emulate(
    model: Path,
    cpu: str = "cortex-a76",
    *,
    inputs: Sequence[bytes] | None = None,
    runs: int = 3,
    threads: int = 1,
    with_profile: bool = False,
    toolchain: PteToolchain | None = None,
) -> Emulated:
    """Run a model on an emulated core.

    Args:
        model: The .pte file, of one input.
        cpu: One of CPUS.
        inputs: The bytes of the input tensor; seeded random ones by default.
        runs: Inferences after the first two, each of which is counted; the median is the result.
        threads: Threads among which the runtime shares the work; all are counted, see `emulation.tflite.emulate`.
        with_profile: Also attribute one more inference to the operators. The counts above do not include profiling.
        toolchain: What `prepare` returned; called when absent.

    Raises:
        ValueError: If the core is unknown, the model is missing or damaged, or the run fails.
        ImportError: If ExecuTorch is not installed.
    """
    from converters.executorch import network

    _check(model, cpu)
    if runs < 1:
        raise ValueError(f"runs is {runs}; at least one inference must be counted")
    tools = toolchain or prepare()
    (data,) = inputs if inputs is not None else seeded_inputs(model_inputs(model))
    counted, output = _run(tools, model, cpu, data, threads=threads, runs=runs + 2, with_profile=False)
    counts = counted.inference_counts()[-runs:]
    instructions = sorted(counts)[runs // 2]
    profile = None
    if with_profile:
        profiled, _ = _run(tools, model, cpu, data, threads=threads, runs=2, with_profile=True)
        kernels = iter(network.own_kernels(model))
        spans = [Span(**r | ({} if r["is_delegated"] else {"name": next(kernels)})) for r in profiled.records]
        operators = network.read(model)
        kinds = [_kind(op, operators) for op in operators]
        profile = attribute(profiled.marks, spans, instructions, kinds)
    return Emulated(cpu=cpu, instructions=instructions, per_inference=counts, output=output, profile=profile)


def _kind(operator: NetworkOperator, operators: Sequence[NetworkOperator]) -> str:
    """Name an operator as TFLite would; what changes the precision is named by what it reads."""
    if operator.kind == "Convert":
        reads_float = any(operators[i].precision == "float32" for i in operator.sources)
        return "QUANTIZE" if reads_float else "DEQUANTIZE"
    return _KINDS.get(operator.kind, operator.kind.upper())


def _check(model: Path, cpu: str) -> None:
    core(cpu)
    if not model.is_file():
        raise ValueError(f"no model {model}")


def _run(
    tools: PteToolchain, model: Path, cpu: str, data: bytes, *, threads: int, runs: int, with_profile: bool
) -> tuple[qemu.Run, bytes]:
    """Run the runner; return what it left, and the output's bytes."""
    with tempfile.TemporaryDirectory(prefix="edge_vit-pte-") as scratch:
        source, target = Path(scratch) / "input", Path(scratch) / "output"
        source.write_bytes(data)
        command = [str(tools.runner), str(model.resolve()), str(source), str(target)]
        command += [str(threads), str(runs), str(int(with_profile))]
        environment = _environment(tools)
        found = qemu.run(tools.qemu, cpu, tools.roots / cpu, command, what=model.name, environment=environment)
        return found, target.read_bytes()


def command_words(tools: PteToolchain, cpu: str) -> list[str]:
    """Return the command that runs a .pte and counts nothing; model, input, output and number of threads follow."""
    return [*qemu.command_words(tools.qemu, cpu, tools.roots / cpu, _environment(tools)), str(tools.runner)]


def _environment(tools: PteToolchain) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": f"{tools.libraries}:/usr/lib/aarch64-linux-gnu"}


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("executorch")
    except PackageNotFoundError as e:
        raise ValueError("running a .pte under emulation needs ExecuTorch; pip install 'edge_vit[executorch]'") from e


def _compile(cache: Path, wheel: Path, version: str) -> Path:
    """Return the runner, kept in the cache by what went into it."""
    parts = (RUNNER_SOURCE.read_bytes(), version.encode(), packages.ZIG_VERSION.encode())
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def fill(part: Path) -> None:
        zig, target = str(runner_build.zig(cache)), ["-target", runner_build.RUNNER_TARGET, "-O2"]
        # Neither exceptions nor type information: our C++ and the libraries' do not share a C++ library.
        flags = ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-w"]
        flags.append("-DC10_USING_CUSTOM_GENERATED_MACROS")
        include = wheel / "include"
        flags += [f"-I{include}", f"-I{include / 'executorch/runtime/core/portable_type/c10'}"]
        made = str(part / "pte_runner.o")
        libraries = [str(wheel / "lib" / f"lib{name}.so") for name in LIBRARIES]
        link = ["-Wl,--no-as-needed", *libraries, "-Wl,--allow-shlib-undefined", "-rdynamic"]
        link += ["-o", str(part / "pte_runner")]
        folders = {"ZIG_GLOBAL_CACHE_DIR": str(cache / "zig-cache"), "ZIG_LOCAL_CACHE_DIR": str(part / "zig")}
        for command in (
            [zig, "c++", *target, *flags, "-c", str(RUNNER_SOURCE), "-o", made],
            [zig, "cc", *target, made, *link],
        ):
            packages.call(command, "the runner of .pte files", environment=os.environ | folders)
        shutil.rmtree(part / "zig", ignore_errors=True)

    return packages.once(cache / f"pte_runner-{key}", fill) / "pte_runner"
