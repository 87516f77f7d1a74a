#!/usr/bin/env python3
"""pare's data layer against numpy and Pillow: .npy and .npz files both ways, and decode, resize, crop, normalise of
images made here (JPEG of every colour model and subsampling, PNG of every kind), compared with the steps that
torchvision's transforms take on Pillow images. Pixels must be equal to the byte; what remains is f32 rounding. And what
`pare infer` says of an image against ONNX Runtime on those pixels, by a data file and by the model's own metadata.

env: PARE_BUILD (the build tree, for tests/data_test_image), PARE_BIN"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import needed

with needed():
    import numpy as np
    import onnx
    import onnxruntime
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


DATA = """version: 1
models: {net: {zoo: mobilenet_v2, with: {classes: 6, size: 64}}}
data:
  preprocess: {resize: 72, crop: 64, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
  test: {folder: six}
steps: []
report: {on: test, metrics: [size, accuracy]}
output: {dir: made, gzip: off}
"""


def infer(dir):
    rng = np.random.default_rng(4)
    names = ["B", "a", "b10", "b9", "c d", "z"]
    for name in names:
        (dir / "six" / name).mkdir(parents=True)
        Image.fromarray(picture(rng, 90, 70)).save(dir / "six" / name / "x.jpg", quality=80)
    (dir / "d.yaml").write_text(DATA)
    (dir / "plain.yaml").write_text("data: {test: {folder: six}}\n")
    bin = os.environ["PARE_BIN"]

    def run(*args):
        r = subprocess.run([bin, *map(str, args)], capture_output=True, text=True, cwd=dir)
        check(r.returncode == 0, f"pare {' '.join(map(str, args))}: {r.stderr}")
        return r.stdout

    run("run", "d.yaml", "--quiet")
    model = onnx.load(dir / "made/model.onnx")
    meta = {p.key: p.value for p in model.metadata_props}
    want = {"mean": MEAN, "std": STD, "resize": 72, "crop": [64, 64]}
    check(json.loads(meta["ai.pare.preprocess"]) == want, "the metadata's preprocessing")
    check(json.loads(meta["ai.pare.classes"]) == names, "the metadata's classes")
    session = onnxruntime.InferenceSession(dir / "made/model.onnx", providers=["CPUExecutionProvider"])
    soft = onnx.load(dir / "made/model.onnx")  # the same with a Softmax at its end: the same answer
    soft.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1))
    soft.graph.output[0].name = "probabilities"
    onnx.save(soft, dir / "soft.onnx")
    worst = 0.0
    paths = [dir / "six" / name / "x.jpg" for name in names]
    for file, args in (("made/model.onnx", ["--data", "d.yaml"]), ("made/model.onnx", []), ("soft.onnx", []),
                       ("soft.onnx", ["--data", "plain.yaml"])):
        out = json.loads(run("infer", file, *paths, "--json", "--quiet", *args) or '{"images": []}')
        check(len(out["images"]) == len(paths), f"infer {file} {args}: {len(out['images'])} answers")
        for path, image in zip(paths, out["images"]):
            x = tensor(crop(resize(Image.open(path).convert("RGB"), 72), 64, 64), MEAN, STD)[None]
            y = session.run(None, {"input": x})[0][0].astype(np.float64)
            p = np.exp(y - y.max())
            p /= p.sum()
            order = np.argsort(-y, kind="stable")[:5]
            check([t["label"] for t in image["top"]] == order.tolist(), f"infer {file} {args} {path.parent.name}: order")
            check([t["class"] for t in image["top"]] == [names[i] for i in order], f"infer {file} {args}: names")
            e = max(np.abs([t["logit"] for t in image["top"]] - y[order]).max() / np.abs(y).max(),
                    np.abs([t["probability"] for t in image["top"]] - p[order]).max())
            worst = max(worst, e)
            check(e <= 1e-4, f"infer {file} {args} {path.parent.name}: {e}")
    a = json.loads(run("eval", "made/model.onnx", "--data", "d.yaml", "--json", "--quiet"))
    b = json.loads(run("eval", "made/model.onnx", "--data", "plain.yaml", "--json", "--quiet"))
    check(a["loss"] == b["loss"], f"eval by the data file {a['loss']} and by the model {b['loss']}")
    print(f"{4 * len(paths)} images through pare infer; largest difference from ONNX Runtime's {worst:.1e}")


def main():
    with tempfile.TemporaryDirectory() as t:
        dir = Path(t)
        arrays(dir)
        folder(dir)
        images(dir)
        infer(dir)
    print(f"{failures} failures")
    return 1 if failures else 0


sys.exit(main())
