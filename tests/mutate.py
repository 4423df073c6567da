"""Change the code on purpose, one small fault at a time, and see a test fail each time: python tests/mutate.py [NUMBER ...]

Not collected by pytest: it takes minutes. A fault that no test catches is a hole in the tests; exit code 1.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# File, what stands there, what it becomes, and the tests that must notice.
MUTATIONS = (
    ("calibration/preprocess.py", "math.floor(side / self.crop_pct + 0.5)", "math.floor(side / self.crop_pct)", "tests/calibration/test_preprocess.py"),
    ("calibration/preprocess.py", "255 * (255 - alpha) + 127", "127", "tests/calibration/test_preprocess.py"),
    ("calibration/ranges.py", "exponent += 1\n", "exponent += 2\n", "tests/calibration/test_ranges.py"),
    ("calibration/ranges.py", "low, high = min(low, 0.0), max(high, 0.0)", "low, high = low, high", "tests/calibration/test_ranges.py"),
    ("edge_vit/evaluation/paired.py", "np.percentile(100.0 * (draws[:, 0] - draws[:, 1]) / num, [2.5, 97.5])", "np.percentile(100.0 * (draws[:, 0] - draws[:, 1]) / num, [5.0, 95.0])", "tests/evaluation/test_paired.py"),
    ("edge_vit/evaluation/paired.py", "return min(1.0, 2 * tail / 2**flips)", "return min(1.0, tail / 2**flips)", "tests/evaluation/test_paired.py"),
    ("edge_vit/layers/conv_norm.py", "shift = shift + self.conv.bias.double() * scale", "shift = shift + self.conv.bias.double()", "tests/layers/test_conv_norm.py"),
    ("edge_vit/layers/pixel_input.py", "color = 255.0 * torch.tensor(mean", "color = 254.0 * torch.tensor(mean", "tests/layers/test_pixel_input.py"),
    ("edge_vit/quantization/graph.py", "weight.data = weight.data / 6.0", "weight.data = weight.data / 5.99", "tests/quantization/test_graph.py"),
    ("edge_vit/quantization/half_scales.py", ".round().clamp(-_LARGEST, _LARGEST) * half", ".floor().clamp(-_LARGEST, _LARGEST) * half", "tests/quantization/test_half_scales.py"),
    ("edge_vit/quantization/plan.py", 'right.kind = "symmetric"', 'right.kind = "affine"', "tests/quantization/test_plan.py"),
    ("edge_vit/deployment/verify.py", "MAX_GAIN_ERROR = 0.05", "MAX_GAIN_ERROR = 0.15", "tests/deployment/test_verify.py"),
    ("edge_vit/deployment/pictures.py", "return calibration, others", "return calibration, calibration", "tests/deployment/test_pictures.py"),
    ("edge_vit/training/loop.py", "0.01 + 0.99 * 0.5 * (1.0 + math.cos(", "0.01 + 0.99 * 0.5 * (1.0 - math.cos(", "tests/training/test_loop.py"),
    ("edge_vit/training/loop.py", "ours.lerp_(theirs, 1.0 - decay)", "ours.lerp_(theirs, decay)", "tests/training/test_loop.py"),
    ("edge_vit/training/augment.py", "return x, share * targets + (1.0 - share) * other_targets", "return x, targets", "tests/training/test_augment.py"),
    ("edge_vit/devices/stats.py", "* (position - below)", "* (above - position)", "tests/devices/test_stats.py"),
    ("converters/grids.py", "shared = wanted & found", "shared = wanted | found", "tests/converters/test_grids.py"),
    ("converters/manifest.py", "if actual != manifest.file:", "if actual.name != manifest.file.name:", "tests/converters/test_manifest.py"),
    ("converters/artefact.py", "int(info.value_range[0])", "0", "tests/converters/test_artefact.py"),
    ("converters/trial.py", 'return signal.Signals(-code).name if code < 0 else ""', 'return ""', "tests/converters/test_trial.py"),
    ("edge_vit/console/answer.py", "said = Answer(code=EXIT_CODE, remarks=(interrupted,))", "raise", "tests/console"),
)  # fmt: skip


def is_caught(number: int) -> bool:
    """Apply one mutation to a copy of the repository and tell whether its tests fail."""
    path, old, new, tests = MUTATIONS[number]
    text = (ROOT / path).read_text(encoding="utf-8")
    if text.count(old) < 1:
        raise SystemExit(f"{path} no longer holds {old!r}; bring the list up to date")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "artifacts", "runs", ".*_cache"))
        (copy / path).write_text(text.replace(old, new, 1), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow and not device", *tests.split()]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    # 1: tests failed. Anything else, such as 2 for a copy that cannot be collected, shows nothing.
    return done.returncode == 1


def main() -> int:
    numbers = [int(word) for word in sys.argv[1:]] or list(range(len(MUTATIONS)))
    caught = 0
    for number in numbers:
        path, old, new, _ = MUTATIONS[number]
        found = is_caught(number)
        caught += found
        print(f"{'caught' if found else 'MISSED'}  {number:>2}  {path}: {old.strip()} -> {new.strip()}", flush=True)
    print(f"{caught} of {len(numbers)} caught")
    return 0 if caught == len(numbers) else 1


if __name__ == "__main__":
    raise SystemExit(main())
