"""Train a variant on an image folder: float, or quantization-aware from a float checkpoint.

python -m edge_vit.train levit_128s --data DIR --resolution 160 --epochs 60
python -m edge_vit.train levit_128s --data DIR --qat --weights runs/levit_128s_160/levit_128s_float.safetensors
torchrun --nproc-per-node 4 -m edge_vit.train levit_128s --data DIR
"""

import argparse
import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_vit.training.config import DEFAULT_RESOLUTION, FLOAT_RECIPE, QAT_RECIPE, AugmentConfig, TrainConfig

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer

_RECIPE_HELP = {
    "epochs": "passes over the pictures", "batch_size": "images a step and process", "lr": "peak learning rate",
    "weight_decay": "of weights, not of norms and biases", "label_smoothing": "share of the target for all classes",
    "ema_decay": "decay of the weights' moving average; 0: off",
}  # fmt: skip
RESUMES = "interrupted; the same command resumes after the last finished epoch"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="variant, e.g. levit_128s (python -m edge_vit.models lists all)")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/, one subfolder a class")
    parser.add_argument("--output-dir", type=Path, help="state, log, checkpoints; default runs/MODEL_RESOLUTION[_qat]")
    parser.add_argument("--qat", action="store_true", help="learn to survive int8; needs --weights")
    parser.add_argument(
        "--resolution", type=int, help=f"side of the input in pixels ({DEFAULT_RESOLUTION}; --qat: as trained)"
    )
    parser.add_argument("--prolong", action="store_true", help="go on with a run of fewer --epochs in --output-dir")
    _add_recipe_arguments(parser)
    parser.add_argument("--drop-path", type=float, help="stochastic depth; default: the variant's own")
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


def _add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what has one default for float training and another with --qat."""
    group = parser.add_argument_group(
        "recipe", "Defaults in brackets: of float training; of --qat where it has its own."
    )
    for name, what in _RECIPE_HELP.items():
        kind = int if isinstance(getattr(FLOAT_RECIPE, name), int) else float
        group.add_argument(_flag(name), type=kind, help=f"{what} {_defaults(FLOAT_RECIPE, QAT_RECIPE, name)}")
    group.add_argument(
        "--warmup-epochs",
        type=float,
        help=f"the learning rate rises to its peak ({100 * FLOAT_RECIPE.warmup_share:g}%% of all)",
    )
    group.add_argument(
        "--freeze-epochs", type=float,
        help=f"with --qat: last epochs with fixed ranges ({100 * QAT_RECIPE.freeze_share:g}%% of all)",
    )  # fmt: skip
    for name in asdict(AugmentConfig()):
        what = f"augmentation {_defaults(FLOAT_RECIPE.augment, QAT_RECIPE.augment, name)}"
        group.add_argument(_flag(name), type=float, help=what)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _defaults(in_float: object, in_qat: object, name: str) -> str:
    ours, theirs = getattr(in_float, name), getattr(in_qat, name)
    return f"({ours:g})" if ours == theirs else f"({ours:g}; {theirs:g})"


def config_from_args(args: argparse.Namespace) -> TrainConfig:
    values = vars(args).copy()
    values.pop("json")
    recipe = QAT_RECIPE if args.qat else FLOAT_RECIPE
    augment = replace(recipe.augment, **_given(values, asdict(recipe.augment)))
    given = _given(values, _RECIPE_HELP)
    epochs = given.get("epochs", recipe.epochs)
    for name, share in (("warmup_epochs", "warmup_share"), ("freeze_epochs", "freeze_share")):
        length = values.pop(name)
        if length is not None and (args.qat or name != "freeze_epochs"):
            if not 0.0 <= length < math.inf:
                raise ValueError(f"{name} {length} is not allowed; use 0 or more")
            given[share] = length / max(1, epochs)
    return TrainConfig(recipe=replace(recipe, augment=augment, **given), **values)


def _given(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Take what the user gave of some flags out of `values`."""
    taken = {name: values.pop(name) for name in names}
    return {name: value for name, value in taken.items() if value is not None}


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
