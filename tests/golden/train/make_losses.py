"""Writes losses.h: values and gradients of the distillation losses, by PyTorch in float64, for tests/train/test_losses.c.

Each formula is written here from its paper, the plain way (softmax, log, kl_div, norm), and not the way the plugin
builds it. Run: python tests/golden/train/make_losses.py > tests/golden/train/losses.h   (needs torch)
"""

import torch
import torch.nn.functional as F

N, K = 5, 7
torch.set_default_dtype(torch.float64)


def numbers(seed, scale):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(N, K, generator=g) * scale


student, first, second = numbers(1, 3.0), numbers(2, 4.0), numbers(3, 2.0)
wide, wide_teacher = numbers(4, 60.0), numbers(5, 60.0)  # far apart: a log of a softmax would not do
labels = torch.tensor([3, 0, 6, 2, 3])
targets = 0.1 / K + 0.9 * F.one_hot(labels, K)


def ce(z, y):
    return F.cross_entropy(z, y)


def kl(log_p, q):
    return F.kl_div(log_p, q, reduction="batchmean")


def hinton(z, teachers, shares, T, alpha, y):
    log_p = F.log_softmax(z / T, 1)
    soft = sum(s * kl(log_p, F.softmax(t / T, 1)) for s, t in zip(shares, teachers))
    return alpha * T * T * soft + (1 - alpha) * ce(z, y)


def dkd(z, t, T, alpha, beta, weight, y):
    hit = F.one_hot(y, K).bool()

    def two(x):
        p = F.softmax(x / T, 1)
        return torch.stack([p[hit], (p * ~hit).sum(1)], 1)

    def others(x):
        return (x / T)[~hit].view(N, K - 1)

    target = kl(two(z).log(), two(t))
    rest = kl(F.log_softmax(others(z), 1), F.softmax(others(t), 1))
    return weight * ce(z, y) + T * T * (alpha * target + beta * rest)


def dist(z, t, T, beta, gamma, weight, y):
    def correlation(a, b):
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)).mean()

    p, q = F.softmax(z / T, 1), F.softmax(t / T, 1)
    soft = beta * (1 - correlation(p, q)) + gamma * (1 - correlation(p.T, q.T))
    return T * T * soft + (weight * ce(z, y) if weight else 0)


def dkd_pair(z, shares, T, alpha, beta, weight, y):
    return sum(s * dkd(z, t, T, alpha, beta, weight, y) for s, t in zip(shares, (first, second)))


CASES = [
    ("hinton", student, lambda z: hinton(z, [first], [1], 4, 0.7, labels)),
    ("hinton_soft_only", student, lambda z: hinton(z, [first], [1], 2, 1, labels)),
    ("hinton_hard_only", student, lambda z: hinton(z, [first], [1], 4, 0, labels)),
    ("hinton_two", student, lambda z: hinton(z, [first, second], [0.25, 0.75], 3, 0.5, labels)),
    ("hinton_targets", student, lambda z: hinton(z, [first], [1], 4, 0.7, targets)),
    ("hinton_wide", wide, lambda z: hinton(z, [wide_teacher], [1], 1, 0.7, labels)),
    ("dkd", student, lambda z: dkd(z, first, 4, 1, 8, 1, labels)),
    ("dkd_sharp", student, lambda z: dkd(z, first, 1, 2, 0.5, 0, labels)),
    ("dkd_quarter", student, lambda z: dkd(z, first, 4, 0.25, 2, 1, labels)),
    ("dkd_two", student, lambda z: dkd_pair(z, [0.5, 0.5], 4, 1, 8, 1, labels)),
    ("dist", student, lambda z: dist(z, first, 1, 1, 1, 1, labels)),
    ("dist_warm", student, lambda z: dist(z, first, 4, 2, 3, 0.5, labels)),
    ("dist_unlabelled", student, lambda z: dist(z, first, 2, 1, 2, 0, labels)),
]


def array(name, dims, values):
    text = ", ".join(repr(float(v)) for v in values.reshape(-1))
    print(f"static const double {name}{dims} = {{{text}}};")


print("/* losses.h - made by make_losses.py: see there. Do not edit. */")
print("/* clang-format off */")
print(f"enum {{ GOLDEN_N = {N}, GOLDEN_K = {K} }};")
for name, value in [("student", student), ("first", first), ("second", second), ("wide", wide),
                    ("wide_teacher", wide_teacher), ("targets", targets)]:
    array("golden_" + name, "[GOLDEN_N * GOLDEN_K]", value)
print(f"static const int64_t golden_labels[GOLDEN_N] = {{{', '.join(str(int(v)) for v in labels)}}};")
print("static const struct {\n    const char *name;\n    double loss, gradient[GOLDEN_N * GOLDEN_K];\n} golden[] = {")
for name, z, f in CASES:
    z = z.clone().requires_grad_()
    loss = f(z)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all(), name
    text = ", ".join(repr(float(v)) for v in z.grad.reshape(-1))
    print(f'    {{"{name}", {loss.item()!r}, {{{text}}}}},')
print("};")
