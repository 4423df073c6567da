"""The records of bench_arm that belong to artefacts, found by the checksum of the file that was measured."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_vit.devices import results
from edge_vit.emulation import report as emulated

_LINES = ("results.jsonl", emulated.LINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Records as bench_arm wrote them: times, and counts of instructions, the newest of each core alone."""

    latencies: tuple[dict[str, Any], ...] = ()
    instructions: tuple[dict[str, Any], ...] = ()
    others: tuple[str, ...] = field(default=())

    def of(self, sha256: str) -> "Records":
        """Return those of one file."""
        latencies, counts = ([r for r in group if r["model_sha256"] == sha256] for group in self._groups())
        return Records(latencies=tuple(latencies), instructions=tuple(counts))

    def _groups(self) -> tuple[tuple[dict[str, Any], ...], ...]:
        return self.latencies, self.instructions


def load_records(paths: Sequence[Path], digests: Sequence[str]) -> Records:
    """Read records of files with these SHA-256s; `others` names the models of the records that are of no such file.

    Args:
        paths: What `bench_arm --json` printed, a .jsonl of a results folder, or the folder.

    Raises:
        ValueError: If a path cannot be read, or holds something else than records.
    """
    plains = [plain for path in paths for plain in _load(path)]
    ours = [plain for plain in plains if plain["model_sha256"] in digests]
    counts = {(r["model_sha256"], r["cpu"]): r for r in ours if "instructions" in r}
    latencies = {json.dumps(r, sort_keys=True): r for r in ours if "instructions" not in r}
    others = dict.fromkeys(plain["model"] for plain in plains if plain["model_sha256"] not in digests)
    return Records(latencies=tuple(latencies.values()), instructions=tuple(counts.values()), others=tuple(others))


def _load(path: Path) -> list[dict[str, Any]]:
    if path.is_dir():
        files = [path / name for name in _LINES if (path / name).is_file()]
        if not files:
            raise ValueError(f"{path}: holds neither {' nor '.join(_LINES)}; give what bench_arm --results wrote")
        return [plain for file in files for plain in _load(file)]
    if not path.is_file():
        raise ValueError(f"{path}: no such file of records")
    if path.suffix == ".jsonl":
        return results.load_lines(path, _is_record)
    try:
        plains = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ValueError(f"cannot read {path}: {e.strerror or e}") from e
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{path}: no records; give what bench_arm --json printed, or a results folder") from e
    if not isinstance(plains, list) or not all(isinstance(p, dict) and _is_record(p) for p in plains):
        raise ValueError(f"{path}: no records; give what bench_arm --json printed, or a results folder")
    return plains


def _is_record(plain: dict[str, Any]) -> bool:
    """Tell whether this is one of either kind, with all that is read of it here."""
    if not isinstance(plain.get("model_sha256"), str):
        return False
    if "instructions" in plain:
        return emulated.is_record(plain) and isinstance(plain.get("operators", []), list)
    return results.is_record(plain) and {"rounds", "sustained", "started"} <= plain.keys()
