"""Decode protocol buffers by a small table of fields, so that a Core ML file opens where coremltools does not install.

Only the messages of an ML program are described (`Model.proto`, `FeatureTypes.proto` and `MIL.proto`, which Apple
publishes with Core ML); every other field is skipped, as the wire format demands.
"""

import struct
from typing import Any

import numpy as np

# message -> "number name kind" lines. `*` repeats, `map K` holds string keys; kinds in capitals are messages.
_TABLE = """
Model: 1 specificationVersion int, 2 description ModelDescription, 502 mlProgram Program, 202 pipeline Other,
    500 neuralNetwork Other, 403 neuralNetworkClassifier Other, 303 neuralNetworkRegressor Other
ModelDescription: 1 input *FeatureDescription, 10 output *FeatureDescription, 13 state *FeatureDescription,
    11 predictedFeatureName str, 12 predictedProbabilitiesName str, 20 functions *FunctionDescription,
    21 defaultFunctionName str, 100 metadata Metadata
FunctionDescription: 1 name str, 2 input *FeatureDescription, 3 output *FeatureDescription,
    4 predictedFeatureName str, 5 predictedProbabilitiesName str, 6 state *FeatureDescription
Metadata: 1 shortDescription str, 2 versionString str, 3 author str, 4 license str, 100 userDefined map str
FeatureDescription: 1 name str, 2 shortDescription str, 3 type FeatureType
FeatureType: 1 int64Type Other, 2 doubleType Other, 3 stringType Other, 4 imageType ImageFeatureType,
    5 multiArrayType ArrayFeatureType, 6 dictionaryType Other, 8 stateType Other
ImageFeatureType: 1 width int, 2 height int, 3 colorSpace int
ArrayFeatureType: 1 shape *int, 2 dataType int
Program: 1 version int, 2 functions map Function
Function: 1 inputs *NamedValueType, 2 opset str, 3 block_specializations map Block
Block: 1 inputs *NamedValueType, 2 outputs *str, 3 operations *Operation
Operation: 1 type str, 2 inputs map Argument, 3 outputs *NamedValueType, 4 blocks *Block, 5 attributes map Value
Argument: 1 arguments *Binding
Binding: 1 name str, 2 value Value
NamedValueType: 1 name str, 2 type ValueType
ValueType: 1 tensorType TensorType, 2 listType Other, 3 tupleType Other, 4 dictionaryType Other, 5 stateType StateType
StateType: 1 wrappedType ValueType
TensorType: 1 dataType int, 2 rank int, 3 dimensions *Dimension
Dimension: 1 constant ConstantDimension, 2 unknown Other
ConstantDimension: 1 size int
Value: 2 type ValueType, 3 immediateValue ImmediateValue, 5 blobFileValue BlobFileValue
ImmediateValue: 1 tensor TensorValue, 2 tuple ListValue, 3 list ListValue, 4 dictionary Other
BlobFileValue: 1 fileName str, 2 offset int
TensorValue: 1 floats Floats, 2 ints Ints, 3 bools Ints, 4 strings Strings, 5 longInts Ints, 6 doubles Doubles,
    7 bytes Bytes
Floats: 1 values *float
Doubles: 1 values *double
Ints: 1 values *int
Strings: 1 values *str
Bytes: 1 values bytes
ListValue: 1 values *Value
Other:
"""
_Fields = dict[int, tuple[str, str, str]]  # number -> name, kind, "" or "*" or "map"


class WireError(ValueError):
    """The bytes are no protocol buffer of the expected kind."""


def _parse_table(text: str) -> dict[str, _Fields]:
    messages: dict[str, _Fields] = {}
    for entry in text.strip().replace("\n    ", " ").splitlines():
        name, _, body = entry.partition(":")
        fields: _Fields = {}
        for item in filter(None, (part.strip() for part in body.split(","))):
            number, field, kind = item.split(" ", 2)
            repeat = "map" if kind.startswith("map ") else "*" if kind.startswith("*") else ""
            fields[int(number)] = (field, kind.removeprefix("map ").removeprefix("*"), repeat)
        messages[name] = fields
    return messages


_MESSAGES = _parse_table(_TABLE)
_SCALARS = {"int", "str", "bytes", "float", "double"}


def decode(data: bytes | memoryview, message: str) -> dict[str, Any]:
    """Decode `data` as the message of that name.

    Returns:
        Field name -> value; repeated fields are lists, maps are dicts, absent fields are absent.

    Raises:
        WireError: If the bytes end early or hold a wire type that does not fit.
    """
    try:
        return _decode(memoryview(data), _MESSAGES[message])
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError) as e:
        raise WireError(f"damaged or not a {message} message") from e


def _decode(data: memoryview, fields: _Fields) -> dict[str, Any]:
    out: dict[str, Any] = {}
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        chunk, at = _take(data, at, key & 7)
        if key >> 3 not in fields:
            continue
        name, kind, repeat = fields[key >> 3]
        if repeat == "map":
            entry = _decode(chunk, {1: ("key", "str", ""), 2: ("value", kind, "")})
            out.setdefault(name, {})[entry.get("key", "")] = entry.get("value", "" if kind == "str" else {})
        elif repeat == "*":
            out.setdefault(name, []).extend(_items(chunk, kind, key & 7))
        else:
            out[name] = _items(chunk, kind, key & 7)[0]
    return out


def _take(data: memoryview, at: int, wire: int) -> tuple[Any, int]:
    """Return the payload of one field and where the next begins."""
    if wire == 0:
        return _varint(data, at)
    if wire == 2:
        size, at = _varint(data, at)
    elif wire in (1, 5):
        size = 8 if wire == 1 else 4
    else:
        raise WireError(f"wire type {wire} is not used in Core ML files")
    if at + size > len(data):
        raise WireError("the file ends in the middle of a field")
    return data[at : at + size], at + size


def _items(chunk: Any, kind: str, wire: int) -> list[Any]:
    """Return the values in one payload: one, or several where scalars are packed."""
    if kind not in _SCALARS:
        return [_decode(_as_bytes(chunk), _MESSAGES[kind])]
    if kind == "int":
        return [_signed(chunk)] if wire == 0 else _packed_ints(chunk)
    chunk = _as_bytes(chunk)
    if kind == "str":
        return [bytes(chunk).decode()]
    if kind == "bytes":
        return [bytes(chunk)]
    return np.frombuffer(chunk, "<f4" if kind == "float" else "<f8").tolist()


def _as_bytes(chunk: Any) -> memoryview:
    if not isinstance(chunk, memoryview):
        raise WireError("a number stands where a message or text belongs")
    return chunk


def _packed_ints(chunk: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(chunk):
        value, at = _varint(chunk, at)
        values.append(_signed(value))
    return values


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise WireError("a number is longer than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
