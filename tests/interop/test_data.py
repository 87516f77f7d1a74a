#!/usr/bin/env python3
"""pare's data layer against numpy and Pillow: .npy and .npz files both ways, and decode, resize, crop, normalise of
images made here (JPEG of every colour model and subsampling, PNG of every kind), compared with the steps that
torchvision's transforms take on Pillow images. Pixels must be equal to the byte; what remains is f32 rounding.

env: PARE_BUILD (the build tree, for tests/data_test_image)"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import needed

with needed():
    import numpy as np
    from PIL import Image

TOOL = Path(os.environ["PARE_BUILD"]) / "tests" / "data_test_image"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
failures = 0


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print(f"FAIL {what}")


def pare(kind, path, out, **options):
    """(images, labels or None), or None where pare refuses."""
    args = [str(TOOL), kind, str(path), str(out)] + [f"{k}={v}" for k, v in options.items()]
    r = subprocess.run(args, capture_output=True, text=True)
    if r.returncode:
        print(r.stderr, end="")
        return None
    labels = Path(f"{out}.labels.npy")
    return np.load(f"{out}.images.npy"), np.load(labels) if labels.exists() else None


def resize(im, size):
    """torchvision.transforms.Resize"""
    if isinstance(size, tuple):
        return im.resize((size[1], size[0]), Image.BILINEAR)
    w, h = im.size
    short, long = (w, h) if w <= h else (h, w)
    new = int(size * long / short)
    w, h = (size, new) if w <= h else (new, size)
    return im.resize((w, h), Image.BILINEAR)


def crop(im, ch, cw):
    """torchvision.transforms.CenterCrop"""
    w, h = im.size
    if cw > w or ch > h:
        left, top = max(0, (cw - w) // 2), max(0, (ch - h) // 2)
        right, bottom = max(0, (cw - w + 1) // 2), max(0, (ch - h + 1) // 2)
        big = Image.new(im.mode, (w + left + right, h + top + bottom))
        big.paste(im, (left, top))
        im, w, h = big, *big.size
    top, left = int(round((h - ch) / 2.0)), int(round((w - cw) / 2.0))
    return im.crop((left, top, left + cw, top + ch))


def tensor(im, mean=None, std=None):
    """ToTensor and Normalize, in f32."""
    a = np.asarray(im)
    a = (a[None] if a.ndim == 2 else a.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)
    if mean is not None:
        a = (a - np.array(mean, np.float32)[:, None, None]) / np.array(std, np.float32)[:, None, None]
    return a


def picture(rng, w, h, channels=3):
    """Smooth, with edges and some noise: neither JPEG nor resizing finds it easy."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    a = np.stack([127 + 90 * np.sin(x / (7 + 3 * c)) * np.cos(y / (5 + c)) for c in range(channels)], -1)
    a[(x // 11 + y // 17) % 5 == 0] += 60
    a += rng.normal(0, 12, a.shape)
    return np.clip(a, 0, 255).astype(np.uint8)


def make_images(dir):
    """name -> path of images of every kind Pillow writes."""
    rng = np.random.default_rng(1)
    made = {}

    def save(name, im, **kw):
        made[name] = dir / name
        im.save(made[name], **kw)

    rgb = Image.fromarray(picture(rng, 301, 203))
    for sub in (0, 1, 2):
        save(f"rgb-{sub}.jpg", rgb, quality=90, subsampling=sub)
    save("progressive.jpg", rgb, quality=60, progressive=True)
    save("tall.jpg", Image.fromarray(picture(rng, 77, 410)), quality=75)
    save("grey.jpg", rgb.convert("L"), quality=85)
    save("cmyk.jpg", rgb.convert("CMYK"), quality=95)
    save("small.jpg", Image.fromarray(picture(rng, 13, 9)), quality=95)
    save("one.jpg", Image.fromarray(picture(rng, 1, 1)))
    save("rgb.png", rgb)
    save("grey.png", rgb.convert("L"))
    save("bit.png", rgb.convert("1"))
    save("palette.png", rgb.quantize(37))
    save("palette4.png", rgb.quantize(11))
    save("la.png", rgb.convert("LA"))
    rgba = rgb.convert("RGBA")
    rgba.putalpha(Image.fromarray(picture(rng, 301, 203, 1)[:, :, 0]))
    save("rgba.png", rgba)
    transparent = rgb.quantize(20)
    save("transparent.png", transparent, transparency=3)
    save("one.png", Image.fromarray(picture(rng, 1, 1)))
    save("wide.png", Image.fromarray(picture(rng, 3000, 7)))
    return made


def images(dir):
    folder = dir / "images"
    folder.mkdir()
    made = make_images(folder)
    worst = {"pixels": 0.0, "normalised": 0.0}
    cases = [
        ({}, lambda im: im),
        ({"resize": 64}, lambda im: resize(im, 64)),
        ({"resize": 256, "crop": "224x224"}, lambda im: crop(resize(im, 256), 224, 224)),
        ({"resize": "50x91"}, lambda im: resize(im, (50, 91))),
        ({"resize": "33x400", "crop": "30x401"}, lambda im: crop(resize(im, (33, 400)), 30, 401)),
        ({"crop": "99x98"}, lambda im: crop(im, 99, 98)),
    ]
    n = 0
    for name, path in made.items():
        for options, steps in cases:
            for channels in (3, 1):
                im = Image.open(path).convert("RGB")
                if channels == 1:
                    im = im.convert("L")
                ref = steps(im)
                got = pare("flat", path, dir / "out", ch=channels, **options)
                if got is None:
                    check(False, f"{name} {options}: refused")
                    continue
                d = np.abs(got[0][0] - tensor(ref)).max() if got[0][0].shape == tensor(ref).shape else np.inf
                worst["pixels"] = max(worst["pixels"], d)
                check(d == 0, f"{name} {options} channels {channels}: largest difference {d * 255} / 255")
                n += 1
        options, steps = cases[2]
        ref = tensor(steps(Image.open(path).convert("RGB")), MEAN, STD)
        mean, std = ",".join(map(str, MEAN)), ",".join(map(str, STD))
        a = pare("flat", path, dir / "out", mean=mean, std=std, **options)[0][0]
        b = pare("flat", path, dir / "out", mean=mean, std=std, layout="nhwc", order="bgr", **options)[0][0]
        d = np.abs(a - ref).max()
        worst["normalised"] = max(worst["normalised"], d)
        check(d <= 1e-6, f"{name} normalised: {d}")
        # mean and std belong to the tensor's channels, so with bgr they meet the other colours
        m, s = (np.array(v, np.float32)[:, None, None] for v in (MEAN, STD))
        bgr = (tensor(steps(Image.open(path).convert("RGB")))[::-1] - m) / s
        check(np.abs(b.transpose(2, 0, 1) - bgr).max() <= 1e-6, f"{name} bgr nhwc")
    print(f"{n} decoded, resized and cropped images; largest difference of pixels {worst['pixels'] * 255:g} / 255, "
          f"normalised {worst['normalised']:g}")


def folder(dir):
    rng = np.random.default_rng(2)
    root = dir / "classes"
    want = []
    for label, name in enumerate(["B", "a", "b10", "b9"]):
        for sub in ("", "x", "x/y"):
            (root / name / sub).mkdir(parents=True, exist_ok=True)
        for file in ("z.png", "x/1.png", "x/y/0.png", "x/B.PNG"):
            im = Image.fromarray(picture(rng, 8, 8))
            im.save(root / name / file)
        for parent, _, files in sorted(os.walk(root / name)):  # as torchvision's make_dataset
            want += [(Path(parent) / f, label) for f in sorted(files)]
    got = pare("folder", root, dir / "out")
    check(got[1].tolist() == [l for _, l in want], "folder: labels")
    ref = np.stack([tensor(Image.open(p).convert("RGB")) for p, _ in want])
    check(np.array_equal(got[0], ref), "folder: the order of files")


def arrays(dir):
    rng = np.random.default_rng(3)
    n = 0
    dtypes = "? i1 u1 <i2 >i2 <u2 <i4 >u4 <i8 >i8 <u8 <f2 >f2 <f4 >f4 <f8 >f8".split()
    for dt in dtypes:
        for order in "CF":
            for shape in [(5,), (4, 3), (2, 3, 4, 5, 2)]:
                a = rng.normal(0, 60, shape) if "f" in dt else rng.integers(0, 100, shape)
                a = np.asarray(a.astype(dt), order=order)
                np.save(dir / "a.npy", a)
                got = pare("npy", dir / "a.npy", dir / "out")
                kind = np.dtype(dt).kind
                ref = a.astype(np.float32) if kind == "f" else a.astype(np.dtype(dt).newbyteorder("="))
                if dt == "u1":
                    ref = a.astype(np.float32) / np.float32(255)
                ok = got is not None and np.array_equal(got[0].reshape(ref.shape), ref) and got[0].dtype == ref.dtype
                check(ok, f"npy {dt} {order} {shape}")
                n += 1
    x, y = rng.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8), rng.integers(0, 7, 6)
    np.save(dir / "x.npy", x)
    np.save(dir / "y.npy", y.astype(">i4"))
    ref = x.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    np.savez(dir / "s.npz", images=x, labels=y)
    np.savez_compressed(dir / "c.npz", images=x, labels=y)
    for kind, path, options in [("npy", dir / "x.npy", {"labels": dir / "y.npy"}), ("npy", dir / "s.npz", {}),
                                ("npy", dir / "c.npz", {})]:
        got = pare(kind, path, dir / "out", **options)
        ok = got and np.array_equal(got[0], ref) and np.array_equal(got[1], y) and got[1].dtype == np.int64
        check(ok, path.name)
    print(f"{n + 3} arrays")


def main():
    with tempfile.TemporaryDirectory() as t:
        dir = Path(t)
        arrays(dir)
        folder(dir)
        images(dir)
    print(f"{failures} failures")
    return 1 if failures else 0


sys.exit(main())
