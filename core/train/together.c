/* train/together.c - see together.h. */
#include "train/together.h"

#include <stdlib.h>
#include <string.h>

static void scale(void *data, uint32_t dtype, uint64_t n, double by) {
    for (uint64_t i = 0; i < n; i++)
        if (dtype == PARE_DOUBLE)
            ((double *)data)[i] *= by;
        else
            ((float *)data)[i] *= (float)by;
}

/* Those of one dtype, side by side. */
static pare_status of_dtype(pare_reduced what, uint32_t dtype, pare_array *const *a, size_t n, pare_diags *d) {
    uint64_t bytes = 0, at = 0, size = dtype == PARE_DOUBLE ? sizeof(double) : sizeof(float);
    for (size_t i = 0; i < n; i++) bytes += a[i]->dtype == dtype ? a[i]->nbytes : 0;
    if (!bytes) return PARE_OK;
    unsigned char *all = bytes <= SIZE_MAX ? pare_try_alloc((size_t)bytes) : NULL;
    if (!all)
        return pare_fail(d, PARE_ENOMEM, "train.memory", NULL, "no memory to bring the processes' numbers together");
    for (size_t i = 0; i < n; i++)
        if (a[i]->dtype == dtype && a[i]->nbytes) {
            memcpy(all + at, pare_array_data(a[i]), (size_t)a[i]->nbytes);
            at += a[i]->nbytes;
        }
    pare_status st = pare_reduce(what, PARE_REDUCE_SUM, dtype, all, bytes / size);
    if (st) pare_fail(d, st, "train.reduce", NULL, "the processes of the run can't bring their numbers together");
    if (!st && pare_reduce_processes() > 1) scale(all, dtype, bytes / size, 1.0 / pare_reduce_processes());
    at = 0;
    for (size_t i = 0; i < n && !st; i++)
        if (a[i]->dtype == dtype && a[i]->nbytes) {
            memcpy(pare_array_data_mut(a[i]), all + at, (size_t)a[i]->nbytes);
            at += a[i]->nbytes;
        }
    free(all);
    return st;
}

pare_status pare_together_mean(pare_reduced what, pare_array *const *a, size_t n, pare_diags *d) {
    if (!pare_reduce_shared()) return PARE_OK;
    pare_status st = of_dtype(what, PARE_FLOAT, a, n, d);
    return st ? st : of_dtype(what, PARE_DOUBLE, a, n, d);
}
