"""Which converter a command means."""

import importlib.util

import pytest

from converters.manifest import ClassLabel
from edge_vit.deployment.targets import TARGETS, find_backends, target_names, unique_labels


def test_every_target_has_a_default_backend():
    assert target_names() == ("tflite", "executorch", "coreml")
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
        (("tflit", "", "fp32"), "unknown target .tflit.; choose from tflite, executorch, coreml, all; did"),
        (("onnx", "", "fp32"), "unknown target 'onnx'; choose from"),
        (("executorch", "", "fp16"), "executorch has no fp16; it has fp32, int8"),
        (("all", "", "fp16"), "executorch has no fp16"),
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
