#!/usr/bin/env python3
"""Records what PyTorch makes of the same weights, gradients and batches: what tests/train and tests/engine check.

  make_train.py optim             optim.npz: weights after 1, 2, 10 and 50 steps on recorded gradients
  make_train.py schedule          schedule.npz: learning rate and momentum at each of 50 steps
  make_train.py nets              mobilenet_v2.onnx (with its BatchNormalization) and net_NAME.npz: loss, gradients,
                                  statistics of one batch; of some, losses and statistics of ten steps of SGD
  make_train.py zoo PARE          zoo_NAME.npz: the first step of pare's own nets, exported by the pare program

Everything is computed by PyTorch in float64, with the float32 attributes (epsilon, momentum) of the file. A net is run
from its ONNX file, an op at a time by `Graph`, so that gradients go by the names that pare knows; for resnet18 and the
ViT that is compared with PyTorch's own module first. Samples and labels are made by formula, here and in golden.h.
Made with torch 2.15, torchvision 0.29, onnx 1.23. The results are committed; tests need none of these.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch.optim import lr_scheduler as lrs

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
M64 = (1 << 64) - 1


# ---- by formula, as golden.h does ----

def numbers(n, seed):
    """n multiples of 2^-22 in [-2, 2): splitmix64 of the index."""
    with np.errstate(over="ignore"):
        x = np.arange(n, dtype=np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 & M64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float64) * 2.0 ** -22 - 2


def samples(shape, seed):
    return torch.from_numpy(numbers(int(np.prod(shape)), seed).reshape(shape))


def labels(n, classes=10):
    return torch.tensor([(i * 7 + i // 3) % classes for i in range(n)])


# ---- optimisers ----

SHAPES = [(7,), (3, 5), (2, 3, 4)]
KEPT = [1, 2, 10, 50]

# name: (optimizer, arguments, clip_norm); the first tensor is not decayed and has half the learning rate
OPTIM = {
    "sgd": (torch.optim.SGD, dict(lr=0.05), 0),
    "sgd_decay": (torch.optim.SGD, dict(lr=0.05, weight_decay=0.01), 0),
    "sgd_momentum": (torch.optim.SGD, dict(lr=0.02, momentum=0.9), 0),
    "sgd_nesterov": (torch.optim.SGD, dict(lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01), 0),
    "sgd_clip": (torch.optim.SGD, dict(lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01), 1.5),
    "adam": (torch.optim.Adam, dict(lr=0.01), 0),
    "adam_decay": (torch.optim.Adam, dict(lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.05), 0),
    "adam_clip": (torch.optim.Adam, dict(lr=0.01, weight_decay=0.05), 1.5),
    "adamw": (torch.optim.AdamW, dict(lr=0.01, weight_decay=0.1), 0),
    "adamw_clip": (torch.optim.AdamW, dict(lr=0.01, betas=(0.85, 0.95), weight_decay=0.1), 1.5),
}


def optim():
    total = sum(int(np.prod(s)) for s in SHAPES)
    r = np.random.RandomState(4)
    grads = (r.standard_normal((50, total)) * 10.0 ** r.uniform(-2, 0.5, (50, 1))).astype(np.float32)
    start = r.standard_normal(total).astype(np.float32)
    out = {"grads": grads, "start": start}
    for name, (make, args, clip) in OPTIM.items():
        params, at = [], 0
        for s in SHAPES:
            n = int(np.prod(s))
            params.append(torch.tensor(start[at:at + n].astype(np.float64).reshape(s), requires_grad=True))
            at += n
        groups = [dict(params=params[:1], weight_decay=0.0, lr=args["lr"] / 2), dict(params=params[1:])]
        opt = make(groups, **args)
        rows = []
        for step in range(50):
            at = 0
            for p in params:
                p.grad = torch.tensor(grads[step, at:at + p.numel()].astype(np.float64).reshape(p.shape))
                at += p.numel()
            if clip:
                torch.nn.utils.clip_grad_norm_(params, clip)
            opt.step()
            if step + 1 in KEPT:
                rows.append(torch.cat([p.detach().flatten() for p in params]).numpy())
        out[name] = np.stack(rows)
    np.savez_compressed(HERE / "optim.npz", **out)


# ---- schedules ----

def rates(make, per_epoch=1, lr=0.1, momentum=0.9, optimizer="sgd"):
    """Learning rate and momentum (of Adam: beta1) that each of 50 steps is made with."""
    p = [torch.nn.Parameter(torch.zeros(1))]
    opt = torch.optim.SGD(p, lr=lr, momentum=momentum) if optimizer == "sgd" else torch.optim.Adam(p, lr=lr)
    plan, rows = make(opt), []
    for step in range(50):
        g = opt.param_groups[0]
        rows.append((g["lr"], g["momentum"] if "momentum" in g else g["betas"][0]))
        opt.step()
        if plan and (step + 1) % per_epoch == 0:
            plan.step()
    return np.array(rows).T


def warm(opt, steps, then):
    """A straight rise from lr / steps to lr, which the last of these steps has; then `then`, from its own start."""
    rise = lrs.LinearLR(opt, start_factor=1 / steps, end_factor=1, total_iters=steps - 1)
    return lrs.SequentialLR(opt, [rise, then(opt)], milestones=[steps])


def schedule():
    def constant(opt):
        return lrs.ConstantLR(opt, factor=1, total_iters=1)

    out = {
        "constant": rates(lambda o: None),
        "constant_warm": rates(lambda o: warm(o, 5, constant)),
        "step": rates(lambda o: lrs.StepLR(o, step_size=2, gamma=0.3), per_epoch=7),
        "cosine": rates(lambda o: lrs.CosineAnnealingLR(o, T_max=50)),
        "cosine_warm": rates(lambda o: warm(o, 5, lambda p: lrs.CosineAnnealingLR(p, T_max=45, eta_min=0.01))),
        "onecycle": rates(lambda o: lrs.OneCycleLR(o, 0.1, total_steps=50, cycle_momentum=False)),
        "onecycle_momentum": rates(lambda o: lrs.OneCycleLR(o, 0.1, total_steps=50)),
        "onecycle_other": rates(lambda o: lrs.OneCycleLR(o, 0.1, total_steps=50, pct_start=0.25, div_factor=10,
                                                         final_div_factor=100, base_momentum=0.8, max_momentum=0.9)),
        "onecycle_adam": rates(lambda o: lrs.OneCycleLR(o, 0.1, total_steps=50), optimizer="adam"),
        "poly": rates(lambda o: lrs.PolynomialLR(o, total_iters=50, power=1)),
        "poly_warm": rates(lambda o: warm(o, 8, lambda p: lrs.PolynomialLR(p, total_iters=42, power=2))),
    }
    np.savez_compressed(HERE / "schedule.npz", **out)


# ---- an ONNX file in PyTorch ----

def attrs_of(n):
    r = {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in r.items()}


def tensor_of(t):
    x = torch.from_numpy(numpy_helper.to_array(t).copy())
    return x.double() if x.is_floating_point() else x


def ints(x):
    return [int(v) for v in x.flatten()] if x is not None else None


class Graph:
    """Ops that the nets have, opset 17 to 23, with BatchNormalization in training."""

    DTYPES = {1: torch.float64, 11: torch.float64, 6: torch.int32, 7: torch.int64, 9: torch.bool}

    def __init__(self, path):
        self.model = onnx.load(path)
        self.g = self.model.graph
        self.statistics, self.norms = {}, []
        self.tensors = {t.name: tensor_of(t) for t in self.g.initializer}
        for n in self.g.node:
            if n.op_type == "BatchNormalization":
                self.norms += n.input[3:5]
        used = {k for n in self.g.node for k in n.input}
        self.weights = [t.name for t in self.g.initializer if self.tensors[t.name].is_floating_point() and
                        t.name in used and t.name not in self.norms and self.tensors[t.name].numel() > 1]

    def start(self):
        for name in self.weights:
            self.tensors[name].requires_grad_(True)
        return [self.tensors[name] for name in self.weights]

    def __call__(self, x):
        v = dict(self.tensors)
        v[""] = None
        v[self.g.input[0].name] = x
        for n in self.g.node:
            y = getattr(self, n.op_type)(attrs_of(n), *[v[k] for k in n.input], node=n)
            for name, value in zip(n.output, y if isinstance(y, (tuple, list)) else [y]):
                v[name] = value
        return v[self.g.output[0].name]

    @staticmethod
    def padded(x, pads, value=0.0):
        r = len(pads) // 2
        return F.pad(x, [p for i in reversed(range(r)) for p in (pads[i], pads[r + i])], value=value)

    def Conv(self, a, x, w, b=None, **k):
        r = w.dim() - 2
        x = self.padded(x, a.get("pads", [0] * 2 * r))
        conv = [F.conv1d, F.conv2d, F.conv3d][r - 1]
        return conv(x, w, b, a.get("strides", 1), 0, a.get("dilations", 1), a.get("group", 1))

    def ConvTranspose(self, a, x, w, b=None, **k):
        p = a.get("pads", [0] * 4)
        assert p[:2] == p[2:]
        return F.conv_transpose2d(x, w, b, a.get("strides", 1), p[:2], a.get("output_padding", 0), a.get("group", 1),
                                  a.get("dilations", 1))

    def Attention(self, a, q, k, v, mask=None, **_):
        assert q.dim() == 4
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=bool(a.get("is_causal", 0)),
                                              scale=a.get("scale"))

    def BatchNormalization(self, a, x, scale, bias, mean, var, node):
        m, s = self.statistics.get(node.input[3], mean).clone(), self.statistics.get(node.input[4], var).clone()
        y = F.batch_norm(x, m, s, scale, bias, True, 1 - a.get("momentum", np.float64(np.float32(0.9))),
                         a.get("epsilon", np.float64(np.float32(1e-5))))
        self.statistics[node.input[3]], self.statistics[node.input[4]] = m, s
        return y

    def LayerNormalization(self, a, x, scale, bias=None, **k):
        return F.layer_norm(x, x.shape[a.get("axis", -1):], scale, bias, a.get("epsilon", 1e-5))

    def MaxPool(self, a, x, **k):
        p = a.get("pads", [0] * 4)
        assert p[:2] == p[2:]
        return F.max_pool2d(x, a["kernel_shape"], a.get("strides", 1), p[:2], ceil_mode=bool(a.get("ceil_mode", 0)))

    def AveragePool(self, a, x, **k):
        p = a.get("pads", [0] * 4)
        assert p[:2] == p[2:]
        return F.avg_pool2d(x, a["kernel_shape"], a.get("strides", 1), p[:2], bool(a.get("ceil_mode", 0)),
                            bool(a.get("count_include_pad", 0)))

    def Gemm(self, a, x, w, c=None, **k):
        x, w = x.T if a.get("transA") else x, w.T if a.get("transB") else w
        y = a.get("alpha", 1.0) * (x @ w)
        return y if c is None else y + a.get("beta", 1.0) * c

    def Resize(self, a, x, roi=None, scales=None, sizes=None, **k):
        mode, how = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
        if sizes is not None and sizes.numel():
            size = ints(sizes)[2:]
        else:
            size = [int(d * s) for d, s in zip(x.shape[2:], scales.flatten().tolist()[2:])]
        if mode == "nearest":
            assert how == "asymmetric"
            return F.interpolate(x, size=size, mode="nearest")
        return F.interpolate(x, size=size, mode={"linear": "bilinear", "cubic": "bicubic"}[mode],
                             align_corners=how == "align_corners")

    def Gelu(self, a, x, **k):
        return F.gelu(x, approximate=a.get("approximate", "none"))

    def Clip(self, a, x, lo=None, hi=None, **k):
        return torch.clamp(x, lo, hi)

    def Reshape(self, a, x, shape, **k):
        return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(ints(shape))])

    def Slice(self, a, x, starts, ends, axes=None, steps=None, **k):
        where = [slice(None)] * x.dim()
        for i, (s, e) in enumerate(zip(ints(starts), ints(ends))):
            assert steps is None or ints(steps)[i] > 0
            e = min(e, x.shape[ints(axes)[i] if axes is not None else i])
            where[ints(axes)[i] if axes is not None else i] = slice(s, e, ints(steps)[i] if steps is not None else None)
        return x[tuple(where)]

    def Gather(self, a, x, index, **k):
        axis = a.get("axis", 0) % x.dim()
        index = torch.where(index < 0, index + x.shape[axis], index).long()
        y = torch.index_select(x, axis, index.flatten())
        return y.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1:]])

    def ReduceMean(self, a, x, axes=None, **k):
        return x.mean(a["axes"] if axes is None else ints(axes), bool(a.get("keepdims", 1)))

    def Squeeze(self, a, x, axes=None, **k):
        if axes is None:
            return x.squeeze()
        for i in sorted((i % x.dim() for i in ints(axes)), reverse=True):
            x = x.squeeze(i)
        return x

    def Unsqueeze(self, a, x, axes, **k):
        rank = x.dim() + axes.numel()
        for i in sorted(i % rank for i in ints(axes)):
            x = x.unsqueeze(i)
        return x

    def Split(self, a, x, split=None, node=None, **k):
        n = len(node.output)
        return x.split(ints(split) if split is not None else x.shape[a.get("axis", 0)] // n, a.get("axis", 0))

    def Constant(self, a, **k):
        return tensor_of(a["value"]) if "value" in a else torch.tensor(a["value_int"])

    def ConstantOfShape(self, a, shape, **k):
        v = tensor_of(a["value"]) if "value" in a else torch.zeros(1, dtype=torch.float64)
        return torch.full(ints(shape), v.flatten()[0], dtype=v.dtype)

    def Range(self, a, start, end, step, **k):
        return torch.arange(int(start), int(end), int(step))

    def Div(self, a, x, y, **k):
        return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")

    def Trilu(self, a, x, k=None, **_):
        d = int(k) if k is not None else 0
        return torch.triu(x, d) if a.get("upper", 1) else torch.tril(x, d)

    def Cast(self, a, x, **k):
        return x.to(self.DTYPES[a["to"]])

    def Expand(self, a, x, shape, **k):
        return x * torch.ones(ints(shape), dtype=x.dtype) if x.dtype != torch.bool else x.expand(ints(shape))

    def Transpose(self, a, x, **k):
        return x.permute(a["perm"])

    def PRelu(self, a, x, slope, **k):
        return torch.where(x > 0, x, slope * x)

    Add = lambda self, a, x, y, **k: x + y
    Mul = lambda self, a, x, y, **k: x * y
    Pow = lambda self, a, x, y, **k: x ** y
    Mod = lambda self, a, x, y, **k: torch.remainder(x, y)
    MatMul = lambda self, a, x, y, **k: x @ y
    Equal = lambda self, a, x, y, **k: x == y
    Where = lambda self, a, c, x, y, **k: torch.where(c, x, y)
    Concat = lambda self, a, *x, node: torch.cat(x, a["axis"])
    Flatten = lambda self, a, x, **k: x.flatten(a.get("axis", 1))
    GlobalAveragePool = lambda self, a, x, **k: x.mean(tuple(range(2, x.dim())), True)
    Shape = lambda self, a, x, **k: torch.tensor(x.shape[a.get("start", 0):a.get("end")])
    Identity = Dropout = lambda self, a, x, *_, **k: x
    Softmax = lambda self, a, x, **k: torch.softmax(x, a.get("axis", -1))
    Relu = lambda self, a, x, **k: torch.relu(x)
    LeakyRelu = lambda self, a, x, **k: F.leaky_relu(x, a.get("alpha", 0.01))
    Sigmoid = lambda self, a, x, **k: torch.sigmoid(x)
    Tanh = lambda self, a, x, **k: torch.tanh(x)
    Erf = lambda self, a, x, **k: torch.erf(x)
    Sqrt = lambda self, a, x, **k: torch.sqrt(x)
    HardSwish = lambda self, a, x, **k: F.hardswish(x)
    HardSigmoid = lambda self, a, x, **k: torch.clamp(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1)


def loss_of(y):
    """Cross-entropy of (N, K); else the mean of the output times numbers."""
    if y.dim() == 2:
        return F.cross_entropy(y, labels(len(y)))
    return (y * samples(tuple(y.shape), 9)).mean()


def names_array(names):
    return np.frombuffer("\n".join(names).encode(), np.uint8)


# ---- whole nets ----

# name: (file, batch, gradients in full precision, ten steps)
NETS = {
    "resnet18": ("nets/resnet18-ts.onnx", 4, True, True),
    "mobilenet_v2": ("train/mobilenet_v2.onnx", 4, True, True),
    "vit": ("nets/vit-ts.onnx", 4, True, True),
    "unet_resize": ("nets/unet_resize-ts.onnx", 2, True, False),
    "densenet": ("nets/densenet-ts.onnx", 1, True, False),
    "mobilenet_v2_folded": ("nets/mobilenet_v2-ts.onnx", 4, False, False),
    "vit_d18": ("nets/vit-d18.onnx", 4, False, False),
    "convnext": ("nets/convnext-d23.onnx", 2, False, False),
    "shufflenet": ("nets/shufflenet_v2-ts.onnx", 4, False, False),
    "efficientnet": ("nets/efficientnet-ts.onnx", 4, False, False),
    "mobilenet_v3": ("nets/mobilenet_v3-ts.onnx", 1, False, False),
    "vit_d23": ("nets/vit-d23.onnx", 1, False, False),
    "unet": ("nets/unet-ts.onnx", 1, False, False),
    "inception": ("nets/inception_v3-d18.onnx", 2, False, False),
}


def shape_of(g, batch):
    return (batch, *[d.dim_value for d in g.g.input[0].type.tensor_type.shape.dim[1:]])


def backward(g, x):
    params = g.start()
    loss = loss_of(g(x))
    grads = torch.autograd.grad(loss, params, allow_unused=True)
    reached = [(n, d) for n, d in zip(g.weights, grads) if d is not None]
    return loss.item(), [n for n, _ in reached], [d.detach() for _, d in reached]


def ten_steps(g, shape):
    """SGD with momentum, Nesterov, decay of all but vectors, two steps of warm-up, a cosine: as test_golden_steps.c."""
    params = g.start()
    groups = [dict(params=[p for p in params if p.dim() > 1]),
              dict(params=[p for p in params if p.dim() <= 1], weight_decay=0.0)]
    opt = torch.optim.SGD([q for q in groups if q["params"]], lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    plan = warm(opt, 2, lambda p: lrs.CosineAnnealingLR(p, T_max=8))
    x, y = samples((10 * shape[0], *shape[1:]), 3), labels(10 * shape[0])
    losses = []
    for i in range(10):
        rows = slice(i * shape[0], (i + 1) * shape[0])
        loss = F.cross_entropy(g(x[rows]), y[rows])
        opt.zero_grad()
        loss.backward()
        opt.step()
        plan.step()
        losses.append(loss.item())
    return np.array(losses)


def same_as_module(name, g, x):
    """The file run by `Graph` and PyTorch's module of make_nets.py: the same loss and the same gradients."""
    import make_nets
    torch.manual_seed(0)
    maker, pixels, _ = make_nets.NETS[name]
    m = make_nets.draw(maker(), pixels).double().train()
    for k in m.modules():
        if isinstance(k, torch.nn.Dropout):
            k.p = 0.0
    loss = loss_of(m(x))
    loss.backward()
    mine, names, grads = backward(g, x)
    worst, known = 0, dict(m.named_parameters())
    for n, d in zip(names, grads):
        if n in known and known[n].shape == d.shape:
            worst = max(worst, float((known[n].grad - d).norm() / d.norm()))
    print(f"{name}: module and file: loss {loss.item() - mine:.2g} apart, gradients {worst:.2g}")
    assert abs(loss.item() - mine) < 1e-6 and worst < 1e-5
    g.statistics.clear()


def nets(chosen):
    import make_nets
    torch.manual_seed(0)
    maker, pixels, _ = make_nets.NETS["mobilenet_v2"]
    make_nets.export(make_nets.draw(maker(), pixels), torch.zeros(2, 3, pixels, pixels), HERE / "mobilenet_v2.onnx",
                     "ts", keep_norms=True)
    for name in chosen or NETS:
        path, batch, full, steps = NETS[name]
        g = Graph(HERE.parent / path)
        x = samples(shape_of(g, batch), 1)
        if name in ("resnet18", "vit"):
            same_as_module(name, g, x)
        loss, names, grads = backward(g, x)
        flat = torch.cat([d.flatten() for d in grads]).numpy()
        out = {"loss": np.array(loss), "names": names_array(names),
               "grads": flat if full else flat.astype(np.float32)}
        print(f"{name}: loss {loss:.6f}, {len(flat)} weights in {len(names)} tensors, not reached: "
              f"{sorted(set(g.weights) - set(names))}")
        if g.statistics:
            out["stat_names"] = names_array(g.statistics)
            out["stats"] = torch.cat(list(g.statistics.values())).numpy()
        if steps:
            g = Graph(HERE.parent / path)
            out["losses"] = ten_steps(g, shape_of(g, batch))
            print("   ", " ".join(f"{v:.5f}" for v in out["losses"]))
            if g.statistics:
                out["stats10"] = torch.cat(list(g.statistics.values())).numpy()
        np.savez_compressed(HERE / f"net_{name}.npz", **out)


# ---- pare's own nets ----

ZOO_SAMPLED = 12


class Margins(Graph):
    """How near the values before a Relu or Clip come to where it bends, in layers of few values: there rounding alone
    may decide whether one passes, and that moves every gradient below by per cents."""
    FEW = 140000
    least = float("inf")

    def near(self, x, *bends):
        if x.numel() <= self.FEW:
            self.least = min([self.least] + [(x - b).abs().min().item() for b in bends])

    def Relu(self, a, x, **k):
        self.near(x, 0.0)
        return torch.relu(x)

    def Clip(self, a, x, lo=None, hi=None, **k):
        self.near(x, *[b for b in (lo, hi) if b is not None])
        return super().Clip(a, x, lo, hi, **k)


def clear_of_bends(path, shape):
    """The seed of a batch that stays clear of them."""
    best = (0.0, 0)
    for seed in range(3, 103):
        g = Margins(path)
        with torch.no_grad():
            g(samples(shape, seed))
        best = max(best, (g.least, seed))
    print(f"{path}: seed {best[1]} comes no nearer than {best[0]:.1e}")
    return best[1]


def zoo(pare):
    for name in ("resnet18", "mobilenet_v2"):
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder, "x.yaml")
            more = ", dropout: 0" if name == "mobilenet_v2" else ""
            config.write_text(f"version: 1\nname: x\nseed: 7\nmodels:\n  net: {{zoo: {name}, with: "
                              f"{{classes: 10, channels: 1, size: 28{more}}}}}\nsteps: []\n"
                              "report: {metrics: [size]}\noutput: {gzip: off, pack: off}\n")
            subprocess.run([pare, "run", str(config), "--quiet", "--out", folder + "/out"], check=True,
                           stdout=subprocess.DEVNULL)
            g, shape = Graph(folder + "/out/model.onnx"), (16, 1, 28, 28)
            seed = clear_of_bends(folder + "/out/model.onnx", shape)
        loss, names, grads = backward(g, samples(shape, seed))
        norms = np.array([d.norm().item() for d in grads])
        picked = [d.flatten()[[(k * d.numel()) // ZOO_SAMPLED for k in range(ZOO_SAMPLED)]] for d in grads]
        print(f"zoo {name}: loss {loss:.6f}, {len(names)} tensors")
        np.savez_compressed(HERE / f"zoo_{name}.npz", seed=np.array(seed, np.int64), loss=np.array(loss),
                            names=names_array(names), norms=norms, picked=torch.stack(picked).numpy())


if __name__ == "__main__":
    torch.set_num_threads(1)
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    if what == "optim":
        optim()
    elif what == "schedule":
        schedule()
    elif what == "nets":
        nets(sys.argv[2:])
    elif what == "zoo" and len(sys.argv) == 3:
        zoo(sys.argv[2])
    else:
        sys.exit(__doc__)
