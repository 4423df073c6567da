"""A report holds every part, with the values of its manifests and records, and asks nobody for anything."""

import json
import re
import sys
from html.parser import HTMLParser

import pytest
import reports_pages
from made_up_models import write_model

from converters import manifest as manifests
from edge_vit import accuracy, api, report
from edge_vit.findings.request import ReportRequest
from edge_vit.reports.graph import PRECISIONS

pytestmark = pytest.mark.needs_tflite


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    return reports_pages.write(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def written(given):
    """The report of both files with everything, written once."""
    pytest.importorskip("vl_convert", reason="needs edge_vit[report]")
    words = [given["shifted"], given["float"], "--bench", given["bench"], "--data", given["data"]]
    words += ["--sensitivity", given["sensitivity"]]
    words += ["--float", given["float"], "--output", given["data"].parent / "out/page.html"]
    assert report.main([str(word) for word in words]) == 0
    return given["data"].parent / "out"


@pytest.fixture(scope="module")
def values(written):
    return json.loads((written / "page.json").read_text())


class Text(HTMLParser):
    """What a reader sees, and the ids and addresses of a page."""

    def __init__(self, page):
        super().__init__()
        self.words, self.ids, self.links, self.tags, self.open = [], [], [], [], ""
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.open = tag
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[name] for name in ("href", "src", "action", "srcset", "xlink:href") if name in found]

    def handle_data(self, data):
        if self.open not in ("style", "script"):
            self.words.append(data)


@pytest.fixture(scope="module")
def page(written):
    return Text((written / "page.html").read_text(encoding="utf-8"))


PARTS = (
    "what", "load", "accuracy", "confusion", "flips", "reliability", "network", "operators", "ranges", "instructions",
    "sensitivity",
)  # fmt: skip


def test_each_part_is_there_once_and_is_linked(page):
    wanted = {"side-by-side", "latency", "agreement", "again", "left-out", "file1", "file2"}
    wanted |= {f"file1-{part}" for part in PARTS}
    assert wanted <= set(page.ids) and len(page.ids) == len(set(page.ids))
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inside - {"content"} == {i for i in page.ids if i != "content"}


def test_nothing_in_it_is_an_address_elsewhere(page, written):
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    text = (written / "page.html").read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text and " style=" not in text and " on" + "click" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and policy[1].startswith("default-src &#39;none&#39;; img-src data:; style-src &#39;sha256-")


def test_the_values_are_the_manifests(page, values, given):
    for artefact, name in zip(values["artefacts"], ("shifted", "float"), strict=True):
        manifest = manifests.load_for(given[name])
        assert manifests.Manifest.from_json(json.dumps(artefact["manifest"])) == manifest
        assert manifest.file.sha256 in page.text and f"{manifest.file.num_bytes:,} bytes" in page.text
        assert manifest.command in page.text
    shifted = values["artefacts"][0]
    assert [(r["name"], r["low"], r["high"]) for r in shifted["ranges"]] == [
        (name, (-128 - zero) * scale, (127 - zero) * scale) for name, (scale, zero) in reports_pages.RANGES.items()
    ]
    assert values["artefacts"][1]["ranges"] == []


def test_the_accuracy_is_what_the_command_says(page, values, given, capsys):
    words = [given["shifted"], "--data", given["data"], "--float", given["float"], "--json"]
    assert accuracy.main([str(word) for word in words]) == 0
    said, found = json.loads(capsys.readouterr().out), values["artefacts"][0]["accuracy"]
    assert {name: found[name] for name in said if name != "skipped"} == {
        n: v for n, v in said.items() if n != "skipped"
    }
    assert (found["overall"]["losses"], found["overall"]["gains"]) == (4, 2)
    assert found["confusion"] == [[10, 0], [4, 12]]
    assert [flip["direction"] for flip in found["flips"]] == ["lost"] * 4 + ["won"] * 2
    top1, low, high = found["overall"]["artefact_top1"], *found["artefact_top1_interval"]
    assert low < top1 < high and f"{top1:.2f} {low:.2f} to {high:.2f}" in page.text
    assert "4 lost: float was right, this file is wrong" in page.text and page.tags.count("img") == 6
    bins = found["reliability"]["bins"]
    assert sum(b["num_images"] for b in bins) == found["overall"]["num_images"] == 26
    gaps = sum(b["num_images"] * abs(b["confidence"] - b["right"]) for b in bins if b["num_images"])
    assert found["reliability"]["error"] == pytest.approx(gaps / 26)


def test_the_records_are_those_of_bench_arm(page, values, given):
    times, *counts = json.loads(given["bench"].read_text())
    shown = values["artefacts"][0]
    assert shown["latency"][0]["figures"] == times["figures"] and "Google Pixel 7 (R5C)" in page.text
    assert [record["instructions"] for record in shown["instructions"]] == [r["instructions"] for r in counts]
    assert all(f"{r['cpu']}: {r['instructions']:,} instructions" in page.text for r in counts)
    network = shown["network"]
    assert network["cost_unit"] == "instructions on cortex-a76"
    assert [op["cost_share"] for op in network["operators"]] == [0.1, 0.3, 0.55]
    assert [op["multiply_adds"] for op in network["operators"]] == [0, 0, 6]
    assert values["artefacts"][1]["network"]["cost_unit"] == "multiply-adds"


def test_the_layers_are_those_of_sensitivity(page, values):
    """The layer that makes all the noise is told so, an exact one as exact; a float file has none."""
    first, second = values["artefacts"][0]["sensitivity"]["layers"]
    assert (first["noise_share"], second["noise_share"]) == (1.0, 0.0)
    assert values["artefacts"][1]["sensitivity"] is None
    assert "measured on 4 pictures of val/" in page.text and "exact" in page.text and "1 of 8" in page.text


def test_two_files_stand_side_by_side(page, values):
    (pair,) = values["agreement"]
    assert pair["int8_operators"] is None and pair["same_top1"] == {"num_images": 26, "same": 20}
    assert "second against first" in page.text and "76.92" in page.text
    assert values["artefacts"][1]["accuracy"]["overall"]["drop_points"] == 0.0


def test_the_python_code_gives_the_artefacts_answer(given, values, tmp_path, monkeypatch, capsys):
    pytest.importorskip("jinja2")
    from PIL import Image

    from edge_vit.reports.load import snippets
    from edge_vit.reports.page import _environment

    monkeypatch.chdir(given["shifted"].parent)
    Image.new("RGB", (20, 30), (200, 0, 10)).save("picture.jpg")
    found = {s.language: s.code for s in snippets(values["artefacts"][0]["manifest"], _environment())}
    assert found.keys() == {"kotlin", "swift", "python"}
    exec(compile(found["python"], "page", "exec"), {})
    from converters.artefact import open_artefact

    (name, logit), *_ = (line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    pixels = __import__("numpy").asarray(Image.open("picture.jpg").resize((8, 12)))[None, 2:10]
    assert name == "the red one" and float(logit) == pytest.approx(
        open_artefact(given["shifted"]).run(pixels)[0, 1], abs=0.05
    )


@pytest.mark.parametrize("language", ["swift"])
def test_the_swift_code_parses(language, values):
    parsers = pytest.importorskip("tree_sitter_swift")
    tree_sitter = pytest.importorskip("tree_sitter")
    pytest.importorskip("jinja2")
    from edge_vit.reports.load import snippets
    from edge_vit.reports.page import _environment

    parser = tree_sitter.Parser(tree_sitter.Language(parsers.language()))
    manifest = values["artefacts"][0]["manifest"]
    for target, dtype in (("tflite", "uint8"), ("executorch", "int8"), ("executorch", "float32"), ("coreml", "uint8")):
        changed = manifest | {
            "target": target,
            "input": manifest["input"] | {"dtype": dtype, "value_range": [-128, 127]},
        }
        (code,) = [s.code for s in snippets(changed, _environment()) if s.language == language]
        assert not parser.parse(code.encode()).root_node.has_error, code


def test_what_is_absent_is_left_out_and_said(given, tmp_path, capsys):
    pytest.importorskip("vl_convert", reason="needs edge_vit[report]")
    assert report.main([str(given["float"]), "--output", str(tmp_path / "small.html")]) == 0
    said = capsys.readouterr().out
    found = Text((tmp_path / "small.html").read_text(encoding="utf-8"))
    assert not {"file1-accuracy", "file1-ranges", "file1-instructions", "latency", "agreement", "side-by-side"} & set(
        found.ids
    )
    for part in ("no --data: accuracy was not measured", "no --bench: bench_arm --emulate", "a float file has none"):
        assert part in found.text and part in said


def test_the_same_request_gives_the_same_bytes(written, given, tmp_path):
    request = ReportRequest(
        artefacts=(given["shifted"], given["float"]), bench=(given["bench"],), data=given["data"],
        sensitivity=(given["sensitivity"],), float_artefact=given["float"], output=tmp_path / "again.html",
        command=json.loads((written / "page.json").read_text())["command"],
    )  # fmt: skip
    made = api.report(request)
    assert made.page.read_bytes() == (written / "page.html").read_bytes()
    assert made.values.read_bytes() == (written / "page.json").read_bytes()
    assert made.num_bytes == made.page.stat().st_size and sorted(p.name for p in tmp_path.iterdir()) == [
        "again.html",
        "again.json",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("gone.tflite", r"gone\.tflite: no such artefact"),
        ("SHIFTED SHIFTED", r"two artefacts are called shifted\.tflite; a report could not tell them apart"),
        ("SHIFTED --output page.pdf", r"--output page\.pdf: a report is a page; end the name in \.html"),
        ("SHIFTED --threads 0", r"threads 0 is not allowed; use 1 or more"),
        ("SHIFTED --limit 5", r"--limit is about measuring accuracy and so needs --data"),
        ("SHIFTED --float FLOAT", r"--float is about measuring accuracy and so needs --data"),
        ("SHIFTED --data gone", r"gone: no such folder"),
        ("SHIFTED --data DATA", r"written by hand"),
        ("SHIFTED --sensitivity gone.json", r"cannot read gone\.json: No such file or directory"),
        ("SHIFTED --sensitivity SHIFTED", r"shifted\.tflite: no JSON; give what sensitivity --json printed"),
        ("SHIFTED --sensitivity BENCH", r"bench\.json: no layers; give what sensitivity --json printed, without"),
        ("SHIFTED --bench gone.json", r"gone\.json: no such file of records"),
        ("SHIFTED --bench SHIFTED", r"shifted\.tflite: no records; give what bench_arm --json printed"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(words, said, given, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    places = {"SHIFTED": given["shifted"], "FLOAT": given["float"], "DATA": given["data"], "BENCH": given["bench"]}
    before = sorted(given["data"].parent.iterdir())
    assert report.main([str(places.get(word, word)) for word in words.split()]) == 2
    out, err = capsys.readouterr()
    assert not out and re.fullmatch(rf"error: [^\n]*{said}[^\n]*\n", err), err
    assert not list(tmp_path.iterdir()) and sorted(given["data"].parent.iterdir()) == before


def test_a_request_without_artefacts_is_refused():
    with pytest.raises(ValueError, match="no artefacts; name at least one"):
        ReportRequest(artefacts=())


@pytest.mark.parametrize(("module", "said"), [("vl_convert", "vl-convert"), ("jinja2", "Jinja")])
def test_a_missing_library_is_one_line(module, said, given, tmp_path, monkeypatch, capsys):
    if module == "jinja2":
        pytest.importorskip("vl_convert", reason="needs edge_vit[report]")
    monkeypatch.setitem(sys.modules, module, None)
    assert report.main([str(given["float"]), "--output", str(tmp_path / "a.html")]) == 2
    assert re.fullmatch(rf"error: [^\n]* needs {said}; pip install 'edge_vit\[report\]'\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_files_is_one_line(given, tmp_path, capsys):
    pytest.importorskip("vl_convert", reason="needs edge_vit[report]")
    (tmp_path / "file").touch()
    assert report.main([str(given["float"]), "--output", str(tmp_path / "file/a.html")]) == 2
    assert capsys.readouterr().err.endswith("file: File exists; choose another --output\n")


def test_a_backbone_is_reported_without_accuracy(given, tmp_path, capsys):
    pytest.importorskip("vl_convert", reason="needs edge_vit[report]")
    maps = manifests.FeatureMap(
        name="stage_0", shape=(1, 4, 2, 2), layout="NCHW", dtype="float32", channels=4, stride=4, sqnr_db=None
    )
    output = manifests.OutputInfo(name="stage_0", shape=(1, 4, 2, 2), dtype="float32", kind="features")
    path = write_model(
        tmp_path, "features.tflite", content=given["float"].read_bytes(), classes=(),
        changes={"features": (maps,), "output": output, "target": "tflite", "precision": "fp32"},
    )  # fmt: skip
    assert report.main([str(path), "--data", str(given["data"])]) == 0
    assert "without accuracy of features.tflite: it gives feature maps, no classes" in capsys.readouterr().out
    found = Text((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "stage_0" in found.text and "runForMultipleInputsOutputs" in found.text


def test_json_says_what_was_written(given, tmp_path, capsys):
    pytest.importorskip("vl_convert", reason="needs edge_vit[report]")
    assert report.main([str(given["float"]), "--output", str(tmp_path / "a.html"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == str(tmp_path / "a.html") and {gap["part"] for gap in said["left_out"]} >= {
        "instruction counts"
    }


SIZES = {"wide": (1280, 900), "phone": (390, 844)}


@pytest.mark.parametrize(("size", "scheme"), [("wide", "dark"), ("phone", "light")])
def test_a_browser_shows_it_without_fault(size, scheme, written, browser):
    """No request, no message, nothing wider than the screen; axe finds no fault in contrast, names, order, roles."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs edge_vit[dev]")
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=False)
    shown, seen = context.new_page(), []
    shown.on("console", lambda message: seen.append(message.text))
    shown.on("pageerror", lambda error: seen.append(str(error)))
    shown.on("request", lambda request: seen.append(request.url) if not request.url.startswith("data:") else None)
    address = (written / "page.html").as_uri()
    shown.goto(address)
    assert seen == [address]
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    shown.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    found = axe.Axe().run(shown).response["violations"]
    assert not found, [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in found]
    assert seen == [address]
    context.close()


CONTRAST = """
([scheme, pairs]) => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const light = name => {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.setProperty("color", `var(${name})`);
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255);
    const [r, g, b] = parts.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  return pairs.map(([a, b]) => Math.max(light(a), light(b)) / Math.min(light(a), light(b)));
}
"""  # WCAG 2's, of CSS variables


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_drawn_stands_out(scheme, written, browser):
    """Axe looks at HTML alone; letters in boxes and cells, and marks on the page, are colours of the style sheet."""
    letters = [(f"--heat-{i}", f"--heat-ink-{i}") for i in range(5)] + [
        (f"--miss-{i}", f"--miss-ink-{i}") for i in range(1, 5)
    ]
    letters += [(f"--p-{p}", "--on-mark") for p in PRECISIONS]
    letters += [
        (ground, ink)
        for ground in ("--paper", "--panel")
        for ink in ("--ink", "--muted", "--accent", "--lost", "--won")
    ]
    marks = (
        [("--paper", f"--s{i}") for i in range(1, 7)]
        + [("--paper", f"--p-{p}") for p in PRECISIONS]
        + [("--paper", "--edge")]
    )
    context = browser.new_context(color_scheme=scheme)
    shown = context.new_page()
    shown.goto((written / "page.html").as_uri())
    for pairs, least in ((letters, 4.5), (marks, 3.0)):
        found = dict(zip(pairs, shown.evaluate(CONTRAST, [scheme, pairs]), strict=True))
        assert not {pair: ratio for pair, ratio in found.items() if ratio < least}
    context.close()


def test_the_keyboard_reaches_content_and_colours_the_graph(written, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    shown = context.new_page()
    shown.goto((written / "page.html").as_uri())
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the content"
    box = shown.locator("#file1-network ~ .network .graph path[fill]").last

    def colour():
        return box.evaluate("element => getComputedStyle(element).fill")

    before = colour()
    shown.locator("#file1-network ~ .network .by-precision").first.focus()
    shown.keyboard.press("ArrowRight")
    assert colour() != before
    context.close()


def test_it_prints(written, browser):
    context = browser.new_context()
    shown = context.new_page()
    shown.goto((written / "page.html").as_uri())
    shown.emulate_media(media="print", color_scheme="dark")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "paper is white"
    assert not shown.locator("nav").is_visible()
    assert shown.pdf(format="A4").startswith(b"%PDF")
    context.close()
