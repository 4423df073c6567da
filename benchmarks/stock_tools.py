"""What other tools make of the embedded models' weights: int8 files beside ours, in each runtime, in one run.

    python benchmarks/stock_tools.py --calib DIR/train --data DIR/val [--models levit_128s] [--only NAME] --rows FILE

Every tool gets the published form of the network with the embedded float weights and the same 128 calibration pictures,
balanced over classes, normalised. Ours are the embedded int8 checkpoint (QAT), and `--calib-method best` of the same
float weights and pictures. Accuracy is paired: every file sees the pictures that the float network sees. Instructions
are those of one inference on an emulated cortex-a76. Rows are kept in --rows as they come and not measured again.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import Counter, Peer, quantizer_inputs

from calibration.dataset import BatchLoader, choose, list_class_folders
from calibration.preprocess import normalise
from edge_vit.deployment.pictures import load_pictures
from edge_vit.deployment.sensitivity import labelled
from edge_vit.evaluation.paired import PairedSums

MODELS = ("levit_128s", "efficientvit_m0", "fastervit_edge_0")
CPU = "cortex-a76"
NUM_CALIBRATION_PICTURES = 128
BATCH = 16
Run = Callable[[np.ndarray], np.ndarray]  # one picture, (1, H, W, 3) uint8 -> logits (1, classes)


class Source:
    """One embedded model as the tools get it.

    Attributes:
        name: The variant.
        folder: Where files go.
    """

    def __init__(self, name: str, folder: Path, calib: Path) -> None:
        self.name, self.folder, self.calib = name, folder, calib

    @cached_property
    def float_model(self) -> Any:
        """Return the float model as this project takes it: pixels to logits, with preprocessing and classes."""
        from edge_vit.models.sources import find_weights
        from edge_vit.quantization.pipeline import build_float

        return build_float(self.name, find_weights(self.name, "embedded", prefer_quantized=False), None)

    @cached_property
    def network(self) -> Any:
        """Return the published form, from normalised pictures (1, 3, H, W) to logits."""
        from edge_vit.models.rectangles import load_model
        from edge_vit.models.sources import find_weights

        source = find_weights(self.name, "embedded", prefer_quantized=False).float_source
        size = self.float_model.preprocess.size[0]
        return load_model(self.name, source.checkpoint, len(self.float_model.classes), size)[0].eval()

    @cached_property
    def pictures(self) -> np.ndarray:
        """Return the calibration pictures, (N, 3, H, W), normalised."""
        images = list_class_folders(self.calib)
        return self.normalised(load_pictures(images, self.float_model.preprocess, NUM_CALIBRATION_PICTURES).pixels)

    @property
    def sample(self) -> tuple[torch.Tensor]:
        """Return an input for exporters."""
        return (torch.zeros(1, 3, *self.float_model.preprocess.size),)

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """Return pictures (N, 3, H, W), float32, of pixels (N, H, W, 3)."""
        return np.concatenate([normalise(picture, self.float_model.preprocess) for picture in pixels])

    def stock(self, suffix: str, make: Callable[["Source", Path], None]) -> Path:
        """Return a stock float file, made unless it is there."""
        path = self.folder / f"{self.name}_stock_fp32{suffix}"
        if not path.exists():
            make(self, path)
        return path


def ours(source: Source, path: Path) -> None:
    """Convert the embedded int8 checkpoint."""
    _convert(source, path, [])


def ours_best(source: Source, path: Path) -> None:
    """Convert the float checkpoint, calibrated by `--calib-method best`."""
    from edge_vit.models.sources import embedded_path

    weights = ["--weights", str(embedded_path(source.name, is_quantized=False))]
    _convert(source, path, [*weights, "--calib", str(source.calib), "--calib-method", "best"])


def litert_float(source: Source, path: Path) -> None:
    """Convert with litert-torch."""
    import litert_torch

    litert_torch.convert(source.network, source.sample).export(str(path))


def litert_pt2e(source: Source, path: Path) -> None:
    """Quantize with litert-torch's PT2E quantizer, static, a scale a channel."""
    import litert_torch
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
    from litert_torch.quantize.quant_config import QuantConfig

    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    graph = _pt2e(source, quantizer, fold_quantize=False)
    litert_torch.convert(graph, source.sample, quant_config=QuantConfig(pt2e_quantizer=quantizer)).export(str(path))


def ai_edge_quantizer(source: Source, path: Path) -> None:
    """Quantize litert-torch's float file with AI Edge Quantizer's static_wi8_ai8."""
    from ai_edge_quantizer import Quantizer, recipe

    floats = source.stock(".tflite", litert_float)
    tool = Quantizer(str(floats), recipe.static_wi8_ai8())
    (name,) = quantizer_inputs(floats)
    ranges = tool.calibrate({"serving_default": [{name: picture[None]} for picture in source.pictures]})
    tool.quantize(ranges).export_model(str(path))


def onnx2tf_integer(source: Source, path: Path) -> None:
    """Convert the fused form's ONNX file with onnx2tf's full integer quantization (-oiqt).

    Its float file of the published form does not run.

    Raises:
        ValueError: With what it says, if it makes no such file.
    """
    from converters.environment import find_environment
    from converters.onnx2tf.environment import RECIPE
    from edge_vit.layers.fuse import fuse

    floats = source.folder / f"{source.name}_fused_fp32.onnx"
    onnx_float(source, floats, fuse(source.network))
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/pictures.npy", np.ascontiguousarray(source.pictures.transpose(0, 2, 3, 1)))
        command = [str(find_environment(RECIPE).python), "-I", "-m", "onnx2tf", "-i", str(floats), "-o", folder]
        command += ["-oiqt", "-cind", "x", f"{folder}/pictures.npy", "[[[[0,0,0]]]]", "[[[[1,1,1]]]]"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
        made = Path(folder, f"{floats.stem}_full_integer_quant.tflite")
        if not made.is_file():
            lines = re.findall(r"Error: (.+)", done.stdout + done.stderr)
            lines = [line for line in lines if "fast path" not in line]  # what it says last, and of everything
            raise ValueError(lines[-1] if lines else f"no file, exit status {done.returncode}")
        path.write_bytes(made.read_bytes())


def executorch_xnnpack(source: Source, path: Path) -> None:
    """Quantize with ExecuTorch's own XNNPACK quantizer, static, a scale a channel, and lower with its partitioner."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    program = torch.export.export(_pt2e(source, quantizer), source.sample)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def onnx_float(source: Source, path: Path, network: Any = None) -> None:
    """Export with torch's own exporter: the published form, or another one."""
    program = torch.onnx.export(
        network or source.network, source.sample, dynamo=True, opset_version=20, verbose=False, input_names=["x"]
    )
    program.save(str(path), external_data=False)


def onnx_static(source: Source, path: Path) -> None:
    """Quantize the stock ONNX file with ONNX Runtime's static QDQ, signed unless the name says u8s8."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    pictures = iter(source.pictures)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(pictures, None)
            return None if picture is None else {"x": picture[None]}

    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(source.stock(".onnx", onnx_float)), str(prepared))
    activations = QuantType.QUInt8 if "u8s8" in path.stem else QuantType.QInt8
    quantize_static(
        str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=activations, weight_type=QuantType.QInt8,
    )  # fmt: skip
    prepared.unlink()


@dataclass(frozen=True, slots=True)
class Tool:
    """One way to an int8 file.

    Attributes:
        name: What tables and --only call it.
        runtime: What runs the file, as benchmarks/peers.py names it.
        file: Its name, with a place for the model's.
        make: Makes it.
    """

    name: str
    runtime: str
    file: str
    make: Callable[[Source, Path], None]

    @property
    def is_ours(self) -> bool:
        """Return whether the file takes pixels and has a manifest."""
        return self.name.startswith("ours")


TOOLS = (
    Tool("ours .tflite, QAT", "tflite", "{}_int8.tflite", ours),
    Tool("ours .tflite, `best`", "tflite", "best/{}_int8.tflite", ours_best),
    Tool("litert-torch PT2E", "tflite", "{}_stock_pt2e.tflite", litert_pt2e),
    Tool("AI Edge Quantizer static", "tflite", "{}_stock_static.tflite", ai_edge_quantizer),
    Tool("onnx2tf full integer", "tflite", "{}_stock_onnx2tf.tflite", onnx2tf_integer),
    Tool("ours .pte, QAT", "pte", "{}_int8.pte", ours),
    Tool("ExecuTorch XNNPACK quantizer", "pte", "{}_stock_xnnpack.pte", executorch_xnnpack),
    Tool("ours .onnx, QAT", "onnxruntime", "{}_int8.onnx", ours),
    Tool("ONNX Runtime static s8s8", "onnxruntime", "{}_stock_s8s8.onnx", onnx_static),
    Tool("ONNX Runtime static u8s8", "onnxruntime", "{}_stock_u8s8.onnx", onnx_static),
)


def runner(tool: Tool, source: Source, path: Path) -> Run:
    """Open a file on this machine: ours takes pixels, a stock tool's normalised pictures as it says."""
    if tool.is_ours:
        from converters.artefact import open_artefact

        return open_artefact(path).run
    if tool.runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        (given,) = session.get_inputs()
        return lambda pixels: session.run(None, {given.name: source.normalised(pixels)})[0]
    if tool.runtime == "pte":
        from converters.executorch.run import load

        call = load(path, 1)
        return lambda pixels: call(source.normalised(pixels))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], as_tensor(source.normalised(pixels), given))
        interpreter.invoke()
        return from_tensor(interpreter.get_tensor(wanted["index"]), wanted)

    return run


def as_tensor(picture: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Return a normalised picture (1, 3, H, W) in the layout and on the grid of a .tflite's input."""
    if details["shape"][3] == 3:
        picture = picture.transpose(0, 2, 3, 1)
    if details["dtype"] == np.float32:
        return np.ascontiguousarray(picture)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    steps = np.clip(np.round(picture / scale) + zero_point, limits.min, limits.max)
    return np.ascontiguousarray(steps, details["dtype"])


def from_tensor(value: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Return a .tflite's output as float32."""
    if details["dtype"] == np.float32:
        return value.copy()
    scale, zero_point = details["quantization"]
    return ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)


def count(counter: Counter, tool: Tool, source: Source, path: Path) -> int:
    """Return the instructions of one inference."""
    from ai_edge_litert.interpreter import Interpreter

    height, width = source.float_model.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    x = pixels if tool.is_ours else source.normalised(pixels)
    if tool.runtime == "tflite" and not tool.is_ours:
        (details,) = Interpreter(str(path)).get_input_details()
        x = as_tensor(x, details)
    elif tool.is_ours and tool.runtime != "onnxruntime":
        from converters.manifest import load, manifest_path

        x = pixels.astype(load(manifest_path(path)).input.dtype)
    peer = Peer(tool.name, tool.runtime, path.name, lambda *_: None)
    return counter.count(peer, path, CPU, x)[0]


def measure(model: str, arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Yield a row for each tool that `rows` has none of."""
    tools = [t for t in TOOLS if not arguments.only or t.name in arguments.only]
    tools = [t for t in tools if not any(r["model"] == model and r["tool"] == t.name for r in rows)]
    if not tools:
        return
    source = Source(model, arguments.artifacts.resolve(), arguments.calib)
    (source.folder / "best").mkdir(parents=True, exist_ok=True)
    images = choose(labelled(list_class_folders(arguments.data), arguments.data, source.float_model), arguments.limit)
    batches = [(b.pixels, b.labels) for b in BatchLoader(images, source.float_model.preprocess, batch_size=BATCH)]
    with torch.no_grad():
        network = [source.network(torch.from_numpy(source.normalised(pixels))).numpy() for pixels, _ in batches]
    counter = Counter()
    for tool in tools:
        row: dict[str, Any] = {"model": model, "tool": tool.name, "runtime": tool.runtime}
        path = source.folder / tool.file.format(model)
        print(f"{model}: {tool.name}", file=sys.stderr, flush=True)
        try:
            if not path.exists():
                tool.make(source, path)
            run, sums = runner(tool, source, path), PairedSums(len(source.float_model.classes))
            for (pixels, labels), exact in zip(batches, network, strict=True):
                sums.add(exact, np.concatenate([run(picture[None]) for picture in pixels]), labels)
            found = sums.result()
            row |= {
                "num_images": found.num_images, "num_bytes": path.stat().st_size, "top1": found.artefact_top1,
                "float_top1": found.float_top1, "drop_points": found.drop_points,
                "drop_interval": list(found.interval_points), "agreement": found.agreement, "sqnr_db": found.sqnr_db,
                "instructions": count(counter, tool, source, path),
            }  # fmt: skip
        except Exception as e:  # a stock tool's fault is a finding
            if tool.is_ours:
                raise
            row["failed"] = f"{type(e).__name__}: {str(e).strip().splitlines()[0][:200] if str(e).strip() else ''}"
        yield row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    lines = [
        "| model | int8 file | MB | top-1 | drop, 95% interval | same top-1 | logits | M instructions, cortex-a76 |",
        "|---|---|---:|---|---|---:|---:|---:|",
    ]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['model']} | {row['tool']} | {row['failed'].replace('|', '/')} | | | | | |")
            continue
        low, high = row["drop_interval"]
        lines.append(
            f"| {row['model']} | {row['tool']} | {row['num_bytes'] / 1e6:.2f} | {row['top1']:.2f}% | "
            f"{row['drop_points']:.2f}, {low:.2f} to {high:.2f} | {100 * row['agreement']:.2f}% | "
            f"{row['sqnr_db']:.1f} dB | {row['instructions'] / 1e6:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _pt2e(source: Source, quantizer: Any, **options: Any) -> Any:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    graph = prepare_pt2e(torch.export.export(source.network, source.sample).module(), quantizer)
    with torch.no_grad():
        for picture in source.pictures:
            graph(torch.from_numpy(picture[None]))
    return convert_pt2e(graph, **options)


def _convert(source: Source, path: Path, flags: list[str]) -> None:
    target = {".tflite": "tflite", ".pte": "executorch", ".onnx": "onnx"}[path.suffix]
    words = [source.name, "--target", target, "--int8", "--output-dir", str(path.parent), *flags]
    # A process of its own gives its memory back: the tools keep hold of a lot.
    subprocess.run([sys.executable, "-m", "edge_vit.convert", *words], check=True, stdout=subprocess.DEVNULL)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[t.name for t in TOOLS], help="some of the tools")
    parser.add_argument("--calib", type=Path, required=True, metavar="DIR", help="pictures to choose ranges from")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="pictures by class")
    parser.add_argument("--limit", type=int, metavar="N", help="use N pictures of --data")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="what is there is not made again")
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE", help="JSON of all figures")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    arguments = build_parser().parse_args(argv)
    rows = json.loads(arguments.rows.read_text()) if arguments.rows.exists() else []
    for model in arguments.models:
        for row in measure(model, arguments, rows):
            rows.append(row)
            arguments.rows.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
