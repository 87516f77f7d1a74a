/* pare/run.h - interface "pare.run/1": running the step's model on samples, and looking at any value on the way.
 *
 * For techniques that need data but no gradients: calibration, sensitivity, reconstruction. A run sees the model as it
 * was when it was opened; later edits don't reach it. Two runs may be open side by side (a model before and after) and
 * are stepped batch by batch. Samples come in a fixed order, by the seed. [run]. May include: host.h, tensor.h.
 */
#ifndef PARE_RUN_H
#define PARE_RUN_H

#include <pare/host.h>
#include <pare/tensor.h>

#define PARE_RUN_V1 "pare.run/1"

typedef struct pare_runner pare_runner; /* opaque: the host's, a model opened on a set */

enum { PARE_RUNNER_FINITE = 1 }; /* next refuses a sample that holds NaN or Inf, and names it (PARE_EINVAL) */

typedef struct pare_runner_request {
    uint32_t size, flags; /* PARE_RUNNER_* */
    /* Values of the main graph to look at (fusion stops only there), NULL: the graph's outputs. */
    const uint32_t *values;
    uint64_t n_values;
    const char *data; /* a set's name, or "random": normal noise of the input's shape; required */
    uint64_t samples; /* at most so many; 0: all ("random": 300) */
    uint32_t batch;   /* samples at once; 0: what fits well. The last batch may be short */
    uint32_t reserved;
} pare_runner_request;

/* The batch that was run last. Borrowed until the next. */
typedef struct pare_runner_batch {
    uint32_t size, reserved;
    uint64_t first, n;       /* its place among the run's samples; how many */
    const uint64_t *samples; /* [n] which of the set each one is */
    const int64_t *labels;   /* [n], or NULL: the set has none */
    uint64_t total;          /* samples of the whole run */
} pare_runner_batch;

/* What a set is. */
typedef struct pare_runner_set {
    uint32_t size, labelled;
    uint64_t count;  /* 0: as many as are asked for ("random") */
    char sha256[65]; /* of its samples, labels and preprocessing, as hex: equal where the numbers are */
    char reserved[7];
} pare_runner_set;

typedef struct pare_run_api {
    uint32_t size, reserved;
    /* PARE_ENOTFOUND: no such set (the known ones are named); PARE_EINVAL: samples don't fit the model, the set is
     * empty; PARE_EUNSUPPORTED: the model can't be run; reported. */
    pare_status (*open)(const pare_host *, pare_model *, const pare_runner_request *, pare_runner **out);
    /* Runs the next batch. PARE_ENOTFOUND (silent): there is none. Memory running out is dealt with: smaller batches,
     * then the CPU. PARE_ECANCELLED after SIGINT. */
    pare_status (*next)(const pare_host *, pare_runner *, pare_runner_batch *out);
    /* The i-th value asked for, of the latest batch: plain, on the CPU, until the next batch. dims[0] is that batch's
     * where the value has a batch. */
    pare_status (*value)(const pare_host *, pare_runner *, uint64_t i, pare_view *out);
    pare_status (*rewind)(const pare_host *,
                          pare_runner *);            /* to the first batch, the same samples in the same order */
    void (*close)(const pare_host *, pare_runner *); /* NULL is fine; the host closes what is left open */

    /* The set's name; "random" too. PARE_ENOTFOUND, reported. sha256 "" is filled in where `hash` is 1. */
    pare_status (*set)(const pare_host *, const char *data, uint32_t hash, pare_runner_set *out);
    /* SHA-256 (hex) over graph and weights of the view as it stands, whatever the order of its tensors in the file. */
    pare_status (*fingerprint)(const pare_host *, pare_model *, char out[65]);
    /* A metric of the view as it stands on a labelled set, as the report measures it: "accuracy", "top5", "loss".
     * samples 0: all. */
    pare_status (*evaluate)(const pare_host *, pare_model *, const char *data, const char *metric, uint64_t samples,
                            double *out);
    /* Would this machine's device run the op in these dtypes (op_type of ai.onnx, 8-bit operands) other than as float?
     * *fast: 1 yes, with int8 instructions that don't saturate; 2 yes, by pairs that may saturate; 0 no. */
    pare_status (*int8)(const pare_host *, const char *op_type, uint32_t x_dtype, uint32_t w_dtype, uint32_t *fast);
    /* What a person calls a sample (pare_runner_batch.samples): its file, or "sample 17 of train". Until close. */
    const char *(*sample_name)(const pare_host *, pare_runner *, uint64_t sample);
} pare_run_api;

#endif
