/* model/array.c - see array.h. */
#include "model/array.h"

#include <stdlib.h>
#include <string.h>

static pare_array *array_shell(uint32_t dtype, size_t ndim, const int64_t *dims) {
    uint64_t count, nbytes;
    if (ndim > PARE_ARRAY_DIMS || !pare_dims_count(dims, ndim, &count) || !pare_dtype_nbytes(dtype, count, &nbytes))
        return NULL;
    pare_array *a = pare_xcalloc(1, sizeof *a);
    a->refs = 1;
    a->dtype = dtype;
    a->ndim = (uint32_t)ndim;
    if (ndim) memcpy(a->dims, dims, ndim * sizeof *dims);
    a->count = count;
    a->nbytes = nbytes;
    return a;
}

pare_array *pare_array_new(uint32_t dtype, size_t ndim, const int64_t *dims) {
    pare_array *a = array_shell(dtype, ndim, dims);
    if (a && a->nbytes && !(a->blob = pare_blob_new(a->nbytes))) {
        free(a);
        return NULL;
    }
    return a;
}

pare_array *pare_array_of_tensor(const pare_tensor *t) {
    if (t->blob && t->blob->maker) {
        pare_array *made = pare_array_new(t->dtype, t->ndim, t->dims);
        if (made) pare_blob_copy(t->blob, made->blob->data);
        return made;
    }
    pare_array *a = array_shell(t->dtype, t->ndim, t->dims);
    if (a && t->blob) a->blob = pare_blob_ref(t->blob);
    return a;
}

pare_array *pare_array_ref(pare_array *a) {
    __atomic_add_fetch(&a->refs, 1, __ATOMIC_RELAXED);
    return a;
}

void pare_array_unref(pare_array *a) {
    if (!a || __atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL)) return;
    pare_blob_unref(a->blob);
    free(a);
}

const void *pare_array_data(const pare_array *a) { return a->blob ? a->blob->data : NULL; }
void *pare_array_data_mut(pare_array *a) { return a->blob ? a->blob->data : NULL; }
