"""Records and tables of emulated runs: instructions, never milliseconds."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from converters.checksum import sha256_file
from edge_vit.devices import compare, results
from edge_vit.devices.cpu import host_cpu
from edge_vit.devices.results import describe_output
from edge_vit.emulation import pte, tflite

RUNNERS: dict[str, Any] = {".tflite": tflite, ".pte": pte}
LINES, TABLE = "instructions.jsonl", "instructions.md"
WHAT_IT_IS = "Emulated: instructions of one inference, which say nothing of memory, caches and pipelines."


def measure(
    models: Sequence[Path],
    cpus: Sequence[str],
    *,
    with_operators: bool,
    runs: int,
    threads: int = 1,
    in_half: bool = False,
    cache_dir: Path | None,
    progress: Callable[[str], None],
) -> list[dict]:
    """Count the instructions of each model on each core; the first model is what the others are compared with.

    Raises:
        ValueError: If the emulator cannot be had, or a model fails on it.
        ImportError: If a .pte is to be counted and ExecuTorch is not installed.
    """
    progress("preparing the emulator")
    toolchains = {suffix: RUNNERS[suffix].prepare(cache_dir) for suffix in {model.suffix for model in models}}
    half = {"in_half": True} if in_half else {}
    records = []
    for cpu in cpus:
        base = None
        for model in models:
            progress(f"{cpu}: {model.name}")
            toolchain = toolchains[model.suffix]
            result = RUNNERS[model.suffix].emulate(
                model, cpu, runs=runs, threads=threads, with_profile=with_operators, toolchain=toolchain, **half
            )
            base = base or result.instructions
            compared = compare.with_host(model, result.output, cache_dir)
            records.append(
                {
                    "model": model.name,
                    "model_sha256": sha256_file(model),
                    "emulated": True,
                    "cpu": cpu,
                    "threads": threads,
                    "in_half": in_half,
                    "instructions": result.instructions,
                    "instructions_per_run": list(result.per_inference),
                    "against_first": round(result.instructions / base, 4),
                    "output_sha256": hashlib.sha256(result.output).hexdigest(),
                    **compared.as_fields(),
                    "host_cpu": host_cpu(),
                    "runtime": toolchain.runtime,
                    "qemu_version": toolchain.qemu.version,
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
        count = f"{r['instructions']:,}"
        rows.append([r["model"], _where(r), count, f"{r['against_first']:.3f}", describe_output(r)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    first = records[0]
    runtimes = ", ".join(dict.fromkeys(runtime(r) for r in records))
    lines += ["", f"{WHAT_IT_IS} {runtimes}, qemu {first['qemu_version']}."]
    lines += [f"Host: {first['host_cpu']}."]
    lines += [f"{r['model']} on {r['cpu']}: {r['output_not_compared']}" for r in records if r["output_not_compared"]]
    for r in records:
        if r["operators"]:
            lines += ["", f"{r['model']} on {r['cpu']}", *operator_lines(r)]
    return "\n".join(lines)


def runtime(record: dict) -> str:
    """Name the runtime that a record was made with; older records know LiteRT only."""
    return record.get("runtime") or f"LiteRT {record['litert_version']}"


def _where(record: dict) -> str:
    """Name the core, with the threads if there are several and the float16 that was forced."""
    threads = record.get("threads", 1)
    return f"{record['cpu']}{f', {threads} threads' * (threads > 1)}{', float16' * record.get('in_half', False)}"


def operator_lines(record: dict) -> list[str]:
    """Return where the instructions go, by operator and kernel, most first."""
    total = record["instructions"]
    lines = [f"{'instructions':>14}  share  times  operator              kernel"]
    for kind, kernel, counts in by_operator(record):
        lines.append(f"{sum(counts):>14,} {sum(counts) / total:>6.1%} {len(counts):>6}  {kind:<20}  {kernel}")
    between = record["between_operators"]
    lines.append(f"{between:>14,} {between / total:>6.1%}         between the operators")
    return lines


def by_operator(record: dict) -> list[tuple[str, str, list[int]]]:
    """Return each kind of operator with its kernel and the instructions of every time it runs, most first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for o in record["operators"]:
        groups.setdefault((o["kind"], o["kernel"]), []).append(o["instructions"])
    return [(*key, counts) for key, counts in sorted(groups.items(), key=lambda item: -sum(item[1]))]


def check(folder: Path) -> None:
    """Try whether `append` will be able to write.

    Raises:
        ValueError: If it will not, or a line that is there is no record.
    """
    results.load_lines(folder / LINES, is_record)
    results.check_writable([folder / LINES, folder / TABLE])


def append(folder: Path, records: Sequence[dict]) -> None:
    """Append records to instructions.jsonl in the results folder and make instructions.md anew.

    Raises:
        ValueError: If one of the two cannot be written, or a line that is there is no record.
    """
    results.append_lines(folder / LINES, records)
    gathered = results.load_lines(folder / LINES, is_record)
    lines = ["# Instructions of one inference", "", WHAT_IT_IS, ""]
    lines += ["| model | SHA-256 | core | instructions | runtime | output |", "| --- | --- | --- | ---: | --- | --- |"]
    for r in sorted(gathered, key=lambda r: (r["cpu"], r["instructions"])):
        lines.append(
            f"| {r['model']} | {r['model_sha256'][:12]} | {_where(r)} | {r['instructions']:,} | {runtime(r)} "
            f"| {describe_output(r)} |"
        )
    results.write_whole(folder / TABLE, "\n".join(lines) + "\n")


def is_record(plain: dict) -> bool:
    is_named = "runtime" in plain or "litert_version" in plain
    return is_named and plain.keys() >= {"model", "model_sha256", "cpu", "instructions"}
