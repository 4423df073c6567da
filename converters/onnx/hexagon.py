"""Run .onnx files in Qualcomm's simulator of its NPU (Hexagon), in an environment that is made on first use.

The package index carries Qualcomm's own graph compiler and the simulator with onnxruntime-qnn. Its licence allows use,
not redistribution: it stays in the cache folder. What the simulator says of time says nothing of a phone's.
"""

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.environment import Recipe, find_environment
from converters.first_line import first_line

RECIPE = Recipe(
    name="onnxruntime-qnn",
    version="2.7.0",
    module="onnxruntime_qnn",
    requirements=("onnxruntime==1.32.0", "onnxruntime-qnn==2.7.0"),
    reported=("onnxruntime-qnn", "onnxruntime", "numpy"),
    pythons=((3, 11), (3, 12), (3, 13)),
    setting="EDGE_VIT_HEXAGON",
    cost="0.6 GB, a minute",
)
CHIP = "69"  # Qualcomm's number of the Snapdragon 8 Elite (SM8750)
_WORKER = Path(__file__).with_name("hexagon_worker.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the operators of a compiled file run.

    Attributes:
        partitions: Pieces that the NPU runs; more than one means that something between them it does not take.
        on_npu: Operators by type.
        on_cpu: Type and name of each operator that ONNX Runtime's CPU provider keeps.
        seconds: What compiling took.
    """

    partitions: int
    on_npu: dict[str, int]
    on_cpu: tuple[str, ...]
    seconds: float


class Simulator:
    """A compiled file in a process of its own; call it with an input, close it in the end."""

    placement: Placement

    def __init__(self, path: Path) -> None:
        """Compile a file.

        Raises:
            ValueError: If Qualcomm's compiler does not take it.
            ImportError: If the environment cannot be had; the message says what to do.
        """
        environment = find_environment(RECIPE)
        self.versions = environment.versions
        self._path = path
        self._process = subprocess.Popen(
            [str(environment.python), "-I", str(_WORKER), str(path), CHIP],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            told = json.loads(self._answer())
        except ValueError:
            self.close()
            raise
        self.placement = Placement(**told | {"on_cpu": tuple(told["on_cpu"])})

    def __call__(self, array: np.ndarray) -> np.ndarray:
        written = io.BytesIO()
        np.save(written, array)
        content = written.getvalue()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(len(content).to_bytes(8, "little") + content)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer tells
        return np.asarray(np.load(io.BytesIO(self._answer()), allow_pickle=False))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        kind, length = self._process.stdout.read(1), self._process.stdout.read(8)
        content = self._process.stdout.read(int.from_bytes(length, "little"))
        if kind not in (b"J", b"A"):
            text = content.decode(errors="replace") if kind == b"E" else "the simulator ended"
            reason = first_line(RuntimeError(text))
            raise ValueError(f"{self._path}: Qualcomm's compiler does not run it ({reason[:300]})")
        return content


def load(path: Path, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Open a file for `converters.artefact`; the simulator chooses its threads itself.

    Raises:
        ValueError: If Qualcomm's compiler does not take it.
        ImportError: If the environment cannot be had.
    """
    del threads
    simulator: Any = Simulator(path)
    return simulator  # type: ignore[no-any-return]
