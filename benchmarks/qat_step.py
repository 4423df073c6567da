"""What a quantization-aware training step costs beside a float one: seconds in turns, and the process's peak memory.

    python benchmarks/qat_step.py --models levit_128s efficientvit_m0 fastervit_edge_0 --batch-size 32

Each kind learns in a process of its own, so that each has its own peak; the processes take turns, step by step.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

KINDS = ("float", "qat")


def learner(name: str, kind: str, resolution: int, batch_size: int):
    """Return a function that makes one step: forward, backward, AdamW."""
    from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
    from edge_vit.layers.fuse import fuse
    from edge_vit.layers.pixel_input import PixelInput
    from edge_vit.models import create_model
    from edge_vit.models.weights import randomize_
    from edge_vit.quantization.graph import export_graph
    from edge_vit.quantization.plan import make_plan
    from edge_vit.quantization.ptq import calibrate
    from edge_vit.quantization.qat import QatModel
    from edge_vit.training.groups import make_optimizer

    torch.set_flush_denormal(True)
    model = create_model(name, num_classes=10, resolution=resolution)
    randomize_(model)
    if kind == "qat":
        side = (resolution, resolution, 3)
        pixels = PixelInput(fuse(model.eval()), resolution, IMAGENET_MEAN, IMAGENET_STD).eval()
        graph = export_graph(pixels, torch.zeros(2, *side), dynamic_batch=True)
        plan = make_plan(graph)
        ranges = calibrate(graph, plan, [torch.randint(0, 256, (2, *side)).float()])
        model = QatModel(graph, plan, ranges, IMAGENET_MEAN, IMAGENET_STD)
    model.to(memory_format=torch.channels_last)
    model.train()
    optimizer = make_optimizer(model, 1e-5, 0.0, is_folded=kind == "qat")
    x = torch.randn(batch_size, 3, resolution, resolution).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch_size,))

    def step() -> None:
        output = model(x)
        logits = output if isinstance(output, torch.Tensor) else sum(output)
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def serve(name: str, kind: str, resolution: int, batch_size: int, threads: int) -> None:
    """Make a step for every line of stdin, and say how long it took and the peak of memory so far."""
    torch.set_num_threads(threads)
    step = learner(name, kind, resolution, batch_size)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"s": time.perf_counter() - started, "peak_mib": peak_mib}), flush=True)


def compare(name: str, args: argparse.Namespace) -> dict:
    """Return medians of both kinds, taken in turns."""

    def start(kind: str) -> subprocess.Popen:
        words = [name, kind, args.resolution, args.batch_size, args.threads]
        command = [sys.executable, __file__, "--serve", *map(str, words)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    with start("float") as first, start("qat") as second:
        records: dict[str, list[dict]] = {kind: [] for kind in KINDS}
        for _ in range(args.steps + 1):
            for kind, process in zip(KINDS, (first, second), strict=True):
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write("\n")
                process.stdin.flush()
                records[kind].append(json.loads(process.stdout.readline()))
    seconds = {kind: statistics.median(record["s"] for record in records[kind][1:]) for kind in KINDS}
    peaks = {kind: records[kind][-1]["peak_mib"] for kind in KINDS}
    return {
        "model": name, "images_per_s": {kind: round(args.batch_size / seconds[kind], 1) for kind in KINDS},
        "time_ratio": round(seconds["qat"] / seconds["float"], 2), "peak_mib": {k: round(v) for k, v in peaks.items()},
        "memory_ratio": round(peaks["qat"] / peaks["float"], 2),
    }  # fmt: skip


def main() -> int:
    if sys.argv[1:2] == ["--serve"]:
        name, kind, *numbers = sys.argv[2:]
        serve(name, kind, *map(int, numbers))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["levit_128s"])
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="after one that does not count (5)")
    args = parser.parse_args()
    for name in args.models:
        print(json.dumps(compare(name, args)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
