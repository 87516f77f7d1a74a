/* model/array.h - a tensor that stands alone: what goes into a session and comes out, a batch, a folded constant.
 *
 * Is: dtype, dims and bytes (plain layout, packed below a byte), shared by reference. Is not: a model's tensor
 * (model.h). Immutable once shared. May use: model.h (blobs, sizes).
 */
#ifndef PARE_MODEL_ARRAY_H
#define PARE_MODEL_ARRAY_H

#include "model/model.h"

enum { PARE_ARRAY_DIMS = 16 };

typedef struct pare_array {
    uint32_t refs; /* atomic; use the functions */
    uint32_t dtype, ndim, reserved;
    int64_t dims[PARE_ARRAY_DIMS];
    uint64_t count, nbytes;
    pare_blob *blob; /* NULL when nbytes is 0 */
} pare_array;

/* Contents undefined. NULL: no memory, sizes overflow, strings, more than PARE_ARRAY_DIMS dims. */
pare_array *pare_array_new(uint32_t dtype, size_t ndim, const int64_t *dims);
/* Around a model tensor's bytes (shared, not copied). NULL as above. */
pare_array *pare_array_of_tensor(const pare_tensor *t);
pare_array *pare_array_ref(pare_array *a);
void pare_array_unref(pare_array *a); /* NULL is fine */
const void *pare_array_data(const pare_array *a);
void *pare_array_data_mut(pare_array *a); /* its maker's, before it is shared */

#endif
