"""The page that runs files in the browser: it gives the files' own answers, and nothing leaves this machine."""

import http.client
import io
import json
import shutil
import stat
import threading
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import reports_pages
from PIL import Image

from calibration.preprocess import Preprocess, load_pixels
from converters.artefact import open_artefact
from edge_vit import api, report
from edge_vit.findings import serve
from edge_vit.findings.request import ReportRequest

pytestmark = [pytest.mark.needs_tflite]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    pytest.importorskip("jinja2", reason="needs edge_vit[report]")
    pytest.importorskip("vl_convert", reason="needs edge_vit[report]")
    pytest.importorskip("ai_edge_litert", reason="needs edge_vit[tflite]")
    return reports_pages.write(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(given):
    """A running server of two small files, with LiteRT.js from npm."""
    try:
        server = api.serve(ReportRequest(artefacts=(given["shifted"], given["float"])))
    except ValueError as e:
        if "npm" not in str(e):
            raise
        pytest.skip(f"LiteRT.js cannot be had: {e}")
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def page(served, browser):
    """The page, ready, and every address that it asked for."""
    shown = browser.new_context(viewport={"width": 390, "height": 800}).new_page()
    asked: list[tuple[str, str]] = []
    shown.on("request", lambda request: asked.append((request.method, request.url)))
    shown.goto(served.address)
    shown.wait_for_selector("body[data-state=ready]", timeout=60_000)
    yield shown, asked
    shown.context.close()


def answers(shown):
    return [json.loads(one.get_attribute("data-answer")) for one in shown.locator(".model").all()]


def test_the_model_in_the_page_gives_the_artefacts_own_answers(page, given, tmp_path):
    """Pictures larger and smaller than the input, wide and tall: resized here as the commands resize them."""
    shown, asked = page
    rng = np.random.default_rng(0)
    for size in ((9, 23), (40, 31), (8, 8), (5, 6)):
        picture = tmp_path / f"{size[0]}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(picture)
        shown.evaluate("document.body.dataset.state = 'waiting'")
        shown.set_input_files("#file", picture)
        shown.wait_for_selector("body[data-state=ready]")
        assert shown.text_content("#status") == picture.name
        for file, found in zip((given["shifted"], given["float"]), answers(shown), strict=True):
            artefact = open_artefact(file)
            pixels = load_pixels(picture, Preprocess(**artefact.manifest.input.preprocess_fields()))
            np.testing.assert_allclose(found, artefact.run(pixels[None])[0], rtol=1e-5, atol=1e-5)
    assert {method for method, _ in asked} == {"GET"}, "nothing is uploaded"
    assert len({urllib.parse.urlsplit(address).netloc for _, address in asked}) == 1, "nothing comes from elsewhere"


def test_a_picture_that_is_none_is_said(page, tmp_path):
    shown, _ = page
    (tmp_path / "no.png").write_bytes(b"no picture")
    shown.set_input_files("#file", tmp_path / "no.png")
    shown.locator("#status", has_text="no.png cannot be read").wait_for()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(300, 200), (31, 57), (224, 225)])
def test_pixels_are_those_of_the_commands(interpolation, size, page):
    from calibration.preprocess import resize_and_crop

    shown, _ = page
    preprocess = Preprocess(resolution=48, interpolation=interpolation)
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    expected = resize_and_crop(Image.fromarray(pixels), preprocess)
    found = shown.evaluate(
        """async ([data, width, height, input]) => {
            const { prepare } = await import("./pixels.js");
            return [...prepare({ data: Uint8Array.from(data), width, height }, input)];
        }""",
        [
            pixels.ravel().tolist(), size[1], size[0],
            {"interpolation": interpolation, "box": list(preprocess.box), "width": 48, "height": 48},
        ],
    )  # fmt: skip
    assert np.array_equal(np.uint8(found).reshape(48, 48, 3), expected)


def test_everyone_can_read_it(page, browser, served):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs edge_vit[dev]")
    shown, _ = page
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        found = axe.Axe().run(shown).response["violations"]
        assert not found, [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in found]
    shown.click("text=The report on these files")
    shown.wait_for_selector("h1")
    assert "shifted.tflite" in shown.text_content("body")


def get(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection(serve.HOST, server.server_port, timeout=10)
    connection.request(method, path, headers={"Host": host or f"{serve.HOST}:{server.server_port}"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.fixture
def plain():
    """A server of one page, without LiteRT.js."""
    with serve.Server(serve.Site(pages={"": b"page", "a.js": Path(__file__)}, policy="default-src 'none'")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_only_who_knows_the_token_gets_anything(plain):
    response, body = get(plain, f"/{plain.token}/")
    assert (response.status, body) == (200, b"page")
    assert response.headers["Content-Security-Policy"] == "default-src 'none'"
    assert response.headers["Cache-Control"] == "no-store" and response.headers["Referrer-Policy"] == "no-referrer"
    assert get(plain, f"/{plain.token}/a.js")[1] == Path(__file__).read_bytes()
    for path in ("/", "/wrong/", f"/{plain.token}", f"/{plain.token}/../a.js", f"/{plain.token}/b.js", "/a.js"):
        assert get(plain, path)[0].status == 404, path
    assert get(plain, f"/{plain.token}/", host="evil.example:80")[0].status == 404, "another name for this machine"
    assert get(plain, f"/{plain.token}/", method="POST")[0].status == 501, "nothing can be sent to it"
    assert plain.server_address[0] == "127.0.0.1"


def test_another_start_has_another_token(plain):
    with serve.Server(plain.site) as other:
        assert other.token != plain.token and len(other.token) >= 24


def test_a_taken_port_is_one_line(plain, given, capsys):
    with pytest.raises(ValueError, match=rf"port {plain.server_port} cannot be served .*choose another with --port"):
        serve.Server(plain.site, plain.server_port)


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A stand-in for npm that packs what it is told."""

    def npm(script):
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return npm


def test_a_package_that_is_another_one_is_refused(npm, tmp_path):
    npm('echo other > "$5/litertjs-core-2.5.3.tgz"')
    with pytest.raises(ValueError, match=r"@litertjs/core@2\.5\.3 is not the file that was tested \(sha512-"):
        serve.fetch_npm(serve.LITERT_JS[0], tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("npm-*3"))


def test_a_registry_that_is_out_of_reach_is_one_line(npm, tmp_path, monkeypatch):
    npm("echo 'npm error network' >&2; exit 1")
    with pytest.raises(ValueError, match=r"cannot get the npm package @litertjs/core@2\.5\.3 .*: npm said: npm error"):
        serve.fetch_npm(serve.LITERT_JS[0], tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=r"install Node\.js, which brings npm\): no program npm"):
        serve.fetch_npm(serve.LITERT_JS[0], tmp_path / "cache")


def test_a_package_that_is_right_is_unpacked_once(npm, tmp_path):
    import base64
    import hashlib
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/index.js")
        entry.size = 2
        archive.addfile(entry, io.BytesIO(b"1;"))
    (tmp_path / "made.tgz").write_bytes(stream.getvalue())
    npm(f'cp {tmp_path}/made.tgz "$5/made.tgz"; echo called >> {tmp_path}/calls')
    digest = "sha512-" + base64.b64encode(hashlib.sha512(stream.getvalue()).digest()).decode()
    package = serve.NpmPackage(name="@some/thing", version="1.0.0", integrity=digest)
    for _ in range(2):
        assert (serve.fetch_npm(package, tmp_path / "cache") / "index.js").read_bytes() == b"1;"
    assert (tmp_path / "calls").read_text() == "called\n"


def test_what_cannot_be_served_is_one_line(given, tmp_path, capsys):
    shutil.copy(given["float"], tmp_path / "one.pte")
    for words, said in (
        ([str(given["float"]), "--port", "8000"], "--port 8000 is of --serve; add that, or leave the port out"),
        ([str(tmp_path / "none.tflite"), "--serve"], "no such artefact"),
    ):
        assert report.main(words) == 2
        out, err = capsys.readouterr()
        assert out == "" and said in err and err.count("\n") == 1
