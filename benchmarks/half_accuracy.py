"""What float16 around the softmaxes does to the accuracy of int8 .tflite files.

    python benchmarks/half_accuracy.py ARTEFACT ... --data DIR [--limit N] [--json]

Every picture goes through the file twice on this machine: as it is, floats in float32, and with XNNPACK's flag that
forces float16, which is what a core with float16 arithmetic does of itself with the files written here. Prints a
Markdown table. Exits with 1 when fewer answers than --min-agreement percent are equal.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from calibration.dataset import BatchLoader
from calibration.preprocess import Preprocess
from converters.artefact import load_artefact
from converters.cache import cache_folder
from edge_vit.devices import packages, runner_build
from edge_vit.evaluation.comparison import AccuracyConfig, prepare
from edge_vit.evaluation.paired import PairedResult, PairedSums


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "artefacts", nargs="+", type=Path, metavar="ARTEFACT", help=".tflite with its manifest beside it"
    )
    parser.add_argument("--data", type=Path, required=True, help="as in edge_vit.accuracy")
    parser.add_argument("--limit", type=int, help="so many pictures, spread over the classes")
    parser.add_argument("--min-agreement", type=float, default=99.0, help="(%(default)s)")
    parser.add_argument("--json", action="store_true")
    return parser


def run_in_half(artefact: Path, pixels: np.ndarray) -> np.ndarray:
    """Return the logits (B, classes) of pixels (B, H, W, 3) uint8, floats computed in float16."""
    library, runner = runner_build.local_library(), runner_build.local_runner(cache_folder(None))
    rows = []
    with tempfile.TemporaryDirectory(prefix="edge_vit-half-") as scratch:
        source, target = Path(scratch) / "input", Path(scratch) / "output"
        for picture in pixels:
            source.write_bytes(picture.tobytes())
            command = [str(runner), "--library", str(library), "--model", str(artefact), "--output", str(target)]
            packages.call(
                [*command, "--input", str(source), "--warmup-runs", "0", "--half"], f"a run of {artefact.name}"
            )
            rows.append(np.frombuffer(target.read_bytes(), np.float32))
    return np.stack(rows)


def compare(artefact: Path, data: Path, limit: int | None) -> PairedResult:
    """Compare the file in float16 with the same file in float32.

    Raises:
        ValueError: If the artefact, the data or their classes do not fit.
    """
    ready = prepare(AccuracyConfig(artefact=artefact, data=data, limit=limit, threads=1))
    whole = load_artefact(ready.manifest, artefact, 1).run
    sums = PairedSums(len(ready.manifest.classes))
    preprocess = Preprocess(**ready.manifest.input.preprocess_fields())
    for batch in BatchLoader(ready.images, preprocess, batch_size=32, threads=1):
        sums.add(whole(batch.pixels), run_in_half(artefact, batch.pixels), batch.labels)
        print(f"{artefact.name}: {sums.result().num_images} of {len(ready.images)}", file=sys.stderr)
    return sums.result()


def table(results: dict[str, PairedResult]) -> str:
    """Return the Markdown table."""
    lines = ["| file | pictures | top-1, float32 | top-1, float16 | same top-1 |", "|---|---:|---:|---:|---:|"]
    for name, r in results.items():
        cells = [f"{share:.2f}%" for share in (r.float_top1, r.artefact_top1, 100 * r.agreement)]
        lines.append(f"| {name} | {r.num_images} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 1 when answers differ too often, 2 for misuse."""
    arguments = build_parser().parse_args(argv)
    try:
        results = {path.name: compare(path, arguments.data, arguments.limit) for path in arguments.artefacts}
    except (ValueError, ImportError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    plain = {
        name: {"top1": r.artefact_top1, "float_top1": r.float_top1, "agreement": r.agreement}
        for name, r in results.items()
    }
    print(json.dumps(plain, indent=1) if arguments.json else table(results))
    return 0 if all(100 * r.agreement >= arguments.min_agreement for r in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
