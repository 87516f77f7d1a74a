/* pare/grad_ops.h - the ops of domain ai.pare.grad, version 1: what training needs beside ONNX's own.
 *
 * They are made by the host's autodiff and never leave it in a file. A backend that has no kernel for one says
 * PARE_EUNSUPPORTED, and the host's own backend takes the node. Names: x the forward op's input, y its output, dy the
 * gradient of the loss by y, dx that by x. Attributes named "as Conv" are those of the ONNX op at opset 21. An input
 * written `x?` gives its dims alone: it comes flagged PARE_OPERAND_ABSENT with dtype and dims filled in, and no memory
 * is kept alive for it. An output written `w'=w` is the new content of input w and is written over it: the host gives
 * both the same memory. All reductions have a fixed order at one thread count. Dtypes: float32, and float64 where the
 * backend is an oracle. May include: the C library only.
 *
 * Sources: batch normalization arXiv 1502.03167 with PyTorch's unbiased running variance; SGD with momentum as
 * torch.optim.SGD (the velocity holds gradients, not steps); Adam arXiv 1412.6980; AdamW arXiv 1711.05101.
 */
#ifndef PARE_GRAD_OPS_H
#define PARE_GRAD_OPS_H

#include <stdint.h>

#define PARE_GRAD_DOMAIN "ai.pare.grad"

/* X(op_type, inputs, outputs) */
/* clang-format off */
#define PARE_GRAD_OPS(X)                                                                                               \
    /* ---- forward in training mode ---- */                                                                           \
    /* y, and the statistics of this batch: mean and 1/sqrt(biased variance + epsilon), (C). running' = momentum *     \
     * running + (1 - momentum) * batch's, the variance unbiased (n / (n - 1)). epsilon, momentum: ONNX's, as          \
     * BatchNormalization's. relu (int, 0): y = max(y, 0) on top; high (float): then min(y, high), with relu alone.    \
     * mean and var may be absent where mean' and var' are: y alone is computed again, bit for bit. */                 \
    X(BatchNormTrain, "x scale bias mean var", "y mean'=mean var'=var saved_mean saved_inv_std")                       \
    /* y = x * keep / (1 - ratio); keep is drawn by Philox from (seed, stream, step, element's number in plain order   \
     * in the whole batch). step: int64 scalar, as pare_dropout_step packs it, the same in forward and backward, where \
     * dx is this op applied to dy. ratio, seed, stream. */                                                            \
    X(DropoutTrain, "x step", "y")                                                                                     \
    /* Mean over rows of -sum_k target * log_softmax(logits): logits and target (N, K). One output per row as well. */ \
    X(SoftCrossEntropy, "logits target", "loss")                                                                       \
    /* ---- backward of the heavy ones: attributes as Conv, MaxPool, AveragePool ---- */                               \
    X(ConvGradInput, "dy w x?", "dx")                                                                                  \
    X(ConvGradWeight, "dy x w?", "dw db") /* db (OC): left out where nobody wants it */                                \
    X(MaxPoolGrad, "dy x", "dx")          /* to the first maximum of each window, in plain order, as PyTorch does */   \
    X(AveragePoolGrad, "dy x?", "dx")                                                                                  \
    X(GlobalAveragePoolGrad, "dy x?", "dx")                                                                            \
    /* epsilon; relu (int, 0): y (the forward's) masks dy first: dy = y > 0 ? dy : 0. high: 0 too where y is not below \
     * it. Without y, bias is there (C), and y is computed anew from x. */                                             \
    X(BatchNormGrad, "dy x scale saved_mean saved_inv_std y bias", "dx dscale dbias")                                  \
    X(LayerNormGrad, "dy x scale", "dx dscale dbias")     /* axis, epsilon: as LayerNormalization */                   \
    X(InstanceNormGrad, "dy x scale", "dx dscale dbias")  /* epsilon */                                                \
    X(GroupNormGrad, "dy x scale", "dx dscale dbias")     /* num_groups, epsilon */                                    \
    X(LRNGrad, "dy x y", "dx")                            /* as LRN */                                                 \
    X(SoftmaxGrad, "dy y", "dx")                          /* axis */                                                   \
    X(LogSoftmaxGrad, "dy y", "dx")                       /* axis */                                                   \
    /* Of ONNX's SoftmaxCrossEntropyLoss (reduction mean or sum, ignore_index; no weights) and of SoftCrossEntropy.    \
     * dloss: scalar. */                                                                                               \
    X(SoftmaxCrossEntropyGrad, "dloss logits labels", "dlogits")                                                       \
    X(SoftCrossEntropyGrad, "dloss logits target", "dlogits")                                                          \
    /* ---- backward of activations: attributes as the forward op's ---- */                                            \
    X(ReluGrad, "dy y", "dx")                                                                                          \
    X(ClipGrad, "dy x min max", "dx")                     /* 1 inside and on the bounds, as PyTorch's clamp */         \
    X(LeakyReluGrad, "dy x", "dx")                                                                                     \
    X(EluGrad, "dy x", "dx")                                                                                           \
    X(SeluGrad, "dy x", "dx")                                                                                          \
    X(SigmoidGrad, "dy y", "dx")                                                                                       \
    X(HardSigmoidGrad, "dy x", "dx")                                                                                   \
    X(HardSwishGrad, "dy x", "dx")                                                                                     \
    X(TanhGrad, "dy y", "dx")                                                                                          \
    X(SoftplusGrad, "dy x", "dx")                                                                                      \
    X(GeluGrad, "dy x", "dx")                             /* approximate */                                            \
    X(MishGrad, "dy x", "dx")                                                                                          \
    /* ---- shapes ---- */                                                                                             \
    X(SumTo, "dy x?", "dx")                               /* the sum of dy over what broadcasting x to it repeated */  \
    X(SliceGrad, "dy x? starts ends axes steps", "dx")    /* zeros, but dy where Slice took it from */                 \
    X(GatherGrad, "dy indices x?", "dx")                  /* axis; repeated indices add up, in plain order */          \
    X(GatherElementsGrad, "dy indices x?", "dx")          /* axis; likewise */                                         \
    X(GatherNDGrad, "dy indices x?", "dx")                /* batch_dims; likewise */                                   \
    X(ConcatGrad, "dy x?...", "dx...")                    /* axis: dy cut as Concat joined it; an output may be absent */\
    X(ResizeGrad, "dy x? roi scales sizes", "dx")         /* the transpose of Resize, whose attributes it has */       \
    /* ---- what moves weights ---- */                                                                                 \
    X(Accumulate, "sum g", "sum'=sum")                    /* sum + g; first (int, 0): g alone */                       \
    /* sqrt of the sum over all gradients of squares (NaN and Inf pass through), of their dtype; sums in double. The   \
     * first `gradients` (int, all) inputs are these, then each one's mask as the updates have it, absent where there  \
     * is none: what stays 0 does not count. */                                                                        \
    X(GlobalNorm, "g... mask...", "norm")                                                                              \
    /* One tensor's step. hyper: float64 (8) = lr, momentum or beta1, beta2, epsilon, weight_decay, clip_norm (0: off),\
     * step number from 1, scale of g (1 / micro-batches). norm: of all gradients as they come (before the scale), may \
     * be absent without clipping. Clipping as torch's clip_grad_norm_: g *= min(1, clip_norm / (scale * norm + 1e-6)).\
     * mask: uint8, a bit per element, lowest first; where it is 0 the element stays +0.0 and its state 0; may be      \
     * absent. Attributes lr_mult, decay_mult (float, 1): this tensor's factors. */                                    \
    X(SgdUpdate, "w g velocity hyper norm mask", "w'=w velocity'=velocity")   /* nesterov, decoupled (int): attributes. \
     * g += wd * w; velocity = momentum * velocity + g; w -= lr * (nesterov ? g + momentum * velocity : velocity).     \
     * On step 1 velocity = g. velocity absent: no momentum. */                                                        \
    X(AdamUpdate, "w g m v hyper norm mask", "w'=w m'=m v'=v")  /* decoupled (int): AdamW. As torch.optim.Adam(W) */    \
    X(EmaUpdate, "ema w decay", "ema'=ema")                     /* decay * ema + (1 - decay) * w; decay: float32 scalar */

#define PARE_GRAD_NAME_(op, in, out) #op,
/* clang-format on */

/* DropoutTrain's input `step`: the step's number (24 bits are taken), and that the batch's rows first, first + 1, ...
 * are at hand, `rows` of them; both below 2^17, rows 0: the batch is whole. */
static inline int64_t pare_dropout_step(uint64_t step, uint64_t first, uint64_t rows) {
    return (int64_t)((step & 0xffffff) | (first & 0x1ffff) << 24 | (rows & 0x1ffff) << 41);
}

/* What Philox's stream has of it. */
static inline uint64_t pare_dropout_stream(int64_t step) { return (uint64_t)step & 0xffffff; }

/* The number in the batch of the first of the n elements at hand. */
static inline uint64_t pare_dropout_first(int64_t step, uint64_t n) {
    uint64_t first = (uint64_t)step >> 24 & 0x1ffff, rows = (uint64_t)step >> 41 & 0x1ffff;
    return rows ? first * ((n + rows - 1) / rows) : 0;
}

#endif
