/* train/options.h - how something is trained: a step's `fit:` block, typed and with defaults.
 *
 * Is: plain data. Is not: YAML (the pipeline fills it), the loop (fit.h). May use: the C library.
 */
#ifndef PARE_TRAIN_OPTIONS_H
#define PARE_TRAIN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { PARE_SGD, PARE_ADAM, PARE_ADAMW } pare_optimizer;
typedef enum {
    PARE_SCHEDULE_CONSTANT,
    PARE_SCHEDULE_STEP,
    PARE_SCHEDULE_COSINE,
    PARE_SCHEDULE_ONECYCLE,
    PARE_SCHEDULE_POLY
} pare_schedule;
typedef enum { PARE_KEEP_BEST, PARE_KEEP_LAST } pare_keep;

/* The learning rate over the steps, as PyTorch's schedulers of these names give it when they are stepped each batch
 * (STEP: each epoch). In the first W = `warmup` steps it rises in a straight line: lr / W, 2 lr / W, ... lr. What
 * follows begins anew behind them and has the rest of the steps to go (SequentialLR of LinearLR and the other); STEP
 * alone counts epochs from the start, and ONECYCLE has no warm-up but its own. */
typedef struct pare_schedule_opts {
    pare_schedule kind;
    double warmup;       /* below 1: a share of all steps; else so many whole steps */
    double step_epochs;  /* STEP: every so many epochs ... */
    double gamma;        /* ... times this */
    double final_lr;     /* COSINE: what it ends at */
    double power;        /* POLY */
    double pct_start;    /* ONECYCLE: the share that rises */
    double div_factor;   /* ONECYCLE: it starts at lr / div_factor */
    double final_div;    /* ONECYCLE: and ends at that / final_div */
    bool cycle_momentum; /* ONECYCLE: momentum (Adam: beta1) falls from momentum_max to momentum_min and rises again */
    double momentum_min, momentum_max;
} pare_schedule_opts;

/* A pattern of tensor names with factors of its own. */
typedef struct pare_fit_group {
    const char *match; /* as in pare.layers/1: a glob, or "re:..." */
    double lr, decay;  /* factors of lr and weight_decay */
} pare_fit_group;

/* Applied to (N, C, H, W) batches of images in this order, drawn anew each epoch by seed and sample. 0: not. */
typedef struct pare_augment_opts {
    double flip;           /* probability of a mirror image, left to right */
    uint32_t crop_padding; /* zeros on each side, then a crop of the old size anywhere */
    bool resized_crop;     /* an area between these shares of the image, resized to its size */
    double resized_min, resized_max;
    double brightness, contrast, saturation; /* each drawn from [1 - x, 1 + x] */
    uint32_t cutout;                         /* side of a square of zeros */
    double mixup;                            /* alpha of the beta distribution; targets become (N, K) */
} pare_augment_opts;

/* One of the losses that are minimised together. */
typedef struct pare_fit_loss {
    const char *use;       /* a loss component's id, "cross_entropy" or "mse" (the host's own) */
    const void *component; /* pare_loss, NULL: the host's own */
    const void *args;      /* pare_arg, one per its parameter */
    double weight;
    const char *const *teachers; /* references of its MODEL parameters, in order */
    size_t n_teachers;
} pare_fit_loss;

typedef struct pare_fit_opts {
    double epochs;  /* 0: see steps */
    uint64_t steps; /* at most so many optimiser steps; 0: see epochs */
    uint32_t batch;
    uint32_t micro_batch; /* rows at once, gradients summed over the batch; 0: all. BatchNormalization sees these alone,
                             and Dropout draws for each anew: but for them the result is the whole batch's */
    int32_t recompute;    /* segments of the forward pass whose activations the backward pass computes again instead of
                             keeping them: less memory, the same numbers. 0: off; -1: as many as pay (recompute.h) */
    bool drop_last;       /* a last batch that is short is left out */
    uint64_t seed;

    pare_optimizer optimizer;
    double lr, momentum; /* momentum: sgd's; 0: none */
    bool nesterov;
    double beta1, beta2, epsilon; /* adam's */
    double weight_decay;
    bool decay_all; /* norms and biases too */
    pare_schedule_opts schedule;
    double clip_norm;       /* 0: off */
    double label_smoothing; /* 0: off */
    double ema;             /* decay of the average that leaves in the weights' place; 0: off */

    const char *const *freeze; /* patterns: these stay as they are */
    size_t n_freeze;
    const char *const *train; /* patterns: these alone are trained; none: all */
    size_t n_train;
    const pare_fit_group *groups;
    size_t n_groups;
    bool freeze_batchnorm;

    pare_augment_opts augment;
    pare_fit_loss *losses; /* none: cross-entropy */
    size_t n_losses;
    const char *logits; /* the value that the loss takes; NULL: what stands before a Softmax at the end */

    pare_keep keep;         /* of the epochs, by accuracy on the validation set; without one the last */
    uint32_t early_stop;    /* epochs without a better one; 0: off */
    const char *checkpoint; /* a file written after each epoch but the last, and when cancelled; NULL: none */
} pare_fit_opts;

/* DESIGN §5: sgd, momentum 0.9 nesterov, lr 0.05, weight decay 5e-4 (norms and biases exempt), batch 128, cosine with
 * 5 % warm-up, no augmentation, last short batch dropped; 1 epoch. */
pare_fit_opts pare_fit_defaults(void);

#endif
