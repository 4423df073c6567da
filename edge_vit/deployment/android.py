"""Put an artefact and its manifest into the Android app's assets, and check what the app would refuse."""

import argparse
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from converters.manifest import Manifest, describe_file, load_for, manifest_path
from converters.result import publish_all, staging

# What the app's runtimes are called in a manifest.
TARGETS = ("executorch", "tflite")
ASSETS = Path("app/src/main/assets/models")
COMPILED = "npu"  # there: files without a manifest, for one chip each
ADVICE = "choose another project with --into, in edge_vit.convert with --android"
MAX_SIDE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AndroidConfig:
    """What to put where; `is_only` removes the models that are there now."""

    artefacts: tuple[Path, ...]
    into: Path = Path("android_demo")
    is_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PutModel:
    """A model that is now part of the app's sources."""

    model: str
    precision: str
    target: str
    asset: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AndroidResult:
    """Every model that was put in, and what was removed for it."""

    put: tuple[PutModel, ...]
    removed: tuple[str, ...]


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m edge_vit.deployment.android", description=__doc__)
    parser.add_argument("artefacts", nargs="+", type=Path, metavar="ARTEFACT", help="its manifest lies beside it")
    parser.add_argument("--into", type=Path, default=Path("android_demo"), help="the app's project")
    parser.add_argument("--only", action="store_true", help="remove the models that the app carries now")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def run(config: AndroidConfig) -> AndroidResult:
    """Check all artefacts, then put them in, all or none.

    Raises:
        ValueError: If one is not what its manifest says, is nothing that the app could run, or cannot be written;
            nothing is changed then.
    """
    check_project(config.into)
    manifests = [check(artefact) for artefact in config.artefacts]
    assets = config.into / ASSETS
    found = sorted(path for path in assets.rglob("*") if path.is_file()) if config.is_only else []
    with staging(assets, ".putting-", ADVICE) as folder:
        moves = [move for artefact in config.artefacts for move in stage(artefact, folder, assets)]
        publish_all([*((None, path) for path in found), *moves])
    return AndroidResult(
        put=tuple(_described(manifest) for manifest in manifests),
        removed=tuple(path.relative_to(assets).as_posix() for path in found),
    )


def stage(artefact: Path, folder: Path, assets: Path) -> list[tuple[Path, Path]]:
    """Copy an artefact and its manifest into `folder`, read both back, and return the moves that put them into the app.

    Files that were compiled from it for one chip each go with it.

    Raises:
        ValueError: If what was read back is not what was copied, or a compiled file is not there.
    """
    paths = (artefact, manifest_path(artefact))
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    moves = [(folder / path.name, assets / path.name) for path in paths]
    for compiled in load_for(folder / artefact.name).npu_files:
        source, copy = artefact.with_name(compiled.file.name), folder / compiled.file.name
        if not source.is_file():
            raise ValueError(f"{source}, compiled for {compiled.chip}, is not beside {artefact.name}; convert again")
        shutil.copyfile(source, copy)
        if describe_file(copy) != compiled.file:
            raise ValueError(f"{source} is not the file that was compiled for {compiled.chip}; convert again")
        (assets / COMPILED).mkdir(exist_ok=True)
        moves.append((copy, assets / COMPILED / copy.name))
    return moves


def check_project(folder: Path) -> None:
    """Refuse a folder that is not the app's project."""
    if not (folder / "app" / "src" / "main").is_dir():
        raise ValueError(f"{folder} is not the app's project: it has no app/src/main; give android_demo")


def check(artefact: Path) -> Manifest:
    """Return the manifest of an artefact that the app can run.

    Raises:
        ValueError: If the app would refuse it, saying why and what to do.
    """
    manifest = load_for(artefact)
    if manifest.target not in TARGETS:
        raise ValueError(f"{artefact} was made for {manifest.target}; the app runs {' and '.join(TARGETS)}")
    if manifest.features:
        raise ValueError(f"{artefact} gives feature maps; the app classifies, convert without --features")
    batch, side, resize = manifest.input.shape[0], manifest.input.height, manifest.input.resize
    if batch != 1:
        raise ValueError(f"{artefact} takes batches of {batch}; the app classifies one picture at a time")
    if side != manifest.input.width:
        size = f"{side} x {manifest.input.width}"
        raise ValueError(f"{artefact} takes pictures of {size}; the app takes squares, convert with one --resolution")
    if side > MAX_SIDE or resize < side:
        raise ValueError(f"{artefact} wants pictures resized to {resize} and cropped to {side} pixels; that cannot be")
    if manifest.target == "executorch" and manifest.output.dtype != "float32":
        raise ValueError(f"{artefact} puts out {manifest.output.dtype}; the app reads float32 from ExecuTorch")
    return manifest


def _described(manifest: Manifest) -> PutModel:
    return PutModel(
        model=manifest.model,
        precision=manifest.precision,
        target=manifest.target,
        asset=f"models/{manifest.file.name}",
        num_bytes=manifest.file.num_bytes,
        sha256=manifest.file.sha256,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = build_parser().parse_args(argv)
    config = AndroidConfig(artefacts=tuple(arguments.artefacts), into=arguments.into, is_only=arguments.only)
    try:
        result = run(config)
    except (ValueError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(asdict(result), indent=2))
        return 0
    for name in result.removed:
        print(f"removed {name}")
    for put in result.put:
        print(f"{put.asset}: {put.model} {put.precision}, {put.num_bytes:,} bytes, sha256 {put.sha256[:16]}...")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
