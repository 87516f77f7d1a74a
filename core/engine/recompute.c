/* engine/recompute.c - see recompute.h: what may be cut and copied, where to cut, the copies. May use: model, sdk. */
#include "engine/recompute.h"

#include "model/edit.h"
#include "model/infer.h"
#include "model/ops.h"

#include <math.h>
#include <pare/grad_ops.h>
#include <stdlib.h>
#include <string.h>

enum { CUTS_MAX = 384 }; /* looked at; with more, the smallest value of each stretch */

typedef struct cut {
    uint32_t value;
    size_t end; /* the position of the last node before it */
    uint64_t bytes;
} cut;

typedef struct rewrite {
    pare_model *m;
    size_t n_forward, n_nodes; /* positions in the graph's list as it came */
    size_t begin;              /* of the first segment */
    uint32_t *order;           /* [position]: node id */
    uint32_t *at;              /* [node id]: position; ids of copies lie beyond */
    size_t n_ids;
    /* [value id] */
    unsigned char *flows; /* it depends on what comes in with each run */
    unsigned char *moves; /* and on what is trained */
    unsigned char *again; /* of those, made by a forward node that can be copied */
    unsigned char *kept;  /* of those, a cut: held from the forward pass on */
    uint32_t *first;      /* the position of the first backward node that reads it; 0: none */
    uint32_t *last;       /* of the last forward node; 0: none */
    uint32_t *copy;
    PARE_VEC(cut) cuts;
    uint32_t heavy; /* forward nodes that are products of matrices in some form */
} rewrite;

/* ---- values ---- */

static bool is_bnt(const pare_node *n) {
    return strcmp(n->op_type, "BatchNormTrain") == 0 && strcmp(n->domain, PARE_GRAD_DOMAIN) == 0;
}

/* Does it give the same for the same, and change nothing else? */
static bool repeatable(const pare_node *n) {
    static const char *const random[] = {"RandomNormal",      "RandomUniform", "RandomNormalLike",
                                         "RandomUniformLike", "Bernoulli",     "Multinomial"};
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    if (is_bnt(n)) return true; /* without its running statistics */
    if (!op || op->over || (pare_node_is(n, "Dropout") && n->n_in > 2)) return false;
    for (size_t i = 0; i < sizeof random / sizeof *random; i++)
        if (pare_node_is(n, random[i])) return false;
    for (uint32_t i = 0; i < n->n_attrs; i++) {
        pare_attr_type t = n->attrs[i].type;
        if (t != PARE_ATTR_INT && t != PARE_ATTR_FLOAT && t != PARE_ATTR_STRING && t != PARE_ATTR_INTS &&
            t != PARE_ATTR_FLOATS)
            return false;
    }
    return true;
}

/* Whole numbers are mostly shapes, which are known before anything runs. */
static bool holds_data(const pare_value *v) {
    return v->dtype == PARE_FLOAT || v->dtype == PARE_DOUBLE || v->dtype == PARE_FLOAT16 || v->dtype == PARE_BFLOAT16 ||
           v->dtype == PARE_BOOL;
}

/* For one row where the batch is open. Only used to compare. */
static uint64_t bytes_of(const pare_model *m, uint32_t value) {
    const pare_value *v = pare_model_value(m, value);
    uint64_t count = 1, bytes = 0;
    for (int32_t i = 0; i < v->ndim; i++)
        if (v->dims[i].value >= 0 && !pare_mul_ok(count, (uint64_t)v->dims[i].value, &count)) return UINT32_MAX;
    return pare_dtype_nbytes(v->dtype, count, &bytes) && bytes < UINT64_MAX >> 16 ? bytes : UINT32_MAX;
}

static bool dims_only(const pare_node *n, uint32_t slot) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    return op && op->dims_only >> (slot < 31 ? slot : 31) & 1;
}

static void look_at_inputs(rewrite *r) {
    const pare_graph *g = pare_model_graph(r->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->inputs.len; i++) {
        const pare_value *v = pare_model_value(r->m, g->inputs.data[i]);
        if (!v->tensor) r->flows[v->id] = 1;
    }
}

static void look_at_forward(rewrite *r) {
    for (size_t i = 0; i < r->n_forward; i++) {
        const pare_node *n = pare_model_node(r->m, r->order[i]);
        const pare_op *op = pare_op_find(n->domain, n->op_type);
        bool flows = false, moves = false, copyable = repeatable(n);
        for (uint32_t k = 0; k < n->n_in; k++) {
            if (!n->in[k]) continue;
            flows = flows || r->flows[n->in[k]];
            moves = moves || r->moves[n->in[k]];
            r->last[n->in[k]] = (uint32_t)i;
        }
        r->heavy += flows && op && op->macs;
        for (uint32_t k = 0; k < n->n_out; k++) {
            const pare_value *v = pare_model_value(r->m, n->out[k]);
            if (!v) continue;
            r->flows[v->id] = flows;
            r->moves[v->id] = moves;
            r->again[v->id] = flows && copyable && holds_data(v) && !(is_bnt(n) && k);
        }
    }
}

static void look_at_backward(rewrite *r) {
    for (size_t i = r->n_forward; i < r->n_nodes; i++) {
        const pare_node *n = pare_model_node(r->m, r->order[i]);
        for (uint32_t k = 0; k < n->n_in; k++)
            if (n->in[k] && !r->first[n->in[k]] && !dims_only(n, k)) r->first[n->in[k]] = (uint32_t)i;
    }
}

static bool needed(const rewrite *r, uint32_t value) { return r->again[value] && r->first[value]; }

/* ---- cuts ---- */

/* What lies before all that is trained is computed once: the last cut there is kept, and the first segment begins
 * behind it. */
static void frozen_front(rewrite *r) {
    size_t n = 0;
    while (n < r->cuts.len && !r->moves[r->cuts.data[n].value]) n++;
    if (!n) return;
    r->begin = r->cuts.data[n - 1].end + 1;
    r->kept[r->cuts.data[n - 1].value] = 1;
    memmove(r->cuts.data, r->cuts.data + n, (r->cuts.len - n) * sizeof *r->cuts.data);
    r->cuts.len -= n;
}

/* Behind a node where one value alone is both made before and read after. Of neighbours with the same value the first.
 */
static void find_cuts(rewrite *r) {
    int64_t *count = pare_xcalloc(r->n_forward + 1, sizeof *count), *ids = pare_xcalloc(r->n_forward + 1, sizeof *ids);
    for (size_t i = 0; i < r->n_forward; i++) {
        const pare_node *n = pare_model_node(r->m, r->order[i]);
        for (uint32_t k = 0; k < n->n_out; k++) {
            uint32_t v = n->out[k];
            if (!v || !r->again[v] || r->last[v] <= i) continue;
            count[i]++;
            ids[i] += v;
            count[r->last[v]]--;
            ids[r->last[v]] -= v;
        }
    }
    int64_t n = 0, id = 0;
    for (size_t i = 0; i + 1 < r->n_forward; i++) {
        n += count[i];
        id += ids[i];
        if (n != 1 || (r->cuts.len && r->cuts.data[r->cuts.len - 1].value == (uint32_t)id)) continue;
        cut c = {(uint32_t)id, i, bytes_of(r->m, (uint32_t)id)};
        pare_vec_push(&r->cuts, c);
    }
    free(count);
    free(ids);
    frozen_front(r);
    if (r->cuts.len <= CUTS_MAX) return;
    size_t all = r->cuts.len;
    for (size_t k = 0; k < CUTS_MAX; k++) {
        size_t begin = all * k / CUTS_MAX, end = all * (k + 1) / CUTS_MAX, best = begin;
        for (size_t i = begin; i < end; i++)
            if (r->cuts.data[i].bytes < r->cuts.data[best].bytes) best = i;
        r->cuts.data[k] = r->cuts.data[best];
    }
    r->cuts.len = CUTS_MAX;
}

/* ---- where to cut ---- */

/* What the backward pass of a segment has to have at once: all that it reads, and two gradients of the largest size. */
typedef struct peak {
    uint64_t bytes;
    uint32_t heavy; /* nodes computed again; fewer are better at the same peak */
} peak;

typedef struct choice {
    peak best;
    uint32_t next; /* the cut that ends the segment */
} choice;

static bool better(const peak *a, const peak *b) {
    return a->bytes != b->bytes ? a->bytes < b->bytes : a->heavy < b->heavy;
}

/* [from * (cuts + 2) + to]: points are the start (0), the cuts, the end (cuts + 1). */
static peak *segment_costs(const rewrite *r) {
    size_t n = r->cuts.len + 2;
    peak *cost = pare_xcalloc(n * n, sizeof *cost);
    for (size_t from = 0; from + 1 < n; from++) {
        uint64_t held = 0, largest = 0;
        uint32_t heavy = 0;
        size_t i = from ? r->cuts.data[from - 1].end + 1 : r->begin;
        for (size_t to = from + 1; to < n; to++) {
            bool last = to == n - 1;
            uint32_t kept = last ? 0 : r->cuts.data[to - 1].value;
            for (; i < (last ? r->n_forward : r->cuts.data[to - 1].end + 1); i++) {
                const pare_node *nd = pare_model_node(r->m, r->order[i]);
                const pare_op *op = pare_op_find(nd->domain, nd->op_type);
                heavy += op && op->macs && nd->out[0] && r->flows[nd->out[0]];
                for (uint32_t k = 0; k < nd->n_out; k++) {
                    if (!nd->out[k] || !r->again[nd->out[k]]) continue;
                    uint64_t bytes = bytes_of(r->m, nd->out[k]);
                    if (needed(r, nd->out[k])) held += bytes;
                    if (bytes > largest) largest = bytes;
                }
            }
            const pare_value *k = pare_model_value(r->m, kept);
            const pare_node *maker = k ? pare_model_node(r->m, k->producer) : NULL;
            const pare_op *op = maker ? pare_op_find(maker->domain, maker->op_type) : NULL;
            cost[from * n + to].bytes = held + 2 * largest - (kept && needed(r, kept) ? bytes_of(r->m, kept) : 0);
            cost[from * n + to].heavy = last ? 0 : heavy - (op && op->macs ? 1 : 0);
        }
    }
    return cost;
}

/* In steps of one segment more, from the end: row k has for each point the best peak of k + 1 segments from there on,
 * beyond what is held before it. Every kept value weighs on all that comes after it. */
static choice *choose_all(const rewrite *r, uint32_t most) {
    size_t n = r->cuts.len + 2;
    peak *cost = segment_costs(r);
    choice *all = pare_xcalloc((size_t)most * n, sizeof *all);
    for (uint32_t k = 0; k < most; k++)
        for (size_t from = 0; from + 1 < n; from++) {
            choice *c = &all[k * n + from];
            *c = (choice){.best = cost[from * n + n - 1], .next = (uint32_t)(n - 1)};
            if (k) c->best.bytes = UINT64_MAX; /* so many segments or none */
            for (size_t to = from + 1; k && to + 1 < n; to++) {
                peak rest = all[(k - 1) * n + to].best, here = cost[from * n + to];
                if (rest.bytes == UINT64_MAX) continue;
                rest.heavy += here.heavy;
                if (here.bytes > rest.bytes) rest.bytes = here.bytes;
                rest.bytes += r->cuts.data[to - 1].bytes;
                if (better(&rest, &c->best)) *c = (choice){rest, (uint32_t)to};
            }
        }
    free(cost);
    return all;
}

/* Of memory alone, or of memory times time, of which a forward pass is about a third. */
static double weight(const rewrite *r, const peak *p, bool with_time) {
    double again = r->heavy ? (double)p->heavy / (double)r->heavy : 0;
    return (double)p->bytes * (with_time ? 1 + again / 3 : 1);
}

/* The chosen cuts in order, marked as kept. Returns the number of segments. */
static uint32_t choose(rewrite *r, int32_t segments, uint32_t *chosen) {
    size_t n = r->cuts.len + 2;
    bool automatic = segments == PARE_RECOMPUTE_AUTO;
    uint64_t most = automatic ? 2 * (uint64_t)ceil(sqrt((double)r->heavy)) + 1 : (uint64_t)segments;
    if (most > r->cuts.len + 1) most = r->cuts.len + 1;
    if (most > PARE_RECOMPUTE_MAX) most = PARE_RECOMPUTE_MAX;
    if (most < 2) return 1;
    choice *all = choose_all(r, (uint32_t)most);
    uint32_t take = 1;
    for (uint32_t k = 2; k <= most; k++)
        if (weight(r, &all[(k - 1) * n].best, automatic) < weight(r, &all[(take - 1) * n].best, automatic)) take = k;
    for (uint32_t k = take, from = 0; k > 1; k--) {
        from = all[(k - 1) * n + from].next;
        *chosen++ = from - 1;
        r->kept[r->cuts.data[from - 1].value] = 1;
    }
    free(all);
    return take;
}

/* ---- copies ---- */

static void copy_attrs(pare_model *m, uint32_t to, const pare_node *from) {
    for (uint32_t i = 0; i < from->n_attrs; i++) {
        const pare_attr *a = &from->attrs[i];
        if (a->type == PARE_ATTR_INT) pare_attr_set_int(m, to, a->name, a->i);
        if (a->type == PARE_ATTR_FLOAT) pare_attr_set_float(m, to, a->name, a->f);
        if (a->type == PARE_ATTR_STRING) pare_attr_set_string(m, to, a->name, a->s.data, a->s.len);
        if (a->type == PARE_ATTR_INTS) pare_attr_set_ints(m, to, a->name, a->ints, a->n);
        if (a->type == PARE_ATTR_FLOATS) pare_attr_set_floats(m, to, a->name, a->floats, a->n);
    }
}

static const char *named(pare_model *m, const char *name) {
    return pare_name_fresh(m, PARE_MAIN_GRAPH, pare_arena_printf(&m->arena, "again:%s", name));
}

/* BatchNormTrain goes without its running statistics and without the batch's, which are small and kept. */
static void copy_node(rewrite *r, const pare_node *n, uint32_t before) {
    pare_model *m = r->m;
    bool norm = is_bnt(n);
    uint32_t n_in = norm && n->n_in > 3 ? 3 : n->n_in, n_out = norm ? 1 : n->n_out;
    uint32_t *in = pare_arena_alloc(&m->arena, (n_in + 1) * sizeof *in);
    const char **outs = pare_arena_alloc(&m->arena, (n_out + 1) * sizeof *outs);
    for (uint32_t i = 0; i < n_in; i++) in[i] = n->in[i] && r->copy[n->in[i]] ? r->copy[n->in[i]] : n->in[i];
    for (uint32_t i = 0; i < n_out; i++) outs[i] = n->out[i] ? named(m, pare_model_value(m, n->out[i])->name) : NULL;
    const char *name = pare_arena_printf(&m->arena, "again:%s", n->name[0] ? n->name : n->op_type);
    uint32_t id = pare_node_add(m, PARE_MAIN_GRAPH, before, n->op_type, n->domain, name, in, n_in, outs, n_out);
    copy_attrs(m, id, n);
    for (uint32_t i = 0; i < n_out; i++) {
        const pare_value *v = pare_model_value(m, n->out[i]);
        if (!v) continue;
        uint32_t made = pare_model_node(m, id)->out[i];
        if (v->ndim >= 0) pare_value_type_set(m, made, v->dtype, v->ndim, v->dims);
        if (r->again[v->id] && !r->kept[v->id]) r->copy[v->id] = made;
    }
}

/* Backward nodes read the copy. */
static void redirect(rewrite *r, uint32_t value) {
    const pare_value *v = pare_model_value(r->m, value);
    pare_use *uses = pare_xcalloc(v->uses.len + 1, sizeof *uses);
    size_t n = v->uses.len;
    memcpy(uses, v->uses.data, n * sizeof *uses);
    for (size_t i = 0; i < n; i++) {
        const pare_node *user = pare_model_node(r->m, uses[i].node);
        if (user->id > r->n_ids || user->graph != PARE_MAIN_GRAPH || r->at[user->id] < r->n_forward) continue;
        if (!dims_only(user, uses[i].slot)) pare_node_input_set(r->m, user->id, uses[i].slot, r->copy[value]);
    }
    free(uses);
}

/* Of the forward nodes from `begin` to `end` (not included). Returns how many copies there are. */
static uint32_t copy_segment(rewrite *r, size_t begin, size_t end) {
    unsigned char *wanted = pare_xcalloc(r->m->values.len + 1, 1);
    size_t n_values = r->m->values.len;
    uint32_t before = UINT32_MAX, made = 0;
    for (size_t i = end; i-- > begin;) {
        const pare_node *n = pare_model_node(r->m, r->order[i]);
        bool wants = false;
        for (uint32_t k = 0; k < n->n_out; k++) {
            uint32_t v = n->out[k];
            if (!v || !r->again[v] || r->kept[v]) continue;
            if (needed(r, v)) {
                wanted[v] = 1;
                if (r->first[v] < before) before = r->first[v];
            }
            wants = wants || wanted[v];
        }
        for (uint32_t k = 0; wants && k < n->n_in; k++) {
            const pare_value *v = pare_model_value(r->m, n->in[k]);
            bool inside = v && r->again[v->id] && !r->kept[v->id] && r->at[v->producer] >= begin;
            if (inside) wanted[v->id] = 1;
        }
    }
    for (size_t i = begin; before != UINT32_MAX && i < end; i++) {
        const pare_node *n = pare_model_node(r->m, r->order[i]);
        bool wants = false;
        for (uint32_t k = 0; k < n->n_out; k++) wants = wants || (n->out[k] && wanted[n->out[k]]);
        if (!wants) continue;
        copy_node(r, n, r->order[before]);
        made++;
    }
    for (uint32_t v = 1; v <= n_values; v++)
        if (wanted[v] && needed(r, v) && r->copy[v]) redirect(r, v);
    free(wanted);
    return made;
}

static void begin_rewrite(rewrite *r, pare_model *m, size_t n_forward) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    size_t n_values = m->values.len + 1;
    *r = (rewrite){.m = m, .n_nodes = g->nodes.len, .n_ids = m->nodes.len};
    r->n_forward = n_forward < r->n_nodes ? n_forward : r->n_nodes;
    r->order = pare_xcalloc(r->n_nodes + 1, sizeof *r->order);
    r->at = pare_xcalloc(r->n_ids + 1, sizeof *r->at);
    for (size_t i = 0; i < r->n_nodes; i++) r->at[r->order[i] = g->nodes.data[i]] = (uint32_t)i;
    r->flows = pare_xcalloc(n_values, 1);
    r->moves = pare_xcalloc(n_values, 1);
    r->again = pare_xcalloc(n_values, 1);
    r->kept = pare_xcalloc(n_values, 1);
    r->first = pare_xcalloc(n_values, sizeof *r->first);
    r->last = pare_xcalloc(n_values, sizeof *r->last);
    r->copy = pare_xcalloc(n_values, sizeof *r->copy);
}

static void end_rewrite(rewrite *r) {
    free(r->order);
    free(r->at);
    free(r->flows);
    free(r->moves);
    free(r->again);
    free(r->kept);
    free(r->first);
    free(r->last);
    free(r->copy);
    pare_vec_free(&r->cuts);
}

pare_status pare_recompute(pare_model *m, size_t n_forward, const uint32_t *wrt, size_t n, int32_t segments,
                           pare_diags *d, pare_recomputed *out) {
    uint32_t chosen[PARE_RECOMPUTE_MAX];
    rewrite r;
    *out = (pare_recomputed){.segments = 1};
    begin_rewrite(&r, m, n_forward);
    look_at_inputs(&r);
    for (size_t i = 0; i < n; i++) r.moves[wrt[i]] = 1;
    look_at_forward(&r);
    look_at_backward(&r);
    find_cuts(&r);
    out->segments = choose(&r, segments, chosen);
    for (uint32_t i = 0; i + 1 < out->segments; i++) {
        size_t begin = i ? r.cuts.data[chosen[i - 1]].end + 1 : r.begin;
        out->copies += copy_segment(&r, begin, r.cuts.data[chosen[i]].end + 1);
    }
    end_rewrite(&r);
    if (!out->copies) out->segments = 1;
    return out->copies ? pare_model_infer(m, d) : PARE_OK;
}
