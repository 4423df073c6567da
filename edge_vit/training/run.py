"""One training from its settings to its best checkpoint."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.lists import write_list
from calibration.preprocess import Preprocess
from edge_vit.models.names import check_resolution
from edge_vit.models.own import OwnNetwork, check_network, find_network, find_own_weights
from edge_vit.models.sources import WeightsSource, find_weights
from edge_vit.models.user_code import names_function
from edge_vit.quantization.processors import CPU, find_processor
from edge_vit.training.config import DEFAULT_RESOLUTION, TrainConfig, TrainResult
from edge_vit.training.curves import Curves, check_tensorboard
from edge_vit.training.folders import Splits, among, fingerprint, fitting_batch, imbalance, list_splits
from edge_vit.training.processes import Place, find_device, find_place, join, leave, use_bf16
from edge_vit.training.state import check_settings, claimed, read_state, written

if TYPE_CHECKING:
    import torch
    from torch import nn

    from edge_vit.models.own import LoadedNetwork
    from edge_vit.training.augment import BatchAugment
    from edge_vit.training.data import Judged, LoadedData
    from edge_vit.training.loop import Run, Score

# What may be another when a run is resumed.
_VARYING = {
    "output_dir", "device", "num_workers", "threads", "keep_decoded", "log_every", "data", "prolong", "recipe",
    "patience", "tensorboard",
}  # fmt: skip
PICTURES_FILE = "pictures.csv"


def run(config: TrainConfig) -> TrainResult:
    """Train, resuming where an earlier run in the same folder stopped.

    Raises:
        ValueError: If a setting, the data, a checkpoint or the folder does not fit; the message says which.
        ImportError: If TensorBoard is asked for and missing.
        RuntimeError: If the loss is not finite, a file cannot be written, or a picture is gone.
    """
    check_network(config.model, config.resolution, mean=config.mean, std=config.std, crop=config.crop)
    place = find_place()
    splits = list_splits(config.data, val_share=config.val_share, select_share=config.select_share, seed=config.seed)
    fitting_batch(len(splits.train), config.recipe.batch_size, place.num_processes)
    if config.tensorboard:
        check_tensorboard()
    _check_teacher(config.teacher)
    own = find_network(config.model, config.resolution, mean=config.mean, std=config.std, crop=config.crop)
    if own is not None:
        return _run_own(config, own, place, splits)
    source = _find_source(config)
    resolution = source.resolution_for(config.model, config.resolution) if source is not None else config.resolution
    resolution = resolution or DEFAULT_RESOLUTION
    check_resolution(config.model, resolution)
    folder = config.output_dir or Path("runs") / f"{config.model}_{resolution}{_kind(config)}"
    with claimed(folder):
        return _run(config, place, splits, source, Preprocess(resolution=resolution), folder)


def _run_own(config: TrainConfig, own: OwnNetwork, place: Place, splits: Splits) -> TrainResult:
    """Train a network of the user's own, as `run`."""
    from edge_vit.models.own import load_network

    source = None if config.weights is None else find_own_weights(own, config.weights, is_int8=False)
    network = load_network(own, source, splits.classes, may_know_more=True)
    if len(network.classes) > len(splits.classes):
        splits = among(splits, network.classes, own.source)
    height, width = network.preprocess.size
    if height != width:
        raise ValueError(
            f"{own.name} takes {height} x {width} pixels; train at a square --resolution, and convert at another"
        )
    if config.drop_path is not None:
        raise ValueError("--drop-path is for our variants; set it in the function that makes your network")
    folder = config.output_dir or Path("runs") / f"{own.name}_{height}{_kind(config)}"
    with claimed(folder):
        return _run(config, place, splits, source, network.preprocess, folder, own, network)


def _kind(config: TrainConfig) -> str:
    made_for = "" if config.processor == CPU.name else f"_{config.processor}"
    return f"_qat{made_for}" if config.qat else ""


def _check_teacher(teacher: str | None) -> None:
    """Raise ValueError if a teacher is neither there nor names a function; loading one takes torch."""
    if teacher is not None and not names_function(teacher) and not Path(teacher).exists():
        raise ValueError(
            f"teacher {teacher} does not exist; give a checkpoint, a converted file, a .pt2 program, "
            "or package.module:function"
        )


def _find_source(config: TrainConfig) -> WeightsSource | None:
    if config.weights is None:
        return None
    source = find_weights(config.model, config.weights, prefer_quantized=False, takes_siblings=not config.qat)
    if source.form != "training":
        raise ValueError(f"{source.label} is {source.form}; training starts from float weights")
    return source


def _run(
    config: TrainConfig, place: Place, splits: Splits, source: WeightsSource | None, preprocess: Preprocess,
    folder: Path, own: OwnNetwork | None = None, network: "LoadedNetwork | None" = None,
) -> TrainResult:  # fmt: skip
    resolution = preprocess.size[0]
    import torch

    from edge_vit.training import loop
    from edge_vit.training.data import load_data
    from edge_vit.training.groups import make_optimizer
    from edge_vit.training.new_heads import fit_heads_
    from edge_vit.training.students import float_student, own_student, qat_student
    from edge_vit.training.teachers import load_teacher

    # Before any thread pool starts, so that its threads inherit it. Moving averages decay into denormal numbers, on
    # which a CPU computes up to ten times slower, more of them every epoch.
    torch.set_flush_denormal(True)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    recipe, device = config.recipe, find_device(place, config.device)
    state, settings = read_state(folder), _settings(config, place, splits, resolution)
    if state is not None:
        check_settings(folder, state["fingerprint"], settings, state["epoch"], config.prolong)
    bf16 = use_bf16(config.precision, device)
    if place.is_main:
        _announce(config, splits, folder)
    teacher = None
    if config.teacher is not None:
        teacher = load_teacher(config.teacher, splits, device, bf16, preprocess.mean, preprocess.std)
    join(place, device)
    data = load_data(
        splits, preprocess, recipe.batch_size, recipe.augment.min_scale, config.seed, config.num_workers,
        config.keep_decoded, place, config.balanced,
    )  # fmt: skip
    num_val_images = data.val.num_images
    torch.manual_seed(config.seed)
    if config.qat:
        assert source is not None
        student = qat_student(
            config.model if own is None else own.name, resolution, splits, data.train.images, source, folder,
            num_val_images, place, find_processor(config.processor), own,
        )  # fmt: skip
    elif own is not None and network is not None:
        student = own_student(own, network, splits.classes, source, folder, num_val_images, place)
    else:
        student = float_student(
            config.model, resolution, splits.classes, source, config.drop_path, folder, num_val_images, place
        )
    if student.is_head_new and state is None:
        fit_heads_(student.model, data.train.images, resolution, max(2, config.num_workers))
    model = student.model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    augment, score, evaluate = _judges(config, data, preprocess, device, bf16)
    curves = Curves(folder, config.tensorboard and place.is_main)
    run = loop.Run(
        recipe=recipe, distill_weight=config.distill_weight, temperature=config.temperature,
        is_hard=config.distill == "hard", seed=config.seed, use_bf16=bf16, log_every=config.log_every, place=place,
        model=model, averaged=loop.make_average(model, recipe.ema_decay),
        optimizer=make_optimizer(model, recipe.lr, recipe.weight_decay, recipe.layer_decay, is_folded=config.qat),
        steps=data.train.steps, batches=data.train.batches, batch_size=data.train.batch_size, augment=augment,
        num_classes=len(splits.classes), folder=folder, device=device, score=score, evaluate=evaluate,
        save=student.save, say=curves.add, teacher=teacher, freeze=student.freeze, patience=config.patience,
        is_start_judged=config.qat, fingerprint=settings,
    )  # fmt: skip
    loop.train(run, state)
    if place.is_main:
        curves.finish()
        _say_how_it_ended(run, config, student.checkpoint)
    leave()
    return TrainResult(
        checkpoint=str(student.checkpoint),
        top1=round(run.top1, 3),
        epochs=run.epoch,
        num_val_images=num_val_images,
        chosen_epoch=run.chosen_epoch,
        select_top1=None if run.best is None else round(run.best.top1, 3),
        num_select_images=data.select.num_images,
        start_top1=None if run.start_top1 is None else round(run.start_top1, 3),
    )


def _judges(
    config: TrainConfig, data: "LoadedData", preprocess: Preprocess, device: "torch.device", bf16: bool
) -> "tuple[BatchAugment, Callable[[nn.Module], Score | None], Callable[[nn.Module], float]]":
    """Return how training pictures are varied, what an epoch is chosen by, and what it is judged by."""
    from edge_vit.training.augment import BatchAugment
    from edge_vit.training.loop import Score
    from edge_vit.training.validation import judge, pixel_batches

    augment = BatchAugment(config.recipe.augment, preprocess.mean, preprocess.std)

    def sums(module: "nn.Module", pictures: "Judged") -> tuple[int, float]:
        batches = pixel_batches(pictures.images, preprocess, pictures.pixels, max(2, config.num_workers))
        return judge(module, batches, augment.normalise, device, bf16)

    def score(module: "nn.Module") -> "Score | None":
        count = data.select.num_images
        if not count:
            return None
        right, loss = sums(module, data.select)
        return Score(top1=100.0 * right / count, loss=loss / count)

    def evaluate(module: "nn.Module") -> float:
        return 100.0 * sums(module, data.val)[0] / data.val.num_images

    return augment, score, evaluate


def _announce(config: TrainConfig, splits: Splits, folder: Path) -> None:
    """Say what is learnt from, what the epoch is chosen by, and with which recipe; keep a split that was drawn."""
    counts = (
        f"{len(splits.train)} to learn from, {len(splits.select)} to choose the epoch by, {len(splits.val)} to judge by"
    )
    shown, known = len(set(splits.train.labels)), len(splits.classes)
    classes = f"{shown} of the network's {known} classes" if shown < known else f"{known} classes"
    print(f"pictures: {counts}, {classes}", file=sys.stderr)
    if shown < known and config.teacher is None:
        print(
            f"labels of {shown} classes alone make it forget the others; --teacher {config.model} --distill-weight 1 "
            "keeps it to the answers that it gives now",
            file=sys.stderr,
        )
    if remark := imbalance(splits):
        print(remark, file=sys.stderr)
    if not len(splits.select):
        print("no pictures to choose the epoch by: the last one is kept", file=sys.stderr)
    if config.weights is not None and not config.qat:
        recipe = config.recipe
        print(
            f"fine-tuning: {recipe.epochs} epochs, batch {recipe.batch_size}, learning rate {recipe.lr:g}, "
            f"{recipe.layer_decay:g} of it from block to block",
            file=sys.stderr,
        )
    if splits.is_drawn:
        path = folder / PICTURES_FILE
        with written(path):
            write_list(path, {"train": splits.train, "select": splits.select, "val": splits.val})
        print(f"the split is kept in {path}, which accuracy takes as --data", file=sys.stderr)


def _say_how_it_ended(run: "Run", config: TrainConfig, checkpoint: Path) -> None:
    if run.epoch < config.recipe.epochs:
        print(f"no better epoch for {config.patience}: ended after epoch {run.epoch - 1}", file=sys.stderr)
    if run.is_start_kept:
        print(
            f"warning: no epoch reached the calibrated model's {run.top1:.2f}%, so {checkpoint} holds that model; "
            "try a smaller --lr or more --epochs",
            file=sys.stderr,
        )
    elif run.start_top1 is not None and run.best is None and run.top1 < run.start_top1:
        print(
            f"warning: it ends below the calibrated model's {run.start_top1:.2f}%; pictures to choose by, "
            "--select-share, would have kept that model",
            file=sys.stderr,
        )


def _settings(config: TrainConfig, place: Place, splits: Splits, resolution: int) -> dict[str, Any]:
    """Return what must be equal for a resumed run to continue the same one."""
    values = {key: value for key, value in asdict(config).items() if key not in _VARYING}
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
    fixed = {"resolution": resolution, "world_size": place.num_processes}
    return {**plain, **asdict(config.recipe), **fixed, **fingerprint(splits)}
