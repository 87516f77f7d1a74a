/* model/onnx_graph.h - the seam between onnx_read.c and onnx_graph.c, which both see protobuf-c's structs.
 *
 * May use: onnx_parts.h, the generated onnx.pb-c.h.
 */
#ifndef PARE_MODEL_ONNX_GRAPH_H
#define PARE_MODEL_ONNX_GRAPH_H

#include "model/onnx_parts.h"

#include <onnx.pb-c.h>

/* Fills graph `id` of the model, which is empty but for its name, and the graphs in its nodes' attributes. Errors are
 * said and counted in r. */
void pare_onnx_graph(pare_onnx_reader *r, uint32_t id, const Onnx__GraphProto *pb);

/* The message at a pair of offset and length that the walk left; it stays in the file. */
pare_bytes pare_onnx_place(const pare_onnx_reader *r, const uint64_t pair[2]);
/* Fields protobuf-c didn't know, in wire form, in the arena. */
pare_bytes pare_onnx_extra(pare_model *m, const ProtobufCMessage *msg);
/* "" for ai.onnx and for NULL; in the arena. */
const char *pare_onnx_domain(pare_model *m, const char *domain);

/* What a file that is no ONNX model looks like ("a JPEG image"), malloc'ed; NULL: nothing known. */
char *pare_onnx_sniff(const unsigned char *data, size_t n);

#endif
