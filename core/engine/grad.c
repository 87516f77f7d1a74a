/* engine/grad.c - the walk back from the loss: see grad.h. Rules are in grad_*.c; a new op is a row here and a rule.
 *
 * May use: grad_parts.h, model.
 */
#include "engine/grad_parts.h"

#include "model/array.h"
#include "model/infer.h"

#include <stdlib.h>
#include <string.h>

/* Which rule an op has, and which inputs it can be differentiated by (a bit each). */
typedef struct row {
    const char *domain, *op_type;
    pare_grad_rule *rule;
    uint32_t inputs;
} row;

#define R(op, rule_name, inputs)                                                                                       \
    { "", op, pare_grad_rule_##rule_name, inputs }
#define G(op, rule_name, inputs)                                                                                       \
    { PARE_GRAD_DOMAIN, op, pare_grad_rule_##rule_name, inputs }
enum { ALL = -1 };
#define IN(i) (1u << (i))

/* clang-format off */
static const row rows[] = {
    R("Abs", abs, 1), R("Acos", acos, 1), R("Acosh", acosh, 1), R("Add", add, 3), R("Asin", asin, 1),
    R("Asinh", asinh, 1), R("Atan", atan, 1), R("Atanh", atanh, 1), R("AveragePool", average_pool, 1),
    R("BatchNormalization", batch_norm, 7), R("Cast", cast, 1), R("CastLike", cast, 1), R("Ceil", zero, 1),
    R("Celu", celu, 1), R("Clip", clip, 7), R("Concat", concat, (uint32_t)ALL), R("Conv", conv, 7),
    R("ConvTranspose", conv_transpose, 7), R("Cos", cos, 1), R("Cosh", cosh, 1), R("CumSum", cumsum, 1),
    R("DepthToSpace", depth_to_space, 1), R("Div", div, 3), R("Dropout", dropout, 1), R("Einsum", einsum, (uint32_t)ALL),
    R("Elu", from_x, 1), R("Erf", erf, 1), R("Exp", exp, 1), R("Expand", expand, 1), R("Flatten", reshape, 1),
    R("Floor", zero, 1), R("Gather", gather, 1), R("GatherElements", gather_elements, 1), R("GatherND", gather_nd, 1),
    R("Gelu", from_x, 1), R("Gemm", gemm, 7), R("GlobalAveragePool", global_average_pool, 1),
    R("GlobalMaxPool", global_max_pool, 1), R("GroupNormalization", group_norm, 7), R("HardSigmoid", from_x, 1),
    R("HardSwish", from_x, 1), R("Identity", identity, 1), R("InstanceNormalization", instance_norm, 7),
    R("LRN", lrn, 1), R("LayerNormalization", layer_norm, 7), R("LeakyRelu", from_x, 1), R("Log", log, 1),
    R("LogSoftmax", log_softmax, 1), R("LpNormalization", lp_norm, 1), R("MatMul", matmul, 3),
    R("Max", min_max, (uint32_t)ALL), R("MaxPool", max_pool, 1), R("Mean", mean, (uint32_t)ALL),
    R("Min", min_max, (uint32_t)ALL), R("Mish", from_x, 1), R("Mod", mod, 3), R("Mul", mul, 3), R("Neg", neg, 1),
    R("PRelu", prelu, 3), R("Pad", pad, 1), R("Pow", pow, 3), R("Reciprocal", reciprocal, 1),
    R("ReduceL1", reduce_l1, 1), R("ReduceL2", reduce_l2, 1), R("ReduceLogSum", reduce_log_sum, 1),
    R("ReduceLogSumExp", reduce_log_sum_exp, 1), R("ReduceMax", reduce_max, 1), R("ReduceMean", reduce_mean, 1),
    R("ReduceMin", reduce_max, 1), R("ReduceProd", reduce_prod, 1), R("ReduceSum", reduce_sum, 1),
    R("ReduceSumSquare", reduce_sum_square, 1), R("Relu", from_y, 1), R("Reshape", reshape, 1), R("Resize", resize, 1),
    R("Round", zero, 1), R("ScatterElements", scatter_elements, 1 | IN(2)), R("ScatterND", scatter_nd, 1 | IN(2)),
    R("Selu", from_x, 1), R("Shrink", shrink, 1), R("Sigmoid", from_y, 1), R("Sign", zero, 1), R("Sin", sin, 1),
    R("Sinh", sinh, 1), R("Slice", slice, 1), R("Softmax", softmax, 1),
    R("SoftmaxCrossEntropyLoss", softmax_cross_entropy, 1), R("Softplus", from_x, 1), R("Softsign", softsign, 1),
    R("SpaceToDepth", space_to_depth, 1), R("Split", split, 1), R("Sqrt", sqrt, 1), R("Squeeze", reshape, 1),
    R("Sub", sub, 3), R("Sum", add, (uint32_t)ALL), R("Tan", tan, 1), R("Tanh", from_y, 1),
    R("ThresholdedRelu", thresholded_relu, 1), R("Tile", tile, 1), R("TopK", topk, 1), R("Transpose", transpose, 1),
    R("Trilu", trilu, 1), R("Unsqueeze", reshape, 1), R("Where", where, IN(1) | IN(2)),
    G("BatchNormTrain", batch_norm_train, 7), G("DropoutTrain", dropout, 1),
    G("SoftCrossEntropy", soft_cross_entropy, 1),
};
/* clang-format on */

static const row *find(const char *domain, const char *op_type) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].op_type, op_type) == 0 && strcmp(rows[i].domain, domain) == 0) return &rows[i];
    return NULL;
}

bool pare_grad_has(const char *domain, const char *op_type) { return find(domain, op_type) != NULL; }

/* ---- asking ---- */

static bool is_float(uint32_t dtype) {
    return dtype == PARE_FLOAT || dtype == PARE_DOUBLE || dtype == PARE_FLOAT16 || dtype == PARE_BFLOAT16 ||
           dtype == PARE_DTYPE_UNKNOWN;
}

uint32_t pare_grad_dy(const pare_grad *g, const pare_node *n, uint32_t out) {
    return out < n->n_out && n->out[out] <= g->n_values ? g->sum[n->out[out]] : 0;
}

bool pare_grad_wants(const pare_grad *g, const pare_node *n, uint32_t in) {
    uint32_t v = pare_grad_in(n, in);
    return v && v <= g->n_values && g->depends[v];
}

int32_t pare_grad_rank(const pare_grad *g, uint32_t value) {
    const pare_value *v = pare_model_value(g->m, value);
    return v ? v->ndim : -1;
}

uint32_t pare_grad_dtype(const pare_grad *g, uint32_t value) {
    const pare_value *v = pare_model_value(g->m, value);
    return v && v->dtype ? v->dtype : PARE_FLOAT;
}

bool pare_grad_same_dim(const pare_dim *a, const pare_dim *b) {
    if (a->value >= 0) return a->value == b->value;
    return b->value < 0 && a->symbol && b->symbol && strcmp(a->symbol, "?") != 0 && strcmp(a->symbol, b->symbol) == 0;
}

bool pare_grad_same_dims(const pare_grad *g, uint32_t a, uint32_t b) {
    const pare_value *x = pare_model_value(g->m, a), *y = pare_model_value(g->m, b);
    if (!x || !y || x->ndim < 0 || x->ndim != y->ndim) return false;
    for (int32_t i = 0; i < x->ndim; i++)
        if (!pare_grad_same_dim(&x->dims[i], &y->dims[i])) return false;
    return true;
}

/* ---- giving ---- */

void pare_grad_like(pare_grad *g, uint32_t value, uint32_t like) {
    const pare_value *from = pare_model_value(g->m, like), *v = pare_model_value(g->m, value);
    if (from && v && from->dtype && from->ndim >= 0 && v->ndim < 0)
        pare_value_type_set(g->m, value, from->dtype, from->ndim, from->dims);
}

void pare_grad_give(pare_grad *g, const pare_node *n, uint32_t in, uint32_t value) {
    uint32_t x = pare_grad_in(n, in);
    if (!value || !x || !pare_grad_wants(g, n, in)) return;
    pare_grad_like(g, value, x);
    if (g->sum[x]) {
        value = PARE_GRAD_OP(g, "Add", g->sum[x], value);
        pare_grad_like(g, value, x);
    }
    g->sum[x] = value;
}

void pare_grad_refuse(pare_grad *g, const pare_node *n, const char *fmt, ...) {
    pare_sb b = {0};
    va_list ap;
    va_start(ap, fmt);
    pare_sb_vprintf(&b, fmt, ap);
    va_end(ap);
    const char *name = n->name[0] ? n->name : n->n_out && n->out[0] ? pare_model_value(g->m, n->out[0])->name : "";
    if (!g->st)
        g->st = pare_fail(g->d, PARE_EUNSUPPORTED, "train.gradient",
                          "freeze what lies before it (`fit: {freeze: [...]}`), or train without this part",
                          "%s%s%s node \"%s\" has no gradient: %s", n->domain, n->domain[0] ? "." : "", n->op_type,
                          name, pare_sb_str(&b));
    pare_sb_free(&b);
}

/* ---- making ---- */

uint32_t pare_grad_node(pare_grad *g, const char *domain, const char *op, uint32_t n_out, const uint32_t *in,
                        size_t n) {
    const char *names[8];
    if (g->st || n_out > 8) return 0;
    for (uint32_t i = 0; i < n_out; i++)
        names[i] = pare_name_fresh(g->m, PARE_MAIN_GRAPH,
                                   pare_arena_printf(&g->m->arena, "grad:%s%zu", op, g->m->nodes.len + 1));
    for (uint32_t i = 1; i < n_out; i++) names[i] = pare_arena_printf(&g->m->arena, "%s.%u", names[0], i);
    while (n && !in[n - 1]) n--;
    uint32_t id = pare_node_add(g->m, PARE_MAIN_GRAPH, 0, op, domain, names[0], in, n, names, n_out);
    return pare_model_node(g->m, id)->out[0];
}

const pare_node *pare_grad_made(pare_grad *g, uint32_t first) {
    const pare_value *v = pare_model_value(g->m, first);
    return v ? pare_model_node(g->m, v->producer) : NULL;
}

uint32_t pare_grad_output(pare_grad *g, uint32_t first, uint32_t i) {
    const pare_node *n = pare_grad_made(g, first);
    return n && i < n->n_out ? n->out[i] : 0;
}

void pare_grad_attrs(pare_grad *g, uint32_t first, const pare_node *from) {
    const pare_node *n = pare_grad_made(g, first);
    for (uint32_t i = 0; n && i < from->n_attrs; i++) {
        const pare_attr *a = &from->attrs[i];
        switch (a->type) {
        case PARE_ATTR_INT: pare_attr_set_int(g->m, n->id, a->name, a->i); break;
        case PARE_ATTR_FLOAT: pare_attr_set_float(g->m, n->id, a->name, a->f); break;
        case PARE_ATTR_STRING: pare_attr_set_string(g->m, n->id, a->name, a->s.data, a->s.len); break;
        case PARE_ATTR_INTS: pare_attr_set_ints(g->m, n->id, a->name, a->ints, a->n); break;
        case PARE_ATTR_FLOATS: pare_attr_set_floats(g->m, n->id, a->name, a->floats, a->n); break;
        default: break; /* no op with a gradient has others */
        }
    }
}

void pare_grad_attr_int(pare_grad *g, uint32_t first, const char *name, int64_t v) {
    const pare_node *n = pare_grad_made(g, first);
    if (n) pare_attr_set_int(g->m, n->id, name, v);
}

void pare_grad_attr_ints(pare_grad *g, uint32_t first, const char *name, const int64_t *v, size_t count) {
    const pare_node *n = pare_grad_made(g, first);
    if (n) pare_attr_set_ints(g->m, n->id, name, v, count);
}

void pare_grad_attr_float(pare_grad *g, uint32_t first, const char *name, float v) {
    const pare_node *n = pare_grad_made(g, first);
    if (n) pare_attr_set_float(g->m, n->id, name, v);
}

static uint32_t constant(pare_grad *g, const char *what, uint32_t dtype, size_t ndim, const int64_t *dims,
                         const void *data, size_t bytes) {
    if (g->st) return 0;
    const char *name = pare_name_fresh(g->m, PARE_MAIN_GRAPH, what);
    uint32_t id = pare_tensor_add(g->m, PARE_MAIN_GRAPH, name, dtype, ndim, dims);
    void *to = NULL;
    pare_status st =
        id ? pare_tensor_overwrite(pare_model_tensor(g->m, id), g->d, &to)
           : pare_fail(g->d, PARE_ENOMEM, "train.memory", NULL, "no memory for a constant of the gradient");
    if (st) {
        g->st = st;
        return 0;
    }
    if (bytes) memcpy(to, data, bytes);
    return pare_graph_find(g->m, PARE_MAIN_GRAPH, name);
}

uint32_t pare_grad_ints(pare_grad *g, const int64_t *v, size_t n) {
    int64_t dim = (int64_t)n;
    return constant(g, "grad:ints", PARE_INT64, 1, &dim, v, n * sizeof *v);
}

uint32_t pare_grad_number(pare_grad *g, uint32_t dtype, double v) {
    float f = (float)v;
    if (dtype == PARE_DOUBLE) return constant(g, "grad:number", PARE_DOUBLE, 0, NULL, &v, sizeof v);
    uint32_t c = constant(g, "grad:number", PARE_FLOAT, 0, NULL, &f, sizeof f);
    if (dtype == PARE_FLOAT || !c) return c;
    uint32_t cast = PARE_GRAD_OP(g, "Cast", c);
    pare_grad_attr_int(g, cast, "to", dtype);
    return cast;
}

uint32_t pare_grad_sum_to(pare_grad *g, uint32_t dy, uint32_t x) {
    if (!dy || pare_grad_same_dims(g, dy, x)) return dy;
    uint32_t s = PARE_GRAD_OWN(g, "SumTo", 1, dy, x);
    if (s) pare_grad_like(g, s, x);
    return s;
}

uint32_t pare_grad_transpose(pare_grad *g, uint32_t v, const int64_t *perm, size_t n) {
    uint32_t t = v ? PARE_GRAD_OP(g, "Transpose", v) : 0;
    pare_grad_attr_ints(g, t, "perm", perm, n);
    return t;
}

uint32_t pare_grad_swap_last(pare_grad *g, uint32_t v) {
    int64_t perm[PARE_ARRAY_DIMS];
    int32_t rank = pare_grad_rank(g, v);
    if (!v || rank < 2 || rank > PARE_ARRAY_DIMS) return 0;
    for (int32_t i = 0; i < rank; i++) perm[i] = i;
    perm[rank - 2] = rank - 1;
    perm[rank - 1] = rank - 2;
    return pare_grad_transpose(g, v, perm, (size_t)rank);
}

/* ---- the walk ---- */

static bool has_input(const row *r, uint32_t k) { return k < 32 ? r->inputs >> k & 1 : r->inputs == (uint32_t)ALL; }

/* A rule knows some inputs and, but for a few, the first output: what else depends must not be lost in silence. */
static void by_rule(pare_grad *g, const pare_node *n, const row *r) {
    bool all_outputs = r->rule == pare_grad_rule_split || r->rule == pare_grad_rule_softmax_cross_entropy;
    for (uint32_t k = 0; k < n->n_in; k++)
        if (!has_input(r, k) && pare_grad_wants(g, n, k)) {
            pare_grad_refuse(g, n, "its input %u depends on what is trained, and by that it can't be differentiated",
                             k);
            return;
        }
    for (uint32_t k = 1; !all_outputs && k < n->n_out; k++)
        if (pare_grad_dy(g, n, k)) {
            pare_grad_refuse(g, n, "its output %u takes part in the loss", k);
            return;
        }
    r->rule(g, n);
}

static void find_depending(pare_grad *g, const uint32_t *wrt, size_t n_wrt) {
    const pare_graph *graph = pare_model_graph(g->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < n_wrt; i++) g->depends[wrt[i]] = 1;
    for (size_t i = 0; i < graph->nodes.len; i++) {
        const pare_node *n = pare_model_node(g->m, graph->nodes.data[i]);
        bool any = false;
        for (uint32_t k = 0; k < n->n_in && !any; k++) {
            any = n->in[k] && g->depends[n->in[k]];
        }
        for (uint32_t k = 0; any && k < n->n_out; k++) {
            const pare_value *v = pare_model_value(g->m, n->out[k]);
            if (v && is_float(v->dtype)) g->depends[v->id] = 1;
        }
    }
}

static pare_status walk(pare_grad *g, uint32_t loss) {
    const pare_graph *graph = pare_model_graph(g->m, PARE_MAIN_GRAPH);
    size_t n_nodes = graph->nodes.len;
    uint32_t *order = pare_xmalloc((n_nodes + 1) * sizeof *order);
    memcpy(order, graph->nodes.data, n_nodes * sizeof *order);
    if (g->depends[loss]) g->sum[loss] = pare_grad_number(g, pare_grad_dtype(g, loss), 1);
    for (size_t i = n_nodes; i-- > 0 && !g->st;) {
        const pare_node *n = pare_model_node(g->m, order[i]);
        bool flows = false, wanted = false;
        for (uint32_t k = 0; k < n->n_out; k++) flows = flows || pare_grad_dy(g, n, k);
        for (uint32_t k = 0; k < n->n_in; k++) wanted = wanted || pare_grad_wants(g, n, k);
        if (!flows || !wanted) continue;
        const row *r = find(n->domain, n->op_type);
        if (r)
            by_rule(g, n, r);
        else
            pare_grad_refuse(g, n, "pare can't differentiate this op");
    }
    free(order);
    return g->st;
}

pare_status pare_grad_build(pare_model *m, uint32_t loss, const uint32_t *wrt, size_t n, pare_diags *d,
                            uint32_t *grads) {
    pare_grad g = {.m = m, .d = d};
    pare_status st = pare_model_check(m, d);
    if (!st) st = pare_model_infer(m, d);
    if (st) return st;
    pare_model_opset_set(m, PARE_GRAD_DOMAIN, 1);
    g.n_values = m->values.len;
    g.sum = pare_xcalloc(g.n_values + 1, sizeof *g.sum);
    g.depends = pare_xcalloc(g.n_values + 1, 1);
    find_depending(&g, wrt, n);
    st = walk(&g, loss);
    for (size_t i = 0; i < n; i++) grads[i] = st ? 0 : g.sum[wrt[i]];
    free(g.sum);
    free(g.depends);
    return st ? st : pare_model_infer(m, d);
}
