"""Give a quantized checkpoint the ranges that another processor's plan needs besides, chosen from pictures.

    python benchmarks/processor_ranges.py edge_vit/checkpoints/levit_128s_int8.safetensors levit_128s --data DIR/train

Weights and the ranges that it has stay as they are: files for the processor that it was trained for do not change. The
float checkpoint lies beside it. `convert` takes what it finds; with --calib it chooses the same ranges itself.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from edge_vit.quantization.processors import NPU, find_processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--processor", default=NPU.name)
    args = parser.parse_args()

    from calibration.dataset import list_images
    from edge_vit.deployment.pictures import load_pictures
    from edge_vit.models.checkpoint_io import write_checkpoint
    from edge_vit.models.sources import find_weights
    from edge_vit.quantization.pipeline import build_float, build_quantized, pixel_batches

    source = find_weights(args.model, str(args.checkpoint), prefer_quantized=True)
    float_model = build_float(args.model, source, None)
    pictures = load_pictures(list_images(args.data), float_model.preprocess, args.images)
    batches = pixel_batches(pictures.pixels)
    made = build_quantized(float_model, batches, processor=find_processor(args.processor))
    added = made.summary.get("ranges_calibrated", [])
    assert source.checkpoint is not None
    ranges = dict(source.metadata["ranges"]) | {name: asdict(made.ranges[name]) for name in added}
    tensors = {name: tensor.clone() for name, tensor in source.checkpoint.tensors.items()}
    write_checkpoint(args.checkpoint, tensors, dict(source.checkpoint.metadata) | {"ranges": ranges})
    print(f"{args.checkpoint}: {len(added)} ranges added, {len(ranges)} in all")


if __name__ == "__main__":
    main()
