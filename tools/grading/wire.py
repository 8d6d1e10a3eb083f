"""Values on the pipe between examiner and worker: a frame of JSON and the buffers of its arrays. No pickle.

The examiner reads what a hostile process wrote. So every length is bounded before anything is allocated, nothing is
constructed but numbers, strings, lists, tuples, dicts and arrays of named dtypes, and all else is a `WireError`.

    frame:  b"AW" | length of the JSON, 4 bytes | length of all buffers, 4 bytes | JSON | buffers
    JSON:   {"message": {…}, "buffers": [bytes of each]}; in `message`, values are encoded:
            None, bool, int, float, str   as themselves
            ["l", …]  ["t", …]            list, tuple
            ["d", [key, value], …]        dict
            ["a", dtype, shape, i]        array, row-major in buffer i
            ["s", dtype, i]               NumPy scalar
            A fraction goes as an int if it is whole, as a float otherwise.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

MAGIC = b"AW"
HEAD = struct.Struct(">2sII")
TEXT = 8 << 20  # bytes of JSON in a frame
BUFFERS = 128 << 20  # bytes of arrays in a frame
DEPTH = 32
ARRAYS = 10_000
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


class WireError(ValueError):
    """What came is no frame, or a value that may not cross."""


def pack(message: dict[str, Any]) -> bytes:
    """Make a frame of a message."""
    buffers: list[bytes] = []
    encoded = {key: _encode(value, buffers, 0) for key, value in message.items()}
    try:
        text = json.dumps({"message": encoded, "buffers": [len(b) for b in buffers]}).encode("utf8", "surrogatepass")
    except ValueError as error:  # an int of more digits than Python prints
        raise WireError(f"a value cannot be sent: {error}") from None
    size = sum(map(len, buffers))
    if len(text) > TEXT or size > BUFFERS:
        limit = f"{TEXT >> 20} MB of text and {BUFFERS >> 20} MB of arrays"
        raise WireError(f"a value is too large: expected at most {limit}, got {len(text)} and {size} bytes")
    return b"".join([HEAD.pack(MAGIC, len(text), size), text, *buffers])


def unpack(text: bytes, payload: bytes) -> dict[str, Any]:
    """Read a frame back; `WireError` for all that `pack` cannot have made."""
    try:
        frame = json.loads(text.decode("utf8", "surrogatepass"))
        message, sizes = frame["message"], frame["buffers"]
        if len(sizes) > ARRAYS or not all(type(n) is int and n >= 0 for n in sizes) or sum(sizes) != len(payload):
            raise WireError("the buffers of a frame do not have the sizes that it names")
        ends = np.cumsum([0, *sizes]).tolist()
        buffers = [payload[start:end] for start, end in pairwise(ends)]
        return {str(key): _decode(value, buffers, 0) for key, value in message.items()}
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OverflowError) as error:
        raise WireError(f"no message: {type(error).__name__}") from None


def send(pipe: socket.socket, message: dict[str, Any]) -> None:
    """Send a message whole."""
    pipe.sendall(pack(message))


def receive(pipe: socket.socket, deadline: float | None = None) -> dict[str, Any]:
    """Wait for one message; TimeoutError after `deadline` (of `time.monotonic`), EOFError when nobody sends."""
    magic, text, size = HEAD.unpack(_read(pipe, HEAD.size, deadline))
    if magic != MAGIC or text > TEXT or size > BUFFERS:
        raise WireError("no message: it does not begin as one, or is too long")
    return unpack(_read(pipe, text, deadline), _read(pipe, size, deadline))


def _read(pipe: socket.socket, count: int, deadline: float | None) -> bytes:
    got = bytearray()
    while len(got) < count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            pipe.settimeout(left)
        try:
            piece = pipe.recv(min(count - len(got), 1 << 20))
        except ConnectionError:
            piece = b""
        if not piece:
            raise EOFError
        got += piece
    return bytes(got)


def _encode(value: Any, buffers: list[bytes], depth: int) -> Any:
    if depth > DEPTH:
        raise WireError(f"a value is nested too deeply: expected at most {DEPTH} levels")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return ["s", _dtype(value.dtype), _keep(np.asarray(value), buffers)]
    if not isinstance(value, np.ndarray) and hasattr(value, "__array__") and hasattr(value, "dtype"):
        value = np.asarray(value)  # an array of JAX, or of another library
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc" and value.dtype.name == "bfloat16":
            value = value.astype(np.float32)  # every bfloat16 is a float32
        return ["a", _dtype(value.dtype), list(value.shape), _keep(value, buffers)]
    if isinstance(value, bool | int | float | str):  # subclasses, such as an enumeration's members
        return next(kind(value) for kind in (int, float, str) if isinstance(value, kind))
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    if isinstance(value, list | tuple):
        return ["t" if isinstance(value, tuple) else "l", *(_encode(item, buffers, depth + 1) for item in value)]
    if isinstance(value, dict):
        return ["d", *([_encode(k, buffers, depth + 1), _encode(v, buffers, depth + 1)] for k, v in value.items())]
    kinds = "a number, string, list, tuple, dict or array"
    raise WireError(f"a value cannot be sent: expected {kinds}, got {type(value).__name__}")


def _dtype(dtype: np.dtype[Any]) -> str:
    if dtype.name not in DTYPES:
        raise WireError(f"an array cannot be sent: expected a dtype of numbers, got {dtype}")
    return dtype.name


def _keep(array: np.ndarray[Any, Any], buffers: list[bytes]) -> int:
    if len(buffers) >= ARRAYS:
        raise WireError(f"a value has too many arrays: expected at most {ARRAYS}")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    buffers.append(np.ascontiguousarray(little).tobytes())
    return len(buffers) - 1


def _decode(value: Any, buffers: list[bytes], depth: int) -> Any:
    if depth > DEPTH:
        raise WireError("a value is nested too deeply")
    if not isinstance(value, list):
        if isinstance(value, dict):
            raise WireError("no message: an object where a value belongs")
        return value
    tag, *rest = value
    if tag == "l":
        return [_decode(item, buffers, depth + 1) for item in rest]
    if tag == "t":
        return tuple(_decode(item, buffers, depth + 1) for item in rest)
    if tag == "d":
        return {_decode(key, buffers, depth + 1): _decode(item, buffers, depth + 1) for key, item in rest}
    if tag == "s":
        name, index = rest
        return _array(name, [], index, buffers)[()]
    if tag == "a":
        name, shape, index = rest
        return _array(name, shape, index, buffers)
    raise WireError(f"no message: unknown kind of value {str(tag)[:20]!r}")


def _array(name: Any, shape: Any, index: Any, buffers: list[bytes]) -> np.ndarray[Any, Any]:
    if name not in DTYPES or len(shape) > DEPTH or not all(type(n) is int and 0 <= n <= BUFFERS for n in shape):
        raise WireError("no message: an array of unknown dtype or shape")
    if type(index) is not int or index < 0:
        raise WireError("no message: an array without a buffer")
    dtype = np.dtype(name).newbyteorder("<")
    data = buffers[index]
    if name == "bool" and data.translate(None, b"\0\1"):
        raise WireError("no message: an array of booleans with other bytes")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise WireError("no message: an array whose buffer has another length")
    return np.frombuffer(data, dtype).reshape(shape).astype(name)  # a copy, writable, in this machine's order
