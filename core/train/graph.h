/* train/graph.h - the graph that one optimiser step runs: forward, loss, gradients, updates.
 *
 * Made once from an inference model. Weights, the optimiser's state, masks and gradient sums are variables of the
 * session that runs it; what differs between steps (samples, labels, the learning rate) are its inputs. Is not: the
 * loop (fit.h). May use: base, model, engine, plugin.
 */
#ifndef PARE_TRAIN_GRAPH_H
#define PARE_TRAIN_GRAPH_H

#include "engine/grad.h"
#include "engine/recompute.h"
#include "engine/session.h"
#include "plugin/host.h"
#include "train/options.h"

#include <pare/fit.h>

/* A weight and what goes with it: names of variables, NULL where there is none. */
typedef struct pare_train_weight {
    const char *name;
    const char *velocity, *second; /* momentum or Adam's m; Adam's v */
    const char *mask;              /* a bit per element, lowest first */
    const char *sum;               /* of gradients, over micro-batches */
    const char *ema;
    uint64_t count; /* elements */
} pare_train_weight;

/* What a run of the graph computes; pare_session_opts.programs has them in this order. */
typedef enum {
    PARE_TRAIN_STEP,   /* forward, backward, update */
    PARE_TRAIN_LOGITS, /* forward as in training, and nothing moves: fetch 0 is the logits */
    PARE_TRAIN_FIRST,  /* forward, backward, gradients into the sums */
    PARE_TRAIN_ADD,    /* the same, added to them */
    PARE_TRAIN_APPLY,  /* update by the sums */
    PARE_TRAIN_PROGRAMS
} pare_train_program;

/* A loss of the list that the host works out (evaluated.h). */
typedef struct pare_train_evaluated {
    size_t loss;          /* its place in the options' list */
    size_t first_teacher; /* of all losses' */
    const char *seed;     /* a float (N, K) input: d loss / d logits */
} pare_train_evaluated;

typedef struct pare_train_graph {
    pare_model *m; /* owned; may be freed, and NULL, once a session is open */
    pare_trained trained;
    const char *input;           /* the samples */
    const char *labels;          /* int64 (N); NULL: no loss takes them */
    const char *targets;         /* float (N, K); likewise */
    const char *const *teachers; /* float (N, K) each */
    size_t n_teachers;
    const char *epoch; /* a float scalar: epochs done; NULL: no loss takes it */
    const char *share; /* a float scalar: of the whole batch's rows that are in this run; NULL: not summed */
    const char *hyper; /* float64 (8): see pare/grad_ops.h */
    /* Fetch 0 of STEP, FIRST and ADD: of the losses that are in the graph; where none is (`built`), a number of no
     * meaning. Fetch 1: logits; of STEP and APPLY the last: norm, if any. */
    const char *loss;
    bool built;
    const pare_train_evaluated *evaluated;
    size_t n_evaluated;
    bool wants_targets, wants_labels; /* the host's losses take them, besides what the inputs say */
    const char *logits;               /* (N, K) */
    const char *norm;                 /* NULL: gradients are not clipped */
    int64_t classes;                  /* K */
    pare_train_weight *weights;
    size_t n_weights;
    pare_recomputed recomputed; /* segments 0: not asked for */
    pare_program programs[PARE_TRAIN_PROGRAMS];
    const char *const *variables;
    size_t n_variables;
    pare_arena arena; /* of everything above but the model */
} pare_train_graph;

/* How a loss of a component is built: the host's environment it runs in. */
typedef struct pare_train_loss_env {
    pare_host_env host; /* diags, step, seed; plugin and technique are filled in */
} pare_train_loss_env;

/* The value that a loss takes: before a Softmax or LogSoftmax that ends the graph, else the first output. 0: none. */
uint32_t pare_train_logits(const pare_model *m);

/* m is not changed. flags: PARE_FIT_GRADIENTS: gradients can be summed over micro-batches and looked at before the
 * update (FIRST, ADD and APPLY are there); with it or PARE_FIT_MASKS every weight has a mask. PARE_EINVAL,
 * PARE_EUNSUPPORTED, PARE_ENOMEM: reported. */
pare_status pare_train_graph_make(const pare_model *m, const pare_fit_opts *o, uint32_t flags,
                                  const pare_train_loss_env *env, pare_diags *d, pare_train_graph *out);
void pare_train_graph_free(pare_train_graph *g);

#endif
