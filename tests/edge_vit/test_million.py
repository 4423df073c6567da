"""A million pictures: one small file under a million names; memory does not grow with accuracy's way through them, nor
with an epoch's.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.dataset import list_class_folders
from edge_vit.evaluation.comparison import AccuracyConfig, run
from edge_vit.training.data import EpochSampler
from edge_vit.training.processes import Place

COUNT = int(os.environ.get("EDGE_VIT_PICTURES", "1000000"))
LINKS_A_FILE = 50_000  # a file system allows some 65,000
MIB = 1 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two classes; every name is a hard link to one of few copies of two pictures."""
    root = tmp_path_factory.mktemp("million")
    for label, color in (("dark", 20), ("light", 230)):
        (root / label).mkdir()
        source = root / f"{label}.png"
        for i in range(COUNT // 2):
            if i % LINKS_A_FILE == 0:
                source.unlink(missing_ok=True)
                Image.fromarray(np.full((8, 8, 3), color, np.uint8)).save(source)
            os.link(source, root / label / f"{i:07}.png")
        source.unlink()
    return root


@pytest.mark.slow
def test_accuracy_in_constant_memory(folder: Path, write_artefact) -> None:
    weights, bias = [[-1, -1, -1], [1, 1, 1]], [300, -300]
    exact = write_artefact("exact.tflite", weights, bias, ["dark", "light"])
    other = write_artefact("other.tflite", weights, [310, -310], ["dark", "light"], "int8_ptq")
    seen: dict[str, int] = {}

    def progress(done: int, total: int) -> None:
        if done >= total // 10:
            seen.setdefault("start", resident_bytes())
        seen["end"] = resident_bytes()

    result = run(AccuracyConfig(artefact=other, data=folder, float_artefact=exact), progress)
    assert result.overall.num_images == COUNT // 2 * 2 and result.overall.artefact_top1 == 100.0
    grown = (seen["end"] - seen["start"]) / MIB
    print(f"{COUNT} pictures: {seen['start'] / MIB:.0f} MiB after a tenth, {seen['end'] / MIB:.0f} MiB at the end")
    assert grown < 20, f"memory grew by {grown:.0f} MiB"


@pytest.mark.slow
@pytest.mark.parametrize("is_balanced", [False, True])
def test_an_epoch_s_sampler(folder: Path, is_balanced: bool) -> None:
    """Every name once; while they are drawn, memory stays what it was after the first thousand."""
    images = list_class_folders(folder)
    listed = resident_bytes()
    order = iter(EpochSampler(len(images), 0, Place(), images.labels if is_balanced else None))
    seen = np.zeros(len(images), bool)
    for _ in range(1000):
        seen[next(order)[1]] = True
    start = resident_bytes()
    for _, index in order:
        assert images.paths[index].suffix == ".png" and not seen[index]
        seen[index] = True
    end = resident_bytes()
    sizes = ((listed, "listed"), (start, "at the start"), (end, "at the end"))
    told = ", ".join(f"{size / MIB:.0f} MiB {when}" for size, when in sizes)
    print(f"{len(images)} names: {told}")
    assert seen.all() and end - start < 5 * MIB
