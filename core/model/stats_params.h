/* model/stats_params.h - which constants are parameters, and how many of them are not zero. Private to stats.c.
 * May use: layers.h, ops.h.
 */
#ifndef PARE_MODEL_STATS_PARAMS_H
#define PARE_MODEL_STATS_PARAMS_H

#include "model/model.h"

/* The first use of a value that does something with it: Identity, Transpose and DequantizeLinear are looked through. */
bool pare_value_first_use(const pare_model *m, const pare_value *v, pare_use *out);
/* Does somebody compute with it as with a weight? See stats.h for what counts. */
bool pare_tensor_is_parameter(const pare_model *m, const pare_tensor *t);
/* Elements that are not zero; of a quantized weight, not its zero point. PARE_ENOMEM. */
pare_status pare_parameter_nonzero(pare_model *m, pare_tensor *t, pare_diags *d, uint64_t *out);

#endif
