/* prune/options.h - the parameters of prune.unstructured: the table, and what it says as a struct.
 *
 * Is: everything that can be known without a model. Is not: about layers (plan.h). May use: the SDK, count.h.
 */
#ifndef PRUNE_OPTIONS_H
#define PRUNE_OPTIONS_H

#include "count.h"

#include <pare/host.h>
#include <pare/param.h>

enum { PRUNE_N_PARAMS = 20 };
extern const pare_param prune_params[PRUNE_N_PARAMS];

typedef enum prune_criterion { PRUNE_MAGNITUDE, PRUNE_RANDOM, PRUNE_GRADIENT, PRUNE_MOVEMENT } prune_criterion;
typedef enum prune_schedule { PRUNE_CUBIC, PRUNE_LINEAR, PRUNE_ONCE } prune_schedule;
typedef enum prune_regrow { PRUNE_REGROW_NONE, PRUNE_REGROW_GRADIENT, PRUNE_REGROW_RANDOM } prune_regrow;

/* One row of `layers`. */
typedef struct prune_rule {
    const pare_arg *match; /* the pattern, as an argument: pare.layers/1 takes it as it is */
    bool skip;
    double sparsity; /* used where m is 0 */
    uint32_t n, m;   /* m 0: not N:M */
} prune_rule;

typedef struct prune_options {
    bool has_sparsity; /* false: only N:M, or only rows of `layers` */
    double sparsity;
    uint32_t n, m; /* m 0: not N:M */
    bool random, global, keep_first, keep_last, bake;
    const pare_arg *ops, *include, *exclude;
    bool erk;
    prune_criterion criterion;
    /* With a `fit:` block. */
    bool fit; /* the step has one */
    prune_schedule schedule;
    bool epochs;       /* start, end and every are epochs */
    bool has_end;      /* else it is a share, whatever the unit */
    double start, end; /* else steps, and up to 1 shares of all of them */
    bool has_every;
    double every;
    uint32_t batches;
    prune_regrow regrow;
    double drop;
    uint64_t n_rules;
    prune_rule rules[];
} prune_options;

/* From validated arguments, which must outlive it. Owned by the caller, freed with free(). On failure everything that
 * is wrong has been reported. [run] */
pare_status prune_options_new(const pare_host *host, const pare_arg *args, prune_options **out);
/* What the step's `fit:` block, or that it has none, means for the others. PARE_EINVAL, reported. [run] */
pare_status prune_options_fit(const pare_host *host, const pare_arg *args, bool fit, prune_options *o);

#endif
