"""TFLite Metadata: what MediaPipe Tasks and ML Kit read from a .tflite file to feed it and to name its classes.

A flatbuffer of its own (identifier M001) lies in the model's metadata buffer; files that it names follow the model as a
zip archive, not compressed, at the end of the file, which a reader of the model does not see. Field numbers are those
of the public schema, metadata_schema.fbs, version 1.5.0; all that is written here is known since 1.0.0.
"""

import io
import zipfile
from typing import Any

import numpy as np

from converters.card import ModelCard

NAME = "TFLITE_METADATA"
LABELS_FILE = "labels.txt"
_IDENTIFIER = b"M001"
_MIN_PARSER_VERSION = "1.0.0"
_TENSOR_AXIS_LABELS = np.uint8(2)  # AssociatedFileType
_IMAGE_PROPERTIES = np.uint8(2)  # ContentProperties
_NORMALIZATION = np.uint8(1)  # ProcessUnitOptions
_RGB = np.uint8(1)  # ColorSpaceType
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # of a zip archive: the same file every time


def make_metadata(card: ModelCard, input_name: str, output_names: tuple[str, ...]) -> bytes:
    """Return the metadata of a model that takes uint8 RGB pixels as they are.

    Args:
        output_names: What the outputs are called. The labels are of the only one; several have none.
    """
    image = {
        0: input_name,
        1: "RGB pixels, 0 to 255; normalisation is inside the model.",
        3: {0: _IMAGE_PROPERTIES, 1: {0: _RGB}},
        4: [{0: _NORMALIZATION, 1: {0: [0.0], 1: [1.0]}}],
        5: {0: [255.0], 1: [0.0]},
    }
    outputs: list[dict[int, Any]] = [{0: name} for name in output_names]
    if card.labels:
        outputs[0][6] = [{0: LABELS_FILE, 1: "One class a line, in the order of the output.", 2: _TENSOR_AXIS_LABELS}]
    texts = {0: card.name, 1: card.description, 2: card.version, 4: card.author, 5: card.license}
    model = {slot: text for slot, text in texts.items() if text}
    return _pack(model | {3: [{2: [image], 3: outputs}], 7: _MIN_PARSER_VERSION})


def append_labels(flatbuffer: bytes, labels: tuple[str, ...]) -> bytes:
    """Return the model with its labels behind it; without labels, the model."""
    if not labels:
        return flatbuffer
    file = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        info = zipfile.ZipInfo(LABELS_FILE, _FIRST_DATE)
        info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system
        archive.writestr(info, "".join(f"{label}\n" for label in labels))
    return file.getvalue()


def _pack(table: dict[int, Any]) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, table), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: Any, value: Any) -> int:
    """Write a text, a list or a table, {field number: value}, with all that it holds; return its offset.

    Numbers in lists are float32; those in tables are numpy's, of the field's size.
    """
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, list) and isinstance(value[0], float):
        return builder.CreateNumpyVector(np.array(value, np.float32))
    if isinstance(value, list):
        offsets = [_write(builder, entry) for entry in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    fields = {slot: v if isinstance(v, np.uint8) else _write(builder, v) for slot, v in value.items()}
    builder.StartObject(max(fields) + 1)
    for slot, field in fields.items():
        if isinstance(field, np.uint8):
            builder.PrependUint8Slot(slot, int(field), 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    return builder.EndObject()
