"""Which converter a command means."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from converters.manifest import ClassLabel
from edge_vit.deployment.card import unique_labels
from edge_vit.deployment.targets import TARGETS, check_installed, find_backends, target_names

ROOT = Path(__file__).parents[2]


def test_every_target_has_a_default_backend():
    assert target_names() == ("tflite", "executorch", "coreml", "onnx")
    for target in target_names():
        ((name, backend),) = find_backends(target, "", "int8")
        assert name == target and (name, backend) in TARGETS
        assert find_backends(target, backend, "fp32") == ((target, backend),)


def test_all_is_each_target_once():
    assert [target for target, _ in find_backends("all", "", "int8")] == list(target_names())


def test_converters_exist():
    for spec in TARGETS.values():
        assert importlib.util.find_spec(spec.module) is not None and spec.suffix.startswith(".")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tflit", "", "fp32"), "unknown target .tflit.; choose from tflite, executorch, coreml, onnx, all; did"),
        (("openvino", "", "fp32"), "unknown target 'openvino'; choose from"),
        (("executorch", "", "fp16"), "executorch has no fp16; it has fp32, int8"),
        (("all", "", "fp16"), "executorch has no fp16"),
        (("executorch", "coreml", "int8"), "--backend coreml has no int8; it has fp32"),
        (("coreml", "xnnpack", "fp16"), "coreml has no backend 'xnnpack'; it has coremltools"),
        (("all", "xnnpack", "int8"), "--backend xnnpack belongs to one target; name it with --target in place of all"),
    ],
)
def test_what_there_is_not_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_backends(*arguments)


def test_labels_that_several_classes_share_get_their_ids():
    classes = [ClassLabel(id="n1", name="crane"), ClassLabel(id="n2", name="dog"), ClassLabel(id="n3", name="crane")]
    assert unique_labels(classes) == ("crane (n1)", "dog", "crane (n3)")


@pytest.mark.parametrize(("key", "extra"), [(key, spec.extra) for key, spec in TARGETS.items()])
def test_missing_packages_name_the_extra(key, extra, monkeypatch):
    for name in TARGETS[key].packages:
        monkeypatch.setitem(sys.modules, name, None)
    missing = ", ".join(TARGETS[key].packages)
    with pytest.raises(ImportError) as caught:
        check_installed(*key)
    assert str(caught.value) == (
        f"{key[0]} needs packages that are not installed ({missing}); run: pip install 'edge_vit[{extra}]'"
    )


def test_extras_bring_the_packages_that_they_are_said_to_bring():
    """pyproject.toml's extras and the packages of TARGETS say the same."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for spec in TARGETS.values():
        lines = [line for name in spec.extra.split(",") for line in extras[name]]
        brought = {re.match(r"[\w-]+", line).group().replace("-", "_") for line in lines}
        assert {*spec.packages, "torchao"} <= brought


@pytest.mark.parametrize(
    ("words", "missing", "message"),
    [
        (
            ["edge_vit.convert", "levit_128s", "--target", "coreml"],
            "coremltools",
            "run: pip install 'edge_vit[coreml]'",
        ),
        (
            ["edge_vit.convert", "levit_128s", "--target", "all", "--int8"],
            "executorch",
            "run: pip install 'edge_vit[executorch]'",
        ),
        (["edge_vit.convert", "levit_128s", "--target", "tflite", "--int8"], "torchao", "quantizing needs torchao"),
        (
            ["edge_vit.train", "levit_128s", "--data", ".", "--qat", "--weights", "a"],
            "torchao",
            "quantizing needs torchao",
        ),
    ],
)
def test_a_missing_extra_is_one_line_before_torch_is_loaded(words, missing, message):
    code = (
        f"import sys, importlib; sys.modules[{missing!r}] = None\n"
        f"code = importlib.import_module({words[0]!r}).main({words[1:]!r})\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "2 False\n", done.stderr
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1
