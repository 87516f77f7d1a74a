/* model/finite.h - values of a model that are no numbers: NaN and infinity among its weights.
 *
 * Is: the finding and the saying. Is not: what outputs hold (pipeline/evaluate.h). May use: model.h.
 */
#ifndef PARE_MODEL_FINITE_H
#define PARE_MODEL_FINITE_H

#include "model/model.h"

typedef struct pare_not_finite {
    uint64_t tensors;       /* initializers and constants that hold any */
    uint64_t nan, infinite; /* in all of them */
    char *names;            /* "conv.weight (1 NaN), fc.bias (2 infinite)", the first few; malloc'ed; NULL: none */
} pare_not_finite;

/* Looks through all floats of 8 bits and more, on several threads. PARE_ENOMEM, reported: a packed tensor can't be
 * read. */
pare_status pare_model_not_finite(const pare_model *m, pare_diags *d, pare_not_finite *out);
void pare_not_finite_free(pare_not_finite *f);

/* A warning about `name`, where a model holds NaN; a note where it holds infinity alone, as masks do. Kernels may
 * answer a NaN with a number, so that the outputs don't show it. */
pare_status pare_model_say_not_finite(const pare_model *m, const char *name, pare_diags *d);

#endif
