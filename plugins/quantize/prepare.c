/* quantize/prepare.c - see prepare.h. */
#include "prepare.h"

#include "verify.h"
#include "weights.h"

#include <stdio.h>

enum { OPSET = 13 }; /* the first with scales along an axis */
enum { OPSET_MAXPOOL = 21 };

static bool is_quantized_op(const pare_node_info *n) {
    static const char *const ops[] = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
                                      "ConvInteger",    "MatMulInteger",    "QGemm"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (quantize_is(n->op_type, ops[i])) return true;
    return strncmp(n->op_type, "QLinear", 7) == 0;
}

static uint32_t first_quantized(const quantize_apis *q, uint64_t *n) {
    uint32_t first = 0;
    *n = 0;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        const pare_node_info info = quantize_node(q, id);
        if (!is_quantized_op(&info)) continue;
        if (!first) first = id;
        ++*n;
    }
    return first;
}

bool prepare_quantized(const quantize_apis *q) {
    uint64_t n;
    return first_quantized(q, &n) != 0;
}

pare_status prepare_check(const quantize_apis *q, const quantize_options *o) {
    uint64_t n;
    const uint32_t node = first_quantized(q, &n);
    if (!node || o->requantize) return PARE_OK;
    const pare_node_info info = quantize_node(q, node);
    quantize_say(q, PARE_ERROR, "quantize.already", "requantize", info.name[0] ? info.name : info.label,
                 "begin with the float model, or, to take its quantizers out first, requantize: true",
                 "the model is quantized already: it has %llu such node%s, the first is %s", (unsigned long long)n,
                 n == 1 ? "" : "s", info.label);
    return PARE_EINVAL;
}

static int64_t opset_of(const quantize_apis *q) {
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        const pare_node_info info = quantize_node(q, id);
        if (!info.domain[0]) return info.opset;
    }
    return OPSET;
}

static pare_status raise_opset(const quantize_apis *q, const quantize_options *o) {
    const int64_t now = opset_of(q);
    if (now > OPSET_MAXPOOL && o->target == QUANTIZE_ONNXRUNTIME)
        quantize_say(q, PARE_WARNING, "quantize.opset", "target", NULL, "export the model at opset 13 to 21",
                     "the file is of opset %lld: beyond %d, ONNX Runtime runs MaxPool in float", (long long)now,
                     OPSET_MAXPOOL);
    const int64_t need = o->opset ? o->opset : OPSET;
    if (now >= need) return PARE_OK;
    const pare_status st = q->graph->opset_need(q->host, q->model, "", need);
    if (!st)
        quantize_say(q, PARE_INFO, "quantize.opset", NULL, NULL, NULL,
                     "the file's opset is raised from %lld to %lld, the first with %s", (long long)now, (long long)need,
                     o->opset ? o->opset_why : "scales for each channel");
    return st;
}

/* Multiplies a constant input; others that take it go on taking it as it is. false in *done: it is no float32
 * constant. */
static pare_status scale_input(const quantize_apis *q, uint32_t node, uint32_t slot, float by, bool *done) {
    const pare_node_info n = quantize_node(q, node);
    const pare_constant c = quantize_constant(q, slot < n.n_in ? n.in[slot] : 0);
    const pare_tensor_info t = quantize_tensor(q, c.tensor);
    const pare_value_info v = quantize_value(q, c.tensor ? n.in[slot] : 0);
    pare_view view = {.size = sizeof view};
    *done = false;
    if (!c.tensor || c.scale || t.dtype != PARE_FLOAT || t.ndim > 8) return PARE_OK;
    *done = true;
    if (v.tensor && v.n_uses == 1 && !(v.kind & (PARE_VALUE_OUTPUT | PARE_VALUE_INPUT))) {
        const pare_status st = q->tensors->borrow(q->host, q->model, c.tensor, PARE_WRITE, &view);
        if (st) return st;
        float *x = (float *)(void *)((char *)view.data + view.byte_offset);
        for (uint64_t i = 0; i < view.count; i++) x[i] *= by;
        q->tensors->release(q->host, q->model, c.tensor);
        return PARE_OK;
    }
    uint64_t count;
    int64_t dims[8];
    char name[320];
    const float *stored = quantize_floats(q, c.tensor, &count);
    float *x = quantize_scratch(q, count, sizeof *x);
    uint32_t value;
    if (!stored || !x) return PARE_ENOMEM;
    weights_permute(stored, t.dims, t.ndim, c.perm, sizeof *x, x);
    for (uint64_t i = 0; i < count; i++) x[i] *= by;
    for (uint32_t i = 0; i < t.ndim; i++) dims[i] = t.dims[c.perm[i]];
    (void)snprintf(name, sizeof name, "%.300s_scaled", v.name);
    const pare_status st = quantize_add(q, name, PARE_FLOAT, t.ndim, dims, x, NULL, &value);
    return st ? st : q->graph->input_set(q->host, q->model, node, slot, value);
}

/* Gemm's alpha goes into its weight, beta into its bias: int32 biases have no room for a factor. */
static pare_status fold_gemm(const quantize_apis *q, uint64_t *changed) {
    static const char *const names[] = {"alpha", "beta"};
    pare_status st = PARE_OK;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id && !st;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        const pare_node_info n = quantize_node(q, id);
        if (n.domain[0] || !quantize_is(n.op_type, "Gemm")) continue;
        for (uint32_t k = 0; k < 2 && !st; k++) {
            const double by = quantize_float(q, id, names[k], 1);
            bool done = by == 1;
            if (done) continue;
            st = scale_input(q, id, k + 1, (float)by, &done);
            if (!st && done) st = q->graph->attr_del(q->host, q->model, id, names[k]);
            *changed += done;
        }
    }
    return st;
}

static pare_status run_pass(const quantize_apis *q, const char *pass, uint64_t *changed) {
    *changed = 0;
    return q->pass->run(q->host, q->model, pass, changed);
}

pare_status prepare_graph(const quantize_apis *q, const quantize_options *o) {
    uint64_t n, folded = 0, factors = 0, means = 0, dead = 0;
    verify_side before = {0};
    pare_status st = prepare_check(q, o);
    if (st) return st;
    if (first_quantized(q, &n) && (st = prepare_strip(q))) return st; /* which is meant to change the numbers */
    if ((st = q->graph->infer(q->host, q->model))) return st;
    if ((st = verify_before(q, o->data, &before))) return st;
    st = raise_opset(q, o);
    if (!st) st = run_pass(q, "fold_batchnorm", &folded);
    if (!st) st = fold_gemm(q, &factors);
    if (!st) st = prepare_means(q, &means);
    if (!st) st = run_pass(q, "remove_dead", &dead);
    if (!st) st = q->graph->infer(q->host, q->model);
    if (!st && (folded || factors || means))
        st = verify_rewrite(q, &before, o->data, "folding BatchNormalization and factors into weights");
    verify_close(q, &before);
    if (!st && folded)
        quantize_say(q, PARE_INFO, "quantize.folded", NULL, NULL, NULL,
                     "%llu BatchNormalization%s went into the weights before", (unsigned long long)folded,
                     folded == 1 ? "" : "s");
    return st;
}
