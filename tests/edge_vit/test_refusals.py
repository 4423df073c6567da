"""What is wrong with a request is said before torch or a runtime is loaded: one line, exit code 2, nothing written."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from converters import manifest as manifests

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchao", "litert_torch", "ai_edge_litert", "executorch", "coremltools", "onnx", "onnxruntime",
         "tensorflow")  # fmt: skip
RUN = """
import json, sys
from edge_vit import {command}
code = {command}.main(sys.argv[1:])
print(json.dumps([code, [name for name in {heavy!r} if name in sys.modules]]))
"""


def refused(command, words, folder):
    """Run a command in a process of its own; return its exit code, what it loaded, and stderr."""
    script = RUN.format(command=command, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder), "HF_HUB_OFFLINE": "1"}, check=True,
    )  # fmt: skip
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy, done.stderr


def safetensors(entries=None, metadata=None, data=b""):
    header = json.dumps((entries or {}) | {"__metadata__": {"edge_vit": json.dumps(metadata or {})}}).encode()
    return len(header).to_bytes(8, "little") + header + data


INT8 = {"a.weight": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}


@pytest.fixture
def here(tmp_path, make_model):
    """A folder with everything that could be wrong."""
    for name, content in {
        "empty.safetensors": b"",
        "no.safetensors": b"\x89PNG\r\n\x1a\n" * 9,
        "cut.safetensors": safetensors(INT8),
        "deep.safetensors": safetensors(metadata="x")[:-3] + b"[" * 100_000,
        "float.safetensors": safetensors(metadata={"model": "levit_128s", "form": "training"}),
        "other.safetensors": safetensors(metadata={"model": "levit_192"}),
        "later.safetensors": safetensors(metadata={"form": "int4"}),
        "noscale.safetensors": safetensors(INT8, {"form": "int8", "ranges": {}}, b"1"),
        "noranges.safetensors": safetensors(metadata={"form": "int8"}),
        "nofloat.safetensors": safetensors(metadata={"form": "int8", "ranges": {}}),
        "int8.safetensors": safetensors(
            metadata={"form": "int8", "ranges": {}, "resolution": 160, "float_file": "gone.safetensors"}
        ),
        "page.pth": b"<html>quota exceeded</html>",
        "cut.pth": b"PK\x03\x04" + b"\0" * 100,
        "no.npz": b"nothing",
        "file": b"",
        "two.txt": b"ant\nbee\n",
        "twice.txt": b"ant\nbee\nant\n",
        "gap.txt": b"ant\n\nbee\n",
        "latin.txt": b"K\xe4fer\n",
        "half.json": b'["ant", "bee"',
        "numbers.json": b"[1, 2]",
        "names.json": b'{"n1": {"name": "ant"}, "n2": {"nam": "bee"}}',
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "pictures/nothing").mkdir(parents=True)
    (tmp_path / "val/tench").mkdir(parents=True)
    (tmp_path / "val/cat").mkdir()
    (tmp_path / "ok/tench").mkdir(parents=True)
    for folder in ("val/tench", "val/cat", "ok/tench"):
        Image.new("RGB", (9, 9)).save(tmp_path / folder / "1.png")
    (tmp_path / "demo/app/src/main/assets").mkdir(parents=True)
    (tmp_path / "demo/app/src/main/assets/models").write_text("in the way")
    make_model("a.tflite", changes={"target": "tflite"})
    for name, config in (("empty", "{}"), ("vit", '{"model_type": "vit"}'), ("half", "{")):
        (tmp_path / f"{name}_hub").mkdir()
        (tmp_path / f"{name}_hub/config.json").write_text(config)
        if name != "empty":
            (tmp_path / f"{name}_hub/model.safetensors").write_bytes(safetensors())
    damage_manifests(tmp_path, make_model)
    return tmp_path


def damage_manifests(folder, make_model):
    """Add artefacts whose manifests, weights or bytes are not what they should be, and one of a backbone."""
    shape = (1, 8, 4, 4)
    output = manifests.OutputInfo(name="stage_0", shape=shape, dtype="float32", kind="features")
    stage = manifests.FeatureMap(
        name="stage_0", shape=shape, layout="NCHW", dtype="float32", channels=8, stride=8, sqnr_db=9.0
    )
    make_model("maps.tflite", changes={"output": output, "features": (stage,), "classes": (), "target": "tflite"})
    for name, text in (("deep", "[" * 100_000), ("half", '{"model": "x"'), ("other", '{"model": "x"}')):
        manifests.manifest_path(make_model(f"{name}.tflite")).write_text(text)
    manifests.manifest_path(make_model("alone.tflite")).unlink()
    make_model("changed.tflite").write_bytes(b"other")
    for name, source in (("gone", "gone.pth"), ("cut", str(folder / "cut.safetensors"))):
        weights = manifests.WeightsInfo(source=source, sha256="0")
        make_model(f"{name}_weights.tflite", changes={"weights": weights, "target": "tflite"})
    weights = manifests.WeightsInfo(source=str(folder / "float.safetensors"), sha256="0" * 64)
    made = make_model("other_weights.tflite", changes={"weights": weights})
    manifests.save(dataclasses.replace(manifests.load_for(made), target="tflite"), made)


LEVIT = "levit_128s --target tflite"
CONVERT = {
    "levit_128z --target tflite": "unknown model 'levit_128z'; did you mean levit_128 or",
    "levit_128s --target tflit": "unknown target 'tflit'; choose from",
    f"{LEVIT} --backend tvm": "tflite has no backend 'tvm'",
    "levit_128s --target executorch --fp16": "executorch has no fp16",
    f"{LEVIT} --int8 --processor npuu": "unknown processor 'npuu'; choose from cpu, npu, gpu; did you mean npu?",
    f"{LEVIT} --processor npu": "--processor npu takes no fp32 file; use --int8",
    f"{LEVIT} --int8 --processor gpu": "--processor gpu takes no int8 file; use no precision flag or --fp16",
    "levit_128s --target executorch --int8 --processor npu": "--processor npu is not for executorch; use --target",
    f"{LEVIT} --npu sm8751": "unknown chip 'sm8751'; `--npu list` names all; did you mean sm8750?",
    "levit_128s --target onnx --npu sm8750": "--npu sm8750 compiles .tflite files; use --target tflite",
    f"{LEVIT} --npu mt6991": "run: pip install ai-edge-litert-sdk-mediatek",
    f"{LEVIT} --io int8": "--io int8 is for logits with --target tflite --int8; leave it out",
    f"{LEVIT} --resolution 0": "resolution 0 is not allowed; use a multiple of 16 from 64 up",
    f"{LEVIT} --resolution 96x100": "resolution (96, 100) is not allowed; use a multiple of 16",
    f"{LEVIT} --resolution 96x": "resolution '96x' is not allowed; use a side or height and width",
    f"{LEVIT} --resolution 1x2x3": "resolution '1x2x3' is not allowed; use a side or height and width",
    "fastervit_edge_0 --target tflite --resolution 192x256": "is no square, fastervit_edge_0 takes no other; use one",
    "fastervit_0_any_res --target tflite --resolution 192x250": "resolution (192, 250) is not allowed",
    f"{LEVIT} --int8 --resolution 192x256": "was quantized at resolution 224, not (192, 256); leave --resolution out",
    f"{LEVIT} --features --labels two.txt": "--features gives no classes and does not go with --labels; leave one",
    f"{LEVIT} --features --output probabilities": "--features gives no classes and does not go with --output prob",
    f"{LEVIT} --features --int8 --explain": "--features gives no classes and does not go with --explain",
    f"{LEVIT} --features --android demo": "--features gives no classes and does not go with --android",
    f"{LEVIT} --features --backend onnx2tf": "--features needs the backend litert-torch; leave --backend onnx2tf out",
    f"{LEVIT} --batch 0": "batch 0 is not allowed; use 1 or more",
    "levit_128s --target coreml --batch 2": "--batch 2 is not for coreml: an image input takes one picture",
    f"{LEVIT} --batch many": "batch many is not allowed; use 1 or more, or free",
    f"{LEVIT} --batch free": "--batch free is not for tflite: its input cannot be resized; give a number",
    "levit_128s --target executorch --batch free": "--batch free is not for executorch: it is lowered for one shape",
    "levit_128s --target coreml --batch free": "--batch free is not for coreml: an image input takes one picture",
    "levit_128s --target onnx --batch free --android demo": "--batch free is not for the app, which classifies one",
    "levit_128s --target all --batch 2": "--batch 2 is not for coreml: an image input takes one picture",
    f"{LEVIT} --batch 2 --android demo": "--batch 2 is not for the app, which classifies one picture at a time",
    f"{LEVIT} --resolution 100": "resolution 100 is not allowed; use a multiple of 16",
    "fastervit_0 --target tflite --resolution 80": "resolution 80 is not allowed; use multiples of 32",
    f"{LEVIT} --calib-images 0": "calib_images 0 is not allowed",
    f"{LEVIT} --data-images 0": "data_images 0 is not allowed",
    f"{LEVIT} --explain": "--explain shows where int8 loses accuracy",
    f"{LEVIT} --max-drop 0.3 --data ok": "--max-drop is what int8 may lose; add --int8",
    f"{LEVIT} --int8 --max-drop 0.3": "--max-drop is measured on pictures by class; give them with --data DIR",
    f"{LEVIT} --int8 --max-drop -1 --data ok": "--max-drop -1 is not allowed; use 0 to 100 points",
    f"{LEVIT} --int8 --processor npu --max-drop 1 --data ok": "--max-drop leaves operators in float, which --processor",
    f"{LEVIT} --features --int8 --max-drop 1 --data ok": "--features gives no classes and does not go with --max-drop",
    f"{LEVIT} --int8 --max-drop 0.3 --data ok/tench": "ok/tench: pictures without classes; --max-drop needs one",
    f"{LEVIT} --etrecord r.bin": "--etrecord is ExecuTorch's",
    "levit_128s --target onnx --android demo": "--android takes what the app runs, tflite or executorch; it has",
    "levit_128s --target coreml --android demo": "--android takes what Android runs",
    f"{LEVIT} --android nowhere": "nowhere is not the app's project",
    f"{LEVIT} --android demo": "choose another project with --into, in edge_vit.convert with --android",
    "fastervit_6 --target tflite --weights random": "fastervit_6 is 5.3 GB of float32 numbers, and a .tflite holds",
    f"{LEVIT} --weights gone.pth": "checkpoint gone.pth does not exist",
    f"{LEVIT} --weights imagnet": "checkpoint imagnet does not exist; choose from auto (embedded, else published),",
    f"{LEVIT} --weights pictures": "pictures is a folder without config.json; give a file, or a folder of Hugging",
    f"{LEVIT} --weights empty_hub": "empty_hub has a config.json but neither model.safetensors nor pytorch_model.bin",
    f"{LEVIT} --weights vit_hub": "vit_hub/config.json describes a model of type vit, levit_128s needs levit",
    f"{LEVIT} --weights half_hub": "half_hub/config.json is no JSON that can be read; get it again",
    f"{LEVIT} --weights hf:levit": "weights 'hf:levit' are not allowed; use hf:ORG/NAME, hf:ORG/NAME@REVISION or hf",
    f"{LEVIT} --weights hf:some/one": "hf:some/one: model.safetensors is not in huggingface_hub's cache and cannot be",
    f"{LEVIT} --weights hf:some/one@v1:a.pth": "hf:some/one@v1:a.pth: a.pth is not in huggingface_hub's cache",
    "levit_256 --target tflite --weights embedded": "levit_256 has no embedded weights, ",
    f"{LEVIT} --weights empty.safetensors": "checkpoint empty.safetensors is empty",
    f"{LEVIT} --weights no.safetensors": "no.safetensors is truncated or no safetensors file",
    f"{LEVIT} --weights cut.safetensors": "cut.safetensors is truncated or no safetensors file",
    f"{LEVIT} --weights deep.safetensors": "deep.safetensors is truncated or no safetensors file",
    f"{LEVIT} --weights page.pth": "page.pth is refused: it is no file that torch.save wrote",
    f"{LEVIT} --weights cut.pth": "checkpoint cut.pth is truncated",
    f"{LEVIT} --weights no.npz": "no.npz is truncated or no .npz file",
    f"{LEVIT} --weights other.safetensors": "other.safetensors is for levit_192, not levit_128s",
    f"{LEVIT} --weights later.safetensors": "form 'int4'; this version knows training and int8",
    f"{LEVIT} --weights int8.safetensors": "int8.safetensors is quantized; add --int8",
    f"{LEVIT} --int8 --weights int8.safetensors --calib ok": "carries its ranges; leave --calib out",
    f"{LEVIT} --int8 --weights int8.safetensors --resolution 96": "was quantized at resolution 160, not 96",
    f"{LEVIT} --int8 --weights int8.safetensors": "float checkpoint that it came from, which gone.safetensors, is not",
    f"{LEVIT} --int8 --weights nofloat.safetensors": "float checkpoint that it came from, which is not named in it",
    f"{LEVIT} --int8 --weights noscale.safetensors": "lacks a.weight.int8_scale; it is damaged",
    f"{LEVIT} --int8 --weights noranges.safetensors": "has no ranges; it is damaged",
    f"{LEVIT} --int8 --weights float.safetensors": "float weights carry no ranges; give calibration",
    f"{LEVIT} --int8 --weights random": "random: float weights carry no ranges; give calibration",
    f"{LEVIT} --weights auto --raw-weights": "--raw-weights chooses between two sets of weights in a file",
    "levit_edge_128s --target tflite": "levit_edge_128s has no embedded and no published weights",
    f"{LEVIT} --int8 --calib nowhere": "nowhere: no such folder",
    f"{LEVIT} --int8 --calib file": "file: not a folder",
    f"{LEVIT} --int8 --calib pictures": "pictures: no pictures in its 1 class folders",
    f"{LEVIT} --data nowhere": "nowhere: no such folder",
    f"{LEVIT} --labels gone.txt": "gone.txt: cannot be read (no such file); give a text file of names, one a line",
    f"{LEVIT} --labels pictures": "pictures: cannot be read (Is a directory)",
    f"{LEVIT} --labels latin.txt": "latin.txt: cannot be read (not UTF-8)",
    f"{LEVIT} --labels file": "file: holds no names; give one a line",
    f"{LEVIT} --labels two.txt": "two.txt has 2 names, the weights have 10 classes; give one name a class",
    f"{LEVIT} --labels twice.txt": "twice.txt: 'ant' stands twice; make the names unique",
    f"{LEVIT} --labels gap.txt": "gap.txt: name 2 of 3 is ''; a name is one line of text",
    f"{LEVIT} --labels half.json": "half.json: not valid JSON",
    f"{LEVIT} --labels numbers.json": "numbers.json: (1, 1) is no name; give",
    f"{LEVIT} --labels names.json": "names.json: ('n2', None) is no name; give",
    f"{LEVIT} --output-dir file": "cannot write to file: File exists; choose another --output-dir",
    f"{LEVIT} --output-dir file/in/it": "choose another --output-dir",
}
ACCURACY = {
    "nowhere.tflite --data ok": "nowhere.tflite: no such artefact",
    "models/alone.tflite --data ok": "its manifest alone.tflite.json is missing",
    "models/deep.tflite --data ok": "models/deep.tflite.json: not valid JSON (brackets nest too deeply)",
    "models/half.tflite --data ok": "models/half.tflite.json: not valid JSON",
    "models/other.tflite --data ok": "models/other.tflite.json: field",
    "models/changed.tflite --data ok": "not the file that changed.tflite.json describes",
    "file --data ok": "no runtime here runs '' files",
    "models/maps.tflite --data ok": "models/maps.tflite: gives feature maps, no classes; convert without --features",
    "models/a.tflite --data nowhere": "nowhere: no such folder",
    "models/a.tflite --data val": "no class for folder cat",
    "models/a.tflite --data ok": "the float weights random are not here; give a float artefact with --float",
    "models/a.tflite --data ok --max-drop 0": "max-drop 0 is not allowed",
    "models/a.tflite --data ok --threads 0": "threads 0 is not allowed",
    "models/a.tflite --data ok --limit 0": "0 pictures are not allowed",
    "models/a.tflite --data ok --float gone.tflite": "gone.tflite: no such artefact",
    "models/a.tflite --data ok --float models/a.tflite": "is int8_ptq, not a float (fp32) artefact",
    "models/gone_weights.tflite --data ok": "the float weights gone.pth are not here",
    "models/cut_weights.tflite --data ok": "cut.safetensors is truncated or no safetensors file",
    "models/other_weights.tflite --data ok": "float.safetensors is not the file that was converted (sha256 differs)",
}
CLASSIFY = {
    "nowhere.tflite ok/tench/1.png": "nowhere.tflite: no such artefact",
    "models/alone.tflite ok/tench/1.png": "its manifest alone.tflite.json is missing",
    "models/deep.tflite ok/tench/1.png": "models/deep.tflite.json: not valid JSON (brackets nest too deeply)",
    "models/half.tflite ok/tench/1.png": "models/half.tflite.json: not valid JSON",
    "models/changed.tflite ok/tench/1.png": "not the file that changed.tflite.json describes",
    "models/maps.tflite ok/tench/1.png": "models/maps.tflite: gives feature maps, no classes; convert without",
    "models/a.tflite": "no pictures; name some, or let one be drawn with --draw FILE",
    "models/a.tflite ok/tench/1.png --top 0": "top 0 is not allowed",
    "models/a.tflite ok/tench/1.png --threads 0": "threads 0 is not allowed",
    "models/a.tflite --draw a.txt": "unknown kind of picture; end the name in .png or .jpg",
    "models/a.tflite --draw a.png --subject cat": "cannot draw 'cat'; choose from golf ball, parachute",
}
TABLES = {"convert": CONVERT, "accuracy": ACCURACY, "classify": CLASSIFY}
CASES = [(command, words, message) for command, table in TABLES.items() for words, message in table.items()]


@pytest.mark.parametrize(("command", "words", "message"), CASES, ids=[f"{c} {w}" for c, w, _ in CASES])
def test_refused_without_torch(command, words, message, here):
    before = sorted(here.rglob("*"))
    code, heavy, said = refused(command, words.split(), here)
    assert (code, heavy) == (2, [])
    assert said.startswith("error: ") and message in said and said.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_processors_are_listed_without_torch(here):
    code, heavy, said = listed(here)
    assert (code, heavy) == (0, []) and all(f"\n{name} " in "\n" + said for name in ("cpu", "npu", "gpu"))
    code, heavy, said = listed(here, "--npu")
    assert (code, heavy) == (0, []) and "sm8750" in said and "ai-edge-litert-sdk-qualcomm" in said


def listed(folder, flag="--processor"):
    script = RUN.format(command="convert", heavy=HEAVY).replace("code = ", "code = 0\ntry: ").replace(
        "\nprint", "\nexcept SystemExit as e: code = e.code or 0\nprint"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, flag, "list"], capture_output=True, text=True, cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(folder)}, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    code, heavy = json.loads(lines[-1])
    return code, heavy, "\n".join(lines[:-1])


def test_pictures_that_are_not_there_need_no_runtime(here):
    code, heavy, said = refused("classify", ["models/a.tflite", "gone.png", "gone too.png"], here)
    assert (code, heavy) == (1, [])
    assert said == "error: gone.png: no such file\nerror: gone too.png: no such file\n"
