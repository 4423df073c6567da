"""Time what a conversion does, step by step, as the lowering tools do it alone and as we have them do it.

    python benchmarks/conversion_time.py [MODEL ...] [--targets tflite,executorch,coreml] [--precision int8]
                                         [--results FILE] [--json]

"Before" is the same command without our shortcuts: converters/decompose.py, converters/late_code.py, and leaving out
what decomposes nothing. Each conversion runs in a process of its own, one after the other. Prints a Markdown table in
seconds of the processor. Exits with 1 when the two files differ.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edge_vit.devices import results as records_of

MODELS = ("levit_128s", "efficientvit_m0", "fastervit_edge_0")
TARGETS = ("tflite", "executorch", "coreml")
FLAGS = {"int8": ["--int8"], "fp16": ["--fp16"], "fp32": []}
STEPS = ("start and calibrate", "export", "decompose", "the rest of lowering", "verify", "all")
SHORTCUTS = ("local_decompositions", "shared_provenance", "late_code", "_needed_decompositions")
WITHIN = "the rest of lowering"  # export and decompose are counted where they are steps of this


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODELS), help="variants (the embedded ones)")
    parser.add_argument("--targets", default=",".join(TARGETS), help="separated by commas (%(default)s)")
    parser.add_argument("--precision", default="int8", choices=list(FLAGS), help="(%(default)s)")
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="keep the records here, one a line; take what is there"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=("before", "after"), help=argparse.SUPPRESS)
    return parser


class Clock:
    """Seconds of the processor by step; a step within another is counted as itself alone."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)
        self._open = [STEPS[0]]
        self._since = 0.0

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what passes while the block runs as `name`."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def finish(self) -> dict[str, float]:
        """Return all steps, and the whole."""
        self._turn()
        return self.seconds | {"all": self._since}

    def timed(self, owner: Any, attribute: str, name: str) -> None:
        """Count every call of a function as a step; export and decompose only within lowering."""
        function: Callable[..., Any] = getattr(owner, attribute)

        def call(*arguments: Any, **named: Any) -> Any:
            is_step = name in (WITHIN, "verify") or (WITHIN in self._open and name not in self._open)
            with self.step(name) if is_step else contextlib.nullcontext():
                return function(*arguments, **named)

        setattr(owner, attribute, call)

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


def convert_here(model: str, target: str, precision: str, folder: Path, *, is_before: bool) -> dict[str, Any]:
    """Convert in this process; return the steps' seconds and a digest of every file."""
    clock = Clock()
    import importlib

    import torch

    from edge_vit import convert
    from edge_vit.deployment import steps

    lower = importlib.import_module(f"converters.{target}.lower")
    if is_before:
        for name in (name for name in SHORTCUTS if hasattr(lower, name)):
            setattr(lower, name, contextlib.nullcontext)
    clock.timed(torch.export, "export", "export")
    clock.timed(torch.export.ExportedProgram, "run_decompositions", "decompose")
    clock.timed(lower, "convert", WITHIN)
    clock.timed(steps, "_verified", "verify")
    words = [model, "--target", target, *FLAGS[precision], "--output-dir", str(folder)]
    with contextlib.redirect_stdout(sys.stderr):
        if convert.main(words):
            raise SystemExit(1)
    return {"seconds": clock.finish(), "files": digests(folder)}


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file; manifests name the tools and the command, an .mlpackage's makes up numbers."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def convert_in_a_process(model: str, target: str, precision: str, way: str) -> dict[str, Any]:
    """Run `convert_here` in a new process, on one thread."""
    words = [sys.executable, __file__, model, "--targets", target, "--precision", precision, "--one", way]
    ended = subprocess.run(words, stdout=subprocess.PIPE, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return json.loads(ended.stdout)


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return the records as a Markdown table: seconds before and after, step by step."""
    lines = [
        f"| model | target | {' | '.join(STEPS)} | files |",
        f"|---|---|{'---:|' * len(STEPS)}---|",
    ]
    for r in records:
        cells = [f"{r['before']['seconds'][step]:.1f} → {r['after']['seconds'][step]:.1f}" for step in STEPS]
        lines.append(f"| {r['model']} | {r['target']} | {' | '.join(cells)} | {'equal' if is_equal(r) else 'DIFFER'} |")
    return "\n".join(lines)


def is_equal(record: dict[str, Any]) -> bool:
    """Tell whether both ways gave the same files."""
    return record["before"]["files"] == record["after"]["files"]


def is_record(plain: dict[str, Any]) -> bool:
    """Tell whether a line is one of ours."""
    return plain.keys() >= {"model", "target", "precision", "before", "after"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = build_parser().parse_args(argv)
    targets = arguments.targets.split(",")
    if arguments.one:
        (model,), (target,) = arguments.models, targets
        with tempfile.TemporaryDirectory() as folder:
            is_before = arguments.one == "before"
            record = convert_here(model, target, arguments.precision, Path(folder), is_before=is_before)
        print(json.dumps(record))
        return 0
    try:
        known = records_of.load_lines(arguments.results, is_record) if arguments.results else []
        records = []
        for model, target in itertools.product(arguments.models, targets):
            key = {"model": model, "target": target, "precision": arguments.precision}
            record = next((r for r in known if key.items() <= r.items()), None)
            if record is None:
                ways = {w: convert_in_a_process(model, target, arguments.precision, w) for w in ("before", "after")}
                record = key | ways
                if arguments.results:
                    records_of.append_lines(arguments.results, [record])
            records.append(record)
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    print(json.dumps(records, indent=1) if arguments.json else table(records))
    return 0 if all(is_equal(record) for record in records) else 1


if __name__ == "__main__":
    raise SystemExit(main())
