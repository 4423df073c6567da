"""Downloads against a real server on this machine: whole, cut short, changed, and out of reach."""

import dataclasses
import hashlib
import http.server
import io
import threading

import pytest
import torch
from hub_server import serve_hub
from hugging_face import COMMIT
from safetensors.torch import save

from edge_vit.models import published
from edge_vit.models.hugging_face import parse_hub_file
from edge_vit.models.published import PUBLISHED, download_weights, find_published, is_published, published_weights
from edge_vit.models.registry import create_model, list_models
from edge_vit.models.weights import load_weights

NEVER = "its authors publish no checksum, so it was never verified\n"


def checkpoint(seed, name="levit_128s"):
    """Return a file as the authors would publish it."""
    torch.manual_seed(seed)
    file = io.BytesIO()
    torch.save({"model": {key: value.half() for key, value in create_model(name).state_dict().items()}}, file)
    return file.getvalue()


CONTENT = checkpoint(0)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        body = self.server.content
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 3] if self.path.startswith("/short") else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.requests = CONTENT, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def publish(monkeypatch):
    def publish(url, **known):
        known = {"sha256_prefix": DIGEST[:8], "size_bytes": len(CONTENT)} | known
        weights = dataclasses.replace(PUBLISHED["levit_128s"], url=url, **known)
        monkeypatch.setitem(published.PUBLISHED, "levit_128s", weights)

    return publish


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_downloads_once_shows_licence_and_progress(server, publish, tmp_path):
    publish(f"{server.url}/a.pth")
    log = io.StringIO()
    path = download_weights("levit_128s", tmp_path / "new", log).path
    assert path.read_bytes() == CONTENT and files(path.parent) == ["a.pth", "a.pth.sha256"]
    assert "licence: Apache-2.0" in log.getvalue() and "100%" in log.getvalue()
    assert download_weights("levit_128s", tmp_path / "new", None).path == path and len(server.requests) == 1


def test_damaged_cache_is_downloaded_again(server, publish, tmp_path):
    publish(f"{server.url}/a.pth")
    path = download_weights("levit_128s", tmp_path, None).path
    path.write_bytes(CONTENT[:-1] + b"?")
    log = io.StringIO()
    assert download_weights("levit_128s", tmp_path, log).path.read_bytes() == CONTENT and len(server.requests) == 2
    assert "downloading it again" in log.getvalue()


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"sha256_prefix": "00000000"}, f"has SHA-256 {DIGEST[:16]}..., 00000000... was published; nothing was kept"),
        ({"size_bytes": 7}, f"has {len(CONTENT)} bytes, 7 were published; nothing was kept"),
    ],
)
def test_other_content_is_refused_and_not_kept(known, message, server, publish, tmp_path):
    publish(f"{server.url}/a.pth", **known)
    with pytest.raises(ValueError) as caught:
        download_weights("levit_128s", tmp_path, None)
    assert message in str(caught.value) and files(tmp_path) == []


def test_first_download_is_recorded_where_no_checksum_is_published(server, publish, tmp_path):
    publish(f"{server.url}/a.pth", sha256_prefix="", size_bytes=None)
    path = download_weights("levit_128s", tmp_path, None).path
    assert (tmp_path / "a.pth.sha256").read_text() == f"{DIGEST}  a.pth\n"
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(ValueError, match=f"the first download had {DIGEST[:16]}"):
        download_weights("levit_128s", tmp_path, None)
    assert files(tmp_path) == ["a.pth.sha256"]


NOT_WEIGHTS = {
    "a page that says sorry": (b"<html>quota exceeded</html>", "is refused: it is no file that torch.save wrote"),
    "half a file": (CONTENT[: len(CONTENT) // 2], "is truncated"),
    "another network": (checkpoint(0, "levit_192"), "holds no weights of levit_128s: "),
}


@pytest.mark.parametrize("kind", NOT_WEIGHTS)
def test_a_damaged_first_download_is_refused_and_not_recorded(kind, server, publish, tmp_path):
    """Nothing is known of the file but that it must be weights of the variant."""
    publish(f"{server.url}/a.pth", sha256_prefix="", size_bytes=None)
    server.content, message = NOT_WEIGHTS[kind]
    with pytest.raises(ValueError) as caught:
        download_weights("levit_128s", tmp_path, None)
    assert message in str(caught.value) and "; nothing was kept, try again" in str(caught.value)
    assert files(tmp_path) == []
    server.content = CONTENT
    assert download_weights("levit_128s", tmp_path, None).sha256 == DIGEST


def test_what_was_never_verified_says_so(server, publish, tmp_path):
    publish(f"{server.url}/a.pth", sha256_prefix="", size_bytes=None)
    never = "its authors publish no checksum, so it was never verified\n"
    for said in (f"a.pth: SHA-256 {DIGEST}; {never}", f"a.pth: the same file as when it was first downloaded; {never}"):
        log = io.StringIO()
        download_weights("levit_128s", tmp_path, log)
        assert log.getvalue().endswith(said)
    publish(f"{server.url}/b.pth")
    log = io.StringIO()
    download_weights("levit_128s", tmp_path, log)
    assert f"b.pth: SHA-256 {DIGEST}\n" in log.getvalue() and "never" not in log.getvalue()


def test_a_wrong_file_in_the_cache_is_downloaded_again(server, publish, tmp_path):
    publish(f"{server.url}/a.pth", sha256_prefix="", size_bytes=None)
    (tmp_path / "a.pth").write_bytes(NOT_WEIGHTS["another network"][0])
    log = io.StringIO()
    assert download_weights("levit_128s", tmp_path, log).path.read_bytes() == CONTENT
    assert "holds no weights of levit_128s" in log.getvalue() and "downloading it again" in log.getvalue()


def test_how_a_variant_was_evaluated_is_known():
    evaluated = {name: (weights.resolution, weights.crop_pct) for name, weights in PUBLISHED.items()}
    assert evaluated["levit_384"] == evaluated["efficientvit_m5"] == evaluated["fastervit_0"] == (224, 0.875)
    assert evaluated["fastervit_4"] == evaluated["fastervit_4_any_res"] == (224, 1.0)
    assert evaluated["fastervit_4_21k_224"] == (224, 0.95) and evaluated["fastervit_4_21k_768"] == (768, 0.93)
    assert evaluated["fastervit_4_21k_384"] == (384, 1.0) and evaluated["fastervit_4_21k_512"] == (512, 1.0)
    assert {weights.interpolation for weights in PUBLISHED.values()} == {"bicubic"}, "of all three families' authors"


def test_file_put_into_the_cache_by_hand_is_taken_and_recorded(server, publish, tmp_path, capsys):
    publish(f"{server.url}/a.pth", sha256_prefix="", size_bytes=None)
    (tmp_path / "a.pth").write_bytes(CONTENT)
    download_weights("levit_128s", tmp_path)
    assert server.requests == [] and (tmp_path / "a.pth.sha256").read_text() == f"{DIGEST}  a.pth\n"
    assert f"a.pth: SHA-256 {DIGEST}" in capsys.readouterr().err


def test_connection_that_breaks_off(server, publish, tmp_path):
    publish(f"{server.url}/short.pth")
    with pytest.raises(ValueError, match=rf"broke off after \d+ of {len(CONTENT)} bytes; try again"):
        download_weights("levit_128s", tmp_path, None)
    assert files(tmp_path) == []


def test_missing_on_the_server(server, publish, tmp_path):
    publish(f"{server.url}/missing.pth")
    with pytest.raises(ValueError, match=r"missing\.pth answers 404 Not Found"):
        download_weights("levit_128s", tmp_path, None)
    assert files(tmp_path) == []


def test_without_internet(server, publish, tmp_path):
    server.server_close()
    publish(f"{server.url}/a.pth")
    with pytest.raises(ValueError, match=r"cannot download weights for levit_128s .*; without internet, fetch"):
        download_weights("levit_128s", tmp_path, None)
    assert files(tmp_path) == []


HUB_LABEL = f"hf:timm/levit_128s.fb_dist_in1k@{COMMIT}:model.safetensors"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed; it is the extra hub")
    with serve_hub(monkeypatch, tmp_path / "hub") as hub:
        yield hub


def as_timm_publishes(seed, goldens):
    """Return a .safetensors file with timm's names."""
    tensors = {key: value + seed for key, value in goldens.timm("levit_128s").items()}
    return save({key: value.contiguous() for key, value in tensors.items()})


def test_the_mirror_is_asked_where_the_host_is_out_of_reach(hub, publish, tmp_path, goldens):
    publish(f"{hub.url}/a.pth")  # which it does not have
    content = as_timm_publishes(0, goldens)
    hub.repos["timm/levit_128s.fb_dist_in1k"] = {"model.safetensors": content}
    log = io.StringIO()
    checkpoint, label = find_published("levit_128s", tmp_path / "kept", log)
    assert label == HUB_LABEL and is_published("levit_128s", label) and not is_published("levit_192", label)
    digest, name = hashlib.sha256(content).hexdigest(), "timm--levit_128s.fb_dist_in1k--model.safetensors"
    assert checkpoint.sha256 == digest and files(tmp_path / "kept") == [f"{name}.sha256"]
    assert "answers 401 Unauthorized; asking hf:timm/levit_128s.fb_dist_in1k\n" in log.getvalue()
    assert log.getvalue().endswith(f"{name}: SHA-256 {digest}; {NEVER}")
    assert load_weights(create_model("levit_128s"), checkpoint).naming == "timm"
    find_published("levit_128s", tmp_path / "kept", log)
    assert log.getvalue().endswith(f"{name}: the same file as when it was first downloaded; {NEVER}")


def test_what_a_mirror_gave_first_must_stay_the_same(hub, publish, tmp_path, goldens):
    publish(f"{hub.url}/a.pth")
    record = tmp_path / "timm--levit_128s.fb_dist_in1k--model.safetensors.sha256"
    record.write_text(f"{DIGEST}  model.safetensors\n")
    hub.repos["timm/levit_128s.fb_dist_in1k"] = {"model.safetensors": as_timm_publishes(1, goldens)}
    with pytest.raises(ValueError, match=rf"its mirror fails too: hf:timm/.* the first download had {DIGEST[:16]}"):
        find_published("levit_128s", tmp_path, None)


def test_a_mirror_with_another_network_is_refused_and_not_recorded(hub, publish, tmp_path):
    publish(f"{hub.url}/a.pth")
    hub.repos["timm/levit_128s.fb_dist_in1k"] = {"pytorch_model.bin": NOT_WEIGHTS["another network"][0]}
    with pytest.raises(ValueError, match=r"its mirror fails too: hf:timm/.* holds no weights of levit_128s: .*; give"):
        find_published("levit_128s", tmp_path / "kept", None)
    assert not (tmp_path / "kept").exists() or files(tmp_path / "kept") == []


@pytest.mark.parametrize("is_right", [True, False])
def test_a_mirror_of_the_same_file_is_held_to_the_published_digest(is_right, hub, publish, tmp_path):
    publish(f"{hub.url}/a.pth", mirror="hf:some/one:a.pth", sha256_prefix=DIGEST[:8] if is_right else "00000000")
    hub.repos["some/one"] = {"a.pth": CONTENT}
    if is_right:
        checkpoint, label = find_published("levit_128s", tmp_path, None)
        assert (checkpoint.sha256, label) == (DIGEST, f"hf:some/one@{COMMIT}:a.pth") and files(tmp_path)[
            0
        ] == "a.pth.sha256"
        return
    with pytest.raises(
        ValueError, match=r"a\.pth has SHA-256 .*, 00000000\.\.\. was published; give a checkpoint's path"
    ):
        find_published("levit_128s", tmp_path, None)


def test_where_host_and_mirror_fail_both_are_named(hub, publish, tmp_path):
    publish(f"{hub.url}/a.pth")
    with pytest.raises(ValueError, match=r"answers 401 Unauthorized; its mirror fails too: hf:timm/.*: no such") as e:
        find_published("levit_128s", tmp_path, None)
    assert "\n" not in str(e.value)


def test_other_content_of_the_host_is_no_reason_to_ask_the_mirror(server, hub, publish, tmp_path):
    publish(f"{server.url}/a.pth", sha256_prefix="00000000")
    with pytest.raises(ValueError, match=r"00000000\.\.\. was published; nothing was kept"):
        find_published("levit_128s", tmp_path, None)
    assert hub.requests == []


def test_mirrors():
    assert PUBLISHED["levit_384"].mirror == "hf:timm/levit_384.fb_dist_in1k"
    assert PUBLISHED["efficientvit_m5"].mirror == "hf:timm/efficientvit_m5.r224_in1k"
    assert PUBLISHED["fastervit_3_any_res"].mirror == "hf:ahatamiz/FasterViT:fastervit_3_224_1k.pth.tar"
    for weights in PUBLISHED.values():
        file = parse_hub_file(weights.mirror).file
        assert file is None or file == weights.filename, "the same file, held to the same record"


def test_folder_that_cannot_be_written(server, publish, tmp_path):
    publish(f"{server.url}/a.pth")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*file.*: .*; set EDGE_VIT_CACHE to another folder"):
        download_weights("levit_128s", tmp_path / "file", None)


def test_no_published_weights():
    with pytest.raises(ValueError, match=r"no weights are published for levit_edge; give a .* from levit_128s, "):
        published_weights("levit_edge")


def test_table_names_variants_and_says_who_may_use_them():
    assert set(PUBLISHED) <= set(list_models())
    assert PUBLISHED["levit_128s"].sha256_prefix == "96703c44" and PUBLISHED["levit_128s"].size_bytes == 32_152_063
    assert all(weights.url.startswith("https://") for weights in PUBLISHED.values())
    assert all("NON-COMMERCIAL" in w.licence for name, w in PUBLISHED.items() if name.startswith("fastervit"))
