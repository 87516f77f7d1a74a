/* model/onnx_pb.c - a lone TensorProto in a file (*.pb), as ONNX's test sets hold them. See onnx.h.
 *
 * Reading: the bytes are wrapped as the only initializer of an empty model, so that they go through every check that a
 * model's tensors go through. May use: onnx.h, array.h.
 */
#include "model/onnx.h"

#include <string.h>

static void put_varint(pare_sb *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) pare_sb_addc(b, (char)(v | 0x80));
    pare_sb_addc(b, (char)v);
}

/* Field `number` of wire type 2. */
static void put_bytes(pare_sb *b, uint32_t number, const void *data, size_t n) {
    put_varint(b, (uint64_t)number << 3 | 2);
    put_varint(b, n);
    pare_sb_addn(b, data, n);
}

pare_status pare_onnx_tensor_file_read(const char *path, pare_diags *d, pare_array **out) {
    enum { TENSOR_NAME = 8, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, MODEL_IR = 1, MODEL_GRAPH = 7, MODEL_OPSET = 8 };
    pare_map_file *f = NULL;
    pare_status st = pare_map_file_open(path, d, &f);
    if (st) return st;
    pare_sb tensor = {0}, graph = {0}, model = {0};
    pare_sb_addn(&tensor, (const char *)f->data, (size_t)f->len);
    put_bytes(&tensor, TENSOR_NAME, "tensor", 6); /* the last one counts: an initializer needs a name */
    put_bytes(&graph, GRAPH_NAME, "g", 1);
    put_bytes(&graph, GRAPH_INITIALIZER, pare_sb_str(&tensor), tensor.len);
    put_varint(&model, MODEL_IR << 3);
    put_varint(&model, 10);
    put_bytes(&model, MODEL_GRAPH, pare_sb_str(&graph), graph.len);
    put_bytes(&model, MODEL_OPSET, "\x10\x15", 2); /* version 21 */
    pare_model *m = NULL;
    st = pare_onnx_read_bytes(pare_sb_str(&model), model.len, path, d, &m);
    const pare_graph *g = m ? pare_model_graph(m, PARE_MAIN_GRAPH) : NULL;
    pare_array *a =
        g && g->initializers.len ? pare_array_of_tensor(pare_model_tensor(m, g->initializers.data[0])) : NULL;
    if (!st && !a)
        st = pare_fail_file(d, PARE_EUNSUPPORTED, path, "tensor.kind", NULL,
                            "does not hold a tensor of numbers with at most %d dimensions", PARE_ARRAY_DIMS);
    if (!st) *out = a;
    pare_model_free(m);
    pare_sb_free(&tensor);
    pare_sb_free(&graph);
    pare_sb_free(&model);
    pare_map_file_unref(f);
    return st;
}

pare_status pare_onnx_tensor_file_write(const char *path, const char *name, const pare_array *a, pare_diags *d) {
    enum { DIMS = 1, DATA_TYPE = 2, NAME = 8, RAW_DATA = 9 };
    pare_sb b = {0};
    for (uint32_t i = 0; i < a->ndim; i++) {
        put_varint(&b, DIMS << 3);
        put_varint(&b, (uint64_t)a->dims[i]);
    }
    put_varint(&b, DATA_TYPE << 3);
    put_varint(&b, a->dtype);
    put_bytes(&b, NAME, name, strlen(name));
    put_bytes(&b, RAW_DATA, a->nbytes ? pare_array_data(a) : "", (size_t)a->nbytes);
    pare_status st = pare_file_write(path, pare_sb_str(&b), b.len, d);
    pare_sb_free(&b);
    return st;
}
