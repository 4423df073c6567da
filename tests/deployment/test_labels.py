"""Names that a user gives, in every form that is taken."""

import json

import pytest

from converters.manifest import ClassLabel
from edge_vit.deployment.labels import check_count, name_classes, read_labels

OLD = [{"id": "n1", "name": "one"}, {"id": "n2", "name": "two"}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "\ufeffant\r\nred bee \n\n", [("ant", "ant"), ("red bee", "red bee")]),
        ("a.json", ["ant", "Käfer"], [("ant", "ant"), ("Käfer", "Käfer")]),
        ("a.json", [{"id": "x", "name": "ant"}, {"id": "y", "name": "ant"}], [("x", "ant"), ("y", "ant")]),
        ("a.json", {"n2": "bee", "n1": {"name": "ant"}}, [("n2", "bee"), ("n1", "ant")]),
    ],
)
def test_every_form(name, content, expected, tmp_path):
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert [(label.id, label.name) for label in read_labels(tmp_path / name)] == expected


def test_known_ids_find_their_classes_and_names_alone_go_in_order():
    by_id = [ClassLabel(id="n2", name="bee"), ClassLabel(id="n1", name="ant")]
    assert name_classes(OLD, by_id) == [{"id": "n1", "name": "ant"}, {"id": "n2", "name": "bee"}]
    names = [ClassLabel(id="bee", name="bee"), ClassLabel(id="ant", name="ant")]
    assert name_classes(OLD, names) == [{"id": "n1", "name": "bee"}, {"id": "n2", "name": "ant"}]
    others = [ClassLabel(id="x", name="bee"), ClassLabel(id="y", name="ant")]
    assert name_classes(OLD, others) == [{"id": "x", "name": "bee"}, {"id": "y", "name": "ant"}]


def test_another_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.txt has 1 names, the weights have 2 classes; give one name a class"):
        check_count([ClassLabel(id="a", name="a")], 2, tmp_path / "a.txt")
