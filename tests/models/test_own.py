"""Networks of the user's own: where they come from, what is said of them, and what is refused."""

from pathlib import Path

import pytest
import torch

from edge_vit.models.checkpoint_io import write_checkpoint
from edge_vit.models.own import check_network, find_network, find_own_weights, load_network

FILE = Path(__file__).parent.parent / "users_networks.py"


def network(function: str, **said):
    found = find_network(f"{FILE}:{function}", **said)
    assert found is not None
    return found


def test_a_variant_is_none_of_the_users_own():
    assert find_network("levit_128s") is None


def test_a_function_gives_the_same_weights_every_time_and_leaves_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = load_network(network("small", resolution=32)), load_network(network("small", resolution=32))
    assert first.sha256 == second.sha256 and torch.equal(torch.rand(3), expected)
    assert len(first.classes) == 10 and first.preprocess.size == (32, 32) and not first.module.training


def test_what_is_said_on_the_command_line_comes_first():
    said = load_network(network("described"))
    assert (said.preprocess.resolution, said.preprocess.mean, said.preprocess.crop_pct) == (32, (0.5, 0.5, 0.5), 0.9)
    assert said.classes[1:] == [{"id": "dog", "name": "dog"}, {"id": "n1", "name": "bird"}]
    other = load_network(network("described", resolution=(32, 48), mean=(0.1, 0.2, 0.3), crop=1.0))
    assert other.preprocess.size == (32, 48) and other.preprocess.mean == (0.1, 0.2, 0.3)
    assert other.preprocess.std == (0.25, 0.25, 0.25) and other.preprocess.crop_pct == 1.0


def test_a_function_is_told_how_many_classes_there_are():
    classes = [{"id": str(i), "name": str(i)} for i in range(7)]
    assert load_network(network("small", resolution=32), classes=classes).classes == classes
    with pytest.raises(ValueError, match="let the function take num_classes"):
        load_network(network("described"), classes=classes)


def test_weights_of_a_checkpoint_are_loaded_strictly(tmp_path):
    own = network("small", resolution=32)
    state = {key: value + 1 for key, value in load_network(own).module.state_dict().items()}
    write_checkpoint(tmp_path / "w.safetensors", state, {})
    source = find_own_weights(own, str(tmp_path / "w.safetensors"), is_int8=False, has_calibration=False)
    loaded = load_network(own, source).module.state_dict()
    assert torch.equal(loaded["head.weight"], state["head.weight"])
    del state["head.bias"]
    write_checkpoint(tmp_path / "less.safetensors", state, {})
    source = find_own_weights(own, str(tmp_path / "less.safetensors"), is_int8=False, has_calibration=False)
    with pytest.raises(ValueError, match=r"1 keys differ; it lacks head\.bias"):
        load_network(own, source)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_network", "returns int; return an nn.Module, or a dict"),
        ("no_picture", r"does not take a picture of 224 x 224: RuntimeError: .*"),
        ("map_only", r"gives \[1, 4, 224, 224\] for one picture; a classifier gives \[1, classes\]"),
        ("failing", r"failed: KeyError: 'weights.bin' \(users_networks.py line \d+\)"),
        ("missing", "has no function missing"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(function, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_network(network(function))
    assert "\n" not in str(caught.value)


def test_names_and_flags_are_checked_before_torch_is_loaded():
    nothing = {"mean": None, "std": None, "crop": None}
    check_network(f"{FILE}:small", 33, **nothing)
    with pytest.raises(ValueError, match="unknown model"):
        check_network("levit_129", None, **nothing)
    with pytest.raises(ValueError, match=r"write net\.py:FUNCTION"):
        check_network("net.py", None, **nothing)
    with pytest.raises(ValueError, match="--std is for a network of your own"):
        check_network("levit_128s", None, **nothing | {"std": (1, 1, 1)})
    with pytest.raises(ValueError, match="use 8 to 4096 pixels"):
        check_network(f"{FILE}:small", 4, **nothing)
    with pytest.raises(ValueError, match="no such file"):
        find_network("gone.py:small")


@pytest.mark.parametrize("choice", ["embedded", "imagenet", "random"])
def test_weights_that_only_variants_have(choice):
    with pytest.raises(ValueError, match="is for variants; small brings its own"):
        find_own_weights(network("small"), choice, is_int8=False, has_calibration=False)


def test_int8_needs_pictures_or_ranges():
    with pytest.raises(ValueError, match="--calib"):
        find_own_weights(network("small"), "auto", is_int8=True, has_calibration=False)
