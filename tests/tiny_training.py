"""A variant of a few thousand weights and a folder of small pictures, on which a training takes seconds.

As a program it is the command `train` with that variant. COPY_AFTER_EPOCH=N before its arguments copies the run's
folder after that epoch, KILL_AT_STEP=N kills the process once that step is logged.
"""

import contextlib
import dataclasses
import json
import os
import shutil
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


_users = 0  # several folders of tests may need it at a time


def register() -> None:
    """Put the variant among those of this process."""
    global _users
    _users += 1
    if _users > 1:
        return
    from edge_vit.models import names, registry
    from edge_vit.models.levit import LeViTConfig

    config = LeViTConfig(embed_dim=(32, 32, 32), key_dim=8, num_heads=(2, 2, 2), depths=(1, 1, 1))
    spec = dataclasses.replace(registry.get_spec("levit_128s"), name=NAME, config=config)
    registry._SPECS[NAME] = spec  # type: ignore[index]
    names.VARIANT_NAMES = (*names.VARIANT_NAMES, NAME)


def unregister() -> None:
    """Take it out again, once nobody needs it."""
    global _users
    _users -= 1
    if _users:
        return
    from edge_vit.models import names, registry

    registry._SPECS.pop(NAME)  # type: ignore[attr-defined]
    names.VARIANT_NAMES = tuple(name for name in names.VARIANT_NAMES if name != NAME)


def write_pictures(root, classes=("blue", "red"), num_train=18, num_val=8, side=40):
    """Write `root`/train and `root`/val: a colour a class, with noise; PNG, so that every machine reads the same.

    Of 18 pictures of a class to learn from, training holds two back to choose the epoch by.
    """
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


@contextlib.contextmanager
def copied_after_epoch(epoch):
    """Within the block, a training's folder is copied to FOLDER_cut once its state after `epoch` is written.

    The copy is what a training leaves that was killed right then.
    """
    from edge_vit.training import loop

    write_state = loop.write_state

    def write_and_copy(folder, state):
        write_state(folder, state)
        if state["epoch"] == epoch + 1:
            shutil.copytree(folder, folder.with_name(f"{folder.name}_cut"))

    loop.write_state = write_and_copy
    try:
        yield
    finally:
        loop.write_state = write_state


@contextlib.contextmanager
def killed_at_step(step):
    """Within the block, the process kills itself once that step is logged."""
    from edge_vit.training import loop

    append = loop.append

    def append_and_kill(folder, record):
        append(folder, record)
        if record.get("step") == step:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.append = append_and_kill
    try:
        yield
    finally:
        loop.append = append


def main(arguments) -> int:
    """Run the command, as the module's docstring says; return its exit code."""
    from edge_vit import train

    what, _, number = arguments[0].partition("=")
    ways = {"COPY_AFTER_EPOCH": copied_after_epoch, "KILL_AT_STEP": killed_at_step}
    if what not in ways:
        return train.main(arguments)
    with ways[what](int(number)):
        return train.main(arguments[1:])


if __name__ == "__main__":
    register()
    raise SystemExit(main(sys.argv[1:]))
