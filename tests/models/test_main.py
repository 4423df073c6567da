"""The listing counts what the authors published, from the models themselves."""

import json
import subprocess
import sys

import pytest

from edge_vit.models.__main__ import main
from edge_vit.models.registry import list_models

# The authors' READMEs and the counts of their published files. LeViT's README prints 1120 M for LeViT-256, a figure cut
# to three digits: the count that gives its other four figures to the digit gives 1128 there.
PUBLISHED = {
    "levit_128s": (7_777_058, 7_756_466, 305),
    "levit_128": (9_213_936, 9_188_864, 406),
    "levit_192": (10_947_069, 10_918_613, 658),
    "levit_256": (18_893_876, 18_856_276, 1128),
    "levit_384": (39_128_836, 39_074_100, 2353),
    "efficientvit_m0": (2_349_436, 2_334_916, 79),
    "efficientvit_m1": (2_980_560, 2_964_256, 167),
    "efficientvit_m2": (4_187_554, 4_168_338, 201),
    "efficientvit_m3": (6_900_722, 6_875_890, 263),
    "efficientvit_m4": (8_804_228, 8_776_340, 299),
    "efficientvit_m5": (12_473_772, 12_436_260, 522),
}


def listed(capsys, *argv):
    assert main([*argv, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_counts_equal_the_published_ones(capsys):
    rows = listed(capsys)
    assert list(rows) == list_models()
    got = {name: (row["num_params"], row["num_params_folded"], round(row["mmac"])) for name, row in rows.items()}
    assert {name: got[name] for name in PUBLISHED} == PUBLISHED


def test_table(capsys):
    assert main(["levit_128s", "efficientvit_m0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[2].startswith("efficientvit_m0 ")
    assert "7,777,058" in lines[1] and " 305 " in lines[1] and lines[1].endswith("Apache-2.0")


def test_resolution_and_classes_count(capsys):
    whole = listed(capsys, "levit_128s")
    small = listed(capsys, "levit_128s", "--resolution", "160", "--num-classes", "10")
    # Two heads of 990 classes less, and smaller offset tables.
    tables = 2 * 4 * (196 - 100) + 8 * (196 - 100) + 3 * 6 * (49 - 25) + 16 * (49 - 25) + 4 * 8 * (16 - 9)
    fewer = whole["levit_128s"]["num_params"] - small["levit_128s"]["num_params"]
    assert fewer == 2 * 990 * 385 + tables and small["levit_128s"]["mmac"] < 0.55 * whole["levit_128s"]["mmac"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["levit_12"], "unknown model 'levit_12'; did you mean"),
        (["levit_128", "--resolution", "50"], "resolution 50 is not allowed"),
    ],
)
def test_misuse_is_one_line_and_exit_2(argv, message, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"error: {message}") and captured.err.count("\n") == 1


def test_help_loads_nothing_heavy():
    code = "import sys; from edge_vit.models.__main__ import build_parser as b; b(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
