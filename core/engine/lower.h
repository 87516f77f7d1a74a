/* engine/lower.h - a model brought from any opset to the one that kernels, gradients and passes see.
 *
 * Works on a private copy: the user's file keeps its opset. Every ai.onnx op of any version from 1 to the newest that
 * the onnx wheel knows is rewritten to its meaning at PARE_ENGINE_OPSET, or refused by name. Source: ONNX's Changelog
 * and version converter semantics. May use: base, model.
 */
#ifndef PARE_ENGINE_LOWER_H
#define PARE_ENGINE_LOWER_H

#include "model/model.h"

enum { PARE_ENGINE_OPSET = 21 };

/* In place; sets the import of ai.onnx to PARE_ENGINE_OPSET. Newer versions are lowered where the meaning can be had in
 * 21 (op and node named otherwise). PARE_EUNSUPPORTED, reported. */
pare_status pare_engine_lower(pare_model *m, pare_diags *d);

#endif
