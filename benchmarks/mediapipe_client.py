"""Ask a client that knows nothing of this project, MediaPipe Tasks' ImageClassifier, what a converted file says.

    python -m venv mp && mp/bin/pip install mediapipe==1.2.3
    python -m edge_vit.convert levit_128s --target tflite --int8 --output probabilities
    python benchmarks/mediapipe_client.py artifacts/levit_128s_int8.tflite --data DIR/val --python mp/bin/python

Prints a Markdown table: pictures of every class in turn, the first class and its score here and there. The client is
handed the pixels that our pipeline crops, because it would stretch the whole picture. Exits with 1 where a name differs
or a score by more than 0.01.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CLIENT = """
import json, sys
import mediapipe as mp, numpy as np
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=1)
found = []
with vision.ImageClassifier.create_from_options(options) as classifier:
    for pixels in np.load(sys.argv[2]):
        (head,) = classifier.classify(mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels)).classifications
        found.append([head.categories[0].category_name, head.categories[0].score])
print(json.dumps(found))
"""
MAX_DIFFERENCE = 0.01


def ask_client(python: Path, artefact: Path, pixels: np.ndarray) -> list[tuple[str, float]]:
    """Return the first class and its score for each picture, uint8 (N, H, W, 3), as MediaPipe says them."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "pixels.npy", pixels)
        command = [python, "-c", CLIENT, artefact.resolve(), Path(folder) / "pixels.npy"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {python} could not run MediaPipe: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return [(name, score) for name, score in json.loads(done.stdout.splitlines()[-1])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path, help="a .tflite that gives probabilities")
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder a class")
    parser.add_argument("--count", type=int, default=10, help="pictures (%(default)s)")
    parser.add_argument("--python", type=Path, required=True, help="an interpreter that has mediapipe")
    args = parser.parse_args()

    from calibration.dataset import choose, list_class_folders
    from calibration.preprocess import Preprocess, load_pixels
    from converters.artefact import open_artefact

    artefact = open_artefact(args.artefact)
    paths = choose(list_class_folders(args.data), args.count).paths
    preprocess = Preprocess(**artefact.manifest.input.preprocess_fields())
    pixels = np.stack([load_pixels(path, preprocess) for path in paths])
    names = [entry.name for entry in artefact.manifest.classes]
    outputs = artefact.run(pixels)
    theirs = ask_client(args.python, args.artefact, pixels)
    print("| picture | here | MediaPipe |\n|---|---|---|")
    worst, same = 0.0, True
    for path, ours, (name, score) in zip(paths, outputs, theirs, strict=True):
        first = int(ours.argmax())
        print(f"| {path.parent.name}/{path.name} | {names[first]} {ours[first]:.4f} | {name} {score:.4f} |")
        worst, same = max(worst, abs(float(ours[first]) - score)), same and name == names[first]
    verdict = "the same names" if same else "NAMES DIFFER"
    print(f"\n{len(paths)} pictures; {verdict}, scores differ by at most {worst:.4f}")
    return int(not same or worst > MAX_DIFFERENCE)


if __name__ == "__main__":
    sys.exit(main())
