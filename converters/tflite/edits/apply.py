"""Every edit of a finished .tflite flatbuffer that the lowering tool has no setting for, in order."""

from typing import Literal

from converters.tflite.edits.boundary import free_from_int8_, give_float_, keep_integers_, take_uint8_
from converters.tflite.edits.constants import shrink_constants_
from converters.tflite.edits.flatbuffer import EditedModel
from converters.tflite.edits.half import allow_half_
from converters.tflite.edits.matmul import restore_matmuls_, turn_right_sides_
from converters.tflite.edits.planes import plain_constants_
from converters.tflite.edits.relu import fuse_relu_
from converters.tflite.edits.wide import widen_
from converters.tflite.metadata import NAME as METADATA


def edit_model(
    flatbuffer: bytes,
    *,
    stored_constants: Literal["int8", "fp16"] | None,
    has_floats: bool = True,
    is_wide: bool = False,
    has_plain_constants: bool = False,
    io: Literal["uint8", "int8"] = "uint8",
    outputs: tuple[str, ...] = ("logits",),
    metadata: bytes = b"",
) -> bytes:
    """Return the model with the outside that apps expect, by default uint8 pixels in, floats out.

    Args:
        stored_constants: Keep large float constants smaller, dequantized once when the model is loaded. "int8" is for a
            quantized graph and concerns the addends of its float additions (attention biases): the qdq graph holds
            them on that grid, but the lowering tool drops quantize-dequantize pairs on constants. "fp16" is for a
            float graph and concerns everything.
        has_floats: Whether the processor computes floats.
        is_wide: Give activations 16 bits.
        has_plain_constants: Write sums with constants as LiteRT's GPU engine reads them.
        io: "int8" leaves the integers of a quantized graph as they are, at both ends.
        outputs: What the outputs are called.
        metadata: TFLite Metadata, see converters/tflite/metadata.py.

    Raises:
        ValueError: If the graph does not take pixels.
    """
    model = EditedModel(flatbuffer)
    if io == "int8":
        keep_integers_(model, outputs)
    else:
        take_uint8_(model, has_floats)
        give_float_(model, outputs)
    if has_floats:
        free_from_int8_(model)
    restore_matmuls_(model)
    turn_right_sides_(model)
    fuse_relu_(model)
    if is_wide:
        widen_(model)
    if has_plain_constants:
        plain_constants_(model)
    if stored_constants is not None:
        shrink_constants_(model, stored_constants)
    allow_half_(model)
    if metadata:
        model.add_metadata(METADATA, metadata)
    return model.pack()
