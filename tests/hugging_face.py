"""transformers' LeViT with weights that make its logits depend on the picture, and files as the Hub has them."""

import hashlib
import json

import torch
from torch import nn

from edge_vit.models.levit import LEVIT_VARIANTS


def config_of(name, num_labels=1000, **others):
    """Return transformers' config of one of our variants."""
    from transformers import LevitConfig

    ours = LEVIT_VARIANTS[name]
    return LevitConfig(
        hidden_sizes=list(ours.embed_dim), num_attention_heads=list(ours.num_heads), depths=list(ours.depths),
        key_dim=[ours.key_dim] * 3, drop_path_rate=0, num_labels=num_labels, **others,
    )  # fmt: skip


@torch.no_grad()
def filled(config, with_teacher):
    """Return transformers' model, in eval mode.

    Its own initial weights leave all logits of all pictures near equal: so weights keep variances, and batch norms have
    the statistics of `pictures`. (Others may lie so far off that rounding is blown up with them.)
    """
    import transformers

    kind = "LevitForImageClassificationWithTeacher" if with_teacher else "LevitForImageClassification"
    model = getattr(transformers, kind)(config)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in model.named_parameters():
        if name.endswith("attention_biases"):
            tensor.normal_(0.0, 0.5, generator=generator)
        elif name.endswith(".bias"):
            tensor.normal_(0.0, 0.1, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(0.0, tensor[0].numel() ** -0.5, generator=generator)
        elif "projection" in name or "linear_down" in name:  # ends of residual branches, which training keeps small
            tensor.uniform_(0.1, 0.5, generator=generator)
        else:
            tensor.uniform_(0.5, 1.5, generator=generator)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain average of what is seen
    model.train()
    model(pictures(config.image_size))
    return model.eval()


def pictures(side):
    """Return pictures of different colours, coarse and fine details, normalised, (16, 3, side, side)."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(16, 3, 1, 1, generator=generator).expand(-1, -1, side, side)
    for cells in (7, 28, 112):
        detail = torch.randn(16, 3, cells, cells, generator=generator)
        images = images + nn.functional.interpolate(detail, size=(side, side), mode="bilinear")
    return images


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def fill_cache(cache, repo, files, revision="main", commit=COMMIT):
    """Lay files, {name: bytes}, into a folder as huggingface_hub lays out a repository that it has fetched."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    for name, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = folder / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / revision).write_text(commit)


def tiny_safetensors():
    """Return a whole .safetensors file of one tensor that no variant has."""
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)
