"""What a training's log shows at a glance: a table, a drawing, and events for TensorBoard."""

import csv
import importlib.util
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_vit.reports.lines import page, panel
from edge_vit.training.state import LOG_FILE, written

TABLE_FILE, DRAWING_FILE, EVENTS_FOLDER = "log.csv", "curves.svg", "tensorboard"
COLUMNS = ("epoch", "loss", "select_top1", "select_loss", "chosen_epoch", "top1", "images_per_s", "seconds")
_COUNTERS = {"step", "epoch"}


def check_tensorboard() -> None:
    """Raise ImportError if TensorBoard is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError("--tensorboard needs TensorBoard; pip install 'edge_vit[tensorboard]'")


class Curves:
    """Pass records of the log on to TensorBoard as they come; at the end write the table and the drawing.

    Args:
        folder: Where the log lies.
        has_events: Whether to write events.
    """

    def __init__(self, folder: Path, has_events: bool) -> None:
        self.folder, self._writer = folder, None
        if has_events:
            from torch.utils.tensorboard import SummaryWriter

            with written(folder / EVENTS_FOLDER):
                self._writer = SummaryWriter(str(folder / EVENTS_FOLDER))  # type: ignore[no-untyped-call]

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one record: of a step, of an epoch, or of what the run started from."""
        if self._writer is None:
            return
        kind = "epoch" if "epoch" in record else "step" if "step" in record else "start"
        for key, value in record.items():
            if key not in _COUNTERS and isinstance(value, (int, float)):
                self._writer.add_scalar(f"{kind}/{key}", value, record.get(kind, 0))  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """Write the table and the drawing of the whole log, what an interrupted run logged before included."""
        if self._writer is not None:
            self._writer.close()  # type: ignore[no-untyped-call]
        text = (self.folder / LOG_FILE).read_text(encoding="utf-8")
        records = [json.loads(line) for line in text.splitlines()]
        epochs = [record for record in records if "epoch" in record]
        for name, content in ((TABLE_FILE, _table(epochs)), (DRAWING_FILE, _drawing(records, epochs))):
            with written(self.folder / name):
                (self.folder / name).write_text(content, encoding="utf-8", newline="")


def _table(epochs: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(epochs)
    return text.getvalue()


def _drawing(records: list[dict[str, Any]], epochs: list[dict[str, Any]]) -> str:
    """Draw the loss of training and of the pictures held back, and what is right of them."""
    steps = max((record["step"] for record in records if "step" in record), default=0) + 1
    end = len(epochs) or 1
    losses = {
        "training": [(end * r["step"] / steps, r["loss"]) for r in records if "step" in r],
        "held back": [(r["epoch"] + 1, r["select_loss"]) for r in epochs if "select_loss" in r],
    }
    right = {
        "held back, chooses the epoch": [(r["epoch"] + 1, r["select_top1"]) for r in epochs if "select_top1" in r],
        "judged, of the chosen epoch": [(r["epoch"] + 1, r["top1"]) for r in epochs],
    }
    panels = []
    for title, unit, lines in (("Loss", "cross-entropy", losses), ("Accuracy", "top-1, %", right)):
        drawn = {name: points for name, points in lines.items() if points}
        top = max((y for points in drawn.values() for _, y in points), default=1.0)
        numbered = list(enumerate(drawn.values()))
        panels.append(panel(title, "epochs", unit, (0, end), (0, top * 1.05), numbered, list(drawn)))
    return page(panels)
