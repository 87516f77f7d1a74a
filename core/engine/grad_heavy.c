/* engine/grad_heavy.c - gradients of convolutions, products and pooling. See grad_parts.h. */
#include "engine/grad_parts.h"

#include "model/array.h"

#include <string.h>

#define OP PARE_GRAD_OP
#define OWN PARE_GRAD_OWN

/* ---- convolutions ---- */

/* The sum over all but the channels. */
static void give_bias(pare_grad *g, const pare_node *n) {
    int64_t axes[PARE_ARRAY_DIMS];
    int32_t rank = pare_grad_rank(g, n->out[0]);
    size_t k = 0;
    if (rank < 3 || rank > PARE_ARRAY_DIMS) {
        pare_grad_refuse(g, n, "its rank is not known");
        return;
    }
    for (int32_t i = 0; i < rank; i++)
        if (i != 1) axes[k++] = i;
    uint32_t db = OP(g, "ReduceSum", pare_grad_dy(g, n, 0), pare_grad_ints(g, axes, k));
    pare_grad_attr_int(g, db, "keepdims", 0);
    pare_grad_give(g, n, 2, db);
}

void pare_grad_rule_conv(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), x = pare_grad_in(n, 0), w = pare_grad_in(n, 1);
    bool bias = pare_grad_wants(g, n, 2);
    if (pare_grad_wants(g, n, 0)) {
        uint32_t dx = OWN(g, "ConvGradInput", 1, dy, w, x);
        pare_grad_attrs(g, dx, n);
        pare_grad_give(g, n, 0, dx);
    }
    if (!pare_grad_wants(g, n, 1)) {
        if (bias) give_bias(g, n);
    } else {
        uint32_t dw = OWN(g, "ConvGradWeight", bias ? 2 : 1, dy, x, w);
        pare_grad_attrs(g, dw, n);
        pare_grad_give(g, n, 1, dw);
        if (bias) pare_grad_give(g, n, 2, pare_grad_output(g, dw, 1));
    }
}

/* Its forward is a convolution's gradient by the input, so each gradient is one of the convolution's others. */
void pare_grad_rule_conv_transpose(pare_grad *g, const pare_node *n) {
    static const char *const drop[] = {"output_padding", "output_shape"};
    uint32_t dy = pare_grad_dy(g, n, 0), x = pare_grad_in(n, 0), w = pare_grad_in(n, 1);
    const pare_attr *pad = pare_node_attr(n, "auto_pad");
    if (pare_node_attr(n, "output_shape") || (pad && pad->s.len && memcmp(pad->s.data, "NOTSET", pad->s.len) != 0)) {
        pare_grad_refuse(g, n, "its padding is automatic (output_shape or auto_pad); write `pads` instead");
        return;
    }
    const pare_attr *more = pare_node_attr(n, "output_padding"), *strides = pare_node_attr(n, "strides");
    for (size_t i = 0; more && i < more->n; i++)
        if (more->ints[i] >= (strides && i < strides->n ? strides->ints[i] : 1)) {
            pare_grad_refuse(g, n, "its output_padding is not below its strides");
            return;
        }
    uint32_t made[2] = {0, 0};
    if (pare_grad_wants(g, n, 0)) {
        made[0] = OP(g, "Conv", dy, w);
        pare_grad_attrs(g, made[0], n);
        pare_grad_give(g, n, 0, made[0]);
    }
    if (pare_grad_wants(g, n, 1)) {
        made[1] = OWN(g, "ConvGradWeight", 1, x, dy, w);
        pare_grad_attrs(g, made[1], n);
        pare_grad_give(g, n, 1, made[1]);
    }
    for (size_t i = 0; i < 4; i++) {
        const pare_node *node = made[i / 2] ? pare_grad_made(g, made[i / 2]) : NULL;
        if (node) pare_attr_del(g->m, node->id, drop[i % 2]);
    }
    if (pare_grad_wants(g, n, 2)) give_bias(g, n);
}

/* ---- products ---- */

/* Gemm: Y = alpha * A' * B' + beta * C. */
static uint32_t product(pare_grad *g, uint32_t a, bool trans_a, uint32_t b, bool trans_b, float alpha) {
    uint32_t r = OP(g, "Gemm", a, b);
    if (trans_a) pare_grad_attr_int(g, r, "transA", 1);
    if (trans_b) pare_grad_attr_int(g, r, "transB", 1);
    if (alpha != 1.0f) pare_grad_attr_float(g, r, "alpha", alpha);
    return r;
}

void pare_grad_rule_gemm(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), a = pare_grad_in(n, 0), b = pare_grad_in(n, 1);
    bool ta = pare_node_attr_int(n, "transA", 0) != 0, tb = pare_node_attr_int(n, "transB", 0) != 0;
    float alpha = pare_node_attr_float(n, "alpha", 1.0f), beta = pare_node_attr_float(n, "beta", 1.0f);
    if (pare_grad_wants(g, n, 0)) /* dA' = dY * B'^T */
        pare_grad_give(g, n, 0, ta ? product(g, b, tb, dy, true, alpha) : product(g, dy, false, b, !tb, alpha));
    if (pare_grad_wants(g, n, 1)) /* dB' = A'^T * dY */
        pare_grad_give(g, n, 1, tb ? product(g, dy, true, a, ta, alpha) : product(g, a, !ta, dy, false, alpha));
    if (pare_grad_wants(g, n, 2)) {
        uint32_t dc = pare_grad_sum_to(g, dy, pare_grad_in(n, 2));
        if (beta != 1.0f) dc = OP(g, "Mul", dc, pare_grad_number(g, pare_grad_dtype(g, n->out[0]), (double)beta));
        pare_grad_give(g, n, 2, dc);
    }
}

static uint32_t reshaped(pare_grad *g, uint32_t v, const int64_t *dims, size_t n) {
    return OP(g, "Reshape", v, pare_grad_ints(g, dims, n));
}

/* A (..., K) times a matrix: its rows are one long list, so that dB is one product and no sum over the batch. */
static uint32_t matrix_share(pare_grad *g, uint32_t a, uint32_t b, uint32_t dy) {
    const pare_value *v = pare_model_value(g->m, b);
    int64_t k = v->dims[0].value, cols = v->dims[1].value;
    return product(g, reshaped(g, a, (int64_t[]){-1, k}, 2), true, reshaped(g, dy, (int64_t[]){-1, cols}, 2), false,
                   1.0f);
}

/* Of matrices in equal batches, shares have the dims of the inputs. */
static bool equal_batches(const pare_grad *g, uint32_t a, uint32_t b) {
    const pare_value *x = pare_model_value(g->m, a), *y = pare_model_value(g->m, b);
    if (x->ndim != y->ndim || x->ndim < 2) return false;
    for (int32_t i = 0; i + 2 < x->ndim; i++)
        if (!pare_grad_same_dim(&x->dims[i], &y->dims[i])) return false;
    return true;
}

void pare_grad_rule_matmul(pare_grad *g, const pare_node *n) {
    uint32_t dy = pare_grad_dy(g, n, 0), a = pare_grad_in(n, 0), b = pare_grad_in(n, 1);
    int32_t ra = pare_grad_rank(g, a), rb = pare_grad_rank(g, b);
    if (ra < 1 || rb < 1) {
        pare_grad_refuse(g, n, "the rank of an input is not known");
        return;
    }
    /* vectors become matrices of one row or column, and dy what the product then gives */
    uint32_t da = dy, am = a, bm = b;
    int64_t first = 0;
    if (ra == 1) am = OP(g, "Unsqueeze", a, pare_grad_ints(g, &first, 1));
    if (rb == 1) bm = OP(g, "Unsqueeze", b, pare_grad_ints(g, (int64_t[]){1}, 1));
    if (ra == 1) da = OP(g, "Unsqueeze", da, pare_grad_ints(g, rb == 1 ? &first : (int64_t[]){-2}, 1));
    if (rb == 1) da = OP(g, "Unsqueeze", da, pare_grad_ints(g, (int64_t[]){-1}, 1));
    int64_t perm2[] = {1, 0};
    if (pare_grad_wants(g, n, 0)) {
        uint32_t bt = rb <= 2 ? pare_grad_transpose(g, bm, perm2, 2) : pare_grad_swap_last(g, b);
        uint32_t dx = OP(g, "MatMul", da, bt);
        if (rb == 2 || equal_batches(g, a, b)) pare_grad_like(g, dx, ra == 1 ? am : a);
        if (ra == 1) dx = reshaped(g, pare_grad_sum_to(g, dx, am), (int64_t[]){-1}, 1);
        pare_grad_give(g, n, 0, ra == 1 ? dx : pare_grad_sum_to(g, dx, a));
    }
    if (pare_grad_wants(g, n, 1)) {
        const pare_value *v = pare_model_value(g->m, b);
        if (rb == 2 && ra > 2 && v->dims[0].value > 0 && v->dims[1].value > 0) {
            pare_grad_give(g, n, 1, matrix_share(g, a, b, dy));
            return;
        }
        uint32_t at = ra <= 2 ? pare_grad_transpose(g, am, perm2, 2) : pare_grad_swap_last(g, a);
        uint32_t dx = OP(g, "MatMul", at, da);
        if (equal_batches(g, a, b)) pare_grad_like(g, dx, b);
        if (rb == 1) dx = reshaped(g, pare_grad_sum_to(g, dx, bm), (int64_t[]){-1}, 1);
        pare_grad_give(g, n, 1, rb == 1 ? dx : pare_grad_sum_to(g, dx, b));
    }
}

/* Einsum's gradient by one input is an Einsum of dy and the other inputs, when no index stands twice in a term. */
void pare_grad_rule_einsum(pare_grad *g, const pare_node *n) {
    const pare_attr *eq = pare_node_attr(n, "equation");
    pare_sb text = {0};
    const char *term[16];
    uint32_t n_terms = 0;
    for (size_t i = 0; eq && i < eq->s.len; i++)
        if (eq->s.data[i] != ' ') pare_sb_addn(&text, (const char *)eq->s.data + i, 1);
    char *all = pare_arena_strdup(&g->m->arena, pare_sb_str(&text)), *arrow = strstr(all, "->");
    pare_sb_free(&text);
    if (!arrow || strstr(all, "...") || n->n_in > 15) {
        pare_grad_refuse(g, n, "only equations with an arrow and without an ellipsis are differentiated");
        return;
    }
    *arrow = '\0';
    for (char *at = all; n_terms < n->n_in; n_terms++) {
        term[n_terms] = at;
        at += strcspn(at, ",");
        if (*at) *at++ = '\0';
    }
    const char *out = arrow + 2;
    for (uint32_t i = 0; i < n->n_in; i++) {
        if (!pare_grad_wants(g, n, i)) continue;
        pare_sb e = {0};
        uint32_t in[16] = {pare_grad_dy(g, n, 0)};
        bool plain = true;
        pare_sb_add(&e, out);
        for (uint32_t k = 0, at = 1; k < n->n_in; k++) {
            if (k == i) continue;
            in[at++] = n->in[k];
            pare_sb_printf(&e, ",%s", term[k]);
        }
        for (const char *c = term[i]; *c; c++) /* each index is in another term, and once in this */
            plain = plain && strchr(pare_sb_str(&e), *c) && !strchr(c + 1, *c);
        pare_sb_printf(&e, "->%s", term[i]);
        if (plain) {
            uint32_t dx = pare_grad_node(g, "", "Einsum", 1, in, n->n_in);
            const pare_node *made = pare_grad_made(g, dx);
            if (made) pare_attr_set_string(g->m, made->id, "equation", pare_sb_str(&e), strlen(pare_sb_str(&e)));
            pare_grad_give(g, n, i, dx);
        } else {
            pare_grad_refuse(g, n, "input %u has an index that stands twice or is summed alone", i);
        }
        pare_sb_free(&e);
    }
}

/* ---- pooling ---- */

void pare_grad_rule_max_pool(pare_grad *g, const pare_node *n) {
    uint32_t dx = OWN(g, "MaxPoolGrad", 1, pare_grad_dy(g, n, 0), pare_grad_in(n, 0));
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_average_pool(pare_grad *g, const pare_node *n) {
    uint32_t dx = OWN(g, "AveragePoolGrad", 1, pare_grad_dy(g, n, 0), pare_grad_in(n, 0));
    pare_grad_attrs(g, dx, n);
    pare_grad_give(g, n, 0, dx);
}

void pare_grad_rule_global_average_pool(pare_grad *g, const pare_node *n) {
    pare_grad_give(g, n, 0, OWN(g, "GlobalAveragePoolGrad", 1, pare_grad_dy(g, n, 0), pare_grad_in(n, 0)));
}

/* To the places that hold the maximum, in equal parts, as PyTorch's amax has it. */
void pare_grad_rule_global_max_pool(pare_grad *g, const pare_node *n) {
    uint32_t dtype = pare_grad_dtype(g, n->out[0]);
    uint32_t hit = OP(g, "Cast", OP(g, "Equal", pare_grad_in(n, 0), n->out[0]));
    pare_grad_attr_int(g, hit, "to", dtype);
    int32_t rank = pare_grad_rank(g, pare_grad_in(n, 0));
    int64_t axes[PARE_ARRAY_DIMS];
    if (rank < 3 || rank > PARE_ARRAY_DIMS) {
        pare_grad_refuse(g, n, "its rank is not known");
        return;
    }
    for (int32_t i = 2; i < rank; i++) axes[i - 2] = i;
    uint32_t hits = OP(g, "ReduceSum", hit, pare_grad_ints(g, axes, (size_t)(rank - 2)));
    pare_grad_give(g, n, 0, OP(g, "Mul", hit, OP(g, "Div", pare_grad_dy(g, n, 0), hits)));
}
