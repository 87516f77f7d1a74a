/* model/zoo.h - networks pare can build by itself. A third network is a page beside resnet.c.
 * May use: model.h, edit.h, weights.h, base/random.h, sdk param.h.
 */
#ifndef PARE_MODEL_ZOO_H
#define PARE_MODEL_ZOO_H

#include "model/model.h"

#include <pare/param.h>

typedef struct pare_zoo_net {
    const char *name;         /* "resnet18" */
    const char *summary;      /* one sentence with the source */
    const pare_param *params; /* what stands under `with:` */
    uint32_t n_params;
    /* args: one per row of params, validated. Initial weights are keyed by seed and tensor name. */
    pare_status (*build)(const pare_arg *args, uint64_t seed, pare_diags *d, pare_model **out);
} pare_zoo_net;

const pare_zoo_net *const *pare_zoo_all(size_t *n);
const pare_zoo_net *pare_zoo_find(const char *name); /* NULL: unknown */

#endif
