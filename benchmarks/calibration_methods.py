"""What int8 costs without training, by how ranges are chosen, beside quantization-aware training.

    python benchmarks/calibration_methods.py --calib DIR/train --data DIR/val --rows calibration.json

Each embedded model's float weights are quantized with ranges from the same 128 pictures: by the lowest and highest
value ("min_max", what stock tools do), by least squared error ("mse"), the same with corrected biases ("corrected", our
default) and by `--calib-method best`; "qat" is the embedded int8 checkpoint. All are compared with the float model on
the same pictures, as the graph that every converter lowers. Rows are kept in --rows as they come, not measured again.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from calibration.dataset import BatchLoader, choose, list_class_folders
from edge_vit.deployment.pictures import load_pictures
from edge_vit.deployment.request import NUM_CALIBRATION_PICTURES
from edge_vit.deployment.sensitivity import labelled
from edge_vit.evaluation.paired import PairedSums
from edge_vit.models.sources import find_weights
from edge_vit.quantization.pipeline import build_float, pixel_batches, prepare_int8, run_pixels
from edge_vit.quantization.simulate import Simulation

MODELS = ("levit_128s", "efficientvit_m0", "fastervit_edge_0")
METHODS = ("min_max", "mse", "corrected", "best", "qat")
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calib", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--limit", type=int, metavar="N", help="use N pictures of --data")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE", help="JSON of all figures")
    arguments = parser.parse_args()
    print(
        f"{'model':<18}{'ranges':<9}{'top-1':>7}{'float':>8}{'drop':>7}  {'95% interval':<16}{'agreement':>10}{'dB':>7}"
    )
    rows = json.loads(arguments.rows.read_text()) if arguments.rows.exists() else []
    for name in arguments.models:
        known = [row["ranges"] for row in rows if row["model"] == name]
        for row in measure(name, [m for m in arguments.methods if m not in known], arguments):
            rows.append(row)
            arguments.rows.write_text(json.dumps(rows, indent=1) + "\n")


def measure(name: str, methods: Sequence[str], arguments: argparse.Namespace) -> Iterator[dict]:
    """Compare ways of quantizing one model with its float model; yield a row for each."""
    if not methods:
        return
    float_model = build_float(name, find_weights(name, "embedded", prefer_quantized=False), None)
    images = choose(labelled(list_class_folders(arguments.data), arguments.data, float_model), arguments.limit)
    batches = [(b.pixels, b.labels) for b in BatchLoader(images, float_model.preprocess, batch_size=BATCH)]
    floats = [run_pixels(float_model.module, pixels, len(pixels)) for pixels, _ in batches]
    calibration = load_pictures(list_class_folders(arguments.calib), float_model.preprocess, NUM_CALIBRATION_PICTURES)
    for method in methods:
        if method == "qat":
            trained = build_float(name, find_weights(name, "embedded", prefer_quantized=True), None)
            made = prepare_int8(trained, None, batch=2, is_free_batch=True)
        else:
            pixels = pixel_batches(calibration.pixels, BATCH)
            made = prepare_int8(float_model, pixels, method, 2, is_free_batch=True)
        simulation, sums = Simulation(made), PairedSums(len(float_model.classes))
        every = [layer.name for layer in simulation.layers]
        for (pixels, labels), exact in zip(batches, floats, strict=True):
            values = simulation.run(torch.from_numpy(pixels).float(), every)
            sums.add(exact, simulation.logits(values).numpy().astype(np.float32), labels)
        found = sums.result()
        low, high = found.interval_points
        print(
            f"{name:<18}{method:<9}{found.artefact_top1:>6.2f}%{found.float_top1:>7.2f}%{found.drop_points:>7.2f}  "
            f"{f'{low:.2f} to {high:.2f}':<16}{100 * found.agreement:>9.2f}%{found.sqnr_db:>7.1f}",
            flush=True,
        )
        yield {"model": name, "ranges": method} | dataclasses.asdict(found)


if __name__ == "__main__":
    main()
