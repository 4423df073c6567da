"""Which models a .tflite or an .onnx file cannot hold, told from how many numbers they are."""

# One flatbuffer, whose offsets have 31 bits; one protobuf message, which holds as much.
MAX_FILE_BYTES = 2**31 - 1
_LIMITED = {"tflite": "a .tflite", "onnx": "an .onnx file"}
# Parameters of deploy forms that are too many whatever the resolution; a command refuses these before torch is loaded.
LARGE_VARIANTS = {
    "fastervit_5": 934_643_752,
    "fastervit_6": 1_328_021_032,
    "fastervit_5_any_res": 934_662_952,
    "fastervit_6_any_res": 1_328_040_232,
}


def check_size(target: str, name: str, num_constants: int) -> None:
    """Refuse a float file, where its format has a limit, of a model with so many parameters and tables.

    A file in half precision is no way out: it is made from one in float32.

    Raises:
        ValueError: If the file would be too large; the message says what fits.
    """
    if target not in _LIMITED or 4 * num_constants <= MAX_FILE_BYTES:
        return
    smaller = f"--int8 ({num_constants / 1e9:.1f} GB) or " if num_constants <= MAX_FILE_BYTES else ""
    raise ValueError(
        f"{name} is {4 * num_constants / 1e9:.1f} GB of float32 numbers, and {_LIMITED[target]} holds "
        f"{MAX_FILE_BYTES / 1e9:.1f} GB at most, --fp16 is made from one too; use {smaller}--target executorch"
    )
