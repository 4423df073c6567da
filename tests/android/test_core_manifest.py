"""The app refuses what it cannot use, and says why; its words are those of converters/manifest.py."""

import json

import pytest

from converters import manifest as manifests


@pytest.fixture
def read(ask):
    """Read a model's manifest in the app's classes; returns their answer."""

    def read(model, **more):
        return ask({"do": "manifest", "folder": str(model.parent), "model": model.name, **more})[0]

    return read


def edit(model, change):
    path = manifests.manifest_path(model)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_a_good_manifest_is_read(read, make_model):
    labels = ["tench", "Käfer 🪲"]
    assert read(make_model(classes=tuple(labels))) == {"title": "demo int8_ptq", "labels": labels}


def test_missing(read, make_model):
    model = make_model()
    manifests.manifest_path(model).unlink()
    hint = "convert again, or keep the two together"
    assert read(model) == {"error": f"demo_int8.pte: its manifest demo_int8.pte.json is missing; {hint}"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the text ends early, line 1"),
        ('{"model": "demo",\n "precision"', "the text ends early, line 2"),
        ('{"a": 1,}', "a comma stands before '}', line 1"),
        ('{"a": NaN}', "unexpected 'N', line 1"),
        ('{"a": 1, "a": 2}', "field a stands twice, line 1"),
        ('{"a": 01}', "01 is no number, line 1"),
        ('{"a": 1e999}', "1e999 is too large, line 1"),
        ('{"a": "\\q"}', "unknown escape '\\q', line 1"),
        ('{"a": "\\u12"}', "unknown escape '\\u12\"}', line 1"),
        ('{"a": "b', "a text is not closed, line 1"),
        ('{"a": "\t"}', "a control character stands in a text, line 1"),
        ("{a: 1}", "expected a field name, line 1"),
        ('{"a" 1}', "expected ':', line 1"),
        ("[1 2]", "expected ',', line 1"),
        ("{} {}", "something follows the end of the document, line 1"),
        ("[" * 100, "nested too deeply, line 1"),
    ],
)
def test_corrupt(text, message, read, make_model):
    model = make_model()
    manifests.manifest_path(model).write_text(text)
    assert read(model) == {"error": f"demo_int8.pte.json: not valid JSON ({message})"}


def test_binary_rubbish(read, make_model):
    model = make_model()
    manifests.manifest_path(model).write_bytes(bytes(range(256)))
    assert read(model)["error"].startswith("demo_int8.pte.json: not valid JSON (unexpected")


# What is changed, and what both sides say of it.
FAULTS = {
    "wrong version": (lambda d: d.update(schema_version=2), "schema_version 2 is unknown here; this version reads 1"),
    "wrong precision": (
        lambda d: d.update(precision="int4"),
        "precision is 'int4'; allowed are fp32, fp16, int8_ptq, int8_qat, int16_ptq, int16_qat",
    ),
    "wrong target": (
        lambda d: d.update(target="caffe"), "target is 'caffe'; allowed are tflite, executorch, coreml, onnx",
    ),
    "missing field": (lambda d: d.pop("input"), "field input is missing"),
    "missing inner field": (lambda d: d["input"].pop("mean"), "field input.mean is missing"),
    "text for a number": (lambda d: d["input"].update(resize="32"), 'input.resize is "32"; expected a whole number'),
    "number for a text": (lambda d: d.update(model=3), "model is 3; expected a text"),
    "text for a list": (lambda d: d.update(classes="all"), 'classes is "all"; expected a list'),
    "list for an object": (lambda d: d.update(file=[]), "file is []; expected an object"),
    "two means": (lambda d: d["input"].update(mean=[0.5, 0.5]), "input.mean has 2 values; expected 3"),
    "text as a mean": (lambda d: d["input"]["mean"].__setitem__(1, "x"), 'input.mean[1] is "x"; expected a number'),
    "wrong dtype": (
        lambda d: d["input"].update(dtype="int64"), "input.dtype is 'int64'; allowed are uint8, int8, float32, float16",
    ),
    "wrong kind of output": (
        lambda d: d["output"].update(kind="boxes"), "output.kind is 'boxes'; allowed are logits, probabilities",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_read_alike_in_python_and_in_the_app(fault, read, make_model):
    change, message = FAULTS[fault]
    model = make_model()
    edit(model, change)
    assert read(model) == {"error": f"demo_int8.pte.json: {message}"}
    with pytest.raises(ValueError) as caught:
        manifests.load(manifests.manifest_path(model))
    said = str(caught.value).removesuffix(", features")  # files without classes, which the app does not take
    assert said.endswith(f"demo_int8.pte.json: {message}")


OWN_FAULTS = {
    "no square": (
        lambda d: d["input"].update(shape=[1, 32, 16, 3]),
        "input.shape [1, 32, 16, 3] is no square NHWC picture of three channels",
    ),
    "fewer labels": (lambda d: d["classes"].pop(), "3 classes for an output of 4 values"),
    "batch": (lambda d: d["input"].update(shape=[2, 32, 32, 3]), "input.shape [2, 32, 32, 3] is a batch; this app"),
    "resize below size": (lambda d: d["input"].update(resize=8), "input.resize is 8 for pictures of 32 pixels a side"),
    "no checksum": (lambda d: d["file"].update(sha256="abc"), "file.sha256 is 'abc'; expected 64 hexadecimal digits"),
    "negative size": (lambda d: d["input"].update(shape=[1, -3, 32, 3]), "input.shape[1] is -3, which no tensor has"),
    "no object": (lambda d: d["classes"].__setitem__(0, "tench"), 'classes[0] is "tench"; expected an object'),
    "precision of another kind": (lambda d: d.update(precision=8), "precision is 8; allowed are fp32, "),
}


@pytest.mark.parametrize("fault", OWN_FAULTS)
def test_faults_that_the_app_looks_at_itself(fault, read, make_model):
    change, message = OWN_FAULTS[fault]
    model = make_model()
    edit(model, change)
    assert read(model)["error"].startswith(f"demo_int8.pte.json: {message}")


def test_fields_of_a_later_converter_are_let_pass(read, make_model):
    model = make_model()
    before = read(model)
    edit(model, lambda d: (d.update(colour=1), d["input"].update(blur=None), d["file"].update(parts=[])))
    assert "error" not in before and read(model) == before


def test_a_manifest_that_is_no_object(read, make_model):
    model = make_model()
    manifests.manifest_path(model).write_text("[]")
    assert read(model) == {"error": "demo_int8.pte.json: the manifest is []; expected an object"}


def test_manifest_of_another_file(read, make_model):
    model = make_model()
    edit(model, lambda d: d["file"].update(name="other.pte"))
    assert read(model) == {"error": "demo_int8.pte.json: describes other.pte, not demo_int8.pte"}


def test_model_for_another_runtime(read, make_model):
    model = make_model()
    assert "error" not in read(model, target="executorch")
    message = "demo_int8.pte was made for executorch; This runtime runs tflite files"
    assert read(model, target="tflite") == {"error": message}


@pytest.fixture
def install(ask, tmp_path):
    """Copy a model where a runtime can load it; returns the app's answer."""

    def install(model):
        into = str(tmp_path / "files" / "models")
        return ask({"do": "install", "folder": str(model.parent), "model": model.name, "into": into})[0]

    return install


def test_a_model_is_copied_once_and_checked_each_time(install, make_model, tmp_path):
    model = make_model()
    path = tmp_path / "files" / "models"
    first = install(model)["path"]
    assert (path / first).read_bytes() == model.read_bytes()
    before = (path / first).stat().st_mtime_ns
    assert install(model) == {"path": first} and (path / first).stat().st_mtime_ns == before
    (path / first).write_bytes(b"x" * model.stat().st_size)  # the copy was damaged later
    assert install(model) == {"path": first} and (path / first).read_bytes() == model.read_bytes()
    assert len(list(path.iterdir())) == 1


def test_a_damaged_model_is_refused_and_leaves_nothing(install, make_model, tmp_path):
    model = make_model()
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    message = "demo_int8.pte: not the file that its manifest describes (sha256 differs); convert again"
    assert install(model) == {"error": message}
    assert list((tmp_path / "files" / "models").iterdir()) == []


def test_a_missing_model_is_named(install, make_model):
    model = make_model()
    model.unlink()
    assert install(model) == {"error": "demo_int8.pte: the model is missing; only its manifest is here"}


def test_json_is_read_as_python_reads_it(ask):
    texts = ['{"a": [1, -2.5, 1e3, true, false, null], "b": {}}', "[]", "12345678901234567890.0", '"🪲"']
    texts.append('"\\u00e4\\n\\"\\\\\\/"')
    answers = ask(*({"do": "json", "text": text} for text in texts))
    assert [answer["value"] for answer in answers] == [json.loads(text) for text in texts]
