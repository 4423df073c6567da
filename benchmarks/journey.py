"""The whole way of a user, timed: a fresh clone, an install, own classes, a report. What takes long?

    python benchmarks/journey.py --data DIR [--python python3.12] [--keep FOLDER] [--output docs/journey.md]

DIR holds train/ and val/, a folder a class. The user's own pictures are three of its classes, 60 of each, under other
names. Every step is one command of the README, in the fresh clone's own environment and an empty folder. Prints seconds
that pass, seconds of the processor and the largest memory of each step; exits with 1 where a step fails.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from arm_counts import put_into

from edge_vit.devices.cpu import host_cpu

ROOT = Path(__file__).parents[1]
OWN = {"corgi": "n02102040", "stereo": "n02979186", "church": "n03028079"}
NUM_OWN = 60
INT8 = "artifacts/levit_128s_int8.tflite"
FLOAT = "edge_vit/checkpoints/efficientvit_m0_float.safetensors"
# What is typed after `python -m edge_vit.`.
STEPS = (
    "train levit_128s --data pets --weights embedded --epochs 3",
    "train levit_128s --data pets --qat --weights runs/levit_128s_224/levit_128s_float.safetensors",
    "convert levit_128s --target tflite --int8 --weights runs/levit_128s_224_qat/levit_128s_int8.safetensors",
    f"accuracy {INT8} --data runs/levit_128s_224_qat/pictures.csv",
    f"classify {INT8} PICTURE",
    f"report {INT8} --data runs/levit_128s_224_qat/pictures.csv",
    f"bench_arm --emulate {INT8} --by-operator",
    "convert levit_128s --target all --int8 --output-dir four --data DATA/val",
    "accuracy four/levit_128s_int8.tflite --data DATA/val --max-drop 0.5",
    "sensitivity levit_128s --data DATA/val",
    "convert levit_128s --target tflite --int8 --output-dir budget --data DATA/val --max-drop 0.3",
    "convert efficientvit_m0 --target tflite --int8 --weights FLOAT --calib DATA/train --calib-method best "
    "--output-dir best",
)
BEGIN, END = "<!-- journey: begin -->", "<!-- journey: end -->"


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="pictures by class in train/ and val/")
    parser.add_argument("--python", default="python3.11", help="what `make` makes the environment with (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there, and leave everything")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a page to put the table into")
    parser.add_argument("--json", action="store_true")
    return parser


def run(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Run one command; return its seconds, those of the processor, its and its children's largest memory, its code."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        print(said, file=sys.stderr)
    return {
        "seconds": time.perf_counter() - started,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "memory_mib": usage.ru_maxrss / 1024,
        "code": process.returncode,
    }


def journey(folder: Path, arguments: argparse.Namespace) -> Iterator[dict]:
    """Go the whole way in `folder`; yield what each step took."""
    clone, data = folder / "edge_vit", arguments.data.resolve()
    install = ["make", "--silent", "install", f"PYTHON={arguments.python}"]
    yield {"step": "git clone"} | run(["git", "clone", "--quiet", str(ROOT), str(clone)], folder)
    yield {"step": "make install"} | run(install, clone)
    yield {"step": "make demo"} | run([*install[:2], "demo", install[3]], clone)
    for name, synset in OWN.items():
        (folder / "pets" / name).mkdir(parents=True)
        for picture in sorted((data / "train" / synset).iterdir())[:NUM_OWN]:
            shutil.copy(picture, folder / "pets" / name)
    for step in STEPS:
        picture = min((folder / "pets/corgi").iterdir())
        words = step.replace("DATA", str(data)).replace("FLOAT", str(clone / FLOAT)).replace("PICTURE", str(picture))
        command = [str(clone / ".venv/bin/python"), "-m", *f"edge_vit.{words}".split()]
        said = step.replace("DATA", "DIR").replace("FLOAT", Path(FLOAT).name)
        yield {"step": f"python -m edge_vit.{said}"} | run(command, folder)


def table(rows: Sequence[dict]) -> str:
    """Return the Markdown table."""
    lines = ["| step | s | s of the processor | MiB |", "|---|---:|---:|---:|"]
    lines += [
        f"| `{r['step']}` | {r['seconds']:.1f} | {r['processor_s']:.1f} | {r['memory_mib']:.0f} |"
        + (f" exit code {r['code']}" if r["code"] else "")
        for r in rows
    ]
    total = sum(r["seconds"] for r in rows)
    return "\n".join([*lines, "", f"{total / 60:.1f} minutes in all; {host_cpu()}, {os.cpu_count()} cores."])


def main() -> int:
    """Run the command line."""
    arguments = build_parser().parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="edge_vit-journey-") as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for row in journey(folder.resolve(), arguments):
            rows.append(row)
            print(f"{row['seconds']:7.1f} s  {row['step']}", file=sys.stderr, flush=True)
    text = table(rows)
    if arguments.output:
        put_into(arguments.output, text, (BEGIN, END))
    print(json.dumps(rows, indent=1) if arguments.json else text)
    return 1 if any(r["code"] for r in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
