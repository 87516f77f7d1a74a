/* quantize/float16_nodes.c - which nodes compute in float16, and why others don't. See float16.h. */
#include "float16.h"

#include <string.h>

static const char no_type[] = "ONNX has it for float32 alone, or ONNX Runtime no kernel that would do in float16";
static const char unsafe[] = "its sums or powers leave float16's range, or lose all digits";
static const char makes[] = "it makes its dtype itself";

/* X: op, why it stays float32. */
static const struct {
    const char *op, *why;
} kept[] = {
    {"Range", no_type},
    {"Upsample", no_type},
    {"NonMaxSuppression", no_type},
    {"RoiAlign", no_type},
    {"MaxRoiPool", no_type},
    {"TopK", no_type},
    {"Unique", no_type},
    {"Celu", no_type},
    {"IsInf", no_type},
    {"SequenceConstruct", no_type},
    {"SequenceAt", no_type},
    {"SequenceInsert", no_type},
    {"SequenceEmpty", no_type},
    {"SplitToSequence", no_type},
    {"ConcatFromSequence", no_type},
    {"Optional", no_type},
    {"OptionalGetElement", no_type},
    {"DFT", no_type},
    {"STFT", no_type},
    {"MelWeightMatrix", no_type},
    {"HannWindow", makes},
    {"HammingWindow", makes},
    {"BlackmanWindow", makes},
    {"ConstantOfShape", makes},
    {"EyeLike", makes},
    {"RandomNormal", makes},
    {"RandomNormalLike", makes},
    {"RandomUniform", makes},
    {"RandomUniformLike", makes},
    {"Multinomial", makes},
    {"Bernoulli", makes},
    {"TfIdfVectorizer", makes},
    {"ImageDecoder", makes},
    {"CumSum", unsafe},
    {"CumProd", unsafe},
    {"Exp", unsafe},
    {"Pow", unsafe},
    {"LRN", unsafe},
    {"LpPool", unsafe},
    {"LpNormalization", unsafe},
    {"MeanVarianceNormalization", unsafe},
    {"ReduceL1", unsafe},
    {"ReduceL2", unsafe},
    {"ReduceLogSum", unsafe},
    {"ReduceLogSumExp", unsafe},
    {"ReduceProd", unsafe},
    {"ReduceSum", unsafe},
    {"ReduceSumSquare", unsafe},
    {"Det", unsafe},
};

bool float16_slot_kept(const char *op_type, uint32_t slot) { return slot == 2 && quantize_is(op_type, "Resize"); }

bool float16_slot_free(const char *op_type, uint32_t slot) {
    static const char *const ops[] = {"Cast", "Shape", "Size", "IsNaN"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops && slot == 0; i++)
        if (quantize_is(op_type, ops[i])) return true;
    return false;
}

float16_node *float16_node_of(const float16_plan *plan, uint32_t node) {
    return node < plan->n_index && plan->index[node] ? &plan->nodes[plan->index[node] - 1] : NULL;
}

static bool named(const pare_arg *list, const char *op_type) {
    for (uint64_t i = 0; i < list->n; i++)
        if (strcmp(list->u.list[i].u.s, op_type) == 0) return true;
    return false;
}

/* Known without data: constants and what is computed from shapes. Such numbers count things, which float16 can't beyond
 * 2048. */
static bool is_static(const quantize_apis *q, const float16_plan *plan, const uint8_t *fixed, uint32_t value) {
    if (!value) return true;
    const pare_value_info v = quantize_value(q, value);
    if (v.tensor) return true;
    const float16_node *n = float16_node_of(plan, v.producer);
    return n && fixed[n - plan->nodes];
}

static bool touches_float(const quantize_apis *q, const pare_node_info *n) {
    for (uint32_t i = 0; i < n->n_in; i++)
        if (quantize_value(q, n->in[i]).dtype == PARE_FLOAT) return true;
    for (uint32_t i = 0; i < n->n_out; i++)
        if (quantize_value(q, n->out[i]).dtype == PARE_FLOAT) return true;
    return false;
}

static void decide(const quantize_apis *q, const float16_rules *rules, const pare_node_info *n, bool fixed,
                   float16_node *out) {
    out->kind = FLOAT16_HALF;
    out->why = NULL;
    if (quantize_is(n->op_type, "Constant") && !n->domain[0]) {
        out->kind = FLOAT16_OTHER;
        return;
    }
    if (!touches_float(q, n)) out->kind = FLOAT16_OTHER;
    if (n->n_subgraphs) {
        out->kind = FLOAT16_KEPT;
        out->why = "it holds a subgraph";
    } else if (out->kind == FLOAT16_OTHER) {
        return;
    } else if (fixed && !((quantize_is(n->op_type, "Transpose") || quantize_is(n->op_type, "Identity")) &&
                          quantize_constant(q, n->in[0]).tensor)) { /* but for weights on their way */
        out->why = "it computes with shapes";
        out->quiet = true;
    } else if (n->domain[0]) {
        out->why = "its domain is not ONNX's own";
    } else if (named(rules->keep_ops, n->op_type)) {
        out->why = "keep_ops names it";
    } else if (quantize_is(n->op_type, "Cast")) {
        const uint32_t from = quantize_value(q, n->in[0]).dtype;
        if (from != PARE_FLOAT16 && from != PARE_FLOAT) out->why = "it makes its dtype itself", out->quiet = true;
    } else if (quantize_is(n->op_type, "LayerNormalization") && n->n_out > 1) {
        out->why = "its further outputs are float32";
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept && !n->domain[0] && !out->why; i++)
        if (quantize_is(n->op_type, kept[i].op)) out->why = kept[i].why;
    if (out->why) out->kind = FLOAT16_KEPT;
}

static pare_status exclude(const quantize_apis *q, const float16_rules *rules, float16_plan *plan) {
    static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Gather"};
    enum { N = sizeof ops / sizeof *ops };
    uint64_t n = 0, again = 0;
    if (!rules->exclude->n) return PARE_OK;
    pare_status st = q->layers->list(q->host, q->model, NULL, ops, N, NULL, 0, &n);
    if (st) return st;
    pare_layer *layers = quantize_scratch(q, n, sizeof *layers);
    uint32_t *hit = quantize_scratch(q, n, sizeof *hit);
    if (!layers || !hit) return PARE_ENOMEM;
    for (uint64_t i = 0; i < n; i++) layers[i].size = sizeof *layers;
    st = q->layers->list(q->host, q->model, NULL, ops, N, layers, n, &again);
    if (!st)
        st = q->layers->select(q->host, q->model, "exclude", rules->exclude->u.list, rules->exclude->n, layers, n, hit);
    for (uint64_t i = 0; i < n && !st; i++) {
        if (!hit[i]) continue;
        for (uint64_t k = 0; k < plan->n; k++) { /* every node that takes the tensor */
            const pare_node_info info = quantize_node(q, plan->nodes[k].id);
            bool takes = plan->nodes[k].id == layers[i].node;
            for (uint32_t s = 0; s < info.n_in && !takes && plan->nodes[k].kind == FLOAT16_HALF; s++)
                takes = quantize_constant(q, info.in[s]).tensor == layers[i].tensor;
            if (!takes) continue;
            plan->nodes[k].kind = FLOAT16_KEPT;
            plan->nodes[k].why = "exclude names it";
        }
    }
    return st;
}

pare_status float16_plan_make(const quantize_apis *q, const float16_rules *rules, float16_plan *out) {
    uint32_t most = 0;
    *out = (float16_plan){0};
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id)) {
        out->n++;
        if (id > most) most = id;
    }
    out->n_index = most + 1;
    out->nodes = quantize_scratch(q, out->n, sizeof *out->nodes);
    out->index = quantize_scratch(q, out->n_index, sizeof *out->index);
    uint8_t *fixed = quantize_scratch(q, out->n, 1);
    if (!out->nodes || !out->index || !fixed) return PARE_ENOMEM;
    uint64_t i = 0;
    for (uint32_t id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, 0); id;
         id = q->graph->node_next(q->host, q->model, PARE_GRAPH_MAIN, id), i++) {
        const pare_node_info n = quantize_node(q, id);
        out->nodes[i] = (float16_node){.id = id};
        out->index[id] = (uint32_t)i + 1;
        fixed[i] = !n.n_subgraphs && strncmp(n.op_type, "Random", 6) != 0;
        if (!quantize_is(n.op_type, "Shape") && !quantize_is(n.op_type, "Size"))
            for (uint32_t k = 0; k < n.n_in && fixed[i]; k++) fixed[i] = is_static(q, out, fixed, n.in[k]);
        decide(q, rules, &n, fixed[i], &out->nodes[i]);
    }
    return exclude(q, rules, out);
}
