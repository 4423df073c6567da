"""Run a .tflite on an emulated ARM core and count the instructions of one inference.

What runs is the published aarch64 LiteRT library, XNNPACK and all, in our runner, under qemu's user-mode emulation of a named core. A
plugin counts executed instructions. The count is deterministic and stands in for cost where no ARM machine is at hand; it knows
nothing of memory, caches and pipelines, and the emulator's milliseconds say nothing at all and are therefore never reported.
"""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_vit.bench import packages, runner_build
from edge_vit.bench.tflite_file import Tensor, read_interface

# Identification registers as the kernel shows them; XNNPACK's cpuinfo reads the file. Part numbers: Arm's reference manuals.
_FEATURES = {
    "cortex-a53": ("0xd03", "4", "fp asimd aes pmull sha1 sha2 crc32 cpuid"),
    "cortex-a76": (
        "0xd0b",
        "1",
        "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
}
CPUS = tuple(sorted(_FEATURES))
QEMU_SUITE = "bookworm"  # its qemu-user is linked dynamically and so takes plugins; later releases' is static
NUM_CORES = 2
RUNNER_FLAGS = ("-DCOUNT_MARKS", "-rdynamic")
MARK_BEGIN, MARK_END, MARK_CLOCK = 2, 3, 1
TIMEOUT_SECONDS = 900
# LiteRtProfilerEventType: an operator of the interpreter, and one inside a delegate.
OPERATOR_EVENT, DELEGATE_EVENT = 2, 8
CLOCK_STEP_US = 1000  # the runner's clock moves on by this at each call, see litert_runner.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """What emulation needs, unpacked and compiled."""

    qemu: Path
    qemu_libraries: tuple[Path, ...]
    roots: Path
    library: Path
    runner: Path
    plugin: Path
    litert_version: str
    qemu_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of one inference, in the order of execution.

    `kind` is the TFLite operator, `kernel` what executed it: XNNPACK's name, or "builtin" for LiteRT's own kernel.
    """

    kind: str
    kernel: str
    instructions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the instructions of one inference go; `overhead` is what lies between the operators."""

    operators: tuple[Operator, ...]
    overhead: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """One emulated run: the instructions of one inference, and the bytes of all outputs one after the other."""

    cpu: str
    instructions: int
    per_inference: tuple[int, ...]
    output: bytes
    profile: Profile | None = None


def prepare(cache_dir: Path | None = None) -> Toolchain:
    """Fetch and compile what emulation needs, or return what is already there.

    Args:
        cache_dir: Where it is kept; the user's cache folder by default.

    Raises:
        ValueError: If something cannot be had, naming the package.
    """
    cache = cache_dir or packages.default_cache_dir()
    host = packages.host_architecture()
    tools = packages.fetch_debian(cache / f"qemu-{QEMU_SUITE}-{host}", QEMU_SUITE, host, ["qemu-user"])
    libc = packages.fetch_debian(
        cache / f"libc-{QEMU_SUITE}-arm64", QEMU_SUITE, "arm64", ["libc6", "libstdc++6", "libgcc-s1"]
    )
    version = runner_build.litert_version()
    multiarch = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}.get(host)
    if multiarch is None:
        raise ValueError(f"emulation was made for amd64 and arm64 hosts, this one is {host}")
    machine = multiarch.split("-")[0]
    qemu = tools / "usr" / "bin" / "qemu-aarch64"
    libraries = (tools / "usr/lib" / multiarch, tools / "lib" / multiarch)
    said = packages.call([str(qemu), "--version"], "qemu", {"LD_LIBRARY_PATH": ":".join(map(str, libraries))})
    return Toolchain(
        qemu=qemu,
        qemu_libraries=libraries,
        roots=packages.once(cache / "roots-1", lambda part: _make_roots(part, libc)),
        library=runner_build.aarch64_library(cache, version),
        runner=runner_build.compile_c(cache, "litert_runner.c", runner_build.RUNNER_TARGET, RUNNER_FLAGS),
        plugin=runner_build.compile_c(cache, "insncount.c", f"{machine}-linux-gnu.2.28", ("-shared", "-fPIC")),
        litert_version=version,
        qemu_version=said.split("(")[0].split()[-1],
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
    with_profile: bool = False,
    toolchain: Toolchain | None = None,
) -> Emulated:
    """Run a model on an emulated core.

    Args:
        model: The .tflite file.
        cpu: One of CPUS.
        inputs: The bytes of each input tensor; seeded random ones by default.
        runs: Inferences after the first two, each of which is counted; the median is the result.
        with_profile: Also attribute one more inference to the operators. The counts above do not include profiling.
        toolchain: What `prepare` returned; called when absent.

    Raises:
        ValueError: If the model or a part of the toolchain is missing, or the run fails.
    """
    if cpu not in CPUS:
        raise ValueError(f"unknown core {cpu!r}; choose from {', '.join(CPUS)}")
    if not model.is_file():
        raise ValueError(f"no model {model}")
    if runs < 1:
        raise ValueError(f"runs is {runs}; at least one inference must be counted")
    tools = toolchain or prepare()
    tensors = inputs if inputs is not None else seeded_inputs(read_interface(model).inputs)
    with tempfile.TemporaryDirectory(prefix="edge_vit-emulate-") as scratch:
        marks, output, _ = _run(tools, model, cpu, tensors, Path(scratch), ["--runs", str(runs)])
        if with_profile:
            flags = ["--runs", "1", "--profile"]
            profile_marks, _, events = _run(tools, model, cpu, tensors, Path(scratch), flags)
    counts = _inference_counts(marks)[-runs:]
    instructions = sorted(counts)[len(counts) // 2]
    profile = attribute(profile_marks, events, instructions) if with_profile else None
    return Emulated(
        cpu=cpu,
        instructions=instructions,
        per_inference=tuple(counts),
        output=output,
        profile=profile,
    )


def seeded_inputs(tensors: Sequence[Tensor], seed: int = 0) -> list[bytes]:
    """Return input bytes that are the same on every machine: whole-range integers, standard normal floats."""
    import numpy as np

    generator = np.random.default_rng(seed)
    made = []
    for tensor in tensors:
        shape = tuple(max(1, size) for size in tensor.shape)
        dtype = np.dtype(tensor.dtype) if tensor.dtype in np.sctypeDict else None
        if dtype is None:
            raise ValueError(f"input {tensor.name} is of {tensor.dtype}, for which no test values can be made")
        if dtype.kind == "f":
            values = generator.standard_normal(shape).astype(dtype)
        elif dtype.kind == "b":
            values = generator.integers(0, 2, shape).astype(dtype)
        else:
            low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.itemsize == 1 else (0, 100)
            values = generator.integers(low, high, shape, endpoint=True).astype(dtype)
        made.append(values.tobytes())
    return made


def reference_output(model: Path, inputs: Sequence[bytes], cache_dir: Path | None = None) -> bytes:
    """Return the bytes of all outputs of one inference on this machine itself, with the LiteRT installed here."""
    cache = cache_dir or packages.default_cache_dir()
    with tempfile.TemporaryDirectory(prefix="edge_vit-local-") as scratch:
        output = Path(scratch) / "output"
        command = [str(runner_build.local_runner(cache)), "--library", str(runner_build.local_library())]
        command += ["--model", str(model), "--output", str(output), *_input_flags(inputs, Path(scratch))]
        packages.call(command, f"a run of {model.name} on this machine")
        return output.read_bytes()


def _make_roots(part: Path, libc: Path) -> None:
    """Make, for each core, the root folder that the emulated program sees: its C library and its processor's description."""
    for cpu in CPUS:
        root = part / cpu
        (root / "proc").mkdir(parents=True)
        (root / "proc" / "cpuinfo").write_text(cpuinfo(cpu))
        processors = root / "sys/devices/system/cpu"
        processors.mkdir(parents=True)
        for name in ("possible", "present"):
            (processors / name).write_text(f"0-{NUM_CORES - 1}\n")
        for name in ("lib", "usr"):
            (root / name).symlink_to(libc / name)


def cpuinfo(cpu: str) -> str:
    """Return /proc/cpuinfo of a core, as an aarch64 kernel writes it."""
    part, revision, features = _FEATURES[cpu]
    block = (
        f"BogoMIPS\t: 100.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: {revision}\n\n"
    )
    return "".join(f"processor\t: {i}\n{block}" for i in range(NUM_CORES))


def _input_flags(inputs: Sequence[bytes], scratch: Path) -> list[str]:
    flags = []
    for i, data in enumerate(inputs):
        path = scratch / f"input{i}"
        path.write_bytes(data)
        flags += ["--input", str(path)]
    return flags


def _run(
    tools: Toolchain, model: Path, cpu: str, inputs: Sequence[bytes], scratch: Path, flags: list[str]
) -> tuple[list[tuple[int, int]], bytes, list[dict]]:
    """Run the runner under qemu; return the marks (code, count), the output bytes and the profiler's events."""
    counts, output = scratch / "counts", scratch / "output"
    command = [str(tools.qemu), "-U", "LD_LIBRARY_PATH", "-cpu", cpu, "-L", str(tools.roots / cpu)]
    command += ["-plugin", f"{tools.plugin},out={counts}", "-d", "plugin", str(tools.runner)]
    command += ["--library", str(tools.library), "--model", str(model.resolve()), "--output", str(output)]
    command += ["--threads", "1", "--warmup-runs", "1", *flags, *_input_flags(inputs, scratch)]
    # An environment of fixed size: its strings lie on the stack, whose alignment would move the count by a few instructions.
    environment = {"LD_LIBRARY_PATH": ":".join(map(str, tools.qemu_libraries))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as e:
        raise ValueError(f"{model.name} did not finish within {TIMEOUT_SECONDS} s under emulation") from e
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith(("INFO", "WARNING", "VERBOSE"))]
        raise ValueError(
            f"{model.name} failed under emulation of {cpu} (exit code {done.returncode}): {' / '.join(said[-3:])}"
        )
    lines = [line.split() for line in counts.read_text().splitlines()]
    marks = [(int(code), int(count)) for code, count in lines if code != "exit"]
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return marks, output.read_bytes(), [r for r in records if r["event"] == "operator"]


def _inference_counts(marks: Sequence[tuple[int, int]]) -> list[int]:
    """Return the instructions between each begin mark and its end mark, less those of the clock calls between them."""
    counts, begin = [], 0
    for code, count in marks:
        if code == MARK_BEGIN:
            begin = count
        elif code == MARK_END:
            counts.append(count - begin)
    return counts


def attribute(marks: Sequence[tuple[int, int]], events: Sequence[dict], total: int) -> Profile:
    """Attribute one profiled inference's instructions to operators.

    The n-th call of the runner's clock returned n milliseconds and left a mark with the count of instructions. So the times
    of the profiler's events are numbers of marks. XNNPACK reads the clock once when a delegated part begins and once after each
    of its operators, and reports only how long each took.

    Args:
        marks: The run's marks, code and count.
        events: The profiler's events of its last inference.
        total: Instructions of an inference without profiling: the profiler's own work lies between the operators and is left out.

    Raises:
        ValueError: If events and marks do not fit together.
    """
    at = [0] + [count for code, count in marks if code == MARK_CLOCK]
    operators: list[Operator] = []
    cursor = next((e["start_us"] // CLOCK_STEP_US for e in events if e["name"] == "Invoke"), 0)
    for event in events:
        steps = event["elapsed_us"] // CLOCK_STEP_US
        if event["type"] == OPERATOR_EVENT:
            start, kernel, kind = event["start_us"] // CLOCK_STEP_US, "builtin", event["name"]
        elif event["type"] == DELEGATE_EVENT:
            # Operator 0 of a delegated part: the part's own first clock call comes before it.
            start, kernel, kind = cursor + (event["node"] == 0), event["name"], operator_kind(event["name"])
        else:
            continue
        cursor = start + steps
        if cursor >= len(at):
            raise ValueError(f"the profiler's events do not fit the marks (at {event['name']}); is LiteRT another version?")
        operators.append(Operator(kind=kind, kernel=kernel, instructions=at[cursor] - at[start]))
    overhead = total - sum(o.instructions for o in operators)
    return Profile(operators=tuple(operators), overhead=overhead, total=total)


# XNNPACK's operator names, up to the bracket, and the TFLite operator that becomes them.
_KINDS = {
    "Add": "ADD",
    "Argmax Pooling": "ARG_MAX",
    "Average Pooling": "AVERAGE_POOL_2D",
    "Batch Matrix Multiply": "BATCH_MATMUL",
    "Clamp": "RELU",
    "Concatenate": "CONCATENATION",
    "Constant Pad": "PAD",
    "Convolution": "CONV_2D",
    "Copy": "RESHAPE",
    "Deconvolution": "TRANSPOSE_CONV",
    "Depth To Space": "DEPTH_TO_SPACE",
    "Divide": "DIV",
    "Dynamic Fully Connected": "FULLY_CONNECTED",
    "ELU": "ELU",
    "Fully Connected": "FULLY_CONNECTED",
    "GELU": "GELU",
    "Global Average Pooling": "MEAN",
    "HardSwish": "HARD_SWISH",
    "Leaky ReLU": "LEAKY_RELU",
    "Max Pooling": "MAX_POOL_2D",
    "Maximum": "MAXIMUM",
    "Mean": "MEAN",
    "Minimum": "MINIMUM",
    "Multiply": "MUL",
    "Reciprocal Square Root": "RSQRT",
    "Resize Bilinear": "RESIZE_BILINEAR",
    "Sigmoid": "LOGISTIC",
    "Slice": "SLICE",
    "Softmax": "SOFTMAX",
    "Square Root": "SQRT",
    "Static Reshape": "RESHAPE",
    "Subtract": "SUB",
    "Sum": "SUM",
    "Tanh": "TANH",
    "Transpose": "TRANSPOSE",
}


def operator_kind(kernel: str) -> str:
    """Return the TFLite operator behind one of XNNPACK's, whose own name stands when it is not known here."""
    name = kernel.split(" (")[0]
    if name == "Convolution" and "DWConv" in kernel:
        return "DEPTHWISE_CONV_2D"
    if name == "Convert":
        types = kernel[kernel.find("(") + 1 : kernel.find(")")].split(", ")[1:]
        return "QUANTIZE" if types[:1] in (["F32"], ["F16"]) else "DEQUANTIZE" if types[-1:] == ["F32"] else "QUANTIZE"
    return _KINDS.get(name, name)


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()
