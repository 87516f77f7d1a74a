/* model/fingerprint.h - one hash for what a model computes: graph and weights. May use: model.h, base/hash.h. */
#ifndef PARE_MODEL_FINGERPRINT_H
#define PARE_MODEL_FINGERPRINT_H

#include "base/hash.h"
#include "model/model.h"

/* SHA-256 over opsets, functions, inputs, outputs, nodes in the file's order with what they are wired to by name, and
 * tensors by name, whatever their order in the file and whether they lie in it or beside it. Names of nodes, metadata,
 * documentation and shapes noted between nodes don't count. PARE_ENOMEM, reported. */
pare_status pare_model_fingerprint(pare_model *m, pare_diags *d, char hex[PARE_SHA256_HEX]);

#endif
