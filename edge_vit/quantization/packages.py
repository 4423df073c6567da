"""What quantization needs besides torch; importing this loads nothing of it."""

import importlib.util


def check_torchao() -> None:
    """Raise ImportError, naming what to install, where torchao is missing: its PT2E writes the quantized graphs."""
    if importlib.util.find_spec("torchao") is None:
        raise ImportError(
            "quantizing needs torchao, which every target's extra brings; pip install 'edge_vit[tflite]', "
            "[executorch] or [coreml]",
            name="torchao",
        )
