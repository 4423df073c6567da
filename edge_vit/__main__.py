"""Every command by its name: `edge-vit convert ...` is `python -m edge_vit.convert ...`."""

import argparse
import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import edge_vit

# name -> its module and what it does
COMMANDS: dict[str, tuple[str, str]] = {
    "convert": ("edge_vit.convert", "make the file that a phone runs: TFLite, ExecuTorch, Core ML"),
    "train": ("edge_vit.train", "train on an image folder, float or quantization-aware"),
    "accuracy": ("edge_vit.accuracy", "compare a file with its float model on real pictures"),
    "sensitivity": ("edge_vit.sensitivity", "show which layer loses the accuracy in int8"),
    "bench_arm": ("edge_vit.bench_arm", "measure latency on ARM devices, or count instructions without one"),
    "classify": ("edge_vit.classify", "show what a file sees in pictures"),
    "report": ("edge_vit.report", "write one HTML page about files: what they are, how good, what they cost"),
    "models": ("edge_vit.models.__main__", "list the variants with their parameters and multiply-adds"),
}
_COMPLETION = """\
completion of commands, options and names on the Tab key (pip install 'edge_vit[completion]'), in bash:
  edge-vit --print-completion bash > ~/.local/share/bash-completion/completions/edge-vit
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before a command's name."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="edge-vit",
        usage="edge-vit COMMAND ... (or python -m edge_vit COMMAND ...)",
        description=f"Vision transformers on phones.\n\ncommands (each has --help):\n{listed}",
        epilog=_COMPLETION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge_vit {edge_vit.__version__}")
    parser.add_argument("--print-completion", metavar="SHELL", help="print a script that lets SHELL complete")
    return parser


def find(command: str) -> Callable[[list[str]], int]:
    """Return a command's `main`.

    Raises:
        ValueError: If there is no such command; a near match is named.
    """
    if command not in COMMANDS:
        near = difflib.get_close_matches(command.replace("-", "_"), COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(COMMANDS)}"
        raise ValueError(f"unknown command {command!r}; {hint}")
    main: Callable[[list[str]], int] = importlib.import_module(COMMANDS[command][0]).main
    return main


def completion(shell: str) -> str:
    """Return a script that completes every command in `shell`.

    Raises:
        ValueError: If the shell is not known.
        ImportError: If shtab, which writes the script, is missing.
    """
    try:
        import shtab
    except ImportError as e:
        raise ImportError("completion needs shtab; pip install 'edge_vit[completion]'") from e
    if shell not in shtab.SUPPORTED_SHELLS:
        raise ValueError(f"no completion for {shell!r}; choose from {', '.join(shtab.SUPPORTED_SHELLS)}")
    return shtab.complete(_parser_of_all(shtab.FILE), shell)


def _parser_of_all(files: dict[str, Any]) -> argparse.ArgumentParser:
    """Return one parser with every command below it, its names as choices; it only serves completion."""
    from edge_vit.deployment.targets import ALL, target_names
    from edge_vit.models.names import VARIANT_NAMES

    choices = {"model": VARIANT_NAMES, "names": VARIANT_NAMES, "target": (*target_names(), ALL)}
    parser = build_parser()
    commands = parser.add_subparsers()
    for name, (module, line) in COMMANDS.items():
        made = importlib.import_module(module).build_parser()
        for action in made._actions:
            action.choices = action.choices or choices.get(action.dest)
            if action.type is Path:
                action.complete = files  # where shtab looks for it
        commands.add_parser(name, help=line, parents=[made], add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the named command; return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        return find(words[0])(words[1:])
    from edge_vit.console.answer import Answer, answer

    def body() -> Answer:
        if words and not words[0].startswith("-"):
            find(words[0])  # says what it might be
        shell = build_parser().parse_args(words).print_completion
        return Answer(text=(completion(shell) if shell else build_parser().format_help()).removesuffix("\n"))

    return answer(body, interrupted="interrupted")


if __name__ == "__main__":
    raise SystemExit(main())
