/* quantize/prepare.h - what comes before quantizers: the opset, BatchNormalization, Gemm's factors, and quantizers that
 * are there already.
 *
 * Every rewrite is run against the graph before it (verify.h). May use: the SDK, apis.h, options.h.
 */
#ifndef QUANTIZE_PREPARE_H
#define QUANTIZE_PREPARE_H

#include "apis.h"
#include "options.h"

/* The look of it: changes nothing. PARE_EINVAL, reported: a model that is quantized already, without `requantize`. */
pare_status prepare_check(const quantize_apis *q, const quantize_options *o);

bool prepare_quantized(const quantize_apis *q);

/* Does it. On failure reported. [run] */
pare_status prepare_graph(const quantize_apis *q, const quantize_options *o);

/* ReduceMean over height and width becomes GlobalAveragePool; *changed counts. (means.c) */
pare_status prepare_means(const quantize_apis *q, uint64_t *changed);

/* Takes QuantizeLinear and DequantizeLinear out: constants become float32 again. PARE_EUNSUPPORTED, reported: other
 * quantized ops. (strip.c) */
pare_status prepare_strip(const quantize_apis *q);

#endif
