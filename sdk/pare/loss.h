/* pare/loss.h - a component that says how wrong logits are: what a training step minimises.
 *
 * A loss adds ONNX nodes to the graph that is trained (build); the host differentiates them, fuses them and runs them
 * on any device. One that can't be said in nodes works its value and its gradient out on the host (evaluate): the model
 * is then run forward once more for each batch, and its logits are fetched. Any step that trains may use any loss, or
 * several with weights. May include: host.h, param.h, graph.h.
 */
#ifndef PARE_LOSS_H
#define PARE_LOSS_H

#include <pare/graph.h>
#include <pare/param.h>

enum {
    PARE_LOSS_LABELS = 1, /* makes no sense without labels */
    PARE_LOSS_TEACHER = 2 /* makes no sense without a teacher: its parameters of type MODEL name them */
};

/* What a loss is made of: values of the graph it is to extend. Borrowed for the call. */
typedef struct pare_loss_io {
    uint32_t size;
    uint32_t logits;          /* (N, K) float: what stands before a Softmax at the model's end */
    uint32_t labels;          /* (N) int64, class numbers; 0: the samples have none, or the targets say more */
    uint32_t targets;         /* (N, K) float, rows sum to 1: where labels are smoothed or mixed; 0: see labels */
    const uint32_t *teachers; /* their logits, (N, K) float, in the order of the parameters that name them */
    uint64_t n_teachers;
    uint64_t classes; /* K */
    uint32_t epoch; /* a float scalar: epochs done before this batch, with their fraction; for what changes with time */
    uint32_t reserved;
} pare_loss_io;

/* The same as numbers of a batch on the host, plain rows. Borrowed for the call. */
typedef struct pare_loss_values {
    uint32_t size, reserved;
    uint64_t rows, classes;       /* N of the batch, or of a micro-batch; K */
    const float *logits;          /* (N, K) */
    const int64_t *labels;        /* (N); NULL: the samples have none, or the targets say more */
    const float *targets;         /* (N, K), rows sum to 1; NULL: see labels */
    const float *const *teachers; /* (N, K) each */
    uint64_t n_teachers;
    double epoch; /* epochs done before this batch, with their fraction */
} pare_loss_values;

typedef struct pare_loss {
    uint32_t size, flags;               /* PARE_LOSS_* */
    const char *id, *version, *summary; /* [static] "distill.hinton", "1.0.0", one sentence */
    const pare_param *params;           /* [static] walked by param_stride */
    uint32_t n_params, param_stride;
    /* [run] args: one per parameter, in order, valid until destroy. *self may stay NULL. Looks at no model. */
    pare_status (*create)(const pare_host *, const pare_arg *args, void **self);
    /* [run] Adds nodes (pare.graph/1) whose last output is the loss: a scalar, the mean over the batch. Ops that have
     * no gradient are refused by the host, by name. Called again for each batch size where the graph needs it. NULL:
     * see evaluate. */
    pare_status (*build)(void *self, const pare_host *, pare_model *, const pare_loss_io *, uint32_t *loss);
    /* [run] Exactly once per successful create. Optional. */
    void (*destroy)(void *self);
    /* [run] Where there is no build: *loss, the mean over the rows, and its derivative by the logits, (N, K), which is
     * all zeros when it is called. There is no model to look at. Where both are there build is used, and the two say
     * the same. */
    pare_status (*evaluate)(void *self, const pare_host *, const pare_loss_values *, double *loss, float *dlogits);
} pare_loss;

#endif
