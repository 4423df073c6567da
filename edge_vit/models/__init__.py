"""The model families, their registry and their weights."""

from edge_vit.models.registry import ModelSpec, create_model, get_spec, list_models
from edge_vit.models.weights import load_weights

__all__ = ["ModelSpec", "create_model", "get_spec", "list_models", "load_weights"]
