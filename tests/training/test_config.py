"""Every number of a training has its allowed range; float and quantization-aware training have their own defaults."""

import dataclasses
import math
import re
from pathlib import Path

import pytest

from edge_vit import train
from edge_vit.training.config import FINE_TUNING_RECIPE, FLOAT_RECIPE, QAT_RECIPE, AugmentConfig, Recipe, TrainConfig

README = Path(__file__).parents[2] / "README.md"


def parse(*flags):
    return train.config_from_args(train.build_parser().parse_args(["levit_128s", "--data", "DIR", *flags]))


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--label-smoothing", "1.5", "label_smoothing 1.5 is not allowed; use 0 up to but not 1"),
        ("--label-smoothing", "-0.1", "label_smoothing -0.1 is not allowed"),
        ("--weight-decay", "-1", "weight_decay -1.0 is not allowed; use 0 up to 1"),
        ("--mix-prob", "5", "mix_prob 5.0 is not allowed; use 0 up to 1"),
        ("--min-scale", "0", "min_scale 0.0 is not allowed; use more than 0 up to 1"),
        ("--color", "2", "color 2.0 is not allowed"),
        ("--erase", "1.01", "erase 1.01 is not allowed"),
        ("--mixup", "-1", "mixup -1.0 is not allowed; use 0 up to 100"),
        ("--cutmix", "nan", "cutmix nan is not allowed"),
        ("--threads", "0", "threads 0 is not allowed; use 1 up to 1024"),
        ("--seed", "99999999999999999999", "seed 99999999999999999999 is not allowed; use 0 up to 4294967295"),
        ("--seed", "-1", "seed -1 is not allowed"),
        ("--lr", "0", "lr 0.0 is not allowed; use more than 0 up to 1"),
        ("--lr", "inf", "lr inf is not allowed"),
        ("--epochs", "0", "epochs 0 is not allowed; use 1 up to 1000000"),
        ("--batch-size", "1", "batch_size 1 is not allowed; use 2 up to 65536"),
        ("--ema-decay", "1", "ema_decay 1.0 is not allowed"),
        ("--drop-path", "1", "drop_path 1.0 is not allowed"),
        ("--distill-weight", "1.5", "distill_weight 1.5 is not allowed"),
        ("--num-workers", "-1", "num_workers -1 is not allowed; use 0 up to 256"),
        ("--log-every", "0", "log_every 0 is not allowed"),
        ("--resolution", "0", "resolution 0 is not allowed; use 1 up to 4096"),
        ("--warmup-epochs", "-1", "warmup_epochs -1.0 is not allowed; use 0 or more"),
        ("--freeze-epochs", "nan", "freeze_epochs nan is not allowed; use 0 or more"),
        ("--head-epochs", "-1", "head_epochs -1.0 is not allowed; use 0 or more"),
        ("--accumulate", "0", "accumulate 0 is not allowed; use 1 up to 65536"),
        ("--layer-decay", "0", "layer_decay 0.0 is not allowed; use more than 0 up to 1"),
        ("--patience", "0", "patience 0 is not allowed; use 1 up to 1000000"),
        ("--val-share", "1", "val_share 1.0 is not allowed; use more than 0 up to but not 1"),
        ("--select-share", "1", "select_share 1.0 is not allowed; use 0 up to but not 1"),
        ("--temperature", "0", "temperature 0.0 is not allowed; use more than 0 up to 100"),
    ],
)
def test_every_number_has_its_range(flag, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(flag, value, "--qat", "--weights", "float.safetensors")


def test_every_number_is_in_the_table():
    """A number that is added to a setting must be given a range: NaN is refused for each."""
    checked = 0
    for make in (AugmentConfig, Recipe):
        for field in dataclasses.fields(make):
            if isinstance(field.default, (int, float)):
                checked += 1
                with pytest.raises(ValueError, match=f"{field.name} nan is not allowed"):
                    make(**{field.name: math.nan})
    known = {"model": "m", "data": Path(), "recipe": FLOAT_RECIPE}
    for name in ("resolution", "drop_path", "distill_weight", "seed", "num_workers", "threads", "log_every",
                 "patience", "val_share", "select_share", "temperature"):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} nan is not allowed"):
            TrainConfig(**known, **{name: math.nan})
    assert checked == 18


def test_shares_follow_the_length_of_the_run():
    long, short = parse("--epochs", "60").recipe, parse("--epochs", "2").recipe
    assert long.epochs * long.warmup_share == 3.0 and short.epochs * short.warmup_share == 0.1
    assert parse("--epochs", "10", "--warmup-epochs", "3").recipe.warmup_share == 0.3


def test_quantization_aware_training_has_defaults_of_its_own():
    ours = parse("--qat", "--weights", "float.safetensors").recipe
    assert ours == QAT_RECIPE and parse().recipe == FLOAT_RECIPE
    assert parse("--weights", "imagenet").recipe == FINE_TUNING_RECIPE
    assert (ours.lr, ours.weight_decay, ours.ema_decay, ours.epochs) == (1e-4, 0.0, 0.98, 2)
    augment = AugmentConfig(min_scale=0.5, color=0.2, erase=0.0, mix_prob=0.3)
    assert ours.augment == augment
    given = parse("--qat", "--weights", "float.safetensors", "--lr", "3e-5", "--erase", "0.1").recipe
    assert given.lr == 3e-5 and given.augment == dataclasses.replace(augment, erase=0.1) and given.ema_decay == 0.98


def test_readme_commands_are_possible():
    commands = re.findall(r"python -m edge_vit\.train (levit_128s .*)", README.read_text(encoding="utf-8"))
    assert len(commands) == 4 and "--qat" in commands[1] and "--qat" in commands[3]
    for command in commands:
        recipe = train.config_from_args(train.build_parser().parse_args(command.split())).recipe
        assert 0.0 < recipe.warmup_share < 0.5
    assert recipe.freeze_share > 0.0 and (1.0 - recipe.warmup_share - recipe.freeze_share) * recipe.epochs >= 1.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "2", "--warmup-epochs", "3"], "3 epochs of warm-up leave nothing of 2; use fewer of them"),
        (["--epochs", "1", "--warmup-epochs", "1"], "1 epochs of warm-up leave nothing of 1"),
        (
            ["--qat", "--weights", "w", "--epochs", "1", "--freeze-epochs", "1"],
            "0.05 epochs of warm-up and 1 with frozen ranges leave nothing of 1",
        ),
        (
            ["--qat", "--weights", "w", "--epochs", "4", "--freeze-epochs", "2", "--warmup-epochs", "2"],
            "2 epochs of warm-up and 2 with frozen ranges leave nothing of 4; "
            "use fewer of them (--warmup-epochs, --freeze-epochs), or more --epochs",
        ),
        (["--qat"], "--qat starts from a float checkpoint; give it with --weights"),
        (
            ["--patience", "2", "--select-share", "0"],
            "--patience waits for a better epoch, which --select-share 0 does n",
        ),
        (["--epochs", "2", "--head-epochs", "2"], "head_share 1.0 is not allowed"),
    ],
)
def test_impossible_combinations_are_refused(flags, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(*flags)
