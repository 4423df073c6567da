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

from converters.quiet import quiet
from edge_vit.training.augment import BatchAugment
from edge_vit.training.config import Recipe
from edge_vit.training.groups import is_head
from edge_vit.training.processes import Place, total, wrap
from edge_vit.training.seeds import derive_seed, stream
from edge_vit.training.state import append, restore_, trim_log, write_state


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How good a model is on the pictures that the epoch is chosen by: top-1 in percent, mean cross-entropy."""

    top1: float
    loss: float

    def is_better_than(self, other: "Score") -> bool:
        # Few pictures are soon all right; then the loss tells.
        return (self.top1, -self.loss) > (other.top1, -other.loss)


@dataclass(kw_only=True)
class Run:
    """Everything that one run holds.

    Attributes:
        model: What learns. In training mode it returns logits or a pair of them.
        averaged: Its exponential moving average, which is evaluated and saved; `model` itself when averaging is off.
        steps: Batches in an epoch.
        batches: epoch -> its batches, (uint8 (B, 3, R, R), labels (B,)).
        batch_size: B.
        score: module -> how good it is on pictures held back from training, over all processes; None where there are
            none, and then the last epoch is chosen.
        evaluate: module -> top-1 in percent on the pictures to judge by, over all processes.
        save: Called in the main process with the averaged module, its top-1, and whether it has not learnt anything
            yet, whenever it is the best so far.
        say: Called in the main process with every record of the log.
        freeze: Fixes ranges for the last part of the run, `recipe.freeze_share`; None where there are none.
        is_start_judged: Whether the model is good before it learns, so that a worse one must not replace it.
        start_top1: Then, how good.
        epoch: Epochs behind it.
        chosen_epoch: The one whose weights are saved; -1 for none, or for the start.
        best: What it was chosen by.
        top1: How good it is.
    """

    recipe: Recipe
    distill_weight: float
    temperature: float = 1.0
    is_hard: bool = False
    seed: int
    use_bf16: bool
    log_every: int
    place: Place
    model: nn.Module
    optimizer: torch.optim.Optimizer
    averaged: nn.Module
    steps: int
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    batch_size: int
    augment: BatchAugment
    num_classes: int
    folder: Path
    device: torch.device
    score: Callable[[nn.Module], Score | None]
    evaluate: Callable[[nn.Module], float]
    save: Callable[[nn.Module, float, bool], None]
    say: Callable[[Mapping[str, Any]], None] = lambda record: None
    teacher: Callable[[Tensor], Tensor] | None = None
    freeze: Callable[[], None] | None = None
    patience: int | None = None
    is_start_judged: bool = False
    fingerprint: dict[str, Any]
    epoch: int = 0
    chosen_epoch: int = -1
    best: Score | None = None
    top1: float = -1.0
    start_top1: float | None = None
    is_frozen: bool = False
    is_head_alone: bool = False
    wrapped: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.wrapped = wrap(self.model, self.place, self.device)

    @property
    def is_start_kept(self) -> bool:
        """Whether no epoch has been as good as the start so far."""
        return self.is_start_judged and self.chosen_epoch < 0

    @property
    def head_steps(self) -> int:
        """Steps at the beginning in which the classifier learns alone."""
        return round(self.recipe.head_share * self.steps * self.recipe.epochs)


def lr_factor(progress_epochs: float, epochs: float, warmup_epochs: float) -> float:
    """Return the share of the peak learning rate after so many epochs: linear warm-up, then half a cosine to 1%."""
    if progress_epochs < warmup_epochs:
        return (progress_epochs + 1e-3) / warmup_epochs
    progress = (progress_epochs - warmup_epochs) / max(1e-9, epochs - warmup_epochs)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def train(run: Run, state: Mapping[str, Any] | None) -> None:
    """Train to the last epoch, or until no better one came for `patience` epochs.

    Args:
        state: What an earlier run left, see training/state.py; None starts anew.

    Raises:
        RuntimeError: If the loss is not finite, or something cannot be written.
    """
    if state is None:
        _start(run)
    else:
        _resume(run, state)
    while run.epoch < run.recipe.epochs and not is_patience_over(run):
        epoch, started = run.epoch, time.perf_counter()
        loss = _train_epoch(run, epoch)
        run.epoch = epoch + 1
        rate = run.steps * run.batch_size * run.place.num_processes / (time.perf_counter() - started)
        score = run.score(run.averaged)
        _choose(run, epoch, score)
        record: dict[str, Any] = {"epoch": epoch, "loss": round(loss, 5)}
        if score is not None:
            record |= {"select_top1": round(score.top1, 3), "select_loss": round(score.loss, 5)}
        record |= {"chosen_epoch": run.chosen_epoch, "top1": round(run.top1, 3), "images_per_s": round(rate, 1)}
        record |= {"seconds": round(time.perf_counter() - started, 1)}
        held_back = "" if score is None else f"; held back: top-1 {score.top1:.2f}, loss {score.loss:.4f}"
        _say(run, record, f"epoch {epoch}: loss {loss:.4f}{held_back}; chosen: epoch {run.chosen_epoch}")
        if run.place.is_main:
            write_state(run.folder, _state(run))
        if dist.is_initialized():
            dist.barrier()


def is_patience_over(run: Run) -> bool:
    """Tell whether too many epochs came without a better one."""
    return run.patience is not None and run.epoch - 1 - max(0, run.chosen_epoch) >= run.patience


def _start(run: Run) -> None:
    """Forget what an earlier run logged without reaching a state; judge what this one starts from."""
    if run.place.is_main:
        trim_log(run.folder, 0, 0)
    if not run.is_start_judged:
        return
    run.best = run.score(run.averaged)
    run.start_top1 = run.top1 = run.evaluate(run.averaged)
    if run.place.is_main:
        run.save(run.averaged, run.top1, True)
    record: dict[str, Any] = {"start_top1": round(run.top1, 3)}
    if run.best is not None:
        record |= {"start_select_top1": round(run.best.top1, 3), "start_select_loss": round(run.best.loss, 5)}
    _say(run, record, f"start: top-1 {run.top1:.2f}")


def _resume(run: Run, state: Mapping[str, Any]) -> None:
    restore_(state, run.folder, model=run.model, averaged=run.averaged, optimizer=run.optimizer)
    run.epoch, run.chosen_epoch, run.top1 = state["epoch"], state["chosen_epoch"], state["top1"]
    run.best = None if state["best"] is None else Score(top1=state["best"][0], loss=state["best"][1])
    run.start_top1 = state["start_top1"]
    if run.place.is_main:
        trim_log(run.folder, run.epoch, run.epoch * run.steps)
        print(f"resumed after epoch {run.epoch - 1} in {run.folder}", file=sys.stderr)


def _state(run: Run) -> dict[str, Any]:
    return {
        "fingerprint": run.fingerprint, "epoch": run.epoch, "chosen_epoch": run.chosen_epoch, "top1": run.top1,
        "best": None if run.best is None else [run.best.top1, run.best.loss], "start_top1": run.start_top1,
        "model": run.model.state_dict(), "optimizer": run.optimizer.state_dict(),
        "averaged": run.averaged.state_dict(),
    }  # fmt: skip


def _choose(run: Run, epoch: int, score: Score | None) -> None:
    """Save the epoch's weights if they are the best on pictures held back; judge them on the others, which choose none.

    Of two that are as good, the trained one is better than the start.
    """
    if score is not None and run.best is not None:
        is_as_good = run.is_start_kept and score.top1 == run.best.top1
        if not is_as_good and not score.is_better_than(run.best):
            return
    run.best, run.chosen_epoch = score, epoch
    run.top1 = run.evaluate(run.averaged)
    if run.place.is_main:
        run.save(run.averaged, run.top1, False)


def _say(run: Run, record: Mapping[str, Any], line: str) -> None:
    if run.place.is_main:
        append(run.folder, record)
        run.say(record)
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
        _head_alone_in_time(run, step)
        lr = _set_rates(run, step)
        # Seeds of each step, so that a resumed run draws what the uninterrupted one would have drawn.
        torch.manual_seed(derive_seed("stochastic depth", run.seed, step, rank))
        first = i - i % recipe.accumulate
        num_together = min(recipe.accumulate, run.steps - first)
        loss = _backward(run, images, labels, stream("augmentation", run.seed, step, rank), num_together)
        if i == first + num_together - 1:
            _step(run)
            _update_average(run, step // recipe.accumulate)
        sum_of_losses += loss
        if not math.isfinite(loss):
            raise RuntimeError(f"loss is {loss} at step {step}; use a smaller --lr")
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if run.place.is_main and i % run.log_every == 0:
            record = {"step": step, "loss": loss, "lr": lr}
            append(run.folder, record)
            run.say(record)
    return sum_of_losses / run.steps


def _set_rates(run: Run, step: int) -> float:
    """Set each group's learning rate; return the classifier's. The rest warms up when it begins to learn."""
    recipe, progress = run.recipe, step / run.steps
    warmup, head = recipe.warmup_share * recipe.epochs, run.head_steps / run.steps
    lr = recipe.lr * lr_factor(progress, recipe.epochs, warmup)
    later = recipe.lr * lr_factor(max(0.0, progress - head), recipe.epochs - head, warmup)
    for group in run.optimizer.param_groups:
        group["lr"] = (lr if group["is_head"] else later) * group["lr_scale"]
    return lr


def _head_alone_in_time(run: Run, step: int) -> None:
    """In the first steps the classifier learns alone, on features that stay as they are."""
    is_alone = step < run.head_steps
    if is_alone != run.is_head_alone:
        for name, parameter in run.model.named_parameters():
            parameter.requires_grad_(not is_alone or is_head(name))
        run.is_head_alone = is_alone
        _wrap_again(run)
    if is_alone:
        for name, module in run.model.named_modules():
            module.training = not name or is_head(name)


def _wrap_again(run: Run) -> None:
    """Let the processes average what learns now, and no more."""
    run.wrapped = run.model  # so that nothing of the old one hangs on the parameters any more
    run.wrapped = wrap(run.model, run.place, run.device)
    run.wrapped.train()


def _freeze_in_time(run: Run, step: int) -> None:
    """Fix the ranges once the run's last part begins; the processes then have less to average."""
    first = round((1.0 - run.recipe.freeze_share) * run.steps * run.recipe.epochs)
    if run.freeze is None or run.is_frozen or step < first:
        return
    run.freeze()
    run.is_frozen = True
    _wrap_again(run)


def _backward(run: Run, images: Tensor, labels: Tensor, generator: torch.Generator, num_together: int) -> float:
    """Add a batch's gradient to those of a step of `num_together`; return the loss, the mean over all processes."""
    images = images.to(run.device, non_blocking=True).to(memory_format=torch.channels_last)
    smoothing = run.recipe.label_smoothing
    targets = F.one_hot(labels.to(run.device), run.num_classes).float() * (1 - smoothing) + smoothing / run.num_classes
    x, targets = run.augment(images, targets, generator)
    with torch.autocast(run.device.type, torch.bfloat16, enabled=run.use_bf16):
        output = run.wrapped(x)
    loss = _loss(run, x, output, targets)
    (loss / num_together).backward()
    return float(total(loss.detach())) / run.place.num_processes


def _step(run: Run) -> None:
    if run.recipe.clip_grad > 0.0:
        nn.utils.clip_grad_norm_(run.model.parameters(), run.recipe.clip_grad)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)


def _loss(run: Run, x: Tensor, output: Tensor | tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    """Cross-entropy; with a teacher, the distillation head (or the only head) learns what the teacher says."""
    logits, logits_dist = output if isinstance(output, tuple) else (output, output)
    truth = F.cross_entropy(logits.float(), targets)
    if run.teacher is None:
        return truth if logits is logits_dist else (truth + F.cross_entropy(logits_dist.float(), targets)) / 2
    taught = distillation_loss(logits_dist.float(), run.teacher(x).float(), run.temperature, run.is_hard)
    return (1.0 - run.distill_weight) * truth + run.distill_weight * taught


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float, is_hard: bool) -> Tensor:
    """Cross-entropy of logits (B, classes) to a teacher's answer: softly (arXiv 1503.02531), or to the class it names.

    A soft loss is multiplied by the square of the temperature, so that its gradient stays as large.
    """
    if is_hard:
        return F.cross_entropy(logits, taught.argmax(-1))
    return F.cross_entropy(logits / temperature, (taught / temperature).softmax(-1)) * temperature**2


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
    if decay == 0.0:
        return model
    with quiet():  # copying an exported graph warns about torch's own classes
        return copy.deepcopy(model).eval().requires_grad_(False)
