"""A .pte without its manifest: the app reads the constant methods that `convert` puts into the file."""

import hashlib

import pytest

pytestmark = pytest.mark.needs_executorch
LABELS = ("tench", "church", "golf ball", "Brücke 🌉")
FACTS = {
    "model": "levit_tiny", "classes": LABELS, "input_layout": "NHWC", "color": "RGB", "resize": 18,
    "interpolation": "bicubic", "crop_pct": 0.9, "normalization": "inside", "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225), "output_kind": "logits", "precision": "int8_qat",
}  # fmt: skip


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Convert a network of one layer, once for each set of facts; return the file's bytes."""
    torch = pytest.importorskip("torch")
    lower = pytest.importorskip("converters.executorch.lower")
    pytest.importorskip("executorch")
    made = {}

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, len(LABELS))

        def forward(self, x):
            return self.head(x.mean((1, 2)))

    def build(**changes):
        facts = {name: value for name, value in (FACTS | changes).items() if value is not None}
        key = repr(sorted(facts.items()))
        if key not in made:
            path = tmp_path_factory.mktemp("pte") / "mine.pte"
            options = lower.ExecuTorchOptions(facts=facts)
            lower.convert(Net().eval(), (torch.zeros(1, 16, 16, 3),), path, options=options)
            made[key] = path.read_bytes()
        return made[key]

    return build


@pytest.fixture
def read(ask, tmp_path):
    def read(data):
        (tmp_path / "mine.pte").write_bytes(data)
        request = {"do": "manifest", "folder": str(tmp_path), "model": "mine.pte", "target": "executorch"}
        return ask(request | {"is_whole": True})[0]

    return read


def test_classes_and_preparation_are_its_own(build, read):
    data = build()
    assert read(data) == {
        "title": "levit_tiny int8_qat", "labels": list(LABELS), "side": 16, "dtype": "float32",
        "is_normalized_inside": True, "gives_probabilities": False, "sha256": hashlib.sha256(data).hexdigest(),
        "resize": 18, "interpolation": "bicubic", "value_range": [0.0, 255.0], "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }  # fmt: skip


def test_a_file_of_before_says_no_precision_and_is_read(build, read):
    assert read(build(precision=None))["title"] == "levit_tiny fp32"


def test_another_network_s_file_has_no_manifest(build, read):
    nothing = dict.fromkeys(FACTS)
    found = read(build(**nothing))["error"]
    assert found == "mine.pte: its manifest mine.pte.json is missing; convert again, or keep the two together"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"interpolation": None}, "it has no method get_interpolation; keep its manifest with it"),
        ({"classes": LABELS[:3]}, "3 classes for an output of 4 values"),
        ({"output_kind": "features"}, "output.kind is 'features'; allowed are logits, probabilities"),
        ({"resize": (18, 20)}, "get_resize gives 2 values; expected 1"),
        ({"resize": "all"}, 'input.resize is "all"; expected a whole number'),
    ],
    ids=["missing", "classes", "backbone", "two sizes", "a text"],
)
def test_what_does_not_fit_is_told(change, message, build, read):
    assert read(build(**change))["error"] == f"mine.pte, by its own metadata: {message}"


def test_a_cut_file_is_told(build, read):
    data = build()
    end = data.index(b"get_classes")
    found = [read(data[:cut])["error"] for cut in (12, 100, end)]
    assert all("cut short or damaged" in one or "is missing" in one for one in found), found


def test_convert_says_all_that_the_app_asks_for():
    """What `deployment` hands to the converter is what PteMetadata reads."""
    import re
    from pathlib import Path

    from calibration.preprocess import Preprocess
    from edge_vit.deployment import steps

    java = Path(__file__).parents[2] / "android_demo/core/src/main/java/edgevit/core/PteMetadata.java"
    asked = set(re.findall(r'(?:one|all)\("(\w+)"\)', java.read_text()))
    asked |= set(re.search(r"new String\[\] \{(.*)\}\)", java.read_text())[1].replace('"', "").split(", "))
    given = set(steps._facts(Preprocess(resolution=16))) | {"output_kind", "precision", "model", "classes"}
    assert asked - {"input_shape", "input_dtype", "input_range"} == given  # those three the converter adds
