"""FasterViT against the published implementation's logits, its deploy form and its graph."""

import dataclasses

import pytest
import torch

from edge_vit.layers.fuse import fuse
from edge_vit.models.fastervit import FASTERVIT_VARIANTS, FasterViT, FasterViTConfig
from edge_vit.models.registry import create_model
from edge_vit.models.weights import load_weights

TINY = FasterViTConfig(embed_dim=16, stem_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), resolution=64)
LARGE = {"fastervit_2", "fastervit_3", "fastervit_4"}
GOLDEN = [
    pytest.param(f"fastervit_{i}", marks=[pytest.mark.slow] if f"fastervit_{i}" in LARGE else []) for i in range(5)
]


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_equals_published_logits_in_both_forms(name, goldens, capsys):
    model = create_model(name).eval()
    report = load_weights(model, goldens.official(name))
    assert report.naming == "official" and "NON-COMMERCIAL" in report.licence
    assert capsys.readouterr().err.startswith(f"{name}: weights under the NVIDIA Source Code License-NC")
    images = goldens.images()
    assert goldens.error(model(images), name) < 1e-4
    fused = fuse(model)
    del model
    assert goldens.error(fused(images), name) < 1e-4
    assert goldens.error(torch.cat([fused(image[None]) for image in images]), name) < 1e-4


def test_wrapped_files_are_read_and_stale_buffers_are_not_trusted(goldens, tmp_path):
    official = goldens.official("fastervit_0")
    junk = {
        "levels.2.blocks.0.attn.pos_emb_funct.relative_bias": torch.full((1, 8, 53, 53), float("nan")),
        "levels.2.blocks.0.attn.pos_emb_funct.relative_position_index": torch.zeros(49, 49),
        "patch_embed.conv_down.1.num_batches_tracked": torch.tensor(7),
    }
    wrapped = {f"module.encoder.{key}": value for key, value in (official | junk).items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "x.pth.tar")
    model, reference = create_model("fastervit_0"), create_model("fastervit_0")
    assert load_weights(model, tmp_path / "x.pth.tar").naming == "official"
    load_weights(reference, official)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))


def test_own_weights_need_no_licence(capsys):
    model = create_model("fastervit_0", num_classes=3)
    report = load_weights(model, create_model("fastervit_0", num_classes=3).state_dict())
    assert (report.naming, report.licence) == ("own", "") and capsys.readouterr().err == ""


def test_deploy_graph_is_clean(deploy_graph):
    operators = deploy_graph(fuse(create_model("fastervit_0")))
    assert len(operators) <= 620
    assert sum("softmax" in name for name in operators) == 2 * 6 + 5
    assert not any("sigmoid" in name or "interpolate" in name or "upsample" in name for name in operators)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"layer_scale": 0.5},
        {"resolution": 96},
        {"resolution": 128, "window_sizes": (3, 3)},
        {"resolution": (64, 128), "window_sizes": (2, 2)},
        {"carrier_size": 0, "layer_scale": 0.5},
    ],
)
@torch.no_grad()
def test_deploy_form_of_every_kind(change, randomise_, deploy_graph):
    model = randomise_(FasterViT(dataclasses.replace(TINY, num_classes=5, **change))).eval()
    images = torch.randn(2, 3, *model.config.image_size, generator=torch.Generator().manual_seed(0))
    fused, want = fuse(model), model(images)
    assert want.shape == (2, 5) and want.std() > 0
    torch.testing.assert_close(fused(images), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
    deploy_graph(fused, model.config.image_size)


@pytest.mark.parametrize("name", ["fastervit_0_any_res", "fastervit_4_21k_384"])
def test_large_variants_are_wired_right(name, goldens):
    source = {"fastervit_0_any_res": "fastervit_0"}.get(name)
    with torch.device("meta"):
        model = create_model(name).eval()
        logits = model(torch.empty(1, 3, *model.config.image_size))
        assert logits.shape == (1, 1000)
        names = set(create_model(source).state_dict()) if source else None
    assert names is None or names == set(model.state_dict())


@pytest.mark.parametrize(
    ("resolution", "windows", "padded"),
    [(224, (7, 7), (14, 7)), (256, (8, 8), (16, 8)), (160, (5, 5), (10, 5)), (288, (9, 9), (18, 9))],
)
def test_windows_grow_with_the_picture(resolution, windows, padded):
    with torch.device("meta"):
        model = create_model("fastervit_0", resolution=resolution)
    geometries = [model.stages[stage].blocks.geometry for stage in (2, 3)]
    assert tuple(g.size for g in geometries) == windows and tuple(g.padded[0] for g in geometries) == padded


def test_every_parameter_learns(randomise_):
    config = dataclasses.replace(TINY, layer_scale=0.5, drop_path=0.1, window_sizes=(2, 2))
    model = randomise_(FasterViT(config)).train()
    torch.manual_seed(0)
    model(torch.randn(16, 3, 64, 64)).square().mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_drop_path_rises_with_depth():
    with torch.device("meta"):
        model = create_model("fastervit_0")
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == "DropPath"]
    assert rates[0] == 0.0 and rates[-1] == pytest.approx(0.2) and rates == sorted(rates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 100}, "resolution 100 is not allowed; use multiples of 32 from 64 up"),
        ({"resolution": 32}, "resolution 32 is not allowed"),
        ({"resolution": (64, 96)}, r"resolution \(64, 96\) is no square; give window_sizes or use an any_res variant"),
        ({"num_classes": 0}, "num_classes 0 is not allowed; use 1 or more"),
        ({"drop_path": 1.0}, "drop_path 1.0 is not allowed"),
    ],
)
def test_bad_config(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_variants_are_all_there():
    names = {f"fastervit_{i}{suffix}" for i in range(7) for suffix in ("", "_any_res")}
    published = {name for name in FASTERVIT_VARIANTS if "_edge_" not in name}
    assert published == names | {f"fastervit_4_21k_{side}" for side in (224, 384, 512, 768)}
