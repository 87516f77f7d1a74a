/* engine/steps_kernel.c - which kernel a node gets: on which device, with how many of the ops behind it. See
 * steps_parts.h.
 *
 * Is not: timing one against another (tune.c). May use: steps_parts.h, model.
 */
#include "engine/steps_parts.h"
#include "engine/tune.h"

#include "model/ops.h"

#include <pare/grad_ops.h>
#include <string.h>

/* ---- kernels ---- */

bool pare_steps_heavy(const pare_node *n) {
    static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (pare_node_is(n, ops[i])) return true;
    return strcmp(n->domain, PARE_GRAD_DOMAIN) == 0 && strncmp(n->op_type, "ConvGrad", 8) == 0;
}

/* Does the op look at no more than the dims of input i? */
static bool dims_only(const pare_node *n, uint32_t i) {
    const pare_op *op = pare_op_find(n->domain, n->op_type);
    return op && i < n->n_in && op->dims_only >> (i < 31 ? i : 31) & 1;
}

/* What the node's own inputs are padded to before operands of post-ops: no operand may look like a bias. */
static uint32_t full_inputs(const pare_node *n) {
    bool three = pare_node_is(n, "Conv") || pare_node_is(n, "ConvTranspose") || pare_node_is(n, "Gemm");
    return three && n->n_in < 3 ? 3 : n->n_in;
}

/* q: what a post-op's operand is in 8 bits; or NULL. */
static pare_status operand_of(pare_builder *b, pare_request *r, uint32_t i, const pare_quant *q, uint32_t device,
                              bool plain) {
    const pare_value *v = pare_model_value(b->m, r->values[i]);
    pare_operand *o = &r->spec.operands[i];
    if (!v) return PARE_OK;
    if (q && q->value)
        pare_steps_operand_is(b, q, o);
    else if (i >= r->node->n_in)
        pare_spec_operand(&b->tmp, v, o);
    if (dims_only(r->node, i)) {
        o->flags |= PARE_OPERAND_ABSENT;
        return PARE_OK;
    }
    bool host = i < r->node->n_in && pare_spec_host_slot(r->node, i);
    if (v->tensor) {
        pare_tensor *t = pare_model_tensor(b->m, v->tensor), *own = pare_model_tensor(b->s->model, v->tensor);
        if (own && own->version == t->version) t = own;
        o->flags |= host ? PARE_OPERAND_HOST : PARE_OPERAND_CONSTANT;
        if (!host && t->count > PARE_CONSTANT_SHOWN_MAX) return PARE_OK; /* its contents come when it is packed */
        return pare_tensor_read(t, b->d, &o->data);
    }
    if (host)
        return pare_fail(
            b->d, PARE_EUNSUPPORTED, "engine.data-dependent", NULL,
            "%s node \"%s\": its input \"%s\" decides shapes, but depends on data that no input alone gives",
            r->node->op_type, pare_engine_node_name(b->m, r->node), v->name);
    if (plain) return PARE_OK;
    const pare_variant *have = pare_steps_find(b, v->id, device, NULL);
    if (pare_steps_heavy(r->node))
        o->layout.kind = PARE_LAYOUT_ANY;
    else if (have)
        o->layout = have->layout;
    if (o->layout.kind == PARE_LAYOUT_PLAIN) o->layout.nbytes = pare_steps_plain_bytes(v);
    return PARE_OK;
}

static pare_status kernel_of(pare_builder *b, pare_request *r, uint32_t device, uint32_t candidate) {
    const pare_engine_device *dev = &b->s->devices[device];
    r->kernel = NULL;
    pare_status st = dev->use.backend->kernel(dev->handle, &r->spec.k, candidate, &r->kernel);
    if (!st && (st = dev->use.backend->kernel_info(r->kernel, &r->info))) {
        dev->use.backend->kernel_free(r->kernel);
        r->kernel = NULL;
    }
    return st;
}

/* quant: the node's inputs in 8 bits; NULL: in floats. */
static pare_status ask(pare_builder *b, const pare_node *n, const pare_chain *chain, uint32_t n_post, pare_quant *quant,
                       uint32_t device, bool plain, pare_request *r) {
    uint32_t own = n->n_in, extra = 0;
    *r = (pare_request){.node = n, .chain = chain, .n_post = n_post, .quant = quant, .info = {.size = sizeof r->info}};
    for (uint32_t i = 0; i < n_post; i++) extra += chain->operand[i] != 0;
    if (extra) own = full_inputs(n);
    r->n_in = own + extra;
    pare_status st = pare_spec_of(&b->tmp, b->m, n, r->n_in - n->n_in, b->d, &r->spec);
    if (st) return st;
    r->values = pare_arena_alloc(&b->tmp, (r->n_in + 1) * sizeof *r->values);
    memcpy(r->values, n->in, n->n_in * sizeof *r->values);
    pare_quant *coded = pare_arena_alloc(&b->tmp, (r->n_in + 1) * sizeof *coded);
    memset(coded, 0, r->n_in * sizeof *coded);
    for (uint32_t i = 0; quant && i < n->n_in; i++)
        if ((coded[i] = quant[i]).value) r->values[i] = quant[i].value;
    pare_post_op *post = pare_arena_alloc(&b->tmp, (n_post + 1) * sizeof *post);
    const pare_post_op **list = pare_arena_alloc(&b->tmp, (n_post + 1) * sizeof *list);
    for (uint32_t i = 0, at = own; i < n_post; i++) {
        post[i] = chain->post[i];
        list[i] = &post[i];
        if (!chain->operand[i]) continue;
        r->values[at] = chain->operand[i];
        if (quant && pare_quant_of(&b->tmp, b->m, chain->operand[i], &coded[at]) && coded[at].n == 1)
            r->values[at] = coded[at].value;
        else
            coded[at].value = 0;
        post[i].operand = at++;
    }
    r->spec.k.post = list;
    r->spec.k.n_post = n_post;
    for (uint32_t i = 0; !st && i < r->n_in; i++) st = operand_of(b, r, i, &coded[i], device, plain);
    if (st) return st;
    if (n_post && post[n_post - 1].kind == PARE_POST_QUANTIZE) {
        const pare_post_op *last = &post[n_post - 1];
        float *scale = pare_arena_alloc(&b->tmp, sizeof *scale);
        int32_t *zero = pare_arena_alloc(&b->tmp, sizeof *zero);
        *scale = last->alpha;
        *zero = (int32_t)last->beta;
        const pare_quant q = {
            .value = chain->out[n_post - 1], .n = 1, .scale = scale, .zero_point = *zero ? zero : NULL};
        pare_steps_operand_is(b, &q, &r->spec.operands[r->n_in]);
    }
    for (uint32_t i = 0; i < n->n_out; i++) {
        pare_operand *o = &r->spec.operands[r->n_in + i];
        const pare_value *v = pare_model_value(b->m, n->out[i]);
        if (v && i && !v->uses.len && !v->is_output) o->flags |= PARE_OPERAND_ABSENT; /* nobody asks for it */
        bool over = pare_op_over(pare_op_find(n->domain, n->op_type), i) >= 0;
        if (!plain && !over) o->layout.kind = PARE_LAYOUT_ANY;
    }
    return kernel_of(b, r, device, 0);
}

/* The best there is: with all post-ops the kernel takes, else plain and alone. */
static pare_status choose_on(pare_builder *b, const pare_node *n, const pare_chain *chain, uint32_t device,
                             pare_request *r) {
    const pare_backend *be = b->s->devices[device].use.backend;
    uint32_t want = chain->n;
    pare_status st = ask(b, n, chain, want, NULL, device, false, r);
    while (!st && r->info.n_post < want) { /* again, with those alone that it takes */
        want = r->info.n_post;
        be->kernel_free(r->kernel);
        st = ask(b, n, chain, want, NULL, device, false, r);
    }
    if (st == PARE_EUNSUPPORTED && want) st = ask(b, n, chain, 0, NULL, device, false, r);
    if (st == PARE_EUNSUPPORTED) st = ask(b, n, chain, 0, NULL, device, true, r);
    return st;
}

/* In 8 bits: with all post-ops the kernel takes, else up to the first rounding point, else alone. */
static pare_status choose_quantized(pare_builder *b, const pare_node *n, const pare_chain *chain, pare_quant *quant,
                                    uint32_t device, pare_request *r) {
    const pare_backend *be = b->s->devices[device].use.backend;
    uint32_t first = pare_steps_float_posts(chain);
    const uint32_t tries[] = {chain->n, first < chain->n ? first + 1 : chain->n, 0};
    pare_status st = PARE_EUNSUPPORTED;
    for (int i = 0; i < 3 && st == PARE_EUNSUPPORTED; i++) {
        uint32_t want = pare_steps_trimmed(chain, tries[i]);
        if (i && tries[i] == tries[i - 1]) continue;
        st = ask(b, n, chain, want, quant, device, false, r);
        while (!st && r->info.n_post < want) {
            want = pare_steps_trimmed(chain, r->info.n_post);
            be->kernel_free(r->kernel);
            st = ask(b, n, chain, want, quant, device, false, r);
        }
    }
    return st;
}

/* The part of a chain that a quantized kernel may be offered: factors in 8 bits are nodes of their own. */
static uint32_t quantized_posts(pare_builder *b, const pare_chain *chain) {
    pare_quant q;
    uint32_t i = 0;
    while (i < chain->n && !(chain->post[i].kind == PARE_POST_MUL &&
                             (pare_quant_of(&b->tmp, b->m, chain->operand[i], &q) || b->put_off[chain->operand[i]])))
        i++;
    return i;
}

/* ---- by measurement ---- */

/* Way w of computing a request: the backend's candidate w / 2; where w is odd, in the layout that input 0 has now. */
typedef struct way {
    pare_request r;
    uint32_t id;
} way;

static void free_ways(pare_builder *b, uint32_t device, way *ways, uint32_t n, void *keep) {
    for (uint32_t i = 0; i < n; i++)
        if (ways[i].r.kernel != keep) b->s->devices[device].use.backend->kernel_free(ways[i].r.kernel);
}

/* PARE_ENOTFOUND: no such way, or it does another part of the work than the request's own kernel. */
static pare_status way_of(pare_builder *b, const pare_request *base, const pare_layout *at, uint32_t device,
                          uint32_t id, way *out) {
    *out = (way){.r = *base, .id = id};
    pare_operand *x = &out->r.spec.operands[0], was = *x;
    if (id & 1) x->layout = at[0];
    pare_status st = kernel_of(b, &out->r, device, id / 2);
    *x = was;
    if (st) return st;
    if (out->r.info.n_post >= base->n_post && !out->r.info.view) return PARE_OK;
    b->s->devices[device].use.backend->kernel_free(out->r.kernel);
    return PARE_EUNSUPPORTED;
}

/* Way 0 is the request's own kernel. Of the others, those that are none of the ones before. */
static uint32_t all_ways(pare_builder *b, const pare_request *base, const pare_layout *at, uint32_t device, way *ways) {
    uint32_t n = 1;
    ways[0] = (way){.r = *base};
    for (uint32_t id = 1; id < PARE_TUNE_WAYS; id++) {
        pare_status st = way_of(b, base, at, device, id, &ways[n]);
        if (st == PARE_ENOTFOUND && !(id & 1)) break;
        if (st) continue;
        uint32_t same = 0;
        for (; same < n; same++) {
            const pare_kernel_info *a = &ways[same].r.info, *z = &ways[n].r.info;
            if (strcmp(a->name, z->name) == 0 && pare_steps_same(&a->in[0], &z->in[0]) &&
                pare_steps_same(&a->out[0], &z->out[0]) && pare_steps_same(&a->in[1], &z->in[1]))
                break;
        }
        if (same < n)
            b->s->devices[device].use.backend->kernel_free(ways[n].r.kernel);
        else
            n++;
    }
    return n;
}

static const pare_tune_times *measured(pare_builder *b, const char *key, const pare_request *base,
                                       const pare_layout *at, uint32_t device) {
    way ways[PARE_TUNE_WAYS];
    pare_tune_shot shots[PARE_TUNE_WAYS] = {0};
    pare_tune_times times = {0};
    uint32_t n = all_ways(b, base, at, device, ways);
    for (uint32_t i = 0; i < n; i++) shots[i] = (pare_tune_shot){.kernel = ways[i].r.kernel, .info = &ways[i].r.info};
    pare_tune_measure(b->s, device, &base->spec.k, at, shots, n);
    for (uint32_t i = 0; i < n; i++) times.way[ways[i].id] = shots[i].seconds;
    free_ways(b, device, ways, n, base->kernel);
    if (n == 1) times.way[0] = 1e-9; /* there is nothing to choose from */
    if (!(times.way[0] > 0)) return NULL;
    pare_tune_add(b->s->tune, key, &times);
    return pare_tune_find(b->s->tune, key);
}

static void key_text(pare_sb *k, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) pare_sb_addc(k, text[i] > ' ' && text[i] < 127 ? text[i] : '_');
}

static void key_operand(pare_sb *k, const pare_operand *o, const pare_layout *at) {
    if (o->flags & PARE_OPERAND_ABSENT) {
        pare_sb_add(k, " -");
        return;
    }
    pare_sb_printf(k, " %s%s", pare_dtype_name(o->dtype), o->flags & PARE_OPERAND_CONSTANT ? "!" : "");
    for (uint32_t i = 0; i < o->ndim; i++) pare_sb_printf(k, "%c%lld", i ? 'x' : '[', (long long)o->dims[i]);
    pare_sb_add(k, "]");
    if (o->n_scales) pare_sb_printf(k, "q%s%s", o->n_scales > 1 ? "c" : "", o->zero_point ? "z" : "");
    if (at && at->kind == PARE_LAYOUT_OWN) pare_sb_printf(k, "@%llx", (unsigned long long)at->id);
}

/* Everything that makes a difference to speed, but for contents. */
static void key_of(const pare_request *r, const pare_layout *at, pare_sb *k) {
    const pare_kernel_spec *s = &r->spec.k;
    key_text(k, s->op_type, strlen(s->op_type));
    for (uint32_t i = 0; i < s->n_attrs; i++) {
        const pare_attribute *a = &s->attrs[i]->value;
        pare_sb_addc(k, ' ');
        key_text(k, s->attrs[i]->name, strlen(s->attrs[i]->name));
        pare_sb_addc(k, '=');
        if (a->type == PARE_ATTRIBUTE_INT) pare_sb_printf(k, "%lld", (long long)a->i);
        if (a->type == PARE_ATTRIBUTE_FLOAT) pare_sb_printf(k, "%.9g", (double)a->f);
        if (a->type == PARE_ATTRIBUTE_STRING) key_text(k, a->s, (size_t)a->n);
        for (uint64_t j = 0; a->type == PARE_ATTRIBUTE_INTS && j < a->n; j++)
            pare_sb_printf(k, "%s%lld", j ? "," : "", (long long)a->ints[j]);
    }
    for (uint32_t i = 0; i < s->n_in; i++) key_operand(k, s->in[i], &at[i]);
    pare_sb_add(k, " ->");
    for (uint32_t i = 0; i < s->n_out; i++) key_operand(k, s->out[i], NULL);
    for (uint32_t i = 0; i < s->n_post; i++) {
        const pare_post_op *p = s->post[i];
        if (p->kind == PARE_POST_QUANTIZE || p->kind == PARE_POST_DEQUANTIZE)
            pare_sb_printf(k, " +%u(%s%s)", p->kind, pare_dtype_name(p->dtype), p->beta != 0 ? ",z" : "");
        else
            pare_sb_printf(k, " +%u(%.9g,%.9g)", p->kind, (double)p->alpha, (double)p->beta);
    }
    pare_sb_printf(k, " f%x", s->flags);
}

/* Has the weight been packed so for another plan? */
static bool packed_so(const pare_builder *b, const pare_request *r, uint32_t device, bool *any) {
    const pare_value *v = r->n_in > 1 ? pare_model_value(b->m, r->values[1]) : NULL;
    const pare_tensor *t = v && v->tensor ? pare_model_tensor(b->s->model, v->tensor) : NULL;
    *any = false;
    for (size_t i = 0; t && i < b->s->constants.len; i++) {
        const pare_engine_constant *c = &b->s->constants.data[i];
        if (c->tensor != t->id || c->device != device || c->version != t->version) continue;
        *any = true;
        if (r->info.pack && r->info.pack[1] && pare_steps_same(&c->layout, &r->info.in[1])) return true;
    }
    return false;
}

/* The way to take. One that costs up to a tenth more is taken where its packed weights are there already. */
static void take(pare_builder *b, const pare_tune_times *t, const pare_layout *at, uint32_t device, pare_request *r) {
    const pare_backend *be = b->s->devices[device].use.backend;
    uint32_t best = pare_tune_best_kernel(t);
    way first, other;
    bool any, ignored;
    if (!best)
        first = (way){.r = *r};
    else if (way_of(b, r, at, device, best, &first))
        return; /* not any more: the request's own */
    bool fits = packed_so(b, &first.r, device, &any);
    for (uint32_t i = 0; any && !fits && i < PARE_TUNE_WAYS; i++) {
        if (i == best || !(t->way[i] > 0) || t->way[i] > 1.1 * t->way[best]) continue;
        if (!i)
            other = (way){.r = *r};
        else if (way_of(b, r, at, device, i, &other))
            continue;
        fits = packed_so(b, &other.r, device, &ignored);
        way *loser = fits ? &first : &other;
        if (loser->r.kernel != r->kernel) be->kernel_free(loser->r.kernel);
        if (fits) first = other;
    }
    if (first.r.kernel != r->kernel) be->kernel_free(r->kernel);
    *r = first.r;
}

/* How far the choosing is. Nothing is said of a plan whose times are all known. */
static void say_measuring(pare_builder *b) {
    const pare_graph *g = pare_model_graph(b->m, PARE_MAIN_GRAPH);
    char what[64];
    if (!b->s->progress) return;
    if (!b->heavy_all) {
        for (size_t i = 0; i < g->nodes.len; i++)
            b->heavy_all += pare_steps_heavy(pare_model_node(b->m, g->nodes.data[i]));
        pare_progress_begin(b->s->progress, "choosing kernels");
    }
    snprintf(what, sizeof what, "%llu/%llu", (unsigned long long)b->heavy, (unsigned long long)b->heavy_all);
    pare_progress_update(b->s->progress, (double)(b->heavy - 1) / (double)b->heavy_all, what);
}

static void tuned(pare_builder *b, uint32_t device, pare_request *r) {
    const pare_layout plain = {.kind = PARE_LAYOUT_PLAIN};
    if (device || !pare_steps_heavy(r->node)) return;
    b->heavy++;
    if (r->info.view || !r->n_in) return;
    pare_layout *at = pare_arena_alloc(&b->tmp, r->n_in * sizeof *at);
    for (uint32_t i = 0; i < r->n_in; i++) {
        const pare_variant *have = r->values[i] ? pare_steps_find(b, r->values[i], device, NULL) : NULL;
        at[i] = have ? have->layout : plain;
    }
    pare_sb key = {0};
    key_of(r, at, &key);
    const pare_tune_times *t = pare_tune_find(b->s->tune, pare_sb_str(&key));
    if (!t && !pare_cancelled()) {
        say_measuring(b);
        t = measured(b, pare_sb_str(&key), r, at, device);
    }
    pare_sb_free(&key);
    if (t) take(b, t, at, device, r);
}

/* ---- choosing ---- */

static pare_status refuse(pare_builder *b, const pare_node *n) {
    pare_sb in = {0};
    for (uint32_t i = 0; i < n->n_in; i++) {
        const pare_value *v = pare_model_value(b->m, n->in[i]);
        pare_sb_printf(&in, "%s%s", i ? ", " : "", v ? pare_value_text(&b->tmp, v) : "absent");
    }
    pare_status st =
        pare_fail(b->d, PARE_EUNSUPPORTED, "engine.op", NULL, "no backend has a kernel for %s%s%s (node \"%s\") of %s",
                  n->domain, n->domain[0] ? "." : "", n->op_type, pare_engine_node_name(b->m, n), pare_sb_str(&in));
    pare_sb_free(&in);
    return st;
}

static size_t errors(const pare_builder *b) { return b->d ? pare_diags_errors(b->d) : 0; }

/* What was put off and is wanted in floats by this node, and by what fuses behind it. */
static pare_status floats_of(pare_builder *b, const pare_node *n, const pare_chain *c) {
    pare_status st = PARE_OK;
    for (uint32_t i = 0; !st && i < n->n_in; i++)
        if (!dims_only(n, i)) st = pare_steps_float(b, n->in[i]);
    for (uint32_t i = 0; !st && i < c->n; i++) st = pare_steps_float(b, c->operand[i]);
    return st;
}

/* Inputs and operands of post-ops that are not taken in 8 bits. */
static pare_status operands_ready(pare_builder *b, const pare_node *n, const pare_quant *quant, const pare_chain *c) {
    pare_quant q;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; !st && i < n->n_in; i++)
        if (!quant[i].value && !dims_only(n, i)) st = pare_steps_float(b, n->in[i]);
    for (uint32_t i = 0; !st && i < c->n; i++)
        if (c->operand[i] && !(pare_quant_of(&b->tmp, b->m, c->operand[i], &q) && q.n == 1))
            st = pare_steps_float(b, c->operand[i]);
    return st;
}

pare_status pare_steps_choose(pare_builder *b, const pare_node *n, const pare_chain *chain, pare_request *r,
                              uint32_t *device) {
    size_t before = errors(b);
    pare_quant *quant = NULL;
    bool quantized = pare_steps_quantized(b, n, &quant), floats = false;
    pare_chain *c = pare_arena_alloc(&b->tmp, sizeof *c);
    for (*device = 0; *device < b->s->n_devices; ++*device) {
        pare_status st = PARE_EUNSUPPORTED;
        *c = *chain;
        if (quantized) {
            c->n = quantized_posts(b, chain);
            st = operands_ready(b, n, quant, c);
            if (!st) st = choose_quantized(b, n, c, quant, *device, r);
        }
        if (st == PARE_EUNSUPPORTED) {
            c->n = pare_steps_float_posts(chain);
            st = floats ? PARE_OK : floats_of(b, n, c);
            floats = true;
            if (!st) st = choose_on(b, n, c, *device, r);
            r->fell_back = quantized;
        }
        if (!st && b->s->tune) tuned(b, *device, r);
        if (!st) {
            pare_steps_keep(b, r->kernel, *device);
            return PARE_OK;
        }
        if (errors(b) > before) return st;
        if (st != PARE_EUNSUPPORTED)
            return pare_fail(b->d, st, "engine.kernel", NULL, "%s node \"%s\": no kernel on \"%s\": %s", n->op_type,
                             pare_engine_node_name(b->m, n), b->s->devices[*device].use.backend->id,
                             pare_status_text(st));
    }
    return refuse(b, n);
}
