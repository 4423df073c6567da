"""A variant of a few thousand weights and a folder of small pictures, on which a training takes seconds.

As a program it is the command `train` with that variant: python tiny_training.py ARGUMENTS; several commands after one
another are separated by `--then`. STOP_BEFORE_EPOCH=N in front of one ends it there, as an interrupt does, and
KILL_AT_STEP=N kills the process once that step is logged.
"""

import dataclasses
import json
import os
import signal
import sys

NAME = "levit_tiny"
SIDE = 64
COMMON = [NAME, "--resolution", str(SIDE), "--batch-size", "8", "--threads", "1", "--precision", "fp32",
          "--num-workers", "0", "--log-every", "1"]  # fmt: skip
# Enough to tell red from blue.
LEARNS = ["--epochs", "3", "--lr", "4e-3"]
# What makes a batch's loss independent of how its pictures are spread over processes.
WHOLE_PICTURES = ["--color", "0", "--erase", "0", "--mix-prob", "0", "--drop-path", "0"]


def register() -> None:
    """Put the variant into the registry of this process."""
    from edge_vit.models import registry
    from edge_vit.models.levit import LeViTConfig

    config = LeViTConfig(embed_dim=(32, 32, 32), key_dim=8, num_heads=(2, 2, 2), depths=(1, 1, 1))
    spec = dataclasses.replace(registry.get_spec("levit_128s"), name=NAME, config=config)
    registry._SPECS[NAME] = spec  # type: ignore[index]


def write_pictures(root, classes=("blue", "red"), num_train=16, num_val=8, side=40):
    """Write `root`/train and `root`/val: a colour a class, with noise; PNG, so that every machine reads the same."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    colours = {name: rng.integers(40, 216, 3) for name in classes} | {"blue": (40, 60, 200), "red": (200, 60, 40)}
    for split, count in (("train", num_train), ("val", num_val)):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(np.array(colours[name]) + rng.normal(0, 40, (side, side + 8, 3)), 0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


def read_log(folder):
    """Return the records of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(records):
    """Return {step: loss} of a log."""
    return {record["step"]: record["loss"] for record in records if "step" in record}


def epochs(records):
    """Return the records of epochs of a log."""
    return [record for record in records if "epoch" in record]


def run_commands(arguments) -> int:
    """Run one command after another, as the module's docstring says; return the last one's exit code."""
    from edge_vit import train

    code = 0
    while arguments:
        end = arguments.index("--then") if "--then" in arguments else len(arguments)
        command, arguments = arguments[:end], arguments[end + 1 :]
        what, _, number = command[0].partition("=")
        if what == "STOP_BEFORE_EPOCH":
            _run_until(int(number), command[1:])
        elif what == "KILL_AT_STEP":
            _run_and_kill(int(number), command[1:])
        else:
            code = train.main(command)
    return code


def _run_until(epoch, command) -> None:
    """Run a command whose epochs end before `epoch`, in all processes at once."""
    from edge_vit import train
    from edge_vit.training import loop
    from edge_vit.training.processes import leave

    whole = loop._train_epoch

    def stop(run, number):
        if number == epoch:
            raise KeyboardInterrupt
        return whole(run, number)

    loop._train_epoch = stop
    try:
        assert train.main(command) == 130
    finally:
        loop._train_epoch = whole
        leave()


def _run_and_kill(step, command) -> None:
    from edge_vit import train
    from edge_vit.training import loop

    append = loop.append

    def kill(folder, record):
        append(folder, record)
        if record.get("step") == step:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.append = kill
    train.main(command)


if __name__ == "__main__":
    register()
    raise SystemExit(run_commands(sys.argv[1:]))
