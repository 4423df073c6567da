"""What other tools make of the embedded models' weights: int8 files beside ours, in each runtime, in one run.

    python benchmarks/stock_tools.py --calib DIR/train --data DIR/val [--models levit_128s] [--only NAME] --rows FILE

Every tool gets the published form of the network with the embedded float weights and the same 128 calibration pictures
(benchmarks/peers_files.py says how it is called). Ours are the embedded int8 checkpoint (QAT), and `--calib-method
best` of the same float weights and pictures. Accuracy is paired: every file sees the pictures that the float network
sees. Instructions are those of one inference on an emulated cortex-a76. Rows are kept in --rows as they come and not
measured again.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from own_stock_files import from_grid
from peers import Counter, drawn_pixels, input_of
from peers_files import PEERS, TARGETS, Maker, Peer, normalised

from calibration.dataset import BatchLoader, choose, list_class_folders
from calibration.preprocess import Preprocess
from edge_vit.deployment.pictures import load_pictures
from edge_vit.deployment.sensitivity import labelled
from edge_vit.evaluation.paired import PairedSums

MODELS = ("levit_128s", "efficientvit_m0", "fastervit_edge_0")
CPU = "cortex-a76"
NUM_CALIBRATION_PICTURES = 128
BATCH = 16
Run = Callable[[np.ndarray], np.ndarray]  # one picture, (1, 224, 224, 3) uint8 -> logits (1, classes)


class Source(Maker):
    """Makes the files from one embedded model's weights."""

    @cached_property
    def float_model(self) -> Any:
        """The float model as this project takes it, with preprocessing and classes."""
        from edge_vit.models.sources import find_weights
        from edge_vit.quantization.pipeline import build_float

        return build_float(self.model, find_weights(self.model, "embedded", prefer_quantized=False), None)

    def pictures(self) -> np.ndarray:
        """Return the calibration pictures, (N, 3, 224, 224), normalised."""
        return normalised(self._pixels)

    @cached_property
    def _pixels(self) -> np.ndarray:
        images = list_class_folders(self._calib)
        return load_pictures(images, self.float_model.preprocess, NUM_CALIBRATION_PICTURES).pixels

    def embedded(self, path: Path) -> None:
        """Convert the embedded int8 checkpoint."""
        self._convert(self.model, TARGETS[path.suffix], path, ["--int8"])

    def best(self, path: Path) -> None:
        """Convert the float checkpoint, calibrated by `--calib-method best`."""
        from edge_vit.models.sources import embedded_path

        weights = ["--weights", str(embedded_path(self.model, is_quantized=False))]
        calib = ["--calib", str(self._calib), "--calib-images", str(NUM_CALIBRATION_PICTURES)]
        self._convert(self.model, "tflite", path, ["--int8", *weights, *calib, "--calib-method", "best"])

    def onnx2tf_integer(self, path: Path) -> None:
        """Convert the fused form's ONNX file with onnx2tf's full integer quantization (-oiqt).

        Its float file of the published form does not run.

        Raises:
            ValueError: With what it says, if it makes no such file.
        """
        from converters.environment import find_environment
        from converters.onnx2tf.environment import RECIPE
        from edge_vit.layers.fuse import fuse

        with tempfile.TemporaryDirectory() as folder:
            floats, given = Path(folder, "fused.onnx"), Path(folder, "pictures.npy")
            sample = (torch.zeros(1, 3, 224, 224),)
            program = torch.onnx.export(
                fuse(self.network()), sample, dynamo=True, opset_version=20, verbose=False, input_names=["x"]
            )
            program.save(str(floats), external_data=False)
            np.save(given, np.ascontiguousarray(self.pictures().transpose(0, 2, 3, 1)))
            command = [str(find_environment(RECIPE).python), "-I", "-m", "onnx2tf", "-i", str(floats), "-o", folder]
            command += ["-oiqt", "-cind", "x", str(given), "[[[[0,0,0]]]]", "[[[[1,1,1]]]]"]
            done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
            made = Path(folder, "fused_full_integer_quant.tflite")
            if not made.is_file():
                lines = re.findall(r"Error: (.+)", done.stdout + done.stderr)
                lines = [line for line in lines if "fast path" not in line]  # what it says last, and of everything
                raise ValueError(lines[-1] if lines else f"no file, exit status {done.returncode}")
            path.write_bytes(made.read_bytes())


BY_NAME = {peer.name: peer for peer in PEERS}
TOOLS = (
    Peer("ours .tflite, QAT", "tflite", "{}_int8.tflite", Source.embedded, "ours"),
    Peer("ours .tflite, `best`", "tflite", "best/{}_int8.tflite", Source.best, "ours"),
    BY_NAME["LiteRT int8, litert-torch PT2E"],
    BY_NAME["LiteRT int8, AI Edge Quantizer"],
    Peer("LiteRT int8, onnx2tf full integer", "tflite", "{}_stock_onnx2tf.tflite", Source.onnx2tf_integer),
    Peer("ours .pte, QAT", "pte", "{}_int8.pte", Source.embedded, "ours"),
    BY_NAME["ExecuTorch int8, its XNNPACK quantizer"],
    Peer("ours .onnx, QAT", "onnxruntime", "{}_int8.onnx", Source.embedded, "ours"),
    BY_NAME["ONNX Runtime int8, static s8s8"],
    BY_NAME["ONNX Runtime int8, static u8s8"],
)


def runner(tool: Peer, path: Path) -> Run:
    """Open a file on this machine: ours takes pixels, a stock tool's normalised pictures as it says."""
    if tool.takes == "ours":
        from converters.artefact import open_artefact

        return open_artefact(path).run
    if tool.runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        (given,) = session.get_inputs()
        return lambda pixels: session.run(None, {given.name: normalised(pixels)})[0]
    if tool.runtime == "pte":
        from converters.executorch.run import load

        call = load(path, 1)
        return lambda pixels: call(normalised(pixels))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(pixels: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], input_of(tool, path, pixels))
        interpreter.invoke()
        return from_grid(interpreter.get_tensor(wanted["index"]), wanted)

    return run


def measure(model: str, arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Yield a row for each tool that `rows` has none of."""
    tools = [t for t in TOOLS if not arguments.only or t.name in arguments.only]
    tools = [t for t in tools if not any(r["model"] == model and r["tool"] == t.name for r in rows)]
    if not tools:
        return
    source = Source(model, arguments.artifacts.resolve(), arguments.calib)
    (source.folder / "best").mkdir(parents=True, exist_ok=True)
    assert source.float_model.preprocess == Preprocess(resolution=224)  # what peers_files.normalised makes of pixels
    images = choose(labelled(list_class_folders(arguments.data), arguments.data, source.float_model), arguments.limit)
    batches = [(b.pixels, b.labels) for b in BatchLoader(images, source.float_model.preprocess, batch_size=BATCH)]
    with torch.no_grad():
        network = source.network()
        floats = [network(torch.from_numpy(normalised(pixels))).numpy() for pixels, _ in batches]
    counter = Counter()
    for tool in tools:
        row: dict[str, Any] = {"model": model, "tool": tool.name, "runtime": tool.runtime}
        path = source.folder / tool.file.format(model)
        print(f"{model}: {tool.name}", file=sys.stderr, flush=True)
        try:
            if not path.exists():
                tool.make(source, path)
            run, sums = runner(tool, path), PairedSums(len(source.float_model.classes))
            for (pixels, labels), exact in zip(batches, floats, strict=True):
                sums.add(exact, np.concatenate([run(picture[None]) for picture in pixels]), labels)
            found = sums.result()
            row |= {
                "num_images": found.num_images, "num_bytes": path.stat().st_size, "top1": found.artefact_top1,
                "float_top1": found.float_top1, "drop_points": found.drop_points,
                "drop_interval": list(found.interval_points), "agreement": found.agreement, "sqnr_db": found.sqnr_db,
                "instructions": counter.count(tool, path, CPU, input_of(tool, path, drawn_pixels()))[0],
            }  # fmt: skip
        except Exception as e:  # a stock tool's fault is a finding
            if tool.takes == "ours":
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
