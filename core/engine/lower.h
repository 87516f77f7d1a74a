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

/* In place; sets the import of ai.onnx to PARE_ENGINE_OPSET and the IR version to what goes with it, or newer. Ops of
 * newer opsets are lowered where their meaning can be had; dtypes that came later pass as they are. com.microsoft's
 * ops of 8-bit numbers become DequantizeLinear, op, QuantizeLinear; other domains are not touched. All that stands in
 * the way is reported, each with op and node: PARE_EUNSUPPORTED, or PARE_EINVAL where a node breaks the rules of its
 * own opset; PARE_ENOMEM. After a failure the copy is half rewritten and of no use. d may be NULL. */
pare_status pare_engine_lower(pare_model *m, pare_diags *d);

#endif
