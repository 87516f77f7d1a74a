"""The rule of prune.unstructured once more, in numpy and as plainly as it can be said.

A weight is (dtype, shape, raw bytes). Everything below answers with the raw bytes that pruning should leave.
"""
from decimal import Decimal, ROUND_HALF_EVEN

import numpy as np
from onnx import TensorProto

INTEGERS = {
    TensorProto.INT8: (8, True),
    TensorProto.UINT8: (8, False),
    TensorProto.INT16: (16, True),
    TensorProto.INT4: (4, True),
    TensorProto.UINT4: (4, False),
}
BYTES = {TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2}


class Weight:
    def __init__(self, dtype, dims, raw, scale=None, zero_point=None, axis=None, block=0):
        self.dtype, self.dims, self.raw = dtype, tuple(dims), bytes(raw)
        self.count = int(np.prod(dims))
        self.scale, self.zero_point, self.axis, self.block = scale, zero_point, axis, block

    def integers(self, raw=None, count=None):
        bits, signed = INTEGERS[self.dtype]
        raw = self.raw if raw is None else raw
        if bits == 4:
            b = np.frombuffer(raw, np.uint8)
            q = np.stack([b & 15, b >> 4], 1).reshape(-1)[: self.count if count is None else count].astype(np.int64)
            return np.where(q > 7, q - 16, q) if signed else q
        return np.frombuffer(raw, np.dtype(f"{'i' if signed else 'u'}{bits // 8}")).astype(np.int64)

    def spread(self, per_scale):
        """One number a scale -> one number a weight."""
        per_scale = np.asarray(per_scale)
        if per_scale.size == 1:
            return np.full(self.count, per_scale.reshape(-1)[0])
        if self.block:
            full = np.repeat(per_scale, self.block, axis=self.axis)
            return np.take(full, np.arange(self.dims[self.axis]), axis=self.axis).reshape(-1)
        shape = [1] * len(self.dims)
        shape[self.axis] = -1
        return np.broadcast_to(per_scale.reshape(shape), self.dims).reshape(-1)

    def magnitudes(self):
        """|value| as float64, flat."""
        if self.scale is not None:
            zero = 0 if self.zero_point is None else self.spread(self.zero_point).astype(np.int64)
            return np.abs(self.integers() - zero).astype(np.float64) * self.spread(self.scale).astype(np.float64)
        if self.dtype == TensorProto.BFLOAT16:
            u = np.frombuffer(self.raw, np.uint16).astype(np.uint32) << 16
            return np.abs(u.view(np.float32).astype(np.float64))
        kind = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16}
        return np.abs(np.frombuffer(self.raw, kind[self.dtype]).astype(np.float64))

    def zeroed(self, gone):
        """The raw bytes with true zeros (+0.0, or the zero point) where gone."""
        if self.scale is None:
            b = np.frombuffer(self.raw, np.uint8).reshape(self.count, BYTES[self.dtype]).copy()
            b[gone] = 0
            return b.tobytes()
        zero = 0 if self.zero_point is None else self.spread(self.zero_point).astype(np.int64)
        q = np.where(gone, zero, self.integers())
        bits, _ = INTEGERS[self.dtype]
        if bits != 4:
            return q.astype(np.dtype(f"i{bits // 8}" if INTEGERS[self.dtype][1] else f"u{bits // 8}")).tobytes()
        q = (q & 15).astype(np.uint8)
        if q.size % 2:
            q = np.append(q, self.raw[-1] >> 4)
        return (q[0::2] | (q[1::2] << 4)).astype(np.uint8).tobytes()


def count_of(sparsity, n):
    return int((Decimal(repr(sparsity)) * n).to_integral_value(ROUND_HALF_EVEN))


def philox(seed, stream, i):
    """Philox4x32-10, four words for each counter in i."""
    i = np.asarray(i, np.uint64)
    low = np.uint64(0xFFFFFFFF)
    c = [i & low, i >> np.uint64(32), np.full_like(i, stream & 0xFFFFFFFF), np.full_like(i, stream >> 32)]
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c


def random_keys(seed, name, magnitudes):
    stream = 14695981039346656037
    for b in name.encode():
        stream = ((stream ^ b) * 1099511628211) & (2**64 - 1)
    n = magnitudes.size
    w = philox(seed, stream, np.arange((n + 1) // 2))
    both = np.stack([w[1] << np.uint64(32) | w[0], w[3] << np.uint64(32) | w[2]], 1).reshape(-1)[:n]
    return np.where(magnitudes == 0, np.uint64(0), np.maximum(both, np.uint64(1)))


def smallest(keys, k):
    gone = np.zeros(keys.size, bool)
    gone[np.argsort(keys, kind="stable")[:k]] = True
    return gone


def prune(weight, sparsity, keys=None):
    keys = weight.magnitudes() if keys is None else keys
    return weight.zeroed(smallest(keys, count_of(sparsity, weight.count)))


def prune_global(weights, sparsity):
    keys = np.concatenate([w.magnitudes() for w in weights])
    gone = smallest(keys, count_of(sparsity, keys.size))
    ends = np.cumsum([w.count for w in weights])
    return [w.zeroed(gone[e - w.count : e]) for w, e in zip(weights, ends)]


def prune_groups(weight, axis, n, m, keys=None):
    keys = weight.magnitudes() if keys is None else keys
    lines = np.moveaxis(keys.reshape(weight.dims), axis, -1)
    gone = np.zeros(lines.shape, bool)
    for at in np.ndindex(lines.shape[:-1]):
        for c in range(0, lines.shape[-1], m):
            group = lines[at][c : c + m]
            keep = -(-n * group.size // m)
            gone[at][c : c + m] = smallest(group, group.size - keep)
    return weight.zeroed(np.moveaxis(gone, -1, axis).reshape(-1))
