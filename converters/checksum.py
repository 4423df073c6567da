"""SHA-256 of files and folders: how manifests, downloads and devices tell that a file is the one meant."""

import hashlib
from pathlib import Path


def sha256_file(path: str | Path) -> str:
    """Return the hex SHA-256 of a file; of a folder, that of its sorted relative names and their files' checksums."""
    path = Path(path)
    if path.is_dir():
        lines = [f"{sha256_file(p)}  {p.relative_to(path).as_posix()}\n" for p in files_within(path)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_within(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted by relative name."""
    return sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).as_posix())
