/* model/ops_einsum.c - Einsum's shape rule. Uses ops_rules.h alone. */
#include "model/ops_rules.h"

#include <string.h>

typedef struct einsum {
    pare_dim size[128]; /* by letter */
    uint32_t seen[128]; /* times it stands on the left */
    pare_shape rest;    /* what the ellipses stand for, broadcast */
    bool known;         /* the rank of every operand is */
} einsum;

static bool is_letter(char ch) { return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z'); }

static pare_status nonsense(pare_infer_ctx *c) {
    const pare_attr *a = pare_node_attr(c->node, "equation");
    if (!a || a->type != PARE_ATTR_STRING) return pare_infer_fail(c, "model.attribute", "it has no equation");
    return pare_infer_fail(c, "model.attribute", "its equation does not fit its %u inputs: %.*s", c->node->n_in,
                           (int)(a->s.len < 80 ? a->s.len : 80), (const char *)a->s.data);
}

/* A dim of 1 is as large as any. */
static bool learn(pare_dim *have, pare_dim d) {
    if (have->value == 1) *have = d;
    if (d.value == 1) return true;
    return pare_dim_merge(have, d);
}

/* One term of the left side for operand i, up to ',' or '-' or the end. NULL: nonsense. */
static const char *term(pare_infer_ctx *c, einsum *e, uint32_t i, const char *t, pare_status *st) {
    const char *end = t;
    int32_t letters = 0, at = 0;
    bool dots = false;
    for (; *end && *end != ',' && *end != '-'; end++) {
        if (is_letter(*end))
            letters++;
        else if (strncmp(end, "...", 3) == 0 && !dots)
            dots = true, end += 2;
        else if (*end != ' ')
            return NULL;
    }
    pare_shape x;
    pare_infer_in(c, i, &x);
    e->known = e->known && x.ndim >= 0;
    if (x.ndim >= 0 && (letters > x.ndim || (!dots && letters != x.ndim))) return NULL;
    for (; t < end; t++) {
        if (*t == '.') {
            pare_shape part = {.dtype = x.dtype};
            for (int32_t k = 0; k < x.ndim - letters; k++) part.d[part.ndim++] = x.d[at++];
            if (!*st && x.ndim >= 0) *st = pare_infer_broadcast(c, &e->rest, &part);
            t += 2;
        } else if (is_letter(*t)) {
            unsigned char l = (unsigned char)*t;
            pare_dim d = x.ndim >= 0 ? x.d[at++] : pare_dim_of(-1);
            if (!e->seen[l]++)
                e->size[l] = d;
            else if (!learn(&e->size[l], d))
                return NULL;
        }
    }
    return end;
}

static bool add_rest(const einsum *e, pare_shape *y) {
    for (int32_t i = 0; i < e->rest.ndim; i++)
        if (!pare_shape_grow(y, e->rest.d[i])) return false;
    return true;
}

/* What is behind the terms: "->ij", or nothing: the ellipsis, then letters that stand once, by the alphabet. */
static bool right_side(const einsum *e, const char *t, pare_shape *y) {
    if (!*t) {
        bool ok = add_rest(e, y);
        for (int l = 'A'; ok && l <= 'z'; l++)
            if (e->seen[l] == 1) ok = pare_shape_grow(y, e->size[l]);
        return ok;
    }
    if (t[0] != '-' || t[1] != '>') return false;
    bool put[128] = {false}, dots = false;
    for (t += 2; *t; t++) {
        unsigned char l = (unsigned char)*t;
        if (*t == ' ') continue;
        if (strncmp(t, "...", 3) == 0 && !dots) {
            if (!add_rest(e, y)) return false;
            dots = true;
            t += 2;
        } else if (!is_letter(*t) || !e->seen[l] || put[l] || !pare_shape_grow(y, e->size[l])) {
            return false;
        } else {
            put[l] = true;
        }
    }
    return true;
}

/* Einsum(inputs…), equation: "ij,jk->ik". */
pare_status pare_rule_einsum(pare_infer_ctx *c) {
    const pare_attr *a = pare_node_attr(c->node, "equation");
    uint32_t dtype = pare_infer_dtype(c, 0);
    einsum e = {.known = true};
    char text[1024];
    pare_infer_out_unknown(c, 0, dtype);
    if (!a || a->type != PARE_ATTR_STRING || !a->s.data || !c->node->n_in) return nonsense(c);
    if (a->s.len >= sizeof text || memchr(a->s.data, 0, a->s.len)) return nonsense(c);
    memcpy(text, a->s.data, a->s.len);
    text[a->s.len] = 0;
    const char *t = text;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < c->node->n_in; i++) {
        if (i && *t++ != ',') return nonsense(c);
        if (!(t = term(c, &e, i, t, &st))) return nonsense(c);
        if (st) return st;
    }
    pare_shape y = {.dtype = dtype};
    if (!right_side(&e, t, &y)) return nonsense(c);
    if (e.known) pare_infer_out_shape(c, 0, dtype, &y);
    return PARE_OK;
}
