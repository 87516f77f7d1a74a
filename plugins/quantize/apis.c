/* quantize/apis.c - see apis.h. */
#include "apis.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

pare_status quantize_apis_init(quantize_apis *q, const pare_host *host, pare_model *model) {
    *q = (quantize_apis){
        .host = host,
        .model = model,
        .graph = host->ext(host, PARE_GRAPH_V1),
        .tensors = host->ext(host, PARE_TENSORS_V1),
        .layers = host->ext(host, PARE_LAYERS_V1),
        .pass = host->ext(host, PARE_PASS_V1),
        .run = host->ext(host, PARE_RUN_V1),
        .note = host->ext(host, PARE_NOTE_V1),
    };
    if (q->graph && q->tensors && q->layers && q->pass) return PARE_OK;
    PARE_REPORT(host, PARE_ERROR, .code = "quantize.host",
                .message = "this host lacks one of pare.graph/1, pare.tensors/1, pare.layers/1 and pare.pass/1",
                .hint = "use the pare that this plugin came with");
    return PARE_EUNSUPPORTED;
}

pare_node_info quantize_node(const quantize_apis *q, uint32_t node) {
    pare_node_info info = {.size = sizeof info};
    if (!node || q->graph->node_info(q->host, q->model, node, &info)) memset(&info, 0, sizeof info);
    return info;
}

pare_value_info quantize_value(const quantize_apis *q, uint32_t value) {
    pare_value_info info = {.size = sizeof info};
    if (!value || q->graph->value_info(q->host, q->model, value, &info)) memset(&info, 0, sizeof info);
    return info;
}

pare_constant quantize_constant(const quantize_apis *q, uint32_t value) {
    pare_constant c = {.size = sizeof c};
    if (!value || q->graph->const_of(q->host, q->model, value, &c)) memset(&c, 0, sizeof c);
    return c;
}

pare_tensor_info quantize_tensor(const quantize_apis *q, uint32_t tensor) {
    pare_tensor_info info = {.size = sizeof info};
    if (!tensor || q->tensors->info(q->host, q->model, tensor, &info)) memset(&info, 0, sizeof info);
    return info;
}

int64_t quantize_int(const quantize_apis *q, uint32_t node, const char *name, int64_t absent) {
    pare_attribute a = {.size = sizeof a};
    return q->graph->attr_get(q->host, q->model, node, name, &a) || a.type != PARE_ATTRIBUTE_INT ? absent : a.i;
}

double quantize_float(const quantize_apis *q, uint32_t node, const char *name, double absent) {
    pare_attribute a = {.size = sizeof a};
    return q->graph->attr_get(q->host, q->model, node, name, &a) || a.type != PARE_ATTRIBUTE_FLOAT ? absent : a.f;
}

void quantize_set_int(const quantize_apis *q, uint32_t node, const char *name, int64_t i) {
    const pare_attribute a = {.size = sizeof a, .type = PARE_ATTRIBUTE_INT, .n = 1, .i = i};
    (void)q->graph->attr_set(q->host, q->model, node, name, &a); /* a failure is misuse, which fails the step */
}

pare_status quantize_add(const quantize_apis *q, const char *want, uint32_t dtype, uint32_t ndim, const int64_t *dims,
                         const void *bytes, uint32_t *tensor, uint32_t *value) {
    const char *name = q->graph->name_fresh(q->host, q->model, want);
    uint32_t id = 0;
    pare_status st = name ? q->tensors->add(q->host, q->model, name, dtype, ndim, dims, &id) : PARE_ENOMEM;
    if (st) return st;
    pare_view v = {.size = sizeof v};
    if ((st = q->tensors->borrow(q->host, q->model, id, PARE_OVERWRITE, &v))) return st;
    if (v.nbytes) memcpy((char *)v.data + v.byte_offset, bytes, v.nbytes);
    q->tensors->release(q->host, q->model, id);
    if (tensor) *tensor = id;
    if (value) *value = quantize_tensor(q, id).value;
    return PARE_OK;
}

pare_status quantize_node_add(const quantize_apis *q, const char *op_type, const char *name, const uint32_t *in,
                              uint32_t n_in, const char *out, uint32_t *node, uint32_t *value) {
    const char *fresh = q->graph->name_fresh(q->host, q->model, out);
    uint32_t id = 0;
    pare_status st = fresh ? q->graph->node_add(q->host, q->model, PARE_GRAPH_MAIN, 0, op_type, "", name ? name : fresh,
                                                in, n_in, &fresh, 1, &id)
                           : PARE_ENOMEM;
    if (st) return st;
    const pare_node_info info = quantize_node(q, id);
    if (node) *node = id;
    if (value) *value = info.out[0];
    return PARE_OK;
}

float *quantize_floats(const quantize_apis *q, uint32_t tensor, uint64_t *count) {
    pare_view v = {.size = sizeof v};
    float *out = NULL;
    if (quantize_tensor(q, tensor).dtype != PARE_FLOAT) return NULL;
    if (q->tensors->borrow(q->host, q->model, tensor, PARE_READ, &v)) return NULL;
    out = quantize_scratch(q, v.count, sizeof *out);
    if (out && v.count) memcpy(out, (const char *)v.data + v.byte_offset, v.count * sizeof *out);
    q->tensors->release(q->host, q->model, tensor);
    if (count) *count = v.count;
    return out;
}

bool quantize_number(const quantize_apis *q, uint32_t value, float *out) {
    const pare_constant c = quantize_constant(q, value);
    pare_view v = {.size = sizeof v};
    if (!c.tensor || c.scale) return false;
    const pare_tensor_info t = quantize_tensor(q, c.tensor);
    if (t.dtype != PARE_FLOAT || t.count != 1) return false;
    if (q->tensors->borrow(q->host, q->model, c.tensor, PARE_READ, &v)) return false;
    memcpy(out, (const char *)v.data + v.byte_offset, sizeof *out);
    q->tensors->release(q->host, q->model, c.tensor);
    return true;
}

void *quantize_scratch(const quantize_apis *q, uint64_t n, uint64_t size) {
    return size && n > UINT64_MAX / size ? NULL : q->host->scratch(q->host, n ? n * size : size ? size : 1);
}

pare_status quantize_refuse(const quantize_apis *q, const char *code, const char *param, const char *tensor,
                            const char *hint, const char *format, ...) {
    char text[640];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    PARE_REPORT(q->host, PARE_ERROR, .code = code, .message = text, .param = param, .tensor = tensor, .hint = hint);
    return PARE_EINVAL;
}

void quantize_say(const quantize_apis *q, uint32_t severity, const char *code, const char *param, const char *node,
                  const char *hint, const char *format, ...) {
    char text[640];
    va_list ap;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    PARE_REPORT(q->host, severity, .code = code, .message = text, .param = param, .node = node, .hint = hint);
}
