"""The epoch loop of one training."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from edge_vit.training.augment import BatchAugment
from edge_vit.training.config import Recipe
from edge_vit.training.processes import Place, total, wrap
from edge_vit.training.seeds import derive_seed, stream
from edge_vit.training.state import append, restore_, trim_log, write_state


@dataclass(kw_only=True)
class Run:
    """Everything that one run holds.

    Attributes:
        model: What learns. In training mode it returns logits or a pair of them.
        averaged: Its exponential moving average, which is evaluated and saved; `model` itself when averaging is off.
        steps: Batches in an epoch.
        batches: epoch -> its batches, (uint8 (B, 3, R, R), labels (B,)).
        evaluate: module -> top-1 accuracy in percent, over all processes.
        save_best: Called in the main process with the averaged module, its accuracy, and whether it has not learnt
            anything yet, whenever that is the best so far.
        freeze: Fixes ranges for the last part of the run, `recipe.freeze_share`; None where there are none.
        is_start_judged: Whether the model is good before it learns, so that a worse one must not replace it.
        start_top1: Then, how good.
        is_start_kept: Whether no epoch has been as good as the start so far.
    """

    recipe: Recipe
    distill_weight: float
    seed: int
    use_bf16: bool
    log_every: int
    place: Place
    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: nn.Module
    steps: int
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    augment: BatchAugment
    num_classes: int
    folder: Path
    device: torch.device
    evaluate: Callable[[nn.Module], float]
    save_best: Callable[[nn.Module, float, bool], None]
    teacher: Callable[[Tensor], Tensor] | None = None
    freeze: Callable[[], None] | None = None
    is_start_judged: bool = False
    fingerprint: dict[str, Any]
    epoch: int = 0
    best_top1: float = -1.0
    start_top1: float | None = None
    is_start_kept: bool = False
    is_frozen: bool = False
    wrapped: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.wrapped = wrap(self.model, self.place, self.device)


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


def train(run: Run, state: Mapping[str, Any] | None) -> float:
    """Train to the last epoch; return the best top-1 in percent.

    Args:
        state: What an earlier run left, see training/state.py; None starts anew.

    Raises:
        RuntimeError: If the loss is not finite, or something cannot be written.
    """
    if state is None:
        _start(run)
    else:
        _resume(run, state)
    for epoch in range(run.epoch, run.recipe.epochs):
        started = time.perf_counter()
        loss = _train_epoch(run, epoch)
        run.epoch = epoch + 1
        rate = run.steps * run.recipe.batch_size * run.place.num_processes / (time.perf_counter() - started)
        top1 = run.evaluate(run.averaged)
        _keep_best(run, top1)
        record = {"epoch": epoch, "loss": round(loss, 5), "top1": round(top1, 3), "best": round(run.best_top1, 3)}
        record |= {"images_per_s": round(rate, 1), "seconds": round(time.perf_counter() - started, 1)}
        _say(run, record, f"epoch {epoch} loss {loss:.4f} top-1 {top1:.2f} best {run.best_top1:.2f}")
        if run.place.is_main:
            write_state(run.folder, _state(run))
        if dist.is_initialized():
            dist.barrier()
    return run.best_top1


def _start(run: Run) -> None:
    """Forget what an earlier run logged without reaching a state; judge what this one starts from."""
    if run.place.is_main:
        trim_log(run.folder, 0, 0)
    if not run.is_start_judged:
        return
    top1 = run.evaluate(run.averaged)
    run.start_top1 = run.best_top1 = top1
    run.is_start_kept = True
    if run.place.is_main:
        run.save_best(run.averaged, top1, True)
    _say(run, {"start_top1": round(top1, 3)}, f"start top-1 {top1:.2f}")


def _resume(run: Run, state: Mapping[str, Any]) -> None:
    restore_(state, run.folder, model=run.model, averaged=run.averaged, optimizer=run.optimizer)
    run.epoch, run.best_top1 = state["epoch"], state["best_top1"]
    run.start_top1, run.is_start_kept = state["start_top1"], state["is_start_kept"]
    if run.place.is_main:
        trim_log(run.folder, run.epoch, run.epoch * run.steps)
        print(f"resumed after epoch {run.epoch - 1} in {run.folder}", file=sys.stderr)


def _state(run: Run) -> dict[str, Any]:
    return {
        "fingerprint": run.fingerprint, "epoch": run.epoch, "best_top1": run.best_top1, "start_top1": run.start_top1,
        "is_start_kept": run.is_start_kept, "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(), "averaged": run.averaged.state_dict(),
    }  # fmt: skip


def _keep_best(run: Run, top1: float) -> None:
    # Of two that are as good, the trained one is better than the start, and the first epoch better than a later one.
    if top1 > run.best_top1 or (run.is_start_kept and top1 == run.best_top1):
        run.best_top1, run.is_start_kept = top1, False
        if run.place.is_main:
            run.save_best(run.averaged, top1, False)


def _say(run: Run, record: Mapping[str, Any], line: str) -> None:
    if run.place.is_main:
        append(run.folder, record)
        print(line, file=sys.stderr)


def _train_epoch(run: Run, epoch: int) -> float:
    """Train one epoch; return the mean loss over all processes."""
    recipe, rank = run.recipe, run.place.rank
    run.wrapped.train()
    sum_of_losses = 0.0
    is_shown = run.place.is_main and sys.stderr.isatty()
    bar = tqdm(run.batches(epoch), desc=f"epoch {epoch}", unit="batch", total=run.steps, disable=not is_shown)
    for i, (images, labels) in enumerate(bar):
        step = epoch * run.steps + i
        _freeze_in_time(run, step)
        lr = recipe.lr * lr_factor(step / run.steps, recipe.epochs, recipe.warmup_share * recipe.epochs)
        for group in run.optimizer.param_groups:
            group["lr"] = lr
        # Seeds of each step, so that a resumed run draws what the uninterrupted one would have drawn.
        torch.manual_seed(derive_seed("stochastic depth", run.seed, step, rank))
        loss = _train_step(run, images, labels, stream("augmentation", run.seed, step, rank))
        _update_average(run, step)
        sum_of_losses += loss
        if not math.isfinite(loss):
            raise RuntimeError(f"loss is {loss} at step {step}; use a smaller --lr")
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if run.place.is_main and i % run.log_every == 0:
            append(run.folder, {"step": step, "loss": loss, "lr": lr})
    return sum_of_losses / run.steps


def _freeze_in_time(run: Run, step: int) -> None:
    """Fix the ranges once the run's last part begins; the processes then have less to average."""
    first = round((1.0 - run.recipe.freeze_share) * run.steps * run.recipe.epochs)
    if run.freeze is None or run.is_frozen or step < first:
        return
    run.freeze()
    run.is_frozen = True
    run.wrapped = run.model  # so that nothing of the old one hangs on the parameters any more
    run.wrapped = wrap(run.model, run.place, run.device)


def _train_step(run: Run, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Learn from one batch; return the loss, the mean over all processes."""
    recipe = run.recipe
    images = images.to(run.device, non_blocking=True).to(memory_format=torch.channels_last)
    smoothing = recipe.label_smoothing
    targets = F.one_hot(labels.to(run.device), run.num_classes).float() * (1 - smoothing) + smoothing / run.num_classes
    x, targets = run.augment(images, targets, generator)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.use_bf16):
        output = run.wrapped(x)
    loss = _loss(run, x, output, targets)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if recipe.clip_grad > 0.0:
        nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip_grad)
    run.optimizer.step()
    return float(total(loss.detach())) / run.place.num_processes


def _loss(run: Run, x: Tensor, output: Tensor | tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Cross-entropy; with a teacher, the distillation head (or the only head) learns what the teacher says, softly."""
    logits, logits_dist = output if isinstance(output, tuple) else (output, output)
    truth = F.cross_entropy(logits.float(), targets)
    if run.teacher is None:
        return truth if logits is logits_dist else (truth + F.cross_entropy(logits_dist.float(), targets)) / 2
    taught = F.cross_entropy(logits_dist.float(), run.teacher(x).float().softmax(-1))
    return (1.0 - run.distill_weight) * truth + run.distill_weight * taught


@torch.no_grad()
def _update_average(run: Run, step: int) -> None:
    if run.averaged is run.model:
        return
    decay = min(run.recipe.ema_decay, (1 + step) / (10 + step))
    for ours, theirs in zip(run.averaged.state_dict().values(), run.model.state_dict().values(), strict=True):
        if ours.dtype.is_floating_point:
            ours.lerp_(theirs, 1.0 - decay)
        else:
            ours.copy_(theirs)


def make_average(model: nn.Module, decay: float) -> nn.Module:
    """Return the module that holds the moving average: a copy, or `model` itself when `decay` is 0."""
    return copy.deepcopy(model).eval().requires_grad_(False) if decay > 0.0 else model
