/* pipeline/config.h - the pipeline file, read and typed.
 *
 * Is: every key of a version 1 file checked, typed and resolved, with its place kept for later messages. Is not: the
 * running of it (run), what a technique thinks of a model (its `check`), what is in the data's files (data). What
 * belongs to a later part of pare is refused by name and place. May use: base, data, plugin/param.h, model/zoo.h,
 * train/options.h, sdk technique.h and loss.h.
 */
#ifndef PARE_PIPELINE_CONFIG_H
#define PARE_PIPELINE_CONFIG_H

#include "base/json.h"
#include "base/yaml.h"
#include "model/zoo.h"
#include "plugin/param.h"
#include "train/options.h"

#include <pare/loss.h>
#include <pare/technique.h>

/* The techniques there are; how they were loaded is the plugin layer's. All borrowed. */
typedef struct pare_technique_set {
    const pare_technique *(*find)(void *ctx, const char *id); /* NULL: unknown */
    void *ctx;
    const char *const *ids; /* every id find knows, in a stable order */
    size_t n_ids;
} pare_technique_set;

/* The loss components there are, likewise. Zero-initialised: none but the host's own. */
typedef struct pare_loss_choice {
    const pare_loss *(*find)(void *ctx, const char *id); /* NULL: unknown */
    void *ctx;
    const char *const *ids;
    size_t n_ids;
} pare_loss_choice;

static inline pare_param_table pare_loss_params(const pare_loss *l) {
    return (pare_param_table){l->params, l->n_params, l->param_stride};
}
static inline pare_param_table pare_technique_params(const pare_technique *t) {
    return (pare_param_table){t->params, t->n_params, t->param_stride};
}
static inline pare_param_table pare_zoo_params(const pare_zoo_net *z) {
    return (pare_param_table){z->params, z->n_params, (uint32_t)sizeof(pare_param)};
}

/* A model as a step's input or result: the pipeline's models[i] as it came in, or steps[i]'s result. */
typedef struct pare_pipeline_ref {
    enum { PARE_REF_MODEL, PARE_REF_STEP } kind;
    uint32_t i;
} pare_pipeline_ref;

/* Of data/data.h, which those who look into them include. */
struct pare_data_preprocess;
struct pare_data_source;

typedef struct pare_pipeline_model {
    const char *name;
    const pare_zoo_net *zoo;   /* NULL: it comes from a file */
    pare_params *with;         /* zoo: its arguments, defaults filled in */
    const char *onnx;          /* NULL: it comes from the zoo. A path that opens from the current folder */
    const char *weights;       /* zoo: a weight file, or NULL. Likewise */
    const char *file_written;  /* onnx or weights as the file says, or NULL */
    const char *const *reinit; /* globs of names that `weights` leaves as they are */
    size_t n_reinit;
    pare_pipeline_ref last; /* what it is at the end: itself, or the last step that worked on it */
    /* What its input's samples go through: data.preprocess with the model's own keys laid over it. Never NULL. */
    const struct pare_data_preprocess *preprocess;
    bool own_preprocess;      /* it has keys of its own */
    pare_span at, weights_at; /* of zoo's or onnx's value; of the value of weights */
} pare_pipeline_model;

typedef enum { PARE_OFF, PARE_ON, PARE_AUTO } pare_switch;

/* A step's `fit:` block, every key checked. */
typedef struct pare_pipeline_fit {
    pare_fit_opts opts;       /* losses with their components and arguments; seed and checkpoint are the run's */
    int32_t data, validate;   /* data.sets[]; validate -1: none */
    pare_switch cache_logits; /* of teachers, on disk */
    pare_params *keys, *schedule, *augment; /* as they were read */
    pare_params **with;                     /* of the losses; NULL: the host's own, which have no parameters */
    pare_span at;
} pare_pipeline_fit;

typedef struct pare_pipeline_step {
    const char *id;
    const char *use;
    const pare_technique *technique;
    const char *device;     /* "auto" or "cpu"; default: the pipeline's */
    pare_params *with;      /* with->args goes to technique->create */
    pare_pipeline_fit *fit; /* NULL: it has no such block */
    pare_pipeline_ref input;
    uint32_t model;       /* models[]: whose line it works on */
    pare_span at, use_at; /* of the id; of the value of use */
} pare_pipeline_step;

/* A named set of samples. Its files were there when the pipeline was read. */
typedef struct pare_pipeline_set {
    const char *name;
    /* Filled for pare_data_open but for `from`, whose set is opened first. Paths open from the current folder; the seed
     * is the pipeline's unless the set has its own. NULL only after an error was reported. */
    struct pare_data_source *source;
    const char *key;            /* what it comes from: "idx", "npz", "folder", ... */
    int32_t from;               /* sets[], never in a circle; -1: it comes from no other set */
    const char *written;        /* the source's path as the file says; NULL: it has none (`random`, `from`) */
    const char *labels_written; /* of `npy`: the labels' path as the file says, or NULL */
    pare_span at, source_at;    /* of the name; of the source's value */
} pare_pipeline_set;

/* What `report: {metrics: ...}` asks for. X(NAME, bit, the file's word) */
#define PARE_METRICS(X)                                                                                                \
    X(SIZE, 0, "size")                                                                                                 \
    X(GZIP, 1, "gzip")                                                                                                 \
    X(LOSS, 2, "loss")                                                                                                 \
    X(ACCURACY, 3, "accuracy")                                                                                         \
    X(TOP5, 4, "top5")                                                                                                 \
    X(AGREEMENT, 5, "agreement")                                                                                       \
    X(SQNR, 6, "sqnr")                                                                                                 \
    X(KL, 7, "kl")                                                                                                     \
    X(LATENCY, 8, "latency")                                                                                           \
    X(IMAGES_PER_S, 9, "images_per_s")                                                                                 \
    X(MACS, 10, "macs")
typedef enum {
#define PARE_METRIC_ENUM_(name, bit, text) PARE_METRIC_##name = 1 << (bit),
    PARE_METRICS(PARE_METRIC_ENUM_)
#undef PARE_METRIC_ENUM_
    /* those that need the labels of `on`; those that need its samples; those that need a model to run and its time */
    PARE_METRICS_LABELS = PARE_METRIC_LOSS | PARE_METRIC_ACCURACY | PARE_METRIC_TOP5,
    PARE_METRICS_DATA = PARE_METRICS_LABELS | PARE_METRIC_AGREEMENT | PARE_METRIC_SQNR | PARE_METRIC_KL,
    PARE_METRICS_TIME = PARE_METRIC_LATENCY | PARE_METRIC_IMAGES_PER_S
} pare_metric;

enum { PARE_MOST_THREADS = 8 }; /* numbers of threads that latency is measured with */

typedef struct pare_pipeline {
    const char *path;            /* as the user wrote it */
    const char *dir;             /* its folder: relative paths start here */
    const char *name;            /* safe as a file name */
    uint64_t seed;               /* at most INT64_MAX */
    const char *device;          /* "auto" or "cpu" */
    pare_pipeline_model *models; /* at least one, in the file's order */
    size_t n_models;
    pare_pipeline_step *steps; /* may be none: a copy */
    size_t n_steps;
    uint32_t main_model; /* whose end result is the run's model.onnx: the last step's, else the first */
    struct {
        pare_pipeline_ref baseline; /* default: main_model as it came in */
        const char *baseline_name;  /* the step's id or the model's name */
        uint32_t metrics;           /* PARE_METRIC_*; default size and gzip */
        bool size, gzip;            /* those two of them */
        int32_t on;                 /* data.sets[] that the metrics are measured on; -1: not said */
        struct {
            uint32_t batch; /* at least 1; default 1 */
            /* Numbers of threads that each model is timed with, 0: all; default: that alone. Metrics of outputs are
             * measured with the first. */
            uint32_t threads[PARE_MOST_THREADS], n_threads;
            uint64_t runs; /* of each model; 0 (default): as many as a few seconds hold */
        } latency;
        pare_span at, on_at;
    } report;
    struct {
        const struct pare_data_preprocess *preprocess; /* never NULL */
        pare_pipeline_set *sets;                       /* may be none, in the file's order */
        size_t n_sets;
        pare_span at, preprocess_at; /* no src: there is no such block */
    } data;
    struct {
        const char *dir;         /* a path that opens from the current folder; default runs/NAME beside the file */
        const char *dir_written; /* as the file says, relative to the file */
        bool dir_given;
        pare_switch gzip; /* PARE_ON or PARE_OFF */
        pare_switch pack, external_data;
        pare_span at;
    } output;
    pare_yaml *yaml;  /* owned: places point into it */
    pare_arena arena; /* owns everything above */
} pare_pipeline;

typedef struct pare_pipeline_opts {
    pare_technique_set techniques;
    pare_loss_choice losses;
    const char *const *sets; /* "steps.pruned.with.sparsity=0.8", in order; borrowed for the call */
    size_t n_sets;
} pare_pipeline_opts;

/* Reads, overrides, substitutes, validates. Reports as many errors as make sense in one go. On failure *out is NULL and
 * the status PARE_EINVAL (or what reading the file gave). Free *out after the last diagnostic that may quote it. */
pare_status pare_pipeline_open(const char *path, const pare_pipeline_opts *opts, pare_diags *d, pare_pipeline **out);
/* Any YAML with a `data:` block, a whole pipeline as well: version (may be left out), name, seed, data and report.on
 * are read, and of each model its onnx and preprocess; the other keys of a pipeline are let be. Of opts only `sets`
 * counts; NULL: none. As above otherwise; p->steps and p->output stay empty, and so does what else a model has. */
pare_status pare_pipeline_data_open(const char *path, const pare_pipeline_opts *opts, pare_diags *d,
                                    pare_pipeline **out);
void pare_pipeline_free(pare_pipeline *p); /* NULL is fine */

/* What stands for noise of a model's shape where a set of samples is named, whatever `data` holds. */
#define PARE_RANDOM_SET "random"
/* The index of a set by name, or -1. */
int32_t pare_pipeline_set_find(const pare_pipeline *p, const char *name);

/* The place of a step's parameter ("sparsity", "layers[2].sparsity"); of the step itself for NULL. */
pare_span pare_pipeline_locate(const pare_pipeline_step *step, const char *param);

/* "net" or "pruned": the name of what a reference points to. */
const char *pare_pipeline_ref_name(const pare_pipeline *p, pare_pipeline_ref r);

/* Calls `each` for every model that step i names beside its input: parameters of type MODEL, of the technique and of
 * its losses. `ref` is as their functions get it: a step's id, a model's name, or a file that opens from the current
 * folder. */
void pare_pipeline_step_models(const pare_pipeline *p, size_t i, void (*each)(void *ctx, const char *ref), void *ctx);
/* Calls `each` for every file that parameters of step i and of its losses name: where in the file
 * ("steps.q.with.ranges") and its path as written, relative to the pipeline's. */
void pare_pipeline_step_files(const pare_pipeline *p, size_t i,
                              void (*each)(void *ctx, const char *param, const char *written), void *ctx);
/* What such a name is; false: a file. */
bool pare_pipeline_ref_find(const pare_pipeline *p, const char *name, pare_pipeline_ref *out);

/* The file with everything resolved and every default filled in, for the lock. A new reference. */
json_t *pare_pipeline_json(const pare_pipeline *p);

#endif
