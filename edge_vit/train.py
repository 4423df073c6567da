"""Train a variant on your own classes: from random or published weights, or quantization-aware from a float checkpoint.

python -m edge_vit.train levit_128s --data DIR --weights imagenet
python -m edge_vit.train levit_128s --data DIR --qat --weights runs/levit_128s_224/levit_128s_float.safetensors
python -m edge_vit.train levit_128s --data DIR --resolution 160 --epochs 60
torchrun --nproc-per-node 4 -m edge_vit.train levit_128s --data DIR
"""

import argparse
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_vit.models.own_flags import add_own_arguments
from edge_vit.training.config import (
    DEFAULT_RESOLUTION,
    FINE_TUNING_RECIPE,
    FLOAT_RECIPE,
    QAT_RECIPE,
    AugmentConfig,
    TrainConfig,
)

if TYPE_CHECKING:
    from edge_vit.console.answer import Answer

_RECIPE_HELP = {
    "epochs": "passes over the pictures", "batch_size": "images a step and process", "lr": "peak learning rate",
    "accumulate": "batches that make one step", "layer_decay": "learning rate of a block as a share of the next one's",
    "weight_decay": "of weights, not of norms and biases", "label_smoothing": "share of the target for all classes",
    "ema_decay": "decay of the weights' moving average; 0: off",
}  # fmt: skip
RESUMES = "interrupted; the same command resumes after the last finished epoch"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge_vit.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", help="variant, e.g. levit_128s (python -m edge_vit.models lists all), or FILE.py:function"
    )
    parser.add_argument(
        "--data", type=Path, required=True,
        help="folder with train/ and val/, or with one sub-folder a class, or a .csv or .jsonl list of path and label",
    )  # fmt: skip
    parser.add_argument(
        "--weights", metavar="SOURCE",
        help="start from: imagenet (published), embedded, hf:ORG/NAME, or a path; other classes get a new classifier; "
        "auto: what the function of a network of your own gives",
    )  # fmt: skip
    parser.add_argument("--output-dir", type=Path, help="state, log, checkpoints; default runs/MODEL_RESOLUTION[_qat]")
    parser.add_argument("--qat", action="store_true", help="learn to survive int8; needs --weights")
    parser.add_argument(
        "--processor", default="cpu", metavar="NAME",
        help="with --qat: what the file is to run on, cpu or npu (%(default)s); see `convert --processor list`",
    )  # fmt: skip
    parser.add_argument(
        "--resolution", type=int, help=f"side of the input in pixels ({DEFAULT_RESOLUTION}; --qat: as trained)"
    )
    parser.add_argument("--prolong", action="store_true", help="go on with a run of fewer --epochs in --output-dir")
    _add_data_arguments(parser)
    _add_recipe_arguments(parser)
    parser.add_argument("--drop-path", type=float, help="stochastic depth; default: the variant's own")
    _add_teacher_arguments(parser)
    add_own_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, default=1, help="data loading processes (1)")
    parser.add_argument("--threads", type=int, help="CPU threads of the model; default: torch's choice")
    parser.add_argument("--keep-decoded", action="store_true", help="hold decoded images in memory (small data sets)")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where fast")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--log-every", type=int, default=10, help="steps between two loss records (10)")
    parser.add_argument("--tensorboard", action="store_true", help="write event files for TensorBoard too")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument("--val-share", type=float, help="of one folder or list, what to judge by (0.1 of each class)")
    group.add_argument(
        "--select-share", type=float, default=0.1,
        help="of the pictures to learn from, what the epoch is chosen by (0.1); 0 takes the last epoch",
    )  # fmt: skip
    group.add_argument("--patience", type=int, help="end after so many epochs without a better one")
    group.add_argument("--balanced", action="store_true", help="draw from every class as often")


def _add_teacher_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("teacher")
    group.add_argument(
        "--teacher", metavar="TEACHER",
        help="learn from: a checkpoint of this project, a converted file, a .pt2 program, or package.module:function",
    )  # fmt: skip
    group.add_argument("--distill", choices=("soft", "hard"), default="soft", help="its whole answer, or its class")
    group.add_argument("--distill-weight", type=float, default=0.5, help="share of the teacher in the loss (0.5)")
    group.add_argument("--temperature", type=float, default=1.0, help="of a soft answer (1)")


def _add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what has one default for float training, one with --weights, and one with --qat."""
    group = parser.add_argument_group(
        "recipe", "Defaults in brackets; where they differ: from random weights; with --weights; with --qat."
    )
    recipes = (FLOAT_RECIPE, FINE_TUNING_RECIPE, QAT_RECIPE)
    for name, what in _RECIPE_HELP.items():
        kind = int if isinstance(getattr(FLOAT_RECIPE, name), int) else float
        group.add_argument(_flag(name), type=kind, help=f"{what} {_defaults(name, recipes)}")
    group.add_argument(
        "--warmup-epochs",
        type=float,
        help=f"the learning rate rises to its peak ({100 * FLOAT_RECIPE.warmup_share:g}%% of all; with --weights "
        f"{100 * FINE_TUNING_RECIPE.warmup_share:g}%%)",
    )
    group.add_argument("--head-epochs", type=float, help="first epochs in which the classifier learns alone (0)")
    group.add_argument(
        "--freeze-epochs", type=float,
        help=f"with --qat: last epochs with fixed ranges ({100 * QAT_RECIPE.freeze_share:g}%% of all)",
    )  # fmt: skip
    for name in asdict(AugmentConfig()):
        what = f"augmentation {_defaults(name, [recipe.augment for recipe in recipes])}"
        group.add_argument(_flag(name), type=float, help=what)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _defaults(name: str, recipes: Sequence[object]) -> str:
    shown = [f"{getattr(recipe, name):g}" for recipe in recipes]
    return f"({shown[0]})" if len(set(shown)) == 1 else f"({'; '.join(shown)})"


def config_from_args(args: argparse.Namespace) -> TrainConfig:
    values = vars(args).copy()
    values.pop("json")
    recipe = QAT_RECIPE if args.qat else FLOAT_RECIPE if args.weights is None else FINE_TUNING_RECIPE
    augment = replace(recipe.augment, **_given(values, asdict(recipe.augment)))
    given = _given(values, _RECIPE_HELP)
    epochs = given.get("epochs", recipe.epochs)
    for name in ("warmup_epochs", "freeze_epochs", "head_epochs"):
        length, share = values.pop(name), name.replace("epochs", "share")
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
    from edge_vit import api

    result = api.train(config)
    if os.environ.get("RANK", "0") != "0":  # one of several processes speaks
        return Answer()
    line = f"top-1 {result.top1:.2f}% on {result.num_val_images} images -> {result.checkpoint}"
    return Answer(text=json.dumps(asdict(result)) if args.json else line)


if __name__ == "__main__":
    raise SystemExit(main())
