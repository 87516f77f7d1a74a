/* engine/steps.c - from a bound model to steps: the nodes in order, each with what fuses behind it. See parts.h.
 *
 * Is not: where values lie (steps_variant.c), which kernel (steps_kernel.c), folding (fold.c), what fuses (fuse.c),
 * where buffers lie (layout.c). May use: steps_parts.h, model.
 */
#include "engine/steps_parts.h"
#include "engine/tune.h"

#include "model/ops.h"

#include <stdlib.h>
#include <string.h>

static bool updates(const pare_node *n);

/* ---- emitting ---- */

static pare_status input_of(pare_builder *b, pare_request *r, uint32_t i, uint32_t device, int32_t *out) {
    const pare_value *v = pare_model_value(b->m, r->values[i]);
    const pare_operand *o = &r->spec.operands[i];
    uint64_t pack = r->info.pack ? r->info.pack[i] : 0;
    pare_variant at;
    *out = -1;
    if (!v || (o->flags & PARE_OPERAND_ABSENT)) return PARE_OK;
    if ((o->flags & PARE_OPERAND_HOST) || ((o->flags & PARE_OPERAND_CONSTANT) && pack)) {
        uint32_t buffer;
        pare_status st = pare_steps_constant(b, v, device, &buffer);
        if (st) return st;
        pare_buffer *x = &b->p->buffers.data[buffer];
        if (o->flags & PARE_OPERAND_HOST) {
            x->on_host = true;
        } else {
            x->layout = r->info.in[i];
            x->layout.nbytes = pack;
            x->packer = r->kernel;
            x->slot = i;
        }
        *out = (int32_t)buffer;
        return PARE_OK;
    }
    pare_status st = pare_steps_want(b, v, device, &r->info.in[i], &at);
    if (!st) *out = (int32_t)at.buffer;
    return st;
}

/* The variable that output i of a node is the new contents of, where it can be written straight into. */
static int32_t variable_under(pare_builder *b, const pare_node *n, uint32_t i, uint32_t device) {
    int32_t over = pare_op_over(pare_op_find(n->domain, n->op_type), i);
    if (over < 0 || (uint32_t)over >= n->n_in) return -1;
    const pare_layout plain = {.kind = PARE_LAYOUT_PLAIN};
    const pare_variant *v = pare_steps_find(b, n->in[over], PARE_DEVICE_MAIN, &plain);
    if (device != PARE_DEVICE_MAIN || !v) return -1;
    return b->p->buffers.data[v->buffer].kind == PARE_BUFFER_VARIABLE ? (int32_t)v->buffer : -1;
}

/* Made elsewhere, the new contents are brought to the variable. */
static pare_status bring_home(pare_builder *b, const pare_node *n, uint32_t i) {
    int32_t over = pare_op_over(pare_op_find(n->domain, n->op_type), i), to;
    if (over < 0 || !pare_variable_of(b->s, n->in[over])) return PARE_OK;
    to = variable_under(b, n, i, PARE_DEVICE_MAIN);
    pare_variant at;
    pare_status st = pare_steps_plain(b, pare_model_value(b->m, n->out[i]), PARE_DEVICE_MAIN, &at);
    if (st || to < 0 || (int32_t)at.buffer == to) return st;
    pare_step *step = pare_steps_step(b, PARE_STEP_ON_DEVICE, PARE_DEVICE_MAIN, 1, 1);
    step->in[0] = (int32_t)at.buffer;
    step->out[0] = to;
    return PARE_OK;
}

/* An output's buffer; a view shares that of in[0]. */
static pare_status output_of(pare_builder *b, pare_request *r, uint32_t i, uint32_t device, uint32_t value, int32_t *in,
                             int32_t *out) {
    const pare_value *v = pare_model_value(b->m, value);
    pare_layout layout = r->info.out[i];
    uint64_t nbytes = layout.kind == PARE_LAYOUT_OWN ? layout.nbytes : pare_steps_plain_bytes(v);
    uint32_t buffer;
    bool view = r->info.view && i == 0 && r->n_in && in[0] >= 0;
    if (layout.kind != PARE_LAYOUT_OWN) layout = (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = nbytes};
    if (view && nbytes > b->p->buffers.data[in[0]].nbytes)
        return pare_fail(b->d, PARE_EINVAL, "engine.shape", NULL, "%s node \"%s\" makes more elements than it takes",
                         r->node->op_type, pare_engine_node_name(b->m, r->node));
    int32_t variable = variable_under(b, r->node, i, device);
    pare_buffer_kind kind = view            ? b->p->buffers.data[in[0]].kind
                            : variable >= 0 ? PARE_BUFFER_VARIABLE
                                            : PARE_BUFFER_ARENA;
    pare_status st = pare_steps_buffer(b, kind, device, nbytes, &buffer);
    if (st) return st;
    if (view) b->p->buffers.data[buffer].root = (uint32_t)in[0];
    if (variable >= 0) b->p->buffers.data[buffer].root = (uint32_t)variable;
    pare_steps_add(b, value, buffer, device, layout.kind == PARE_LAYOUT_PLAIN && pare_engine_on_host(b->s, device),
                   layout);
    b->ready[value] = 1;
    *out = (int32_t)buffer;
    return PARE_OK;
}

static int64_t macs_of(pare_builder *b, const pare_node *n) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    return !op ? -1 : op->macs ? op->macs(b->m, n) : 0;
}

pare_status pare_steps_emit(pare_builder *b, const pare_node *n, const pare_chain *chain, uint32_t *n_post) {
    pare_request r;
    uint32_t device;
    *n_post = 0;
    for (uint32_t i = 0; i < n->n_in + n->n_out; i++) {
        const pare_value *v = pare_model_value(b->m, i < n->n_in ? n->in[i] : n->out[i - n->n_in]);
        if (v && !pare_value_known(v) && (v->uses.len || v->is_output))
            return pare_fail(b->d, PARE_EUNSUPPORTED, "engine.shape", NULL,
                             "%s%s%s node \"%s\": the shape of \"%s\" is not known before it runs (%s)", n->domain,
                             n->domain[0] ? "." : "", n->op_type, pare_engine_node_name(b->m, n), v->name,
                             pare_value_text(&b->tmp, v));
    }
    pare_status st = pare_steps_choose(b, n, chain, &r, &device);
    if (st) return st;
    int32_t *in = pare_arena_alloc(&b->tmp, (r.n_in + 1) * sizeof *in);
    for (uint32_t i = 0; !st && i < r.n_in; i++) st = input_of(b, &r, i, device, &in[i]);
    int32_t *out = pare_arena_alloc(&b->tmp, (n->n_out + 1) * sizeof *out);
    uint64_t bytes = 0;
    for (uint32_t i = 0; !st && i < n->n_out; i++) {
        out[i] = -1;
        if (!n->out[i] || (r.spec.operands[r.n_in + i].flags & PARE_OPERAND_ABSENT)) continue;
        st = output_of(b, &r, i, device, i || !r.n_post ? n->out[i] : chain->out[r.n_post - 1], in, &out[i]);
        if (!st) bytes += b->p->buffers.data[out[i]].nbytes;
    }
    *n_post = r.n_post;
    b->done[n->id] = 1;
    for (uint32_t i = 0; i < r.n_post; i++)
        for (uint32_t k = 0; k < 2; k++)
            if (chain->nodes[i][k]) b->done[chain->nodes[i][k]] = 1;
    bool view = r.info.view && n->n_out && out[0] >= 0 && r.n_in && in[0] >= 0;
    if (st || view || !bytes) return st; /* a view runs nothing, and nothing is made of nothing */
    pare_step *step = pare_steps_step(b, PARE_STEP_RUN, device, r.n_in, n->n_out);
    memcpy(step->in, in, r.n_in * sizeof *in);
    memcpy(step->out, out, n->n_out * sizeof *out);
    step->kernel = r.kernel;
    step->scratch = r.info.scratch;
    step->in_place = r.info.in_place;
    if (r.info.in_place >= 0 && (uint32_t)r.info.in_place < r.n_in &&
        !pare_steps_same(&r.info.in[r.info.in_place], &r.info.out[0]))
        step->in_place = -1;
    const pare_value *v = pare_model_value(b->m, n->out[0]);
    uint32_t row = pare_steps_row(b, pare_engine_node_name(b->m, n), n->op_type, r.info.name, &r.info.out[0], device,
                                  r.quant ? r.spec.operands[0].dtype
                                  : v     ? v->dtype
                                          : 0,
                                  macs_of(b, n));
    b->p->rows.data[row].fell_back = r.fell_back;
    b->p->steps.data[b->p->steps.len - 1].row = row;
    for (uint32_t i = 0; !st && updates(n) && i < n->n_out; i++)
        if (out[i] >= 0 && n->out[i]) st = bring_home(b, n, i);
    return st;
}

/* Where the last operand comes that isn't made yet: the node can be emitted there. 0: now. */
static uint32_t wait_for(pare_builder *b, const pare_chain *chain) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < chain->n; i++)
        if (chain->operand[i] && !b->ready[chain->operand[i]])
            at = chain->nodes[i][1] ? chain->nodes[i][1] : chain->nodes[i][0];
    return at;
}

static void chain_take(pare_builder *b, const pare_chain *chain, uint32_t from, unsigned char mark) {
    for (uint32_t i = from; i < chain->n; i++)
        for (uint32_t k = 0; k < 2; k++)
            if (chain->nodes[i][k]) b->taken[chain->nodes[i][k]] = mark;
}

static pare_chain behind_of(const pare_chain *c, uint32_t from) {
    pare_chain t = {.n = c->n - from};
    for (uint32_t i = 0; i < t.n; i++) {
        t.post[i] = c->post[from + i];
        t.operand[i] = c->operand[from + i];
        t.out[i] = c->out[from + i];
        memcpy(t.nodes[i], c->nodes[from + i], sizeof t.nodes[i]);
    }
    return t;
}

/* What a kernel did not take, when its turn has passed: each node with those of the rest that it takes. */
static pare_status emit_rest(pare_builder *b, const pare_chain *rest) {
    static const pare_chain none;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; !st && i < rest->n;) {
        const pare_node *n = pare_model_node(b->m, rest->nodes[i][0]);
        uint32_t ignored, done = 0;
        b->taken[n->id] = 1;
        if (rest->nodes[i][1]) { /* a pair runs second first: Sigmoid, then Mul */
            b->taken[rest->nodes[i][1]] = 1;
            st = pare_steps_emit(b, pare_model_node(b->m, rest->nodes[i][1]), &none, &ignored);
        }
        i++;
        if (st || pare_steps_put_off(b, n)) continue;
        pare_chain behind = behind_of(rest, i);
        st = pare_steps_emit(b, n, &behind, &done);
        i += done;
    }
    return st;
}

static pare_status emit_chain(pare_builder *b, const pare_node *n, const pare_chain *chain, bool all) {
    uint32_t done;
    pare_status st = pare_steps_emit(b, n, chain, &done);
    if (st) return st;
    chain_take(b, chain, 0, 1);
    if (!all) { /* what the kernel did not take comes in its turn */
        chain_take(b, chain, done, 0);
        return PARE_OK;
    }
    pare_chain rest = behind_of(chain, done);
    return emit_rest(b, &rest);
}

/* ---- updates wait until nobody reads what they write over ---- */

static bool updates(const pare_node *n) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    return op && op->over;
}

static bool may_run(const pare_builder *b, const pare_node *n) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    for (uint32_t i = 0; i < n->n_in; i++)
        if (n->in[i] && !b->ready[n->in[i]]) return false;
    for (uint32_t i = 0; op && i < n->n_out; i++) {
        int32_t over = pare_op_over(op, i);
        if (over < 0 || !pare_variable_of(b->s, n->in[over])) continue;
        const pare_value *v = pare_model_value(b->m, n->in[over]);
        for (size_t k = 0; k < v->uses.len; k++) { /* other updates of it belong to other programs */
            const pare_node *user = pare_model_node(b->m, v->uses.data[k].node);
            if (user->id != n->id && !updates(user) && !b->done[user->id]) return false;
        }
    }
    return true;
}

static pare_status run_updates(pare_builder *b) {
    static const pare_chain none;
    bool any = true;
    while (any) {
        any = false;
        for (size_t i = 0; i < b->updates.len; i++) {
            uint32_t id = b->updates.data[i];
            if (b->done[id] || !may_run(b, pare_model_node(b->m, id))) continue;
            uint32_t ignored;
            pare_status st = pare_steps_emit(b, pare_model_node(b->m, id), &none, &ignored);
            if (st) return st;
            b->updates.data[i] = b->updates.data[--b->updates.len];
            any = true;
            break;
        }
    }
    return PARE_OK;
}

/* Updates are listed at the end of a graph, but each runs as soon as it may: its gradient's memory is free again then.
 * What also hands out something else (BatchNormTrain) has its place among the others. */
static void find_updates(pare_builder *b) {
    const pare_graph *g = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(b->m, g->nodes.data[i]);
        if (!updates(n) || pare_op_over(pare_op_find(n->domain, n->op_type), 0) < 0) continue;
        b->taken[n->id] = 1;
        pare_vec_push(&b->updates, n->id);
    }
}

typedef struct deferred {
    uint32_t node;
    pare_chain chain;
} deferred;

static pare_status walk(pare_builder *b) {
    const pare_graph *g = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    PARE_VEC(deferred) late = {0};
    pare_status st = PARE_OK;
    find_updates(b);
    for (size_t i = 0; !st && i < g->nodes.len; i++) {
        const pare_node *n = pare_model_node(b->m, g->nodes.data[i]);
        if ((i & 255) == 255 && pare_cancelled()) st = PARE_ECANCELLED;
        if (st) break;
        if (b->waiting[n->id]) {
            deferred *w = &late.data[b->waiting[n->id] - 1];
            st = emit_chain(b, pare_model_node(b->m, w->node), &w->chain, true);
            continue;
        }
        if (b->taken[n->id] || pare_steps_put_off(b, n)) continue;
        if (updates(n)) {
            b->taken[n->id] = 1;
            pare_vec_push(&b->updates, n->id);
            st = run_updates(b);
            continue;
        }
        if (b->updates.len && (st = run_updates(b))) break;
        deferred f = {.node = n->id};
        pare_chain_find(b->m, n, b->taken, &f.chain);
        f.chain.n =
            pare_quant_asks(b->m, n) ? pare_steps_trimmed(&f.chain, f.chain.n) : pare_steps_float_posts(&f.chain);
        uint32_t at = wait_for(b, &f.chain);
        if (at && !pare_steps_heavy(n)) { /* only what is worth it waits */
            uint32_t k = 0;
            while (k < f.chain.n && (!f.chain.operand[k] || b->ready[f.chain.operand[k]])) k++;
            f.chain.n = k;
            at = 0;
        }
        if (!at) {
            st = emit_chain(b, n, &f.chain, false);
            continue;
        }
        chain_take(b, &f.chain, 0, 1);
        pare_vec_push(&late, f);
        b->waiting[at] = (uint32_t)late.len;
    }
    pare_vec_free(&late);
    if (!st) st = run_updates(b);
    if (!st && b->updates.len)
        st = pare_fail(b->d, PARE_EINTERNAL, "engine.update", NULL, "the update \"%s\" never gets its turn",
                       pare_engine_node_name(b->m, pare_model_node(b->m, b->updates.data[0])));
    return st;
}

/* ---- what goes in and out ---- */

static pare_status inputs(pare_builder *b) {
    for (uint32_t i = 0; i < b->s->input_values.len; i++) {
        const pare_value *v = pare_model_value(b->m, b->s->input_values.data[i]);
        uint32_t buffer;
        if (v->tensor || (!v->uses.len && !v->is_output)) continue; /* a constant of this plan, or of no use to it */
        pare_status st = pare_steps_buffer(b, PARE_BUFFER_INPUT, 0, pare_steps_plain_bytes(v), &buffer);
        if (st) return st;
        b->p->buffers.data[buffer].input = i;
        /* host memory, which the host device reads; the main one too where its memory is the host's */
        pare_steps_add(b, v->id, buffer, pare_engine_on_host(b->s, 0) ? 0 : pare_engine_host_device(b->s), true,
                       (pare_layout){.kind = PARE_LAYOUT_PLAIN});
    }
    for (size_t i = 0; i < b->s->variables.len; i++) {
        const pare_variable *x = &b->s->variables.data[i];
        uint32_t buffer;
        pare_status st = pare_steps_buffer(b, PARE_BUFFER_VARIABLE, PARE_DEVICE_MAIN, x->nbytes, &buffer);
        if (st) return st;
        b->p->buffers.data[buffer].at = x->memory;
        pare_steps_add(b, x->value, buffer, PARE_DEVICE_MAIN, pare_engine_on_host(b->s, PARE_DEVICE_MAIN),
                       (pare_layout){.kind = PARE_LAYOUT_PLAIN, .nbytes = x->nbytes});
    }
    for (size_t i = 0; i < b->m->values.len; i++) {
        const pare_value *v = b->m->values.data[i];
        if (v && (v->tensor || v->is_input)) b->ready[v->id] = 1;
    }
    return PARE_OK;
}

static int32_t input_index(const pare_session *s, uint32_t value) {
    for (size_t i = 0; i < s->input_values.len; i++)
        if (s->input_values.data[i] == value) return (int32_t)i;
    return -1;
}

static pare_status outputs(pare_builder *b) {
    const pare_graph *g = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    size_t n = b->s->programs.len ? b->s->programs.data[b->p->program].n_fetches : g->outputs.len;
    for (size_t i = 0; i < n; i++) {
        const pare_value *v = pare_model_value(b->m, g->outputs.data[i]);
        if (!pare_value_known(v))
            return pare_fail(b->d, PARE_EUNSUPPORTED, "engine.shape", NULL,
                             "the shape of the output \"%s\" is not known before it is computed", v->name);
        pare_plan_output o = {.buffer = -1, .input = -1, .dtype = v->dtype, .ndim = (uint32_t)v->ndim};
        for (int32_t k = 0; k < v->ndim; k++) o.dims[k] = v->dims[k].value;
        o.nbytes = pare_steps_plain_bytes(v);
        pare_status st = PARE_OK;
        if (v->tensor) {
            pare_tensor *t = pare_model_tensor(b->m, v->tensor);
            const void *data;
            st = pare_tensor_read(t, b->d, &data);
            o.blob = t->blob ? pare_blob_ref(t->blob) : NULL;
        } else if (v->is_input) {
            o.input = input_index(b->s, v->id);
        } else if (!(st = pare_steps_float(b, v->id))) {
            pare_variant at;
            const pare_variant *have = pare_steps_find(b, v->id, 0, NULL);
            uint32_t device = have ? 0 : pare_engine_host_device(b->s);
            if (!(st = pare_steps_plain(b, v, device, &at))) o.buffer = (int32_t)at.buffer;
            o.host = pare_engine_on_host(b->s, device);
        }
        if (st) return st;
        pare_vec_push(&b->p->outputs, o);
    }
    return PARE_OK;
}

pare_status pare_plan_steps(pare_session *s, pare_model *m, pare_plan *p, pare_diags *d) {
    pare_builder b = {.s = s, .m = m, .p = p, .d = d};
    size_t n_values = m->values.len + 2 * m->nodes.len; /* a node may get constants of its own: steps_quant.c */
    b.places = pare_xcalloc(n_values + 1, sizeof *b.places);
    b.ready = pare_xcalloc(n_values + 1, 1);
    b.taken = pare_xcalloc(m->nodes.len + 1, 1);
    b.waiting = pare_xcalloc(m->nodes.len + 1, sizeof *b.waiting);
    b.done = pare_xcalloc(m->nodes.len + 1, 1);
    b.put_off = pare_xcalloc(n_values + 1, sizeof *b.put_off);
    b.bias = pare_xcalloc(m->nodes.len + 1, sizeof *b.bias);
    pare_status st = inputs(&b);
    if (!st) st = walk(&b);
    if (!st) st = outputs(&b);
    for (size_t i = 0; i <= n_values; i++) pare_vec_free(&b.places[i].at);
    free(b.places);
    free(b.ready);
    free(b.taken);
    free(b.waiting);
    free(b.done);
    free(b.put_off);
    free(b.bias);
    pare_vec_free(&b.updates);
    pare_arena_free(&b.tmp);
    if (b.heavy_all) pare_progress_end(s->progress);
    if (s->tune) pare_tune_save(s->tune);
    return st;
}
