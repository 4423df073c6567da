"""One training run: phases of the epoch loop, its state on disk, its log."""

import copy
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from edge_vit.training.augment import BatchAugment
from edge_vit.training.data import EpochSampler

STATE_FILE = "last.pt"
LOG_FILE = "log.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """How long and how fast to learn."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.05
    warmup_epochs: float = 3.0
    label_smoothing: float = 0.1
    ema_decay: float = 0.999
    clip_grad: float = 5.0
    distill_weight: float = 0.5
    seed: int = 0
    use_bf16: bool = False
    log_every: int = 10

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size", "log_every"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} {getattr(self, field)} is not allowed; use 1 or more")
        if self.lr <= 0.0:
            raise ValueError(f"lr {self.lr} is not allowed; use more than 0")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay {self.ema_decay} is not allowed; use 0 (off) up to, not including, 1")


@dataclass(kw_only=True)
class Run:
    """Everything that one run holds.

    Attributes:
        model: What learns; may be wrapped for several processes. In training mode it returns logits or a pair of them.
        averaged: Its exponential moving average, which is evaluated and saved; `model` itself when averaging is off.
        on_epoch: Called before each epoch with its number; quantization-aware training freezes its ranges there.
        evaluate: module -> top-1 accuracy in percent.
        save_best: Called with the averaged module and its accuracy whenever that is the best so far.
    """

    config: LoopConfig
    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: nn.Module
    loader: DataLoader
    sampler: EpochSampler
    augment: BatchAugment
    num_classes: int
    folder: Path
    device: torch.device
    evaluate: Callable[[nn.Module], float]
    save_best: Callable[[nn.Module, float], None]
    teacher: Callable[[Tensor], Tensor] | None = None
    on_epoch: Callable[[int], None] | None = None
    fingerprint: dict[str, Any]
    epoch: int = 0
    best_top1: float = -1.0

    @property
    def is_main(self) -> bool:
        return self.sampler.rank == 0


def make_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW; norms, biases and bias tables are not decayed."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and not name.endswith("table")]
    chosen = {id(p) for p in decayed}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr)


def lr_factor(progress_epochs: float, epochs: int, warmup_epochs: float) -> float:
    """Return the share of the peak learning rate after so many epochs: linear warm-up, then half a cosine to 1%."""
    if progress_epochs < warmup_epochs:
        return (progress_epochs + 1e-3) / warmup_epochs
    progress = (progress_epochs - warmup_epochs) / max(1e-9, epochs - warmup_epochs)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def train(run: Run) -> float:
    """Train to the last epoch, resuming from the state in `run.folder`; return the best top-1 in percent."""
    run.folder.mkdir(parents=True, exist_ok=True)
    _resume(run)
    for epoch in range(run.epoch, run.config.epochs):
        started = time.perf_counter()
        loss = _train_epoch(run, epoch)
        run.epoch = epoch + 1
        images = len(run.loader) * run.config.batch_size * run.sampler.world_size
        rate = images / (time.perf_counter() - started)
        if run.is_main:
            top1 = run.evaluate(run.averaged)
            is_best = top1 > run.best_top1
            if is_best:
                run.best_top1 = top1
                run.save_best(run.averaged, top1)
            record = {"epoch": epoch, "loss": round(loss, 5), "top1": round(top1, 3), "best": round(run.best_top1, 3)}
            _log(run, {**record, "images_per_s": round(rate, 1), "seconds": round(time.perf_counter() - started, 1)})
            print(f"epoch {epoch} loss {loss:.4f} top-1 {top1:.2f} best {run.best_top1:.2f}", file=sys.stderr)
            _save_state(run)
        if dist.is_initialized():
            dist.barrier()
    return run.best_top1


def _train_epoch(run: Run, epoch: int) -> float:
    config, steps = run.config, len(run.loader)
    run.sampler.epoch = epoch
    if run.on_epoch is not None:
        run.on_epoch(epoch)
    run.model.train()
    total = 0.0
    bar = tqdm(run.loader, desc=f"epoch {epoch}", unit="batch", disable=not run.is_main or not sys.stderr.isatty())
    for i, (images, labels) in enumerate(bar):
        step = epoch * steps + i
        # One seed per step, so that a resumed run draws what the uninterrupted one would have drawn.
        seed = config.seed * 1_000_003 + step * 64 + run.sampler.rank
        torch.manual_seed(seed)
        lr = config.lr * lr_factor(step / steps, config.epochs, config.warmup_epochs)
        for group in run.optimizer.param_groups:
            group["lr"] = lr
        loss = _train_step(run, images, labels, torch.Generator().manual_seed(seed))
        _update_average(run, step)
        total += loss
        if not math.isfinite(loss):
            raise RuntimeError(f"loss is {loss} at step {step}; use a smaller --lr")
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if run.is_main and i % config.log_every == 0:
            _log(run, {"step": step, "loss": loss, "lr": lr})
    return total / steps


def _train_step(run: Run, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    config = run.config
    images = images.to(run.device, non_blocking=True).to(memory_format=torch.channels_last)
    smoothing = config.label_smoothing
    targets = F.one_hot(labels.to(run.device), run.num_classes).float() * (1 - smoothing) + smoothing / run.num_classes
    x, targets = run.augment(images, targets, generator)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=config.use_bf16):
        output = run.model(x)
    loss = _loss(run, x, output, targets)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if config.clip_grad > 0.0:
        nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_grad)
    run.optimizer.step()
    return float(loss.detach())


def _loss(run: Run, x: Tensor, output: Tensor | tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Cross-entropy; with a teacher, the distillation head (or the only head) learns what the teacher says, softly."""
    logits, logits_dist = output if isinstance(output, tuple) else (output, output)
    truth = F.cross_entropy(logits.float(), targets)
    if run.teacher is None:
        return truth if logits is logits_dist else (truth + F.cross_entropy(logits_dist.float(), targets)) / 2
    taught = F.cross_entropy(logits_dist.float(), run.teacher(x).float().softmax(-1))
    return (1.0 - run.config.distill_weight) * truth + run.config.distill_weight * taught


@torch.no_grad()
def _update_average(run: Run, step: int) -> None:
    if run.averaged is run.model:
        return
    decay = min(run.config.ema_decay, (1 + step) / (10 + step))
    source = run.model.module if hasattr(run.model, "module") else run.model
    for ours, theirs in zip(run.averaged.state_dict().values(), source.state_dict().values(), strict=True):
        if ours.dtype.is_floating_point:
            ours.lerp_(theirs, 1.0 - decay)
        else:
            ours.copy_(theirs)


def make_average(model: nn.Module, decay: float) -> nn.Module:
    """Return the module that holds the moving average: a copy, or `model` itself when `decay` is 0."""
    return copy.deepcopy(model).eval().requires_grad_(False) if decay > 0.0 else model


def _log(run: Run, record: dict[str, Any]) -> None:
    with (run.folder / LOG_FILE).open("a") as file:
        file.write(json.dumps(record) + "\n")


def _save_state(run: Run) -> None:
    model = run.model.module if hasattr(run.model, "module") else run.model
    state = {
        "fingerprint": run.fingerprint, "epoch": run.epoch, "best_top1": run.best_top1, "model": model.state_dict(),
        "optimizer": run.optimizer.state_dict(), "averaged": run.averaged.state_dict(),
    }  # fmt: skip
    temporary = run.folder / (STATE_FILE + ".tmp")
    torch.save(state, temporary)
    os.replace(temporary, run.folder / STATE_FILE)


def _resume(run: Run) -> None:
    path = run.folder / STATE_FILE
    if not path.exists():
        (run.folder / LOG_FILE).unlink(missing_ok=True)
        return
    state = torch.load(path, map_location=run.device, weights_only=True)
    differing = [key for key, value in run.fingerprint.items() if state["fingerprint"].get(key) != value]
    if differing:
        was = ", ".join(f"{key}={state['fingerprint'].get(key)}" for key in differing)
        raise ValueError(f"{run.folder} holds a run with other settings ({was}); use them, or another --output-dir")
    model = run.model.module if hasattr(run.model, "module") else run.model
    model.load_state_dict(state["model"])
    run.averaged.load_state_dict(state["averaged"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.epoch, run.best_top1 = state["epoch"], state["best_top1"]
    if run.is_main:
        _trim_log(run.folder / LOG_FILE, run.epoch, run.epoch * len(run.loader))
        print(f"resumed after epoch {run.epoch - 1} from {path}", file=sys.stderr)


def _trim_log(path: Path, epoch: int, step: int) -> None:
    """Drop what an interrupted epoch logged; it will be trained again."""
    if not path.exists():
        return
    records = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    kept = [r for r in records if r.get("epoch", -1) < epoch and r.get("step", -1) < step]
    path.write_text("".join(json.dumps(record) + "\n" for record in kept))
