"""Fixtures that several folders share."""

import importlib.util
import shutil

import pytest

pytest_plugins = ["emulated_devices", "made_up_models"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
COREML_LEAVES_FOLDERS = "ignore:Implicitly cleaning up:ResourceWarning"


def pytest_collection_modifyitems(items):
    has_onnx = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    for item in items:
        if item.get_closest_marker("needs_onnx") and not has_onnx:
            item.add_marker(pytest.mark.skip(reason="needs edge_vit[onnx]"))
        if item.get_closest_marker("needs_coreml"):
            item.add_marker(pytest.mark.filterwarnings(COREML_LEAVES_FOLDERS))


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright; the system's own, because a package index has none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs edge_vit[dev]")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser on PATH; known are {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def randomise_():
    """Return a function that fills a model with values that a mistake in folding would not survive."""
    import torch  # here, because most folders' tests need none

    @torch.no_grad()
    def randomise_(model):
        generator = torch.Generator().manual_seed(1)
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=generator)
                if tensor.dim() > 1:
                    tensor.copy_(values * (1.2 / tensor[0].numel()) ** 0.5)
                    continue
                spread = 0.5 * values.clamp(-1, 1)
                tensor.copy_(0.03 * values if name.endswith(("bias", "mean")) else 0.65 + 0.5 * spread)
                tensor.add_(0.35 + 0.5 * spread if name.endswith("var") else 0.0)
        return model

    return randomise_
