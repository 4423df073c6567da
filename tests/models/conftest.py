"""Golden checkpoints, images and logits, and the graph checks that all families share."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

GOLDENS = Path(__file__).parents[1] / "goldens"


def _load_fill():
    spec = importlib.util.spec_from_file_location("golden_fill", GOLDENS / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def goldens():
    """Return `official(name)`, `timm(name)`, `images()`, `logits(name)` and `error(logits, name)`."""
    fill = _load_fill()

    def official(name):
        return {key: torch.from_numpy(np.asarray(value)) for key, value in fill.checkpoint(name).items()}

    def timm(name, tensors=None):
        tensors = official(name) if tensors is None else tensors
        keys = json.loads((GOLDENS / "timm_keys" / f"{name}.json").read_text())
        assert set(keys.values()) == set(tensors)
        return {theirs: tensors[key] for theirs, key in keys.items()}

    def logits(name):
        return torch.from_numpy(np.load(GOLDENS / "logits" / f"{name}.npy"))

    def error(got, name):
        """Return the largest difference from the golden logits, relative to the largest logit."""
        want = logits(name)
        assert got.shape == want.shape and got.dtype == torch.float32
        return float((got - want).abs().max() / want.abs().max())

    return SimpleNamespace(
        official=official, timm=timm, images=lambda: torch.from_numpy(fill.images(0)), logits=logits, error=error
    )


@pytest.fixture(scope="session")
def deploy_graph():
    """Return a function: model -> its operators exported at batch one, checked for what no deploy form holds."""

    def export(model, resolution=224):
        height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
        program = torch.export.export(model, (torch.zeros(1, 3, height, width),))
        operators = []
        for node in program.graph.nodes:
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor):
                assert value.dim() <= 4, f"{node.name} has {value.dim()} axes"
            if node.op == "call_function":
                operators.append(str(node.target))
        banned = ("batch_norm", "gather", "index", "expand", "repeat", "copy_", "meshgrid", "arange", "embedding")
        found = [name for name in operators if any(word in name.partition(".")[2] for word in banned)]
        assert not found, found
        assert not program.graph_signature.buffers_to_mutate
        return operators

    return export
