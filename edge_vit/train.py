"""Train a variant on an image folder: float, or quantization-aware from a float checkpoint.

python -m edge_vit.train levit_128s --data DIR --resolution 160 --epochs 60
python -m edge_vit.train levit_128s --data DIR --qat --weights runs/levit_128s_160/levit_128s_float.safetensors
torchrun --nproc-per-node 4 -m edge_vit.train levit_128s --data DIR
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_vit.training.config import AugmentConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run; see `--help` for each field."""

    model: str
    data: Path
    output_dir: Path
    qat: bool
    freeze_epochs: int
    resolution: int
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_epochs: float
    label_smoothing: float
    ema_decay: float
    drop_path: float | None
    augment: AugmentConfig
    weights: Path | None
    teacher: Path | None
    distill_weight: float
    seed: int
    num_workers: int
    threads: int | None
    keep_decoded: bool
    precision: str
    device: str
    log_every: int

    def __post_init__(self) -> None:
        if self.qat and self.weights is None:
            raise ValueError("--qat starts from a float checkpoint; give it with --weights")
        if self.freeze_epochs < 0:
            raise ValueError(f"freeze_epochs {self.freeze_epochs} is not allowed; use 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """Where the best checkpoint lies and how good it is on the validation folder."""

    checkpoint: str
    top1: float
    epochs: int
    num_val_images: int


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


def run(config: TrainConfig) -> TrainResult:
    """Train, resuming where an earlier run in the same folder stopped.

    Raises:
        ValueError: If a setting, the data or a checkpoint does not fit; the message says which.
    """
    import torch

    from edge_vit.training import loop

    # Before any thread pool starts, so that its threads inherit it. Moving averages decay into denormal numbers, on
    # which a CPU computes up to ten times slower, more of them every epoch.
    torch.set_flush_denormal(True)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    rank, world_size, device = _join_processes(config.device)
    torch.manual_seed(config.seed)
    data = _load_data(config, rank, world_size)
    student = _qat_student(config, data) if config.qat else _float_student(config, data)
    model = student.model.to(device).to(memory_format=torch.channels_last)
    loop_config = loop.LoopConfig(
        epochs=config.epochs, batch_size=config.batch_size, lr=config.lr, weight_decay=config.weight_decay,
        warmup_epochs=config.warmup_epochs, label_smoothing=config.label_smoothing, ema_decay=config.ema_decay,
        distill_weight=config.distill_weight, seed=config.seed, use_bf16=_use_bf16(config.precision, device),
        log_every=config.log_every,
    )  # fmt: skip
    averaged = loop.make_average(model, config.ema_decay)
    optimizer = loop.make_optimizer(model, config.lr, config.weight_decay)
    top1 = loop.train(
        loop.Run(
            config=loop_config, model=_wrap(model, world_size, device), optimizer=optimizer, averaged=averaged,
            loader=data.loader, sampler=data.sampler, augment=data.augment, num_classes=len(data.classes),
            folder=config.output_dir, device=device, fingerprint=_fingerprint(config, world_size),
            evaluate=lambda module: data.evaluate(module, device, loop_config.use_bf16),
            save_best=student.save, on_epoch=student.on_epoch,
            teacher=_load_teacher(config, device, len(data.classes)),
        )
    )  # fmt: skip
    if world_size > 1:
        torch.distributed.destroy_process_group()
    return TrainResult(
        checkpoint=str(student.checkpoint),
        top1=round(top1, 3),
        epochs=config.epochs,
        num_val_images=len(data.val_labels),
    )


@dataclass(kw_only=True)
class _Data:
    classes: list[dict[str, str]]
    loader: Any
    sampler: Any
    augment: Any
    val_images: Any
    val_labels: Any
    train_samples: list[tuple[Path, int]]
    resolution: int

    def calibration_pixels(self, count: int = 128) -> Any:
        """Return training pictures spread over the classes, uint8 (count, R, R, 3), prepared as for evaluation."""
        from edge_vit.training.data import eval_images

        step = max(1, len(self.train_samples) // count)
        chosen = self.train_samples[::step][:count]
        return eval_images(chosen, self.resolution).permute(0, 2, 3, 1).numpy()

    def evaluate(self, module: Any, device: Any, use_bf16: bool) -> float:
        import torch

        module.eval()
        correct = 0
        with torch.inference_mode():
            for images, labels in zip(self.val_images.split(100), self.val_labels.split(100), strict=True):
                x = self.augment.normalise(images.to(device)).to(memory_format=torch.channels_last)
                with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
                    correct += int((module(x).argmax(-1).cpu() == labels).sum())
        return 100.0 * correct / len(self.val_labels)


def _load_data(config: TrainConfig, rank: int, world_size: int) -> _Data:
    import torch

    from calibration.preprocess import IMAGENET_MEAN, IMAGENET_STD
    from edge_vit.training import data as train_data
    from edge_vit.training.augment import BatchAugment

    samples, names = train_data.find_samples(config.data / "train")
    val_samples, val_names = train_data.find_samples(config.data / "val")
    if names != val_names:
        raise ValueError(f"train and val under {config.data} have different class folders; make them equal")
    samples, val_samples = train_data.drop_unreadable(samples), train_data.drop_unreadable(val_samples)
    if len(samples) < config.batch_size * world_size:
        count = len(samples)
        raise ValueError(f"{count} training images are fewer than one batch; use --batch-size {count} or less")
    dataset = train_data.TrainImages(
        samples, config.resolution, config.augment.min_scale, config.seed, config.keep_decoded
    )
    sampler = train_data.EpochSampler(len(samples), config.seed, rank, world_size)
    val_images = train_data.eval_images(val_samples, config.resolution)
    return _Data(
        classes=train_data.class_list(config.data, names),
        loader=train_data.make_loader(dataset, sampler, config.batch_size, config.num_workers),
        sampler=sampler,
        augment=BatchAugment(config.augment, IMAGENET_MEAN, IMAGENET_STD),
        val_images=val_images,
        val_labels=torch.tensor([label for _, label in val_samples]),
        train_samples=samples,
        resolution=config.resolution,
    )


@dataclass(kw_only=True)
class _Student:
    """What learns, how it is saved, and what it does at the start of an epoch."""

    model: Any
    checkpoint: Path
    save: Callable[[Any, float], None]
    on_epoch: Callable[[int], None] | None = None


def _metadata(config: TrainConfig, data: _Data, top1: float) -> dict[str, Any]:
    return {
        "model": config.model, "resolution": config.resolution, "classes": data.classes, "top1": round(top1, 3),
        "num_val_images": len(data.val_labels),
    }  # fmt: skip


def _float_student(config: TrainConfig, data: _Data) -> _Student:
    from edge_vit.layers.drop_path import DropPath
    from edge_vit.models import create_model, load_weights
    from edge_vit.models.checkpoint_io import read_checkpoint, write_checkpoint
    from edge_vit.models.weights import compact

    model = create_model(config.model, num_classes=len(data.classes), resolution=config.resolution)
    if config.weights is not None:
        # Tensors alone: a variant may start from a sibling with the same shapes, an edge variant from its original.
        tensors, metadata = read_checkpoint(config.weights)
        report = load_weights(model, tensors)
        origin = metadata.get("model", config.model)
        tables = f"{len(report.resized)} tables resampled"
        print(f"weights: {config.weights}, of {origin}, {report.naming} names, {tables}", file=sys.stderr)
    for module in model.modules():
        if isinstance(module, DropPath) and config.drop_path is not None:
            module.drop_prob = config.drop_path
    checkpoint = config.output_dir / f"{config.model}_float.safetensors"

    def save(module: Any, top1: float) -> None:
        tensors = {key: value for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
        write_checkpoint(checkpoint, compact(tensors), _metadata(config, data, top1) | {"form": "training"})

    return _Student(model=model, checkpoint=checkpoint, save=save)


def _qat_student(config: TrainConfig, data: _Data) -> _Student:
    """Calibrate the float checkpoint, and make its deploy form learn with fake quantization from there."""
    import torch

    from edge_vit.models.sources import find_weights
    from edge_vit.quantization.checkpoint import quantized_weight_names, save_quantized
    from edge_vit.quantization.graph import export_graph
    from edge_vit.quantization.pipeline import build_float, pixel_batches
    from edge_vit.quantization.plan import make_plan
    from edge_vit.quantization.ptq import calibrate
    from edge_vit.quantization.qat import QatModel

    source = find_weights(config.model, str(config.weights), prefer_quantized=False)
    float_model = build_float(config.model, source, config.resolution)
    if len(float_model.classes) != len(data.classes):
        raise ValueError(
            f"{source.label} has {len(float_model.classes)} classes, {config.data} has {len(data.classes)}; "
            "train the float model on this data first"
        )
    graph = export_graph(float_model.module, torch.zeros(1, config.resolution, config.resolution, 3))
    print("calibrating", file=sys.stderr)
    ranges = calibrate(graph, make_plan(graph), pixel_batches(data.calibration_pixels()))
    example = torch.zeros(2, config.resolution, config.resolution, 3)
    graph = export_graph(float_model.module, example, dynamic_batch=True)
    plan = make_plan(graph)
    quantized = quantized_weight_names(plan)  # before fake quantization comes between operators and weights
    preprocess = float_model.preprocess
    model = QatModel(graph, plan, ranges, preprocess.mean, preprocess.std)
    checkpoint = config.output_dir / f"{config.model}_int8.safetensors"
    float_copy = config.output_dir / f"{config.model}_float.safetensors"

    def save(module: Any, top1: float) -> None:
        if source.path is not None and source.path.resolve() != float_copy.resolve():
            shutil.copyfile(source.path, float_copy)
        metadata = _metadata(config, data, top1) | {"precision": "int8_qat", "float_file": float_copy.name}
        save_quantized(checkpoint, module.weights(), module.ranges(), quantized, metadata)

    def on_epoch(epoch: int) -> None:
        if epoch >= config.epochs - config.freeze_epochs:
            model.freeze_ranges()

    return _Student(model=model, checkpoint=checkpoint, save=save, on_epoch=on_epoch)


def _load_teacher(config: TrainConfig, device: Any, num_classes: int) -> Any:
    if config.teacher is None:
        return None
    import torch

    from edge_vit.layers.fuse import fuse
    from edge_vit.models import create_model, load_weights
    from edge_vit.models.checkpoint_io import read_checkpoint

    _, metadata = read_checkpoint(config.teacher)
    if "model" not in metadata or len(metadata["classes"]) != num_classes:
        raise ValueError(f"teacher {config.teacher} is no checkpoint of edge_vit.train for these {num_classes} classes")
    teacher = create_model(metadata["model"], num_classes=num_classes, resolution=metadata["resolution"])
    load_weights(teacher, config.teacher)
    deployed = fuse(teacher).to(device)
    side = metadata["resolution"]
    use_bf16 = _use_bf16(config.precision, device)

    @torch.no_grad()
    def teach(x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != side:
            x = torch.nn.functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
            return deployed(x)

    return teach


def _join_processes(device_name: str) -> tuple[int, int, Any]:
    """Join torchrun's process group if there is one; return rank, world size and this process's device."""
    import torch

    use_cuda = device_name == "cuda" or (device_name == "auto" and torch.cuda.is_available())
    if use_cuda and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not available in this torch; use --device cpu")
    world_size, local_rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if world_size > 1:
        torch.distributed.init_process_group("nccl" if use_cuda else "gloo")
        return torch.distributed.get_rank(), world_size, device
    return 0, 1, device


def _wrap(model: Any, world_size: int, device: Any) -> Any:
    if world_size == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def _use_bf16(precision: str, device: Any) -> bool:
    if precision != "auto":
        return precision == "bf16"
    import torch

    # On a CPU with AVX512_BF16 it trains levit_128s and fastervit_edge_0 2.2 to 2.7 times as fast as fp32, and
    # efficientvit_m0, mostly depthwise convolutions, 0.8 times.
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def _fingerprint(config: TrainConfig, world_size: int) -> dict[str, Any]:
    """What must be equal for a resumed run to continue the same one."""
    varying = {"output_dir", "device", "num_workers", "threads", "keep_decoded", "log_every", "data"}
    values = {key: value for key, value in asdict(config).items() if key not in varying}
    values["augment"] = asdict(config.augment)
    return {**{k: str(v) if isinstance(v, Path) else v for k, v in values.items()}, "world_size": world_size}


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        result = run(config_from_args(args))
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except RuntimeError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes after the last finished epoch", file=sys.stderr)
        return 130
    if int(os.environ.get("RANK", "0")) == 0:
        if args.json:
            print(json.dumps(asdict(result)))
        else:
            print(f"top-1 {result.top1:.2f}% on {result.num_val_images} images -> {result.checkpoint}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
