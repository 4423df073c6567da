"""The same weights in other runtimes: instructions of one inference on emulated ARM cores, in one run.

    python benchmarks/peers.py --calib DIR/train [--model levit_128s] [--artifacts DIR] [--only NAME ...]
                               [--output docs/arm.md] [--json]

Ours (.tflite, .pte, .onnx, float and int8), and what the stock tools make of the published form of the network, with
the same float weights: litert-torch's PT2E int8, AI Edge Quantizer's static int8, ONNX Runtime's own static QDQ
(s8s8 and u8s8), ncnn in float32 and with its default (float16), MNN in float and with 8-bit weights. Calibration: 32
pictures of --calib. Every file that is made stays in --artifacts; what is there is not made again.

Packages, each fetched by name into the cache and installed nowhere: Debian's python3.11 for arm64, the aarch64 wheels
of numpy, onnxruntime, ncnn and MNN, and for this machine's processor pnnx (makes ncnn's files) and MNN (makes its
own). Ours needs edge_vit[tflite,executorch,onnx]. Logits are compared with torch's on one drawn picture.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from arm_counts import put_into

from converters.cache import cache_folder
from converters.manifest import load, manifest_path
from edge_vit.devices import packages
from edge_vit.emulation import pte, qemu, report, tflite
from edge_vit.emulation.cores import CPUS, make_roots

SUITE, PYTHON = "bookworm", "python3.11"
AARCH64 = {
    "numpy==2.4.6": "manylinux_2_28_aarch64",
    "onnxruntime==1.32.0": "manylinux_2_28_aarch64",
    "ncnn==1.0.20261020": "manylinux_2_28_aarch64",
    "MNN==3.6.1": "manylinux2014_aarch64",
}
PNNX, MNN = "pnnx==20261020", "MNN==3.6.1"
GUEST = Path(__file__).with_name("peers_guest.py")
NUM_PICTURES = 32
RUNNERS: dict[str, Any] = {"tflite": tflite, "pte": pte}
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


@dataclass(frozen=True, slots=True)
class Peer:
    """One file in one runtime.

    Attributes:
        name: What --only takes.
        runtime: Which runtime runs it: tflite, pte, or one of peers_guest.py.
        takes: "ours": as its manifest says; else normalised float pictures, NCHW.
        make: Makes the file at the given path unless it is there.
    """

    name: str
    runtime: str
    file: str
    make: Callable[["Maker", Path], None]
    takes: str = "float"


def _split(x: Any, num_heads: int) -> Any:
    return x.view(*x.shape[:2], num_heads, x.shape[2] // num_heads).transpose(1, 2)


def _merge(x: Any, num_heads: int) -> Any:
    return x.transpose(1, 2).reshape(1, x.shape[2], num_heads * x.shape[3])


def _attend(q: Any, k: Any, v: Any, bias: Any, weigh: Callable[[Any], Any] = lambda x: x.softmax(-1)) -> Any:
    return weigh(q @ k.transpose(2, 3) + bias) @ v


FOUR_AXES = {"split_heads": _split, "merge_heads": _merge, "attend": _attend}


class Maker:
    """Makes the peers' files from one network's float weights."""

    def __init__(self, model: str, folder: Path, calib: Path) -> None:
        self.model, self.folder, self._calib = model, folder, calib

    def network(self) -> Any:
        """Return the published form of the network, with its weights, from normalised NCHW pictures to logits."""
        from edge_vit.models.rectangles import load_model
        from edge_vit.models.sources import find_weights

        source = find_weights(self.model, "embedded", prefer_quantized=False).float_source
        network, _ = load_model(self.model, source.checkpoint, len(source.metadata["classes"]), 224)
        return network.eval()

    def pictures(self) -> np.ndarray:
        """Return the pictures for calibration, (N, 3, 224, 224), normalised."""
        from calibration.dataset import list_images
        from calibration.preprocess import Preprocess
        from edge_vit.deployment.pictures import load_pictures

        return normalised(load_pictures(list_images(self._calib), Preprocess(resolution=224), NUM_PICTURES).pixels)

    def ours(self, path: Path) -> None:
        target = {".tflite": "tflite", ".pte": "executorch", ".onnx": "onnx"}[path.suffix]
        words = [self.model, "--target", target, "--output-dir", str(path.parent)]
        words += ["--int8"] if "int8" in path.stem else []
        _run([sys.executable, "-m", "edge_vit.convert", *words])

    def litert_float(self, path: Path) -> None:
        import litert_torch
        import torch

        litert_torch.convert(self.network(), (torch.zeros(1, 3, 224, 224),)).export(str(path))

    def litert_pt2e(self, path: Path) -> None:
        import litert_torch
        import torch
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
        from litert_torch.quantize.quant_config import QuantConfig
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        sample = (torch.zeros(1, 3, 224, 224),)
        quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        graph = prepare_pt2e(torch.export.export(self.network(), sample).module(), quantizer)
        for picture in self.pictures():
            graph(torch.from_numpy(picture[None]))
        graph = convert_pt2e(graph, fold_quantize=False)
        litert_torch.convert(graph, sample, quant_config=QuantConfig(pt2e_quantizer=quantizer)).export(str(path))

    def litert_static(self, path: Path) -> None:
        from ai_edge_quantizer import Quantizer, recipe

        source = self.folder / f"{self.model}_stock_fp32.tflite"
        if not source.exists():
            self.litert_float(source)
        quantizer = Quantizer(str(source), recipe.static_wi8_ai8())
        name = next(iter(quantizer_inputs(source)))
        ranges = quantizer.calibrate({"serving_default": [{name: p[None]} for p in self.pictures()]})
        quantizer.quantize(ranges).export_model(str(path))

    def onnx_float(self, path: Path) -> None:
        import torch

        program = torch.onnx.export(
            self.network(), (torch.zeros(1, 3, 224, 224),), dynamo=True, opset_version=20, verbose=False
        )
        program.save(str(path), external_data=False)

    def onnx_static(self, path: Path) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        source, prepared = self.folder / f"{self.model}_stock_fp32.onnx", path.with_suffix(".prepared.onnx")
        if not source.exists():
            self.onnx_float(source)
        pictures = iter(self.pictures())

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> dict[str, np.ndarray] | None:
                picture = next(pictures, None)
                return None if picture is None else {"x": picture[None]}

        quant_pre_process(str(source), str(prepared))
        activations = QuantType.QUInt8 if "u8s8" in path.stem else QuantType.QInt8
        quantize_static(
            str(prepared), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=activations, weight_type=QuantType.QInt8,
        )  # fmt: skip
        prepared.unlink()

    def ncnn(self, path: Path) -> None:
        """Make ncnn's file of the fused form, heads on an axis of their own.

        Of the published form pnnx leaves operators that ncnn does not know, and it takes the first axis for a batch.
        """
        import torch

        from edge_vit.layers.fuse import fuse

        folder = packages.fetch_wheel(cache_folder() / PNNX.replace("==", "-"), PNNX)
        program = folder / "pnnx/pnnx"
        program.chmod(0o755)
        traced = path.with_suffix(".pt")
        network = fuse(self.network())
        with mock.patch.multiple("edge_vit.layers.norm_block", **FOUR_AXES):
            torch.jit.trace(network, torch.zeros(1, 3, 224, 224)).save(str(traced))
        with tempfile.TemporaryDirectory() as scratch:
            words = [str(program), str(traced), "inputshape=[1,3,224,224]", f"ncnnparam={path}", "fp16=0"]
            _run([*words, f"ncnnbin={path.with_suffix('.bin')}"], scratch)
        traced.unlink()

    def mnn(self, path: Path) -> None:
        source = self.folder / f"{self.model}_stock_fp32.onnx"
        if not source.exists():
            self.onnx_float(source)
        folder = packages.fetch_wheel(cache_folder() / MNN.replace("==", "-"), MNN)
        # The converter itself: the wrapper around it installs a package that reports its use.
        words = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(path), "--bizCode", "x"]
        words += ["--weightQuantBits", "8"] if "w8" in path.stem else []
        code = f"import sys; sys.path.insert(0, {str(folder)!r}); import _tools; _tools.mnnconvert({words!r})"
        _run([sys.executable, "-c", code])


PEERS = (
    Peer("ours .tflite float", "tflite", "{}_fp32.tflite", Maker.ours, "ours"),
    Peer("ours .tflite int8", "tflite", "{}_int8.tflite", Maker.ours, "ours"),
    Peer("ours .pte float", "pte", "{}_fp32.pte", Maker.ours, "ours"),
    Peer("ours .pte int8", "pte", "{}_int8.pte", Maker.ours, "ours"),
    Peer("ours .onnx float", "onnxruntime", "{}_fp32.onnx", Maker.ours, "ours"),
    Peer("ours .onnx int8", "onnxruntime", "{}_int8.onnx", Maker.ours, "ours"),
    Peer("LiteRT float", "tflite", "{}_stock_fp32.tflite", Maker.litert_float),
    Peer("LiteRT int8, litert-torch PT2E", "tflite", "{}_stock_pt2e.tflite", Maker.litert_pt2e),
    Peer("LiteRT int8, AI Edge Quantizer", "tflite", "{}_stock_static.tflite", Maker.litert_static),
    Peer("ONNX Runtime float", "onnxruntime", "{}_stock_fp32.onnx", Maker.onnx_float),
    Peer("ONNX Runtime int8, static s8s8", "onnxruntime", "{}_stock_s8s8.onnx", Maker.onnx_static),
    Peer("ONNX Runtime int8, static u8s8", "onnxruntime", "{}_stock_u8s8.onnx", Maker.onnx_static),
    Peer("ncnn float32", "ncnn-fp32", "{}_stock.ncnn.param", Maker.ncnn),
    Peer("ncnn, its default (float16)", "ncnn-fp16", "{}_stock.ncnn.param", Maker.ncnn),
    Peer("MNN float", "mnn", "{}_stock_fp32.mnn", Maker.mnn),
    Peer("MNN, 8-bit weights (computes in float)", "mnn", "{}_stock_w8.mnn", Maker.mnn),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="levit_128s")
    parser.add_argument("--calib", type=Path, required=True, help="pictures that the tools choose ranges from")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="files are made there when missing")
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=["cortex-a76", "armv8.6-i8mm"])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[p.name for p in PEERS], help="some of the files")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a page to put the table into")
    parser.add_argument("--json", action="store_true")
    return parser


def quantizer_inputs(model: Path) -> list[str]:
    """Return the names of a .tflite's inputs, as its signature calls them."""
    from ai_edge_litert.interpreter import Interpreter

    return list(Interpreter(str(model)).get_signature_list()["serving_default"]["inputs"])


def normalised(pixels: np.ndarray) -> np.ndarray:
    """Return pictures (N, 3, H, W), float32, normalised by ImageNet's mean and deviation, of pixels (N, H, W, 3)."""
    from calibration.preprocess import Preprocess

    p = Preprocess(resolution=224)
    return np.ascontiguousarray(((pixels / 255 - p.mean) / p.std).transpose(0, 3, 1, 2), np.float32)


def drawn_pixels() -> np.ndarray:
    """Return one drawn picture, (1, 224, 224, 3) uint8."""
    from edge_vit.evaluation.drawing import draw

    return np.asarray(draw(size=224), np.uint8)[None]


def input_of(peer: Peer, path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return the picture as a file takes it."""
    if peer.takes != "ours":
        return normalised(pixels)
    dtype = load(manifest_path(path)).input.dtype
    return (pixels.astype(np.int16) - 128).astype(np.int8) if dtype == "int8" else pixels.astype(dtype)


class Counter:
    """Counts any peer's file on an emulated core."""

    def __init__(self) -> None:
        cache = cache_folder()
        self._qemu = qemu.prepare(cache)
        names = (PYTHON, "libc6", "libstdc++6", "libgcc-s1", "libgomp1")
        self._system = packages.fetch_debian(cache / f"python-{SUITE}-arm64", SUITE, "arm64", names)
        self._roots = packages.once(cache / "python-roots-1", lambda part: make_roots(part, self._system))
        self._wheels = [
            packages.fetch_wheel(cache / f"aarch64-{requirement.replace('==', '-')}", requirement, platform=platform)
            for requirement, platform in AARCH64.items()
        ]

    def release(self, peer: Peer) -> str:
        """Name a peer's runtime with its release."""
        if peer.runtime in RUNNERS:
            return RUNNERS[peer.runtime].prepare().runtime
        package = peer.runtime.split("-")[0].casefold()
        return next(name.replace("==", " ") for name in AARCH64 if name.casefold().startswith(package + "=="))

    def count(self, peer: Peer, path: Path, cpu: str, x: np.ndarray) -> tuple[int, np.ndarray]:
        """Return the instructions of one inference, and the logits.

        Raises:
            ValueError: If the runtime fails.
        """
        if peer.runtime in RUNNERS:
            result = RUNNERS[peer.runtime].emulate(path, cpu, inputs=[x.tobytes()], runs=1)
            return result.instructions, np.frombuffer(result.output, np.float32)
        with tempfile.TemporaryDirectory(prefix="edge_vit-peers-") as scratch:
            source, target = Path(scratch) / "x.npy", Path(scratch) / "y.npy"
            np.save(source, x)
            command = [str(self._system / "usr/bin" / PYTHON), "-S", str(GUEST), peer.runtime, str(path)]
            environment = {
                "PYTHONPATH": ":".join(map(str, self._wheels)),
                "LD_LIBRARY_PATH": "/usr/lib/aarch64-linux-gnu",
            }
            command += [str(source), str(target), "1"]
            root = self._roots / cpu
            found = qemu.run(self._qemu, cpu, root, command, what=path.name, environment=environment)
            return found.inference_counts()[-1], np.load(target).ravel()


def measure(arguments: argparse.Namespace) -> list[dict]:
    """Make every file and count it on every core."""
    import torch

    maker = Maker(arguments.model, arguments.artifacts.resolve(), arguments.calib)
    maker.folder.mkdir(parents=True, exist_ok=True)
    pixels = drawn_pixels()
    with torch.no_grad():
        wanted = maker.network()(torch.from_numpy(normalised(pixels))).numpy().ravel()
    counter, records = Counter(), []
    for peer in PEERS:
        if arguments.only and peer.name not in arguments.only:
            continue
        path = maker.folder / peer.file.format(arguments.model)
        record: dict[str, Any] = {"peer": peer.name, "file": path.name, "instructions": {}, "decibels": None}
        record["runtime"] = counter.release(peer)
        try:
            if not path.exists():
                print(f"making {path.name}", file=sys.stderr)
                peer.make(maker, path)
            for cpu in arguments.cpus:
                print(f"{cpu}: {peer.name}", file=sys.stderr)
                count, logits = counter.count(peer, path, cpu, input_of(peer, path, pixels))
                record["instructions"][cpu] = count
                record["decibels"] = 10 * float(np.log10((wanted**2).sum() / ((logits - wanted) ** 2).sum()))
        except (ValueError, ImportError, RuntimeError) as e:
            record["failed"] = str(e).splitlines()[0][:300]
            print(f"{peer.name}: {record['failed']}", file=sys.stderr)
        records.append(record)
    return records


def table(records: Sequence[dict], cpus: Sequence[str]) -> str:
    """Return the Markdown table; the fewest instructions of a column stand out."""
    lines = [f"| runtime and file | {' | '.join(cpus)} | logits against torch |", f"|---|{'---:|' * len(cpus)}---:|"]
    least = {c: min((r["instructions"][c] for r in records if c in r["instructions"]), default=0) for c in cpus}
    for r in records:
        cells = []
        for cpu in cpus:
            count = r["instructions"].get(cpu)
            text = "failed" if count is None else f"{count / 1e6:.1f}"
            cells.append(f"**{text}**" if count == least[cpu] else text)
        decibels = "-" if r["decibels"] is None else f"{r['decibels']:.0f} dB"
        lines.append(f"| {r['peer']} | {' | '.join(cells)} | {decibels} |")
    runtimes = ", ".join(dict.fromkeys(r["runtime"] for r in records))
    what = f"{report.WHAT_IT_IS} Millions, one thread. {runtimes}."
    failed = [f"{r['peer']}: {r['failed']}" for r in records if "failed" in r]
    return "\n".join([*lines, "", what, *failed])


def _run(command: list[str], folder: str | None = None) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise ValueError(f"{Path(command[0]).name} failed: {' / '.join(done.stderr.splitlines()[-3:])}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 when a peer could not be counted, 2 for misuse."""
    arguments = build_parser().parse_args(argv)
    try:
        records = measure(arguments)
        text = table(records, arguments.cpus)
        if arguments.output:
            put_into(arguments.output, text, (BEGIN, END))
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(records, indent=1) if arguments.json else text)
    return 1 if any("failed" in r for r in records) else 0


if __name__ == "__main__":
    raise SystemExit(main())
