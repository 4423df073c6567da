"""One training from its settings to its best checkpoint."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_vit.models.names import check_name
from edge_vit.training.config import DEFAULT_RESOLUTION, TrainConfig, TrainResult
from edge_vit.training.folders import Splits, check_batches, fingerprint, list_splits
from edge_vit.training.processes import Place, find_device, find_place, join, leave, use_bf16
from edge_vit.training.state import check_settings, claimed, read_state

# What may be another when a run is resumed.
_VARYING = {"output_dir", "device", "num_workers", "threads", "keep_decoded", "log_every", "data", "prolong", "recipe"}


def run(config: TrainConfig) -> TrainResult:
    """Train, resuming where an earlier run in the same folder stopped.

    Raises:
        ValueError: If a setting, the data, a checkpoint or the folder does not fit; the message says which.
        RuntimeError: If the loss is not finite, a file cannot be written, or a picture is gone.
    """
    check_name(config.model)
    place = find_place()
    splits = list_splits(config.data)
    check_batches(len(splits.train), config.recipe.batch_size, place.num_processes)
    resolution = config.resolution or _trained_at(config.weights if config.qat else None)
    folder = config.output_dir or Path("runs") / f"{config.model}_{resolution}{'_qat' if config.qat else ''}"
    with claimed(folder):
        return _run(config, place, splits, resolution, folder)


def _run(config: TrainConfig, place: Place, splits: Splits, resolution: int, folder: Path) -> TrainResult:
    import torch

    from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
    from edge_vit.training import loop
    from edge_vit.training.augment import BatchAugment
    from edge_vit.training.data import load_data
    from edge_vit.training.students import float_student, qat_student
    from edge_vit.training.teachers import load_teacher
    from edge_vit.training.validation import count_right, pixel_batches

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
    teacher = load_teacher(config.teacher, splits, device, bf16) if config.teacher is not None else None
    join(place, device)
    data = load_data(
        splits, resolution, recipe.batch_size, recipe.augment.min_scale, config.seed, config.num_workers,
        config.keep_decoded, place,
    )  # fmt: skip
    torch.manual_seed(config.seed)
    if config.qat:
        assert config.weights is not None
        student = qat_student(
            config.model, resolution, splits, data.train.images, config.weights, folder, data.num_val_images, place
        )
    else:
        student = float_student(
            config.model, resolution, splits.classes, config.weights, config.drop_path, folder, data.num_val_images,
            place,
        )  # fmt: skip
    model = student.model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    augment = BatchAugment(recipe.augment, IMAGENET_MEAN, IMAGENET_STD)

    def evaluate(module: torch.nn.Module) -> float:
        batches = pixel_batches(data.val, resolution, data.val_pixels, max(2, config.num_workers))
        return 100.0 * count_right(module, batches, augment.normalise, device, bf16) / data.num_val_images

    run = loop.Run(
        recipe=recipe, distill_weight=config.distill_weight, seed=config.seed, use_bf16=bf16,
        log_every=config.log_every, place=place, model=model, averaged=loop.make_average(model, recipe.ema_decay),
        optimizer=loop.make_optimizer(model, recipe.lr, recipe.weight_decay), steps=data.train.steps,
        batches=data.train.batches, augment=augment, num_classes=len(splits.classes), folder=folder, device=device,
        evaluate=evaluate, save_best=student.save, teacher=teacher, freeze=student.freeze, is_start_judged=config.qat,
        fingerprint=settings,
    )  # fmt: skip
    top1 = loop.train(run, state)
    if run.is_start_kept and place.is_main:
        print(
            f"warning: no epoch reached the calibrated model's {top1:.2f}%, so {student.checkpoint} holds that model; "
            "try a smaller --lr or more --epochs",
            file=sys.stderr,
        )
    leave()
    return TrainResult(
        checkpoint=str(student.checkpoint),
        top1=round(top1, 3),
        epochs=recipe.epochs,
        num_val_images=data.num_val_images,
        start_top1=None if run.start_top1 is None else round(run.start_top1, 3),
    )


def _settings(config: TrainConfig, place: Place, splits: Splits, resolution: int) -> dict[str, Any]:
    """Return what must be equal for a resumed run to continue the same one."""
    values = {key: value for key, value in asdict(config).items() if key not in _VARYING}
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}
    fixed = {"resolution": resolution, "world_size": place.num_processes}
    return {**plain, **asdict(config.recipe), **fixed, **fingerprint(splits)}


def _trained_at(weights: Path | None) -> int:
    """Return the resolution that a checkpoint of this project says it was trained at; the default if none does."""
    if weights is None or weights.suffix != ".safetensors":
        return DEFAULT_RESOLUTION
    try:
        with weights.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return int(json.loads(header["__metadata__"]["edge_vit"])["resolution"])
    except (OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError):
        return DEFAULT_RESOLUTION  # loading it will say what is wrong
