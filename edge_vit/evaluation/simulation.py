"""Compile .onnx files for an NPU that is simulated here, and compare what it gives with ONNX Runtime and with float."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_vit.devices.bench import BenchResult

if TYPE_CHECKING:
    import numpy as np

    from converters.manifest import Manifest

SIMULATORS = ("hexagon",)
NUM_PICTURES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRequest:
    """What to simulate.

    Attributes:
        models: .onnx files, their manifests beside them.
    """

    models: tuple[Path, ...]
    simulator: str

    def __post_init__(self) -> None:
        from converters.artefact import check_artefact

        if self.simulator not in SIMULATORS:
            raise ValueError(f"no simulator of {self.simulator!r}; there is: {', '.join(SIMULATORS)}")
        for model in self.models:
            if model.suffix != ".onnx":
                raise ValueError(f"{model.name} is no .onnx, which {self.simulator} runs; convert with --target onnx")
            check_artefact(model)


def simulate(request: SimulationRequest, say: Callable[[str], None] = lambda line: None) -> BenchResult:
    """Compile every file, run it on drawn pictures, and compare.

    Raises:
        ValueError: If a file is missing or Qualcomm's compiler does not take it.
        ImportError: If the simulator's environment cannot be had; the message says what to do.
    """
    from converters.artefact import check_artefact

    manifests = [check_artefact(path) for path in request.models]
    records = []
    for path, manifest in zip(request.models, manifests, strict=True):
        say(f"compiling {path.name} for {request.simulator}")
        records.append(_simulated(path, manifest))
    return BenchResult(records=records, text="\n".join(line for record in records for line in _lines(record)))


def _simulated(path: Path, manifest: "Manifest") -> dict[str, Any]:
    from converters.artefact import Artefact, load_artefact
    from converters.onnx.hexagon import CHIP, Simulator
    from converters.sqnr import sqnr_db

    simulator = Simulator(path)
    try:
        pixels = _pictures(manifest)
        given = Artefact(manifest, simulator).run(pixels)
    finally:
        simulator.close()
    expected = load_artefact(manifest, path).run(pixels)
    return {
        "model": path.name,
        "simulator": "hexagon",
        "chip": CHIP,
        "versions": simulator.versions,
        **asdict(simulator.placement),
        "num_pictures": len(pixels),
        "same_as_onnx_runtime": float((given.argmax(1) == expected.argmax(1)).mean()),
        "db_to_onnx_runtime": sqnr_db(expected, given),
    }


def _pictures(manifest: "Manifest") -> "np.ndarray":
    """Draw pictures in various light, as the manifest prepares them."""
    import numpy as np
    from PIL import ImageEnhance

    from calibration.preprocess import Preprocess, resize_and_crop
    from edge_vit.evaluation.drawing import SUBJECTS, draw

    preprocess = Preprocess(**manifest.input.preprocess_fields())
    drawn = [draw(SUBJECTS[i % len(SUBJECTS)]) for i in range(NUM_PICTURES)]
    lit = [ImageEnhance.Brightness(picture).enhance(0.7 + 0.05 * i) for i, picture in enumerate(drawn)]
    return np.stack([resize_and_crop(picture, preprocess) for picture in lit])


def _lines(record: dict[str, Any]) -> list[str]:
    on_npu, on_cpu = sum(record["on_npu"].values()), record["on_cpu"]
    named = f": {', '.join(on_cpu[:6])}{', ...' if len(on_cpu) > 6 else ''}" if on_cpu else ""
    versions = record["versions"]
    return [
        f"{record['model']} in Qualcomm's simulator of its NPU (onnxruntime-qnn {versions['onnxruntime-qnn']})",
        f"  compiled     in {record['seconds']:.1f} s, {record['partitions']} partition(s)",
        f"  on the NPU   {on_npu} nodes",
        f"  on the CPU   {len(on_cpu)}{named}",
        f"  agreement    {100 * record['same_as_onnx_runtime']:.1f}% same top-1 as ONNX Runtime's CPU, "
        f"{record['db_to_onnx_runtime']:.1f} dB, on {record['num_pictures']} drawn pictures",
    ]
