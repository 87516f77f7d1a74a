"""Weights and images by formula, the same in make_zoo.py (torchvision) and tests/interop/test_zoo.py (pare).

RandomState is numpy's frozen legacy stream: the same numbers from every numpy version. Every tensor differs from
what a freshly built net has, running statistics too, so that no mix-up of two tensors goes unseen.
"""
import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile
import zlib

import numpy as np


def tensor(name, shape):
    r = np.random.RandomState(zlib.crc32(name.encode()))
    x = r.standard_normal(shape)
    if name.endswith("running_var"):
        x = 0.5 + np.abs(x)
    elif name.endswith("running_mean"):
        x = 0.1 * x
    elif len(shape) == 4:
        x = x * np.sqrt(2.0 / (shape[0] * shape[2] * shape[3]))
    elif len(shape) == 2:
        x = 0.05 * x
    elif name.endswith("weight"):
        x = 1.0 + 0.2 * x
    else:
        x = 0.1 * x
    return np.ascontiguousarray(x, dtype=np.float32)


def image(shape):
    return np.random.RandomState(1).standard_normal(shape).astype(np.float32)


def write_safetensors(path, tensors):
    """tensors: {name: float32 array}; the format in ten lines, so that the test needs no package for it."""
    header, at = {}, 0
    for name, x in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for x in tensors.values():
            f.write(x.tobytes())


def write_pth(path, tensors):
    """The same as torch.save(tensors, path) writes it, without torch: stand-ins under torch's names are pickled."""
    storage = type("FloatStorage", (), {"__module__": "torch"})
    rebuild = types.FunctionType((lambda: None).__code__, {}, "_rebuild_tensor_v2")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    modules = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    modules["torch"].FloatStorage, modules["torch._utils"]._rebuild_tensor_v2 = storage, rebuild

    class Storage:
        def __init__(self, key, count):
            self.id = ("storage", storage, key, "cpu", count)

    class Tensor:
        def __init__(self, key, x):
            strides = tuple(s // x.itemsize for s in x.strides)
            self.args = (Storage(key, x.size), 0, x.shape, strides, False, collections.OrderedDict())

        def __reduce__(self):
            return rebuild, self.args

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.id if isinstance(obj, Storage) else None

    state = collections.OrderedDict((name, Tensor(str(i), x)) for i, (name, x) in enumerate(tensors.items()))
    data = io.BytesIO()
    kept = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        Pickler(data, 2).dump(state)
    finally:
        for name, module in kept.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("archive/data.pkl", data.getvalue())
        z.writestr("archive/byteorder", "little")
        for i, x in enumerate(tensors.values()):
            z.writestr(f"archive/data/{i}", x.tobytes())
        z.writestr("archive/version", "3\n")


# name: (net, parameters under `with:`, input shape)
CASES = {
    "resnet18": ("resnet18", {}, (1, 3, 224, 224)),
    "resnet18-imagenet-odd": ("resnet18", {"classes": 7, "size": 65}, (2, 3, 65, 65)),
    "resnet18-small": ("resnet18", {"classes": 10, "channels": 1, "size": 28, "stem": "small"}, (2, 1, 28, 28)),
    "resnet18-cifar": ("resnet18", {"classes": 10, "channels": 1, "size": 28, "stem": "cifar"}, (2, 1, 28, 28)),
    "mobilenet_v2": ("mobilenet_v2", {}, (1, 3, 224, 224)),
    "mobilenet_v2-imagenet-odd": ("mobilenet_v2", {"classes": 7, "size": 65}, (2, 3, 65, 65)),
    "mobilenet_v2-small": ("mobilenet_v2", {"classes": 10, "channels": 1, "size": 28, "stem": "small"}, (2, 1, 28, 28)),
    "mobilenet_v2-cifar": ("mobilenet_v2", {"classes": 10, "channels": 1, "size": 28, "stem": "cifar"}, (2, 1, 28, 28)),
}

# The seed of the cases whose weights are pare's own; the golden hash in tests/model/test_zoo.c holds their bytes.
SEED = 7
SEEDED = ["resnet18-small", "mobilenet_v2-small"]
