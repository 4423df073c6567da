"""One training from its settings to its best checkpoint."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from edge_vit.training import loop
from edge_vit.training.config import TrainConfig, TrainResult
from edge_vit.training.data import load_data
from edge_vit.training.processes import join_processes, use_bf16, wrap
from edge_vit.training.students import float_student, qat_student
from edge_vit.training.teachers import load_teacher


def run(config: TrainConfig) -> TrainResult:
    """Train, resuming where an earlier run in the same folder stopped.

    Raises:
        ValueError: If a setting, the data or a checkpoint does not fit; the message says which.
    """
    # Before any thread pool starts, so that its threads inherit it. Moving averages decay into denormal numbers, on
    # which a CPU computes up to ten times slower, more of them every epoch.
    torch.set_flush_denormal(True)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    rank, world_size, device = join_processes(config.device)
    torch.manual_seed(config.seed)
    data = load_data(config, rank, world_size)
    student = qat_student(config, data) if config.qat else float_student(config, data)
    model = student.model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    bf16 = use_bf16(config.precision, device)
    loop_config = loop.LoopConfig(
        epochs=config.epochs, batch_size=config.batch_size, lr=config.lr, weight_decay=config.weight_decay,
        warmup_epochs=config.warmup_epochs, label_smoothing=config.label_smoothing, ema_decay=config.ema_decay,
        distill_weight=config.distill_weight, seed=config.seed, use_bf16=bf16,
        log_every=config.log_every,
    )  # fmt: skip
    teacher = None
    if config.teacher is not None:
        teacher = load_teacher(config.teacher, len(data.classes), device, bf16)
    averaged = loop.make_average(model, config.ema_decay)
    optimizer = loop.make_optimizer(model, config.lr, config.weight_decay)
    top1 = loop.train(
        loop.Run(
            config=loop_config, model=wrap(model, world_size, device), optimizer=optimizer, averaged=averaged,
            loader=data.loader, sampler=data.sampler, augment=data.augment, num_classes=len(data.classes),
            folder=config.output_dir, device=device, fingerprint=_fingerprint(config, world_size),
            evaluate=lambda module: data.evaluate(module, device, bf16),
            save_best=student.save, on_epoch=student.on_epoch,
            teacher=teacher,
        )
    )  # fmt: skip
    if world_size > 1:
        dist.destroy_process_group()
    return TrainResult(
        checkpoint=str(student.checkpoint),
        top1=round(top1, 3),
        epochs=config.epochs,
        num_val_images=len(data.val_labels),
    )


def _fingerprint(config: TrainConfig, world_size: int) -> dict[str, Any]:
    """What must be equal for a resumed run to continue the same one."""
    varying = {"output_dir", "device", "num_workers", "threads", "keep_decoded", "log_every", "data"}
    values = {key: value for key, value in asdict(config).items() if key not in varying}
    values["augment"] = asdict(config.augment)
    return {**{k: str(v) if isinstance(v, Path) else v for k, v in values.items()}, "world_size": world_size}
