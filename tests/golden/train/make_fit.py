"""Writes fit.h: where PyTorch's optimisers bring a small network in six steps on one whole batch, in float64, for
tests/train/test_golden_fit.c: what `fit:` adds to a bare optimiser (exemptions from decay, factors by pattern, masks under
clipping, averages, smoothed labels, the cycled beta of Adam).

Run: python tests/golden/train/make_fit.py > tests/golden/train/fit.h   (needs torch)
"""

import torch
import torch.nn.functional as F

N, D, H, K, STEPS, LR = 8, 5, 6, 3, 6, 0.2
torch.set_default_dtype(torch.float64)


def numbers(seed, *dims):
    return torch.randn(*dims, generator=torch.Generator().manual_seed(seed))


x, labels = numbers(1, N, D), torch.arange(N) % K
first = {"a.w": numbers(2, H, D) * 0.5, "a.b": numbers(3, H) * 0.1, "c.w": numbers(4, K, H) * 0.5, "c.b": numbers(5, K) * 0.1}
mask = (torch.arange(H * D) % 3 != 0).view(H, D)


def sgd(groups):
    return torch.optim.SGD(groups, lr=LR, momentum=0.9, nesterov=True)


def adam(groups):
    return torch.optim.Adam(groups, lr=LR / 4)


def adamw(groups):
    return torch.optim.AdamW(groups, lr=LR / 4)


def run(make=sgd, decay=0.0, everything=False, factors=lambda name: (1, 1), masked=False, clip=0.0, smoothing=0.0, ema=0.0,
        cycle=False):
    p = {k: (v * mask if masked and k == "a.w" else v).clone().requires_grad_() for k, v in first.items()}
    lr = LR if make is sgd else LR / 4
    groups = [{"params": [v], "lr": lr * factors(k)[0],
               "weight_decay": decay * factors(k)[1] if everything or v.ndim > 1 else 0.0} for k, v in p.items()]
    optimizer = make(groups)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=STEPS) if cycle else None
    mean = {k: v.detach().clone() for k, v in p.items()}
    for _ in range(STEPS):
        optimizer.zero_grad()
        z = F.linear(F.relu(F.linear(x, p["a.w"], p["a.b"])), p["c.w"], p["c.b"])
        F.cross_entropy(z, labels, label_smoothing=smoothing).backward()
        if masked:
            p["a.w"].grad *= mask
        if clip:
            torch.nn.utils.clip_grad_norm_(p.values(), clip)
        optimizer.step()
        if schedule:
            schedule.step()
        with torch.no_grad():
            if masked:
                p["a.w"] *= mask
            mean = {k: ema * mean[k] + (1 - ema) * v for k, v in p.items()}
    return torch.cat([v.detach().flatten() for v in mean.values()])


cases = {
    "plain": run(),
    "decay": run(decay=0.1),
    "decay_all": run(decay=0.1, everything=True),
    "adam_decay": run(adam, decay=0.1),
    "adamw_decay": run(adamw, decay=0.1),
    "factors": run(decay=0.1, factors=lambda k: (0.5, 2) if k == "c.w" else (0, 1) if k == "a.b" else (1.5, 1)),
    "clip": run(clip=0.3),
    "clip_masked": run(decay=0.1, masked=True, clip=0.3),
    "adamw_masked": run(adamw, decay=0.1, masked=True, clip=0.3, ema=0.5),
    "smoothing": run(smoothing=0.2),
    "ema": run(ema=0.8),
    "adam_cycled": run(adam, cycle=True),
    "sgd_cycled": run(cycle=True),
}


def row(v):
    return "{" + ", ".join(repr(float(e)) for e in v.flatten()) + "}"


print("/* fit.h - made by make_fit.py: see there. Do not edit. */\n/* clang-format off */")
print(f"enum {{ FIT_N = {N}, FIT_D = {D}, FIT_H = {H}, FIT_K = {K}, FIT_STEPS = {STEPS}, FIT_ALL = {sum(v.numel() for v in first.values())} }};")
print(f"static const double fit_lr = {LR}, fit_x[FIT_N * FIT_D] = {row(x)};")
print(f"static const double fit_first[FIT_ALL] = {row(torch.cat([v.flatten() for v in first.values()]))};")
print("static const struct {\n    const char *name;\n    double weights[FIT_ALL];\n} fit_golden[] = {")
for name, weights in cases.items():
    print(f'    {{"{name}", {row(weights)}}},')
print("};")
