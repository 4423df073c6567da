"""Train a variant on an image folder: float, or quantization-aware from a float checkpoint.

python -m edge_vit.train levit_128s --data DIR --resolution 160 --epochs 60
python -m edge_vit.train levit_128s --data DIR --qat --weights runs/levit_128s_160/levit_128s_float.safetensors
torchrun --nproc-per-node 4 -m edge_vit.train levit_128s --data DIR
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_vit.training.config import AugmentConfig, TrainConfig

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer

RESUMES = "interrupted; the same command resumes after the last finished epoch"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="variant, e.g. levit_128s (python -m edge_vit.models lists all)")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, one subfolder a class")
    parser.add_argument("--output-dir", type=Path, help="state, log, checkpoints; default runs/MODEL_RESOLUTION[_qat]")
    parser.add_argument("--qat", action="store_true", help="learn to survive int8; needs --weights")
    parser.add_argument("--freeze-epochs", type=int, default=1, help="with --qat: last epochs with fixed ranges (1)")
    parser.add_argument("--resolution", type=int, default=224, help="side of the input in pixels (224)")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128, help="images a step and process (128)")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate (1e-3)")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--warmup-epochs", type=float, default=3.0)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--ema-decay", type=float, default=0.999, help="decay of the weights' moving average; 0: off")
    parser.add_argument("--drop-path", type=float, help="stochastic depth; default: the variant's own")
    for field, default in asdict(AugmentConfig()).items():
        flag = f"--{field.replace('_', '-')}"
        parser.add_argument(flag, type=float, default=default, help=f"augmentation ({default})")
    parser.add_argument("--weights", type=Path, help="checkpoint to start from (another resolution is resampled)")
    parser.add_argument("--teacher", type=Path, help="checkpoint of this project to distil from")
    parser.add_argument("--distill-weight", type=float, default=0.5, help="share of the teacher in the loss (0.5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, default=1, help="data loading processes (1)")
    parser.add_argument("--threads", type=int, help="CPU threads of the model; default: torch's choice")
    parser.add_argument("--keep-decoded", action="store_true", help="hold decoded images in memory (small data sets)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where fast")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--log-every", type=int, default=10, help="steps between two loss records (10)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def config_from_args(args: argparse.Namespace) -> TrainConfig:
    values = vars(args).copy()
    values.pop("json")
    augment = AugmentConfig(**{field: values.pop(field) for field in asdict(AugmentConfig())})
    suffix = "_qat" if args.qat else ""
    output_dir = values.pop("output_dir") or Path("runs") / f"{args.model}_{args.resolution}{suffix}"
    return TrainConfig(augment=augment, output_dir=output_dir, **values)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    from edge_vit.console.answer import answer

    return answer(lambda: _answer(argv), interrupted=RESUMES)


def _answer(argv: list[str] | None) -> "Answer":
    from edge_vit.console.answer import Answer

    args = build_parser().parse_args(argv)
    config = config_from_args(args)
    if config.qat:
        from edge_vit.quantization.packages import check_torchao

        check_torchao()
    from edge_vit.training.run import run

    result = run(config)
    if os.environ.get("RANK", "0") != "0":  # one of several processes speaks
        return Answer()
    line = f"top-1 {result.top1:.2f}% on {result.num_val_images} images -> {result.checkpoint}"
    return Answer(text=json.dumps(asdict(result)) if args.json else line)


if __name__ == "__main__":
    raise SystemExit(main())
