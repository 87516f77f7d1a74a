/* model/pass.h - named clean-ups of a graph that any technique may ask for.
 *
 * Is: passes that never change what the model computes (fold_batchnorm: up to rounding) nor the names of its inputs and
 * outputs. Is not: the engine's fusions. May use: model.h, edit.h.
 */
#ifndef PARE_MODEL_PASS_H
#define PARE_MODEL_PASS_H

#include "model/model.h"

typedef struct pare_pass {
    const char *name;    /* "remove_dead" */
    const char *summary; /* one sentence */
    /* *changed counts the edits. On failure (PARE_EINVAL, reported) the graph is as it was. */
    pare_status (*run)(pare_model *m, pare_diags *d, uint64_t *changed);
} pare_pass;

pare_status pare_model_fold_batchnorm(pare_model *m, pare_diags *d, uint64_t *changed); /* fold_batchnorm */

const pare_pass *pare_pass_at(size_t i);           /* NULL past the last */
const pare_pass *pare_pass_find(const char *name); /* NULL: none of that name */

#endif
