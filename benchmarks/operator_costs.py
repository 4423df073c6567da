"""Fit what an operator costs to instruction counts: the figures of edge_vit/quantization/costs.py.

    python -m edge_vit.bench_arm --emulate FILE.tflite --cpu cortex-a76 --by-operator --json > FILE.json    for each
    python benchmarks/operator_costs.py FILE.tflite ...                         FILE.json beside each, or its records

Instructions of an operator = a * multiply-adds + b * numbers that it gives + c, by least squares over all files.
"""

import argparse
import json
from collections import defaultdict
from math import prod
from pathlib import Path

import numpy as np

from converters.network import read_network
from edge_vit.emulation.attribution import match

FAMILIES = {
    "CONV_2D": "gemm", "FULLY_CONNECTED": "gemm", "DEPTHWISE_CONV_2D": "depthwise", "BATCH_MATMUL": "matmul",
    "ADD": "add", "SUB": "add", "MUL": "mul", "MEAN": "mean", "LOGISTIC": "sigmoid", "CONCATENATION": "concat",
    "SOFTMAX": "softmax", "QUANTIZE": "quantize", "DEQUANTIZE": "dequantize", "TRANSPOSE": "transpose",
    "HARD_SWISH": "hardswish", "RELU": "clip", "SLICE": "slice",
}  # fmt: skip


def fit(design: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the least-squares factors, (columns,), none below 0."""
    used = np.ones(design.shape[1], bool)
    while True:
        found = np.zeros(design.shape[1])
        found[used] = np.linalg.lstsq(design[:, used], wanted, rcond=None)[0]
        if (found >= 0).all():
            return found
        used &= found >= 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    rows: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    for file in parser.parse_args().files:
        (record,) = json.loads(file.with_suffix(".json").read_text())
        network = read_network(file)
        executed = record["operators"]
        places = match([(entry["kind"],) for entry in executed], [operator.kind for operator in network])
        for entry, place in zip(executed, places, strict=True):
            if place is not None and network[place].kind in FAMILIES:
                operator = network[place]
                precision = "int8" if operator.precision == "int8" else "float"
                key = FAMILIES[operator.kind], precision
                rows[key].append((operator.multiply_adds, prod(operator.shape), entry["instructions"]))
    print(f"{'operator':<12}{'precision':<10}{'times':>6}{'a':>9}{'b':>9}{'c':>8}   largest error of one, share of all")
    for (family, precision), entries in sorted(rows.items()):
        table = np.array(entries, float)
        design = np.column_stack([table[:, 0], table[:, 1], np.ones(len(table))])
        # Relative errors count alike for small and large operators, so that no layer's cost is told wrong.
        weights = 1.0 / np.sqrt(table[:, 2])
        found = fit(design * weights[:, None], table[:, 2] * weights)
        error = (design @ found - table[:, 2]) / table[:, 2].sum()
        print(
            f"{family:<12}{precision:<10}{len(table):>6}{found[0]:>9.4f}{found[1]:>9.3f}{found[2]:>8.0f}"
            f"   {np.abs(error).max():.2%}, all together {error.sum():+.2%}"
        )


if __name__ == "__main__":
    main()
