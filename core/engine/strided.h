/* engine/strided.h - a value seen as a strided view of another one: through Reshape, Transpose, Split, Slice, Gather of
 * one, and products with a number.
 *
 * A dim of a view is a run of factors, outer to inner: so that a Reshape that joins two dims and another one that parts
 * them again is seen through. All dims must be known. Is not: a node or a kernel. May use: pass.h, model.
 */
#ifndef PARE_ENGINE_STRIDED_H
#define PARE_ENGINE_STRIDED_H

#include "model/model.h"

enum { PARE_STRIDED_DIMS = 8, PARE_STRIDED_FACTORS = 24 };

typedef struct pare_strided_factor {
    int64_t n, step; /* in elements of the root */
} pare_strided_factor;

typedef struct pare_strided {
    uint32_t root; /* value id */
    uint32_t ndim;
    uint32_t end[PARE_STRIDED_DIMS]; /* dim i is f[end[i - 1]] … f[end[i] - 1] */
    pare_strided_factor f[PARE_STRIDED_FACTORS];
    int64_t offset;
    double scale; /* the elements are multiplied by this */
} pare_strided;

/* As deep as it goes: the root is the first value behind which nothing is known. false: dims unknown, 0 or too many. */
bool pare_strided_of(const pare_model *m, uint32_t value, pare_strided *out);
/* The value itself, row-major. */
bool pare_strided_plain(const pare_model *m, uint32_t value, pare_strided *out);
/* The same elements in the same order with other dims. false: a factor would have to be parted unevenly. */
bool pare_strided_reshape(pare_strided *v, uint32_t ndim, const int64_t *dims);
/* Dim i of the result is dim perm[i]. */
void pare_strided_transpose(pare_strided *v, const int64_t *perm);
int64_t pare_strided_size(const pare_strided *v, uint32_t dim);
/* The step of a dim that has one. false: it takes several. */
bool pare_strided_step(const pare_strided *v, uint32_t dim, int64_t *step);

#endif
