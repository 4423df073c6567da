"""The same weights in other runtimes: instructions of one inference on emulated ARM cores, in one run.

    python benchmarks/peers.py --calib DIR/train [--model levit_128s] [--artifacts DIR] [--results FILE]
                               [--only NAME ...] [--output docs/arm.md] [--json]

Ours (.tflite, .pte, .onnx, float and int8), and what the stock tools make of the published form of the network, with
the same float weights: litert-torch's PT2E int8, AI Edge Quantizer's static int8, ExecuTorch's XNNPACK quantizer, ONNX
Runtime's own static QDQ (s8s8 and u8s8), ncnn in float32 and with its default (float16), MNN in float, in float16 and
with 8-bit weights. For scale: EfficientNet-Lite0 and MobileNetV3-Large, random weights, converted by us. Calibration:
32 pictures of --calib for everybody. Every file that is made stays in --artifacts; what is there is not made again.
--results keeps the counts as JSON lines; what is there of the same file is not counted again.

Packages, each fetched by name into the cache and installed nowhere: Debian's python3.11 for arm64, the aarch64 wheels
of numpy, onnxruntime, ncnn and MNN, and for this machine's processor pnnx (makes ncnn's files) and MNN (makes its
own). Ours needs edge_vit[tflite,executorch,onnx]. Logits are compared with torch's on one drawn picture, those of the
two other networks where they were converted.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from arm_counts import put_into
from peers_files import PEERS, Maker, Peer, normalised

from converters.cache import cache_folder
from converters.checksum import sha256_file
from converters.manifest import load, manifest_path
from converters.sqnr import sqnr_db
from converters.tflite.reader import read_model
from edge_vit.devices import packages
from edge_vit.devices import results as records_of
from edge_vit.emulation import pte, qemu, report, tflite
from edge_vit.emulation.cores import CPUS, core, make_roots

SUITE, PYTHON = "bookworm", "python3.11"
AARCH64 = {
    "numpy==2.4.6": "manylinux_2_28_aarch64",
    "onnxruntime==1.32.0": "manylinux_2_28_aarch64",
    "ncnn==1.0.20261020": "manylinux_2_28_aarch64",
    "MNN==3.6.1": "manylinux2014_aarch64",
}
GUEST = Path(__file__).with_name("peers_guest.py")
RUNNERS: dict[str, Any] = {"tflite": tflite, "pte": pte}
BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="levit_128s")
    parser.add_argument("--calib", type=Path, required=True, help="pictures that the tools choose ranges from")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/peers"), help="made there when missing")
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=["cortex-a76", "armv8.6-i8mm"])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[p.name for p in PEERS], help="some of the files")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep the records here, one a line")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a page to put the table into")
    parser.add_argument("--json", action="store_true")
    return parser


def drawn_pixels() -> np.ndarray:
    """Return one drawn picture, (1, 224, 224, 3) uint8."""
    from edge_vit.evaluation.drawing import draw

    return np.asarray(draw(size=224), np.uint8)[None]


def input_of(peer: Peer, path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return the picture as a file takes it."""
    if peer.takes == "ours":
        dtype = load(manifest_path(path)).input.dtype
        return (pixels.astype(np.int16) - 128).astype(np.int8) if dtype == "int8" else pixels.astype(dtype)
    picture = normalised(pixels)
    if path.suffix == ".tflite" and (tensor := read_model(path).input_tensors[0]).dtype == "int8":
        return (picture / tensor.scales[0] + tensor.zero_points[0]).round().clip(-128, 127).astype(np.int8)
    return picture


def logits_of(path: Path, output: bytes) -> np.ndarray:
    """Return the logits of a .tflite or .pte file, as floats."""
    if path.suffix == ".tflite":
        model = read_model(path)
        tensor = model.tensors[model.outputs[0]]
        if tensor.dtype == "int8":
            integers = np.frombuffer(output, np.int8).astype(np.float32)
            return (integers - np.float32(tensor.zero_points[0])) * np.float32(tensor.scales[0])
    return np.frombuffer(output, np.float32)


class Counter:
    """Counts any peer's file on an emulated core."""

    @cached_property
    def _guest(self) -> tuple[qemu.Qemu, Path, Path, list[Path]]:
        """The emulator, a system with Python, the cores' roots and the runtimes' packages."""
        cache = cache_folder()
        names = (PYTHON, "libc6", "libstdc++6", "libgcc-s1", "libgomp1")
        system = packages.fetch_debian(cache / f"python-{SUITE}-arm64", SUITE, "arm64", names)
        roots = packages.once(cache / "python-roots-1", lambda part: make_roots(part, system))
        wheels = [
            packages.fetch_wheel(cache / f"aarch64-{requirement.replace('==', '-')}", requirement, platform=platform)
            for requirement, platform in AARCH64.items()
        ]
        return qemu.prepare(cache), system, roots, wheels

    @cache  # noqa: B019
    def release(self, runtime: str) -> str:
        """Name a runtime with its release."""
        name = runtime.split("/")[0]
        if name in RUNNERS:
            return RUNNERS[name].prepare().runtime
        return next(full.replace("==", " ") for full in AARCH64 if full.casefold().startswith(name + "=="))

    def count(self, peer: Peer, path: Path, cpu: str, x: np.ndarray) -> tuple[int, np.ndarray]:
        """Return the instructions of one inference, and the logits.

        Raises:
            ValueError: If the runtime fails.
        """
        name, _, how = peer.runtime.partition("/")
        if name in RUNNERS:
            half = {"in_half": True} if how == "half" else {}
            result = RUNNERS[name].emulate(path, cpu, inputs=[x.tobytes()], runs=1, **half)
            return result.instructions, logits_of(path, result.output)
        emulator, system, roots, wheels = self._guest
        with tempfile.TemporaryDirectory(prefix="edge_vit-peers-") as scratch:
            source, target = Path(scratch) / "x.npy", Path(scratch) / "y.npy"
            np.save(source, x)
            command = [str(system / "usr/bin" / PYTHON), "-S", str(GUEST), peer.runtime, str(path)]
            environment = {
                "PYTHONPATH": ":".join(map(str, wheels)),
                "LD_LIBRARY_PATH": "/usr/lib/aarch64-linux-gnu",
            }
            command += [str(source), str(target), "1"]
            found = qemu.run(emulator, cpu, roots / cpu, command, what=path.name, environment=environment)
            return found.inference_counts()[-1], np.load(target).ravel()


def measure(arguments: argparse.Namespace) -> list[dict]:
    """Make every file and count it on every core; a record is kept as soon as it is there."""
    maker = Maker(arguments.model, arguments.artifacts.resolve(), arguments.calib)
    maker.folder.mkdir(parents=True, exist_ok=True)
    known = records_of.load_lines(arguments.results, is_record) if arguments.results else []
    counter, pixels, records = Counter(), drawn_pixels(), []
    for peer in PEERS:
        if arguments.only and peer.name not in arguments.only:
            continue
        path = maker.folder / peer.file.format(arguments.model)
        try:
            if not path.exists():
                print(f"making {path.name}", file=sys.stderr)
                peer.make(maker, path)
            key = {"peer": peer.name, "sha256": sha256_file(path), "runtime": counter.release(peer.runtime)}
            for cpu in arguments.cpus:
                if peer.runtime.endswith("/half") and not core(cpu).has_half:
                    continue
                record = next((r for r in known if (key | {"cpu": cpu}).items() <= r.items()), None)
                if record is None:
                    print(f"{cpu}: {peer.name}", file=sys.stderr)
                    count, logits = counter.count(peer, path, cpu, input_of(peer, path, pixels))
                    decibels = verified(path) if peer.is_other else sqnr_db(reference(maker), logits)
                    record = key | {"cpu": cpu, "file": path.name, "instructions": count, "decibels": decibels}
                    record["is_other"] = peer.is_other
                    if arguments.results:
                        records_of.append_lines(arguments.results, [record])
                records.append(record)
        except (ValueError, ImportError, RuntimeError, AttributeError) as e:
            why = next(iter(str(e).splitlines()), type(e).__name__)[:300]
            records.append({"peer": peer.name, "failed": why})
            print(f"{peer.name}: {why}", file=sys.stderr)
    return records


def is_record(plain: dict) -> bool:
    """Tell whether a line is one of ours."""
    return plain.keys() >= {"peer", "sha256", "runtime", "cpu", "instructions", "decibels", "is_other"}


@cache
def reference(maker: Maker) -> np.ndarray:
    """Return torch's logits of the drawn picture."""
    import torch

    with torch.no_grad():
        logits: np.ndarray = maker.network()(torch.from_numpy(normalised(drawn_pixels()))).numpy()
    return logits.ravel()


def verified(path: Path) -> float:
    """Return the decibels that the conversion found, against its own network."""
    return float(json.loads(manifest_path(path).read_text())["verification"]["sqnr_db"])


def table(records: Sequence[dict], cpus: Sequence[str]) -> str:
    """Return the Markdown table; among files of the same weights the fewest instructions of a column stand out."""
    lines = [f"| runtime and file | {' | '.join(cpus)} | logits against torch |", f"|---|{'---:|' * len(cpus)}---:|"]
    counted = [r for r in records if "failed" not in r]
    least = {
        c: min((r["instructions"] for r in counted if r["cpu"] == c and not r["is_other"]), default=0) for c in cpus
    }
    for name in dict.fromkeys(r["peer"] for r in records):
        own = {r["cpu"]: r for r in counted if r["peer"] == name}
        failed = any(r["peer"] == name for r in records if "failed" in r)
        cells = []
        for cpu in cpus:
            if cpu not in own:
                cells.append("failed" if failed else "-")
                continue
            text = f"{own[cpu]['instructions'] / 1e6:.1f}"
            cells.append(f"**{text}**" if own[cpu]["instructions"] == least[cpu] else text)
        decibels = [f"{r['decibels']:.0f} dB" for r in own.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {' / '.join(dict.fromkeys(decibels)) or '-'} |")
    runtimes = ", ".join(dict.fromkeys(r["runtime"] for r in counted))
    what = f"{report.WHAT_IT_IS} Millions, one thread. {runtimes}."
    failures = [f"{r['peer']}: {r['failed']}" for r in records if "failed" in r]
    return "\n".join([*lines, "", what, *failures])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 when a peer could not be counted, 2 for misuse."""
    arguments = build_parser().parse_args(argv)
    try:
        records = measure(arguments)
        text = table(records, arguments.cpus)
        if arguments.output:
            put_into(arguments.output, text, (BEGIN, END))
    except (ValueError, ImportError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(records, indent=1) if arguments.json else text)
    return 1 if any("failed" in r for r in records) else 0


if __name__ == "__main__":
    raise SystemExit(main())
