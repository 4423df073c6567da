"""Which models a .tflite cannot hold, told from how many numbers they are."""

MAX_TFLITE_BYTES = 2**31 - 1  # one flatbuffer, whose offsets have 31 bits
# Parameters of deploy forms that are too many whatever the resolution; a command refuses these before torch is loaded.
LARGE_VARIANTS = {
    "fastervit_5": 934_643_752,
    "fastervit_6": 1_328_021_032,
    "fastervit_5_any_res": 934_662_952,
    "fastervit_6_any_res": 1_328_040_232,
}


def check_tflite_size(name: str, num_constants: int) -> None:
    """Refuse a float .tflite of a model with so many parameters and tables.

    A file in half precision is no way out: it is made from one in float32.

    Raises:
        ValueError: If the file would be too large; the message says what fits.
    """
    if 4 * num_constants <= MAX_TFLITE_BYTES:
        return
    smaller = f"--int8 ({num_constants / 1e9:.1f} GB) or " if num_constants <= MAX_TFLITE_BYTES else ""
    raise ValueError(
        f"{name} is {4 * num_constants / 1e9:.1f} GB of float32 numbers, and a .tflite holds "
        f"{MAX_TFLITE_BYTES / 1e9:.1f} GB at most, --fp16 is made from one too; use {smaller}--target executorch"
    )
