"""Records and tables of emulated runs: instructions, never milliseconds."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from converters.checksum import sha256_file
from edge_vit.devices import compare
from edge_vit.emulation import tflite as emulation

WHAT_IT_IS = "Emulated: instructions of one inference on one core, which say nothing of memory, caches and pipelines."


def measure(
    models: Sequence[Path],
    cpus: Sequence[str],
    *,
    with_operators: bool,
    runs: int,
    cache_dir: Path | None,
    progress: Callable[[str], None],
) -> list[dict]:
    """Count the instructions of each model on each core; the first model is what the others are compared with."""
    progress("preparing the emulator")
    toolchain = emulation.prepare(cache_dir)
    records = []
    for cpu in cpus:
        base = None
        for model in models:
            progress(f"{cpu}: {model.name}")
            result = emulation.emulate(model, cpu, runs=runs, with_profile=with_operators, toolchain=toolchain)
            base = base or result.instructions
            equal, difference = compare.with_host(model, result.output, cache_dir)
            records.append(
                {
                    "model": model.name,
                    "model_sha256": sha256_file(model),
                    "emulated": True,
                    "cpu": cpu,
                    "threads": 1,
                    "instructions": result.instructions,
                    "instructions_per_run": list(result.per_inference),
                    "against_first": round(result.instructions / base, 4),
                    "output_sha256": hashlib.sha256(result.output).hexdigest(),
                    "output_equals_host": equal,
                    "output_max_difference": difference,
                    "litert_version": toolchain.litert_version,
                    "qemu_version": toolchain.qemu_version,
                    "operators": [
                        {"kind": o.kind, "kernel": o.kernel, "instructions": o.instructions}
                        for o in (result.profile.operators if result.profile else ())
                    ],
                    "between_operators": result.profile.overhead if result.profile else None,
                }
            )
    return records


def table(records: Sequence[dict]) -> str:
    """Return a plain-text table, and one by operator for each record that has them."""
    head = ["model", "core", "instructions", "against first", "output"]
    rows = [head]
    for r in records:
        rows.append([r["model"], r["cpu"], f"{r['instructions']:,}", f"{r['against_first']:.3f}", describe_output(r)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    first = records[0]
    lines += ["", f"{WHAT_IT_IS} LiteRT {first['litert_version']}, qemu {first['qemu_version']}."]
    for r in records:
        if r["operators"]:
            lines += ["", f"{r['model']} on {r['cpu']}", *operator_lines(r)]
    return "\n".join(lines)


def operator_lines(record: dict) -> list[str]:
    """Return where the instructions go, by operator and kernel, most first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for o in record["operators"]:
        groups.setdefault((o["kind"], o["kernel"]), []).append(o["instructions"])
    total = record["instructions"]
    lines = [f"{'instructions':>14}  share  times  operator              kernel"]
    for (kind, kernel), counts in sorted(groups.items(), key=lambda item: -sum(item[1])):
        lines.append(f"{sum(counts):>14,} {sum(counts) / total:>6.1%} {len(counts):>6}  {kind:<20}  {kernel}")
    between = record["between_operators"]
    lines.append(f"{between:>14,} {between / total:>6.1%}         between the operators")
    return lines


def describe_output(record: dict) -> str:
    """Say how a record's output compares with this machine's own."""
    if record["output_equals_host"] is None:
        return record["output_sha256"][:12]
    if record["output_equals_host"]:
        return "equal to host's"
    difference = record["output_max_difference"]
    return "differs from host's" + (f" by up to {difference:.2g}" if difference is not None else "")


def append(folder: Path, records: Sequence[dict]) -> None:
    """Append records to instructions.jsonl in the results folder and make instructions.md anew."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "instructions.jsonl"
    with open(path, "a") as handle:
        for record in records:
            handle.write(json.dumps(record) + "\n")
    gathered = [json.loads(line) for line in path.read_text().splitlines()]
    lines = ["# Instructions of one inference", "", WHAT_IT_IS, ""]
    lines += ["| model | SHA-256 | core | instructions | LiteRT | output |", "| --- | --- | --- | ---: | --- | --- |"]
    for r in sorted(gathered, key=lambda r: (r["cpu"], r["instructions"])):
        lines.append(
            f"| {r['model']} | {r['model_sha256'][:12]} | {r['cpu']} | {r['instructions']:,} | {r['litert_version']} "
            f"| {describe_output(r)} |"
        )
    part = folder / "instructions.md.part"
    part.write_text("\n".join(lines) + "\n")
    part.rename(folder / "instructions.md")
