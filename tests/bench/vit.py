#!/usr/bin/env python3
"""Writes the encoders of the bars as ONNX: a ViT (224 x 224 in patches of 16, 197 tokens, hidden 384, 6 heads, 6
layers), or with --tokens the same over numbers of words, as BERT takes them.

usage: vit.py OUT.onnx [--batch N | --batch any] [--attention sdpa|packed|mha|plain] [--exporter dynamo|torchscript]
              [--hidden N] [--layers N] [--image N] [--mask] [--tokens N]
sdpa: separate projections; packed: one of three times the width; mha: nn.MultiheadAttention; plain: softmax spelt out.
Random weights by a fixed seed. Needs torch (tests/bench/requirements.txt).
"""
import argparse
import warnings

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width, heads, kind, mask):
        super().__init__()
        self.heads, self.kind, self.masked = heads, kind, mask
        if kind == "packed":
            self.qkv = nn.Linear(width, 3 * width)
        elif kind == "mha":
            self.mha = nn.MultiheadAttention(width, heads, batch_first=True)
            return
        else:
            self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x, mask):
        if self.kind == "mha":
            return self.mha(x, x, x, need_weights=False, attn_mask=mask)[0]
        b, t, w = x.shape
        if self.kind == "packed":
            q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (p(x).view(b, t, self.heads, w // self.heads).transpose(1, 2) for p in (self.q, self.k, self.v))
        if self.kind == "plain":
            score = (q @ k.transpose(-2, -1)) / (w // self.heads) ** 0.5
            y = F.softmax(score if mask is None else score + mask, dim=-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).reshape(b, t, w))


class Block(nn.Module):
    def __init__(self, width, heads, kind, mask):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, kind, mask)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, mask):
        x = x + self.attention(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self, width=384, layers=6, kind="sdpa", image=224, mask=False):
        super().__init__()
        tokens = (image // 16) ** 2 + 1
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 64), kind, mask) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)
        if mask:
            self.register_buffer("mask", torch.randn(tokens, tokens))
        else:
            self.mask = None

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        for block in self.blocks:
            x = block(x, self.mask)
        return self.head(self.norm(x)[:, 0])


class Words(nn.Module):
    def __init__(self, width, layers, kind, tokens):
        super().__init__()
        self.words = nn.Embedding(8192, width)
        self.position = nn.Parameter(torch.randn(1, tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 64), kind, False) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 2)

    def forward(self, ids):
        x = self.words(ids) + self.position
        for block in self.blocks:
            x = block(x, None)
        return self.head(self.norm(x)[:, 0])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--batch", default="1")
    p.add_argument("--attention", default="sdpa", choices=("sdpa", "packed", "mha", "plain"))
    p.add_argument("--exporter", default="torchscript", choices=("dynamo", "torchscript"))
    p.add_argument("--hidden", type=int, default=384)
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--image", type=int, default=224)
    p.add_argument("--mask", action="store_true", help="a constant additive mask")
    p.add_argument("--tokens", type=int, default=0, help="int64 (batch, tokens) in, instead of images")
    a = p.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    batch = 2 if a.batch == "any" else int(a.batch)
    if a.tokens:
        net, x = Words(a.hidden, a.layers, a.attention, a.tokens).eval(), torch.randint(0, 8192, (batch, a.tokens))
    else:
        net, x = ViT(a.hidden, a.layers, a.attention, a.image, a.mask).eval(), torch.randn(batch, 3, a.image, a.image)
    how = {"input_names": ["x"], "output_names": ["y"]}
    if a.exporter == "dynamo":
        if a.batch == "any":
            how["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=1, max=1024)},)
        torch.onnx.export(net, (x,), a.out, dynamo=True, external_data=False, verbose=False, **how)
    else:
        if a.batch == "any":
            how["dynamic_axes"] = {"x": {0: "batch"}, "y": {0: "batch"}}
        torch.onnx.export(net, (x,), a.out, dynamo=False, opset_version=17, **how)


if __name__ == "__main__":
    main()
