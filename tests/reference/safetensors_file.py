"""The safetensors container, as far as a case needs it: float64 and int32 tensors and a metadata of strings.

A file is: 8 bytes N (little-endian), N bytes of JSON, the values of all tensors one after another. The JSON maps each
name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the end of the JSON.
"""

import json
import struct

import torch

TYPES = {"F64": (torch.float64, "d", 8), "I32": (torch.int32, "i", 4)}  # torch type, letter of struct, bytes


def write(path, tensors, metadata):
    header = {"__metadata__": metadata}
    values, size = [], 0
    for name, tensor in sorted(tensors.items()):
        dtype = "I32" if tensor.dtype == torch.int32 else "F64"
        assert tensor.dtype == TYPES[dtype][0], name
        numbers = tensor.detach().flatten().tolist()
        data = struct.pack(f"<{len(numbers)}{TYPES[dtype][1]}", *numbers)
        offsets = [size, size + len(data)]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        values.append(data)
        size += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the values begin at a multiple of 8
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(values))


def read(path):
    """Returns (tensors, metadata)."""
    with open(path, "rb") as file:
        content = file.read()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:start])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        dtype, letter, size = TYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        numbers = struct.unpack(f"<{(end - begin) // size}{letter}", content[start + begin : start + end])
        tensors[name] = torch.tensor(numbers, dtype=dtype).reshape(entry["shape"])
    return tensors, metadata
