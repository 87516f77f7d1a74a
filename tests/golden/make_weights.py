#!/usr/bin/env python3
"""Makes weights_*.pth and weights_*.safetensors: small files as PyTorch and the safetensors package write them.

Needs torch and safetensors; the results are committed and read by tests/model/test_weights.c. The tensors hold
0, 1, 2, ... (divided by 8 where they are floats), so that a test can tell every element.
"""
import collections
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent


def count(*shape, dtype=torch.float32):
    n = torch.Size(shape).numel()
    x = torch.arange(n, dtype=torch.float64)
    return (x / 8 if dtype.is_floating_point else x).to(dtype).reshape(shape)


class Narrow(torch.nn.Module):
    """A convolution, a batch norm and a head, named as resnet18 names them."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(2, 3, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(3)
        self.fc = torch.nn.Linear(3, 4)


def narrow(dtype):
    m = Narrow()
    with torch.no_grad():
        for name, t in m.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                t.copy_(count(*t.shape))
    return m.to(dtype)


def save(name, what, **more):
    torch.save(what, HERE / f"weights_{name}.pth", **more)


save("narrow", narrow(torch.float32).state_dict())
save("narrow_f16", narrow(torch.float16).state_dict())
save("narrow_bf16_p4", narrow(torch.bfloat16).state_dict(), pickle_protocol=4)
save("checkpoint_f64", {"epoch": 3, "best": 0.5, "lr": [0.1, 0.01], "args": {"name": "x", "big": 1 << 100},
                        "state_dict": narrow(torch.float64).state_dict()}, pickle_protocol=5)
save("legacy", narrow(torch.float32).state_dict(), _use_new_zipfile_serialization=False)
save("module", narrow(torch.float32))  # a whole module: names a class, is refused

base = count(4, 6)
views = collections.OrderedDict()
views["base"] = base
views["row"] = base[1]                    # contiguous, at an offset
views["transposed"] = base.t()            # strides (1, 6)
views["stepped"] = base[::2, 1::2]        # gaps in both
views["expanded"] = count(3, 1).expand(3, 2)  # stride 0
views["scalar"] = torch.tensor(2.5)
views["empty"] = torch.zeros(0, 3)
views["again"] = base                     # the same object
views["parameter"] = torch.nn.Parameter(count(2, 2))
save("views", views)

kinds = {str(t).split(".")[1]: count(5, dtype=t)
         for t in (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16,
                   torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.float8_e4m3fn)}
kinds["bool"] = torch.tensor([True, False, True, True, False])
save("kinds", kinds)

save_file({k: v for k, v in kinds.items()}, HERE / "weights_kinds.safetensors", metadata={"format": "pt"})
save_file({k: v for k, v in narrow(torch.float32).state_dict().items()}, HERE / "weights_narrow.safetensors")
