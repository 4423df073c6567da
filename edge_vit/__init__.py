"""Vision transformers on phones: exact deploy forms, quantization-aware training, conversion, proof and measurement.

list_models() -> list[str]
create_model(name, num_classes=1000, resolution=224) -> nn.Module    training form
load_weights(model, source) -> LoadReport                            strict; official, timm, transformers, own
fuse(model) -> nn.Module                                             deploy form, same function
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_vit.layers.fuse import fuse
    from edge_vit.models import create_model, list_models, load_weights

__all__ = ["create_model", "fuse", "list_models", "load_weights"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `import edge_vit` (and every --help) stays light.
    if name == "fuse":
        from edge_vit.layers.fuse import fuse

        return fuse
    if name in __all__:
        import edge_vit.models

        return getattr(edge_vit.models, name)
    raise AttributeError(f"module 'edge_vit' has no attribute {name!r}")
