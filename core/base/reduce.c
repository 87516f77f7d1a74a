/* base/reduce.c - see reduce.h. */
#include "base/reduce.h"

static pare_reducer by; /* reduce NULL: one process */

void pare_reduce_by(const pare_reducer *r) { by = r ? *r : (pare_reducer){0}; }

bool pare_reduce_shared(void) { return by.reduce; }

uint32_t pare_reduce_processes(void) { return by.reduce && by.processes ? by.processes : 1; }

pare_status pare_reduce(pare_reduced what, uint32_t op, uint32_t dtype, void *buffer, uint64_t n) {
    return by.reduce && n ? by.reduce(by.ctx, what, op, dtype, buffer, n) : PARE_OK;
}
