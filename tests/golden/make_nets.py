#!/usr/bin/env python3
"""Makes nets/*.onnx: narrow copies of the networks that people bring, as PyTorch's two exporters write them.

  make_nets.py                  all nets, into nets/
  make_nets.py NAME...          only these (resnet18, unet, ...)
  make_nets.py fashion          trains the classifier of Fashion-MNIST (a few minutes) and exports it

Each file is NAME-WAY.onnx, WAY being `ts` (TorchScript's exporter, opset 17), `d18` (dynamo's, opset 18) or `d23`
(dynamo's, opset 23, the first with Attention; in opset 25, the newest it writes, the same nodes come).

Weights are drawn from a seed; the statistics of BatchNormalization come from data and are then disturbed, so that folding
them wrongly shows. Traces and paths are taken out of the files, and from d18 ones the inferred shapes. Made with torch
2.15, torchvision 0.29, onnx 1.23, onnxscript 0.7; needs these, and Debian's dataset-fashion-mnist for `fashion`. The
files are committed; tests need onnx and onnxruntime only. The nets come out the same with the same versions; the
training also depends on the processor.
"""
import gzip
import pathlib
import struct
import sys
import warnings

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models import convnext, efficientnet, mobilenetv3, regnet, resnet, vgg
from torchvision.ops.misc import Conv2dNormActivation

HERE = pathlib.Path(__file__).parent
CLASSES = 10


class Resnet(nn.Module):
    """torchvision's residual blocks, four stages as there, with few channels."""

    def __init__(self, block, layers, planes, channels=3, small=False):
        super().__init__()
        self.inplanes = planes[0]
        stem = nn.Conv2d(channels, planes[0], 3, 1, 1, bias=False) if small else \
            nn.Conv2d(channels, planes[0], 7, 2, 3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(planes[0]), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.Sequential(*[self.stage(block, n, p, 1 if i == 0 else 2)
                                      for i, (n, p) in enumerate(zip(layers, planes))])
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(planes[-1] * block.expansion, CLASSES)

    def stage(self, block, n, planes, stride):
        down = None
        out = planes * block.expansion
        if stride != 1 or self.inplanes != out:
            down = nn.Sequential(resnet.conv1x1(self.inplanes, out, stride), nn.BatchNorm2d(out))
        blocks = [block(self.inplanes, planes, stride, down)]
        self.inplanes = out
        return nn.Sequential(*blocks, *[block(out, planes) for _ in range(n - 1)])

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.stages(self.stem(x))), 1))


class Inception(nn.Module):
    """The blocks of Inception v3: branches of 1x1, 5x5, 1x3 and 3x1, an average pool, a reduction; ceil_mode pools."""

    def __init__(self):
        super().__init__()

        def cv(i, o, k, s=1, p=0):
            return Conv2dNormActivation(i, o, k, s, p, activation_layer=nn.ReLU)

        self.stem = nn.Sequential(cv(3, 8, 3, 2), cv(8, 8, 3, 1, 1), nn.MaxPool2d(3, 2, ceil_mode=True))
        self.one, self.five = cv(8, 4, 1), nn.Sequential(cv(8, 4, 1), cv(4, 4, 5, 1, 2))
        self.cross = nn.Sequential(cv(8, 4, 1), cv(4, 4, (1, 3), 1, (0, 1)), cv(4, 4, (3, 1), 1, (1, 0)))
        self.pooled = cv(8, 4, 1)
        self.shrink = cv(16, 8, 3, 2)
        self.split = nn.ModuleList([cv(24, 4, (1, 3), 1, (0, 1)), cv(24, 4, (3, 1), 1, (1, 0))])
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        pooled = self.pooled(F.avg_pool2d(x, 3, 1, 1))
        x = torch.cat([self.one(x), self.five(x), self.cross(x), pooled], 1)
        x = torch.cat([self.shrink(x), F.max_pool2d(x, 3, 2)], 1)
        x = torch.cat([s(x) for s in self.split], 1)
        x = F.dropout(F.adaptive_avg_pool2d(x, 1), training=self.training)
        return self.fc(torch.flatten(x, 1))


class Attention(nn.Module):
    """A transformer block in timm's style: one projection for q, k and v, then PyTorch's fused attention."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU("tanh"), nn.Linear(2 * width, width))

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, c))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """torchvision's ViT (patches, class token, MultiheadAttention, GELU), then a causal `Attention`."""

    def __init__(self, width=8, heads=2):
        super().__init__()
        self.vit = torchvision.models.VisionTransformer(32, 16, 1, heads, width, 2 * width, num_classes=width)
        self.vit.heads = nn.Identity()
        self.tokens = nn.Linear(width, 5 * width)
        self.more = Attention(width, heads)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.tokens(self.vit(x)).reshape(x.shape[0], 5, -1)
        return self.head(self.norm(self.more(x)).mean(1))


class Unet(nn.Module):
    """Three levels with skips. up: by ConvTranspose, or by Resize of each kind (sizes taken from the skip)."""

    def __init__(self, resize):
        super().__init__()

        def two(i, o, act):
            return nn.Sequential(nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), act,
                                 nn.Conv2d(o, o, 3, 1, 2, dilation=2), act)

        widths = [4, 4, 6, 8]
        self.resize = resize
        self.down = nn.ModuleList([two(i, o, nn.LeakyReLU(0.1)) for i, o in zip([3] + widths, widths)])
        ups = list(zip(widths[::-1], widths[-2::-1]))
        self.up = nn.ModuleList([nn.Conv2d(i, o, 1) if resize else
                                 nn.ConvTranspose2d(i, o, 3 if n == 0 else 2, 2, 1 if n == 0 else 0, 1 if n == 0 else 0)
                                 for n, (i, o) in enumerate(ups)])
        self.mix = nn.ModuleList([two(2 * o, o, nn.PReLU(o)) for _, o in ups])
        self.last = nn.Conv2d(widths[0], 2, 1)

    def larger(self, x, skip, n):
        if n == 0:
            return F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=True)
        if n == 1:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)

    def forward(self, x):
        skips = []
        for n, block in enumerate(self.down):
            x = block(x if n == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for n, (up, mix) in enumerate(zip(self.up, self.mix)):
            skip = skips.pop()
            x = up(self.larger(x, skip, n) if self.resize else x)
            x = mix(torch.cat([skip, x], 1))
        return torch.sigmoid(self.last(x))


def mobilenet_v2():
    m = torchvision.models.MobileNetV2(CLASSES, 0.25, [[1, 16, 1, 1], [6, 16, 2, 2], [6, 32, 1, 2], [6, 32, 1, 1]], 4)
    last = m.features[-2].conv[-2].out_channels
    m.features[-1] = Conv2dNormActivation(last, 24, 1, activation_layer=nn.ReLU6)
    m.classifier[1] = nn.Linear(24, CLASSES)
    return m


def mobilenet_v3():
    def row(i, k, e, o, se, act, stride, dilation=1):
        return mobilenetv3.InvertedResidualConfig(i, k, e, o, se, act, stride, dilation, 1.0)

    return torchvision.models.MobileNetV3([row(8, 3, 8, 8, True, "RE", 2), row(8, 3, 16, 8, False, "RE", 1),
                                           row(8, 5, 16, 8, True, "HS", 2), row(8, 5, 16, 8, True, "HS", 1, 2)],
                                          24, CLASSES)


def efficientnet_like():
    plain, fused = efficientnet.MBConvConfig, efficientnet.FusedMBConvConfig
    rows = [plain(1, 3, 1, 8, 8, 1, 1.0, 1.0), plain(4, 3, 2, 8, 8, 2, 1.0, 1.0), fused(2, 3, 1, 8, 8, 1),
            plain(3, 5, 2, 8, 8, 1, 1.0, 1.0)]
    return torchvision.models.EfficientNet(rows, 0.2, num_classes=CLASSES, last_channel=16)


def vgg11_bn():
    m = vgg.VGG(vgg.make_layers([4, "M", 6, "M", 8, 8, "M", 8, 8, "M", 8, 8, "M"], True), CLASSES, False)
    m.avgpool = nn.AdaptiveAvgPool2d(1)
    m.classifier = nn.Sequential(nn.Linear(8, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(True),
                                 nn.Dropout(), nn.Linear(16, CLASSES))
    return m


def regnet_y():
    rows = regnet.BlockParams([1, 2], [8, 16], [4, 8], [1.0, 1.0], [2, 2], 0.25)
    return torchvision.models.RegNet(rows, CLASSES, stem_width=8)


def convnext_like():
    rows = [convnext.CNBlockConfig(8, 12, 1), convnext.CNBlockConfig(12, 16, 1), convnext.CNBlockConfig(16, None, 1)]
    return torchvision.models.ConvNeXt(rows, num_classes=CLASSES)


# name: (maker, pixels, the ways; a way with 1 has a fixed batch of 1, the others a symbolic one)
NETS = {
    "shufflenet_v2": (lambda: torchvision.models.ShuffleNetV2([2, 1, 1], [8, 8, 16, 24, 32], CLASSES), 64,
                      ("ts", "d23-1")),
    "densenet": (lambda: torchvision.models.DenseNet(4, (2, 2, 2), 4, 2, 0, CLASSES), 64, ("ts-1", "d23")),
    "efficientnet": (efficientnet_like, 64, ("ts", "d18-1")),
    "vit": (Vit, 32, ("ts", "d18", "d23-1")),
    "unet": (lambda: Unet(False), 32, ("ts-1", "d23")),
    "unet_resize": (lambda: Unet(True), 32, ("ts", "d23-1")),
    "resnet18": (lambda: Resnet(resnet.BasicBlock, [2, 2, 2, 2], [4, 4, 6, 6]), 64, ("ts", "d23")),
    "resnet50": (lambda: Resnet(resnet.Bottleneck, [3, 4, 6, 3], [2, 2, 4, 4]), 64, ("d18-1",)),
    "mobilenet_v2": (mobilenet_v2, 64, ("ts", "d23-1")),
    "mobilenet_v3": (mobilenet_v3, 64, ("ts-1",)),
    "inception_v3": (Inception, 48, ("d18",)),
    "vgg11_bn": (vgg11_bn, 32, ("ts",)),
    "regnet": (regnet_y, 64, ("d18",)),
    "convnext": (convnext_like, 64, ("d23",)),
}


def draw(m, pixels):
    """New weights of one seed: layers about keep the scale of their input; statistics from data, then moved a little."""
    g = torch.Generator().manual_seed(1)

    def uniform(t, a, b):
        with torch.no_grad():
            t.copy_(torch.rand(t.shape, generator=g) * (b - a) + a)

    norms = [x for x in m.modules() if isinstance(x, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm))]
    for x in norms:
        uniform(x.weight, 0.6, 1.4)
        uniform(x.bias, -0.3, 0.3)
    done = {id(p) for x in norms for p in x.parameters()}
    for name, p in m.named_parameters():
        if id(p) in done:
            continue
        if name.endswith("layer_scale"):
            uniform(p, 0.3, 0.8)
        elif p.dim() < 2:
            uniform(p, -0.1, 0.1) if "bias" in name else uniform(p, 0.05, 0.3)
        else:
            fan = p[0].numel() if p.dim() == 4 or p.shape[0] != 1 else p.shape[-1]
            with torch.no_grad():
                p.copy_(torch.randn(p.shape, generator=g) * (1.6 / fan) ** 0.5)
    batches = [x for x in norms if isinstance(x, nn.BatchNorm2d)]
    for x in batches:
        x.reset_running_stats()
        x.momentum = None
    m.eval()
    for x in batches:
        x.train()
    with torch.no_grad():
        m(torch.randn(16, 3, pixels, pixels, generator=g))
    for x in batches:
        x.momentum = 0.1
        scale = torch.rand(x.running_var.shape, generator=g) + 0.5
        x.running_var.mul_(scale)
        x.running_mean.add_((torch.rand(x.running_mean.shape, generator=g) - 0.5) * 0.4 * x.running_var.sqrt())
    return m.eval()


def strip(model):
    """Without what says where and by what code it was made: these would be most of a small file."""
    model.doc_string = ""
    graphs = [model.graph, *model.functions]
    for g in graphs:
        g.doc_string = ""
        del g.metadata_props[:]
        for x in [*g.node, *getattr(g, "initializer", []), *getattr(g, "value_info", []), *getattr(g, "input", []),
                  *getattr(g, "output", [])]:
            x.doc_string = ""
            del x.metadata_props[:]
    del model.metadata_props[:]
    return model


def export(m, x, path, way, keep_norms=False):
    """way: ts, d18 or d23, with -1 for a fixed batch. keep_norms: BatchNormalization stays a node (TorchScript)."""
    kind, fixed = way.split("-")[0], way.endswith("-1")
    names = dict(input_names=["input"], output_names=["output"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "ts":
            more = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False) if keep_norms else {}
            torch.onnx.export(m, (x,), str(path), dynamo=False, opset_version=17, **names, **more,
                              dynamic_axes=None if fixed else {"input": {0: "N"}, "output": {0: "N"}})
        else:
            shapes = None if fixed else ({0: torch.export.Dim("N", min=1, max=256)},)
            torch.onnx.export(m, (x,), str(path), dynamo=True, opset_version=int(kind[1:]), external_data=False,
                              dynamic_shapes=shapes, verbose=False, **names)
    model = strip(onnx.load(path))
    if kind == "d18":
        del model.graph.value_info[:]  # shapes are for the reader to infer, then, as in TorchScript's files
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{path.name}: {path.stat().st_size:,} bytes, opset {model.opset_import[0].version}, "
          f"{len(model.graph.node)} nodes", flush=True)


def nets(names):
    for name in names:
        maker, pixels, ways = NETS[name]
        torch.manual_seed(0)
        m = draw(maker(), pixels)
        x = torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            y = m(x)
        count = sum(p.numel() for p in m.parameters())
        print(f"{name}: {count:,} parameters, outputs {y.mean():.2g} +- {y.std():.2g}")
        for way in ways:
            export(m, x[:1] if way.endswith("-1") else x, HERE / "nets" / f"{name}-{way.split('-')[0]}.onnx", way,
                   keep_norms=name in ("resnet18", "densenet"))


def idx(name):
    data = gzip.open(f"/usr/share/datasets/fashion-mnist/{name}.gz").read()
    dims = struct.unpack(f">{data[3]}I", data[4:4 + 4 * data[3]])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(dims)


def fashion(epochs=4):
    """A residual net of 57,000 weights, trained on Fashion-MNIST; its BatchNormalization stays in the file."""
    torch.manual_seed(7)

    def pixels(a):
        return (torch.from_numpy(a.copy()).float().div(255).sub(0.2860).div(0.3530))[:, None]

    x, y = pixels(idx("train-images-idx3-ubyte")), torch.from_numpy(idx("train-labels-idx1-ubyte").astype(np.int64))
    tx, ty = pixels(idx("t10k-images-idx3-ubyte")), torch.from_numpy(idx("t10k-labels-idx1-ubyte").astype(np.int64))
    m = Resnet(resnet.BasicBlock, [1, 1, 1], [16, 24, 48], channels=1, small=True)
    steps = epochs * (len(x) // 128)
    opt = torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 0.15, total_steps=steps)
    for epoch in range(epochs):
        m.train()
        total = 0.0
        for rows in torch.randperm(len(x))[:len(x) // 128 * 128].view(-1, 128):
            images = x[rows]
            loss = F.cross_entropy(m(images.flip(3) if torch.rand(()) < 0.5 else images), y[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
            plan.step()
            total += loss.item()
        m.eval()
        with torch.no_grad():
            right = sum(int((m(a).argmax(1) == b).sum()) for a, b in zip(tx.split(500), ty.split(500)))
        print(f"epoch {epoch + 1}: loss {total / (steps // epochs):.3f}, {right} of {len(tx)} right", flush=True)
    export(m.eval(), tx[:2], HERE / "nets" / "fashion.onnx", "ts", keep_norms=True)


if __name__ == "__main__":
    unknown = [n for n in sys.argv[1:] if n not in NETS and n != "fashion"]
    if unknown:
        sys.exit(f"{', '.join(unknown)}: not a net; there are {', '.join(NETS)} and fashion")
    (HERE / "nets").mkdir(exist_ok=True)
    nets([n for n in sys.argv[1:] or NETS if n != "fashion"])
    if "fashion" in sys.argv[1:]:
        fashion()
