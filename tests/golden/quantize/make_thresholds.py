#!/usr/bin/env python3
"""Makes thresholds.txt: what the methods of calibration should find on samples that tests/quantize/samples.h makes too.

Written from the descriptions in plugins/quantize/threshold.h, on arrays and with plain loops, sharing nothing with the
C text. One line each:

  NAME DTYPE SYMMETRIC entropy LO HI      the range, on a histogram of the bins described in histogram.h
  NAME DTYPE SYMMETRIC percentile LO HI   of the sorted samples
  NAME DTYPE SYMMETRIC mse ERROR          the least mean squared error of rounding and clipping the samples themselves,
                                          over many scales and every zero point
  NAME DTYPE SYMMETRIC ort-entropy LO HI, ort-percentile LO HI
                                          of onnxruntime.quantization's calibrators, whose bins differ (2049 over
                                          [-max, max]; 128 or 255 levels), so ranges are near these, not equal. Its
                                          entropy keeps the spike of zeros, rounds counts and gives what is left over
                                          of a division to the last level: on "relu" and "cubed" it cuts off far more

Made with numpy 2 and onnxruntime 1.2x.
"""
import contextlib
import io
import pathlib

import numpy as np

N, BINS, PERCENT = 1 << 16, 2048, 99.9


def uniform(seed, n):
    out = np.empty(n, dtype=np.int64)
    x = seed
    for i in range(n):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = x
    return out


def gauss(seed):
    whole = uniform(seed, 12 * N).reshape(N, 12).sum(axis=1) - 6 * (1 << 32)
    return whole.astype(np.float64) * 2.0**-32


def samples():
    outlier = gauss(6)
    outlier[:: N // 16] *= 40
    side = gauss(5)
    sets = {
        "gauss": gauss(1),
        "relu": np.maximum(gauss(2), 0),
        "relu6": np.minimum(np.maximum(gauss(3) * 3, 0), 6),
        "cubed": gauss(4) * gauss(4) * gauss(4),
        "lopsided": np.where(side > 0, side * 4, side * 0.25),
        "outliers": outlier,
        "negative": -np.abs(gauss(7)),
    }
    return {k: v.astype(np.float32).astype(np.float64) + 0.0 for k, v in sets.items()}


def bins_of(x):
    """Bin of each value and the width: mirrored about zero, the least power of two that needs at most 2 * BINS."""
    for e in range(-126, 128):
        w = 2.0**e
        k = np.where(x < 0, -np.floor(-x / w) - 1, np.floor(x / w))
        if max(k.max(), 0) - min(k.min(), 0) + 1 <= 2 * BINS:
            return k, w
    raise ValueError


def kl_threshold(x, levels):
    k, w = bins_of(x[x != 0])
    hist = np.bincount(np.where(k < 0, -k - 1, k).astype(int)).astype(np.float64)
    while len(hist) > BINS:
        hist = np.append(hist, 0)[: len(hist) + len(hist) % 2].reshape(-1, 2).sum(axis=1)
        w *= 2
    hist[0] = hist[1]
    best, found = np.inf, len(hist)
    for i in range(levels, len(hist) + 1):
        p = hist[:i].copy()
        p[-1] += hist[i:].sum()
        q = np.zeros(i)
        for j in range(levels):
            a, b = j * i // levels, (j + 1) * i // levels
            some = p[a:b] > 0
            if some.any():
                q[a:b][some] = hist[a:b].sum() / some.sum()
        if np.any((p > 0) & (q == 0)) or hist[:i].sum() == 0:
            continue
        p, q = p / p.sum(), q / q.sum()
        kl = np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))
        if kl < best - 1e-12:
            best, found = kl, i
    return found * w, found == len(hist)


def percentile(x, symmetric, one_sided):
    cut = len(x) * (100 - PERCENT) / 100
    if symmetric:
        t = np.sort(np.abs(x))[::-1][int(cut)]
        return max(-t, min(x.min(), 0)), min(t, max(x.max(), 0))
    if not one_sided:
        cut /= 2
    return min(np.sort(x)[int(cut)], 0), max(np.sort(x)[::-1][int(cut)], 0)


def mse(x, qmin, qmax, symmetric, one_sided):
    x = x[x != 0]
    whole = max(x.max(), 0) - min(x.min(), 0)
    if symmetric and not one_sided:
        half = (qmax - qmin) // 2
        grids = [(np.abs(x).max() / half, -half, half)]
    else:
        grids = [(whole / (qmax - qmin), -z, qmax - qmin - z) for z in range(qmax - qmin + 1)]
        if x.min() >= 0:
            grids = grids[:1]
        elif x.max() <= 0:
            grids = grids[-1:]
    values, count = np.unique(x, return_counts=True)
    few = values, count
    if len(values) > 8192 and len(grids) > 1:  # all of the ends and every 8th between: enough to find the place
        mid = slice(512, -512, 8)
        few = tuple(np.concatenate([a[:512], a[mid] * by, a[-512:]]) for a, by in ((values, 1), (count, 8)))

    def error(s, lo, hi, v, c):
        return float(np.sum(c * (np.clip(np.rint(v / s), lo, hi) * s - v) ** 2))

    found = []
    for s0, lo, hi in grids:
        for i in range(0, 100):
            s = s0 * 2.0 ** (0.05 - i / 16)
            if len(grids) > 1 and (lo * s > x.min() * 0.02 or hi * s < x.max() * 0.02):
                continue
            found.append((error(s, lo, hi, *few), s, lo, hi))
    found.sort()
    return min(error(s, lo, hi, values, count) for _, s, lo, hi in found[:200])


def of_onnxruntime(x, method, symmetric, levels):
    from onnxruntime.quantization.calibrate import HistogramCollector
    c = HistogramCollector(method, symmetric, BINS + 1, levels, PERCENT, "scenario")
    with contextlib.redirect_stdout(io.StringIO()):
        c.collect({"x": [x.astype(np.float32)]})
        r = c.compute_collection_result()["x"]
    return float(r[0]), float(r[1])


def main():
    lines = []
    for name, x in samples().items():
        signs = (x.min() >= 0 or x.max() <= 0)
        for dtype, symmetric in (("uint8", 0), ("int8", 1), ("uint8", 1)):
            qmin, qmax = (0, 255) if dtype == "uint8" else (-127, 127)
            one = x.min() >= 0 and qmin == 0 if symmetric else signs
            t, all_of_it = kl_threshold(x, 256 if one else 128)
            lo, hi = min(x.min(), 0), max(x.max(), 0)
            if not all_of_it:
                lo, hi = max(-t, lo), min(t, hi)
            head = f"{name} {dtype} {symmetric}"
            lines.append(f"{head} entropy {lo:.9g} {hi:.9g}")
            lines.append("{} percentile {:.9g} {:.9g}".format(head, *percentile(x, symmetric, one)))
            lines.append(f"{head} mse {mse(x, qmin, qmax, symmetric, one) / len(x):.9g}")
        for method, symmetric, levels in (("entropy", 1, 255), ("percentile", 0, 128), ("percentile", 1, 128)):
            r = of_onnxruntime(x, method, symmetric, levels)
            lines.append(f"{name} {'int8' if symmetric else 'uint8'} {symmetric} ort-{method} {r[0]:.9g} {r[1]:.9g}")
    (pathlib.Path(__file__).parent / "thresholds.txt").write_text("\n".join(lines) + "\n")


main()
