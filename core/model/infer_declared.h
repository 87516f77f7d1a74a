/* model/infer_declared.h - the type that a ValueInfoProto declares. Private to inference. May use: ops_rules.h. */
#ifndef PARE_MODEL_INFER_DECLARED_H
#define PARE_MODEL_INFER_DECLARED_H

#include "model/ops_rules.h"

/* Reads the tensor type in a ValueInfoProto's wire bytes; symbols go into the arena. false: no tensor type, or bytes
 * that are no ValueInfoProto. A rank above PARE_RANK_MAX is read as unknown. */
bool pare_declared_read(pare_arena *arena, pare_bytes info, pare_shape *out);

#endif
