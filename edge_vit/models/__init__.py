"""The model families, their registry and their weights."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_vit.models.registry import ModelSpec, create_model, get_spec, list_models
    from edge_vit.models.weights import load_weights

__all__ = ["ModelSpec", "create_model", "get_spec", "list_models", "load_weights"]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `python -m edge_vit.models --help` does not load torch.
    if name == "load_weights":
        from edge_vit.models.weights import load_weights

        return load_weights
    if name in __all__:
        import edge_vit.models.registry

        return getattr(edge_vit.models.registry, name)
    raise AttributeError(f"module 'edge_vit.models' has no attribute {name!r}")
