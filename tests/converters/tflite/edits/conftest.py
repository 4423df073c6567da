"""Every test of an edit needs the schema that LiteRT carries, and the files, read back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from converters.tflite.reader import TFLiteModel, read_model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.needs_tflite)


@pytest.fixture(autouse=True)
def schema() -> Any:
    return pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs edge_vit[tflite]")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], TFLiteModel]:
    def read_bytes(flatbuffer: bytes) -> TFLiteModel:
        path = tmp_path / "edited.tflite"
        path.write_bytes(flatbuffer)
        return read_model(path)

    return read_bytes
