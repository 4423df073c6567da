"""What broke the commands from outside once: now one line, one code, no traceback, nothing half-written.

One table, a row a case. The numbers are kinds: 18 damaged model files, 19 bad pictures, 20 the training state,
21 folders and disks, 22 damaged checkpoints and manifests, 23 streams and signals, 24 measuring.
"""

import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import mean_color
import odd_pictures
import pytest
import tiny_training as tiny
from made_up_models import write_model
from PIL import Image

from converters import manifest as manifests
from edge_vit.__main__ import COMMANDS, find

ROOT = Path(__file__).parents[2]
TRAIN = " ".join(["train", *tiny.COMMON, "--epochs 1"])
TINY_INT8 = ROOT / "tests/devices/data/tiny_int8.tflite"


class Case(NamedTuple):
    """A command line, run in a folder where everything is wrong, and how it must end."""

    kind: int
    words: str
    code: int
    said: str  # a regular expression for the last line of stderr
    makes: str = ""  # the only new file that may be there afterwards


def damaged(ending: str, said: str) -> list[Case]:
    """A file that is damaged although its manifest's digest matches: in classify, accuracy and report."""
    return [
        Case(18, f"classify models/{ending} picture.png", 2, said),
        Case(18, f"accuracy models/{ending} --data ok --float models/float.tflite", 2, said),
        Case(18, f"report models/{ending}", 2, re.escape(ending)),
    ]


FAULTS = [
    *damaged("random.pte", r"random\.pte: no ExecuTorch program, or a damaged one; convert again"),
    *damaged("crash.pte", r"crash\.pte: ExecuTorch (crashes while it loads|cannot load)"),
    *damaged("short.pte", r"short\.pte: no ExecuTorch program, or a damaged one; convert again"),
    *damaged("random.tflite", r"random\.tflite: "),
    *damaged("crash.tflite", r"crash\.tflite: "),
    *damaged("random.mlpackage", r"random\.mlpackage"),
    Case(18, "classify models/changed.pte picture.png", 2, r"not the file that changed\.pte\.json describes"),
    Case(18, "report models/changed.pte", 2, r"not the file that changed\.pte\.json describes"),
    Case(18, "bench_arm models/random.tflite --local --cache-dir cache", 1, r"random\.tflite"),
    *(
        Case(19, f"classify models/float.tflite bad/{name}", 1, f"{re.escape(name)}: .*{said}")
        for name, (_, said) in odd_pictures.BAD.items()
        if name != "long.png"  # at this artefact's resolution it can be read
    ),
    *(
        Case(19, f"{TRAIN} --data bad_{split} --output-dir OUT {kept}".strip(), 0, "", "OUT")
        for split in ("train", "val")
        for kept in ("", "--keep-decoded")
    ),
    *(
        Case(19, f"{TRAIN} --data unreadable_{split} --output-dir OUT", 2, rf"{split}: class folder red holds no pict")
        for split in ("train", "val")
    ),
    *(
        Case(
            20, f"{TRAIN} --data ok2 --output-dir state_{name}", 2, r"last\.pt is no state that a training left, or it"
        )
        for name in ("empty", "text", "zeros", "list", "weights", "hostile", "folder")
    ),
    Case(21, f"{TRAIN} --data ok2 --output-dir file", 2, r"file takes no files \(File exists\); choose another"),
    Case(21, f"{TRAIN} --data ok2 --output-dir file/below", 2, r"takes no files \(Not a directory\); choose another"),
    Case(
        21, f"{TRAIN} --data ok2 --output-dir /proc/none", 2, r"/proc/none takes no files \(No such file or directory"
    ),
    Case(
        21, "convert levit_128s --target tflite --output-dir file", 2, "cannot write to file: File exists; choose anot"
    ),
    Case(
        21, "convert levit_128s --target tflite --output-dir /proc/none", 2, "cannot write to /proc/none: No such file"
    ),
    Case(21, "convert levit_128s --target tflite --output-dir file/in/it", 2, "choose another --output-dir"),
    Case(21, f"bench_arm {TINY_INT8} --local --results file", 1, "cannot write file/results.jsonl: Not a directory"),
    Case(21, f"bench_arm {TINY_INT8} --local --csv file/x.csv", 1, "cannot write file/x.csv: Not a directory"),
    Case(21, f"bench_arm {TINY_INT8} --local --csv pictures", 1, "cannot write pictures: Is a directory"),
    Case(
        21, f"bench_arm {TINY_INT8} --emulate --results file", 1, "cannot write file/instructions.jsonl: Not a direct"
    ),
    Case(
        22, "convert levit_128s --target tflite --int8 --weights noscale.safetensors", 2, r"lacks a\.weight\.int8_scale"
    ),
    Case(
        22,
        "convert levit_128s --target tflite --int8 --weights noranges.safetensors",
        2,
        "has no ranges; it is damaged",
    ),
    Case(22, "convert levit_128s --target tflite --weights deep.safetensors", 2, "truncated or no safetensors file"),
    *(
        Case(22, f"{command} models/{name}.tflite {words}", 2, rf"models/{name}\.tflite\.json: {said}")
        for command, words in (("classify", "picture.png"), ("accuracy", "--data ok"))
        for name, said in (
            ("deep", r"not valid JSON \(brackets nest too deeply\)"),
            ("half", "not valid JSON"),
            ("other", "field"),
        )
    ),
    Case(
        22, "classify models/more.tflite picture.png", 2, r"more\.tflite gives 2 numbers, its manifest 3; convert again"
    ),
    Case(22, "classify models/float.tflite --draw file/a.png", 2, r"cannot be written \(Not a directory\)"),
    Case(
        22,
        "classify models/float.tflite --draw /proc/none/a.png",
        2,
        r"cannot be written \(No such file or directory\)",
    ),
    Case(24, f"bench_arm {TINY_INT8} --emulate --cpu z80", 2, "unknown core 'z80'; choose from "),
    Case(24, f"bench_arm {TINY_INT8} --emulate --cache-dir file", 2, "file is not a folder"),
    Case(24, f"bench_arm {TINY_INT8} --local --cache-dir file", 2, "file is not a folder"),
]


def shell_cases() -> list[tuple[str, str, str]]:
    """Kind 23: command line, redirections, and all of stderr with the exit code in its last line, as a pattern."""
    full = r"error: cannot write to stdout: No space left on device\n"
    rows = []
    for name in ("", *COMMANDS):
        help_ = f"{name} --help".strip()
        rows += [(help_, "| true", r"0\n"), (help_, "| head -1", r"0\n"), (help_, "> /dev/full", rf"{full}1\n")]
    picture = "classify models/float.tflite picture.png"
    runs = r"(INFO: [^\n]*\n)?"  # LiteRT says which delegate it made
    rows += [
        (picture, "| true", rf"{runs}0\n"),
        (picture, "> /dev/full", rf"{runs}{full}1\n"),
        (picture, ">&-", rf"{runs}error: stdout is closed, so the result could not be printed\n1\n"),
        ("accuracy models/float.tflite --data ok --float models/float.tflite", "| true", rf"{runs}0\n"),
    ]
    unshowable = (
        "classify caf\u00e9.tflite p.png",
        "accuracy caf\u00e9.tflite --data x",
        "bench_arm caf\u00e9.tflite --local",
        "convert levit_128s --target tflite --weights caf\u00e9.pt",
    )
    for words in unshowable:
        rows += [(words, end, r"error: [^\n]*caf\\[^\n]*\n2\n") for end in ("", ">&-", "> /dev/full")]
    return rows


STREAMS = shell_cases()


def safetensors(entries, metadata, data=b""):
    header = json.dumps(entries | {"__metadata__": {"edge_vit": json.dumps(metadata)}}).encode()
    return len(header).to_bytes(8, "little") + header + data


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch hostile_was_here",))


def write_states(folder: Path) -> None:
    """Write a training's folder for each way in which its state may be damaged."""
    import torch

    def saved(content):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    states = {
        "empty": b"", "text": b"not a state", "zeros": bytes(4096), "list": saved([1]),
        "weights": saved({"head.weight": torch.ones(2, 2)}), "hostile": saved({"model": Hostile()}),
    }  # fmt: skip
    for name, content in states.items():
        (folder / f"state_{name}").mkdir()
        (folder / f"state_{name}/last.pt").write_bytes(content)
    (folder / "state_folder/last.pt").mkdir(parents=True)


def write_models(folder: Path) -> None:
    """Write damaged files whose manifests' digests match, and damaged manifests."""
    good = mean_color.write(folder / "float.tflite", [[-1, -1, -1], [1, 1, 1]], [300, -300], ["dark", "light"])
    contents = {
        "more.tflite": good.read_bytes(), "random.tflite": b"\xa5" * 5000,
        "crash.tflite": b"\xf0\xff\xff\x7f" + good.read_bytes()[4:],
        "random.pte": b"\xa5" * 5000, "short.pte": b"0\0\0\0ET", "crash.pte": b"0\0\0\0ET12eh00" + b"\xff" * 5000,
        "changed.pte": b"as it was made", "deep.tflite": b"1", "half.tflite": b"2", "other.tflite": b"3",
    }  # fmt: skip
    targets = {".tflite": "tflite", ".pte": "executorch", ".mlpackage": "coreml"}
    package = folder / "random.mlpackage/Data/com.apple.CoreML"
    package.mkdir(parents=True)
    (package / "model.mlmodel").write_bytes(b"\xa5" * 5000)
    made = manifests.load_for(good)
    for name in (*contents, "random.mlpackage"):
        more = (manifests.ClassLabel(id="neither", name="neither"),) if name == "more.tflite" else ()
        classes = made.classes + more
        changes = {
            "target": targets[Path(name).suffix], "classes": classes, "input": made.input,
            "output": dataclasses.replace(made.output, shape=(1, len(classes))),
        }  # fmt: skip
        write_model(folder, name, content=contents.get(name), changes=changes)
    (folder / "changed.pte").write_bytes(b"as it was changed")
    for name, text in (("deep", "[" * 100_000), ("half", '{"model": "x"'), ("other", '{"model": "x"}')):
        manifests.manifest_path(folder / f"{name}.tflite").write_text(text)


def write_pictures(folder: Path) -> None:
    """Write folders of good pictures, some with every bad one beside them, some with a class of bad ones alone."""
    for name, color in (("dark", 20), ("light", 230)):
        (folder / "ok" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), (color, color, color)).save(folder / "ok" / name / "1.png")
    Image.new("RGB", (9, 9)).save(folder / "picture.png")
    good = tiny.write_pictures(folder / "ok2", num_train=8, num_val=2)
    for kind in ("bad", "unreadable"):
        for split in ("train", "val"):
            classes = shutil.copytree(good, folder / f"{kind}_{split}") / split
            for path in (classes / "red").iterdir() if kind == "unreadable" else ():
                path.write_bytes(b"damaged")
            for name, (write, _) in odd_pictures.BAD.items() if kind == "bad" else ():
                write(classes / "red" / name)
    (folder / "bad").mkdir()
    for name, (write, _) in odd_pictures.BAD.items():
        write(folder / "bad" / name)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with everything that could be wrong."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "models").mkdir()
    (folder / "file").touch()
    (folder / "pictures").mkdir()
    write_pictures(folder)
    write_models(folder / "models")
    write_states(folder)
    int8 = {"a.weight": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}
    for name, content in {
        "deep": safetensors({}, "x")[:-3] + b"[" * 100_000,
        "noscale": safetensors(int8, {"form": "int8", "ranges": {}}, b"1"),
        "noranges": safetensors({}, {"form": "int8"}),
    }.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _tiny_variant():
    tiny.register()
    yield
    tiny.unregister()


def test_the_table_is_long():
    assert len(FAULTS) >= 60 and len(STREAMS) >= 30 and {case.kind for case in FAULTS} == {18, 19, 20, 21, 22, 24}


@pytest.mark.needs_tflite
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's words on damaged pictures
@pytest.mark.parametrize("case", FAULTS, ids=lambda case: f"{case.kind} {case.words}".replace(str(ROOT), ""))
def test_one_line_and_one_code(case, here, monkeypatch, capfd):
    monkeypatch.chdir(here)
    before = sorted(here.rglob("*"))
    command, *words = case.words.split()
    code = find(command)(words)
    lines = capfd.readouterr().err.splitlines()
    new = {path for path in here.rglob("*")} - set(before)
    if case.makes:
        assert code == case.code == 0 and (here / case.makes / "last.pt").exists()
        # Some are among the pictures held back, which are told of by themselves.
        skipped = [int(number) for number in re.findall(r"warning: skipped (\d+) unreadable", "\n".join(lines))]
        assert sum(skipped) == len(odd_pictures.BAD) - 1, "long.png fits this size"
        shutil.rmtree(here / case.makes)
        return
    errors = [line for line in lines if line.startswith("error: ")]
    assert code == case.code and len(errors) == 1 and re.search(case.said, errors[0]), lines
    assert not any("Traceback" in line for line in lines) and not new


def shell(words: str, redirections: str, folder: Path) -> str:
    """Run a command in a shell where only ASCII can be shown; return stderr, whose last line is its exit code."""
    command, *rest = words.split(maxsplit=1)
    is_bare = command.startswith("-")
    module = "edge_vit" if is_bare else COMMANDS[command][0].removesuffix(".__main__")
    call = f"{sys.executable} -m {module} {words if is_bare else ' '.join(rest)}"
    inside = (
        f"{{ {call}; echo $? >&2; }} {redirections}" if "|" in redirections else f"{call} {redirections}; echo $? >&2"
    )
    plain = {
        "PYTHONUNBUFFERED": "",
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", inside], capture_output=True, text=True, cwd=folder, env=os.environ | plain, timeout=120
    )
    return done.stderr


@pytest.mark.needs_tflite
@pytest.mark.parametrize(("words", "redirections", "said"), STREAMS)
def test_whatever_becomes_of_the_streams(words, redirections, said, here):
    assert re.fullmatch(said, shell(words, redirections, here))


# Waits where a module begins to load, says so, and lets the command go on after it was interrupted.
WAIT = """
import importlib, sys, time
class Wait:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            print("ready", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Wait())
from edge_vit.__main__ import find
raise SystemExit(find({command!r})({words!r}))
"""


@pytest.mark.needs_tflite
@pytest.mark.parametrize("module", ["numpy", "PIL.Image", "ai_edge_litert.interpreter"])
@pytest.mark.parametrize(
    "line",
    ["accuracy models/float.tflite --data ok --float models/float.tflite", "classify models/float.tflite picture.png"],
)
def test_an_interrupt_while_modules_load(line, module, here):
    command, *words = line.split()
    script = WAIT.format(module=module, command=command, words=words)
    call = ["env", "--default-signal=INT", sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(call, cwd=here, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert re.fullmatch(r"interrupted[^\n]*\n", process.stderr.read())
