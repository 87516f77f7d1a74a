/* model/layers.c - see layers.h: where a weight really is, and the one matcher of names. */
#include "model/layers.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 64 }; /* nodes between a weight and its constant; ends cycles too */

/* ---- constants ---- */

static pare_const const_none(void) { return (pare_const){.axis = -1}; }

static pare_const const_of(pare_model *m, uint32_t value, int steps);

static pare_const const_here(const pare_tensor *t, uint32_t value) {
    pare_const k = {.tensor = t->id, .value = value, .axis = -1, .ndim = t->ndim};
    for (uint8_t i = 0; i < 8; i++) k.perm[i] = i;
    return k;
}

static pare_tensor *constant_tensor(const pare_model *m, const pare_node *n) {
    const pare_attr *a = pare_node_attr(n, "value");
    return a && a->type == PARE_ATTR_TENSOR && a->ids ? pare_model_tensor(m, a->ids[0]) : NULL;
}

static uint32_t input(const pare_node *n, uint32_t i) { return i < n->n_in ? n->in[i] : 0; }

/* The value's dim i is its input's dim perm[i]; without the attribute, dims are reversed. */
static pare_const through_transpose(pare_model *m, const pare_node *n, int steps) {
    pare_const in = const_of(m, input(n, 0), steps), out = in;
    const pare_attr *a = pare_node_attr(n, "perm");
    if (!in.tensor) return in;
    if (in.ndim > 8 || (a && (a->type != PARE_ATTR_INTS || a->n != in.ndim))) return const_none();
    uint32_t seen = 0;
    for (uint32_t i = 0; i < in.ndim; i++) {
        int64_t p = a ? a->ints[i] : (int64_t)in.ndim - 1 - i;
        if (p < 0) p += in.ndim;
        if (p < 0 || p >= in.ndim || seen >> p & 1) return const_none();
        seen |= 1u << p;
        out.perm[i] = in.perm[p];
    }
    return out;
}

/* The tensor of a scale or zero point: an initializer or Constant, perhaps behind Identity. */
static pare_tensor *plain_const(pare_model *m, uint32_t value) {
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        const pare_value *v = pare_model_value(m, value);
        if (!v) return NULL;
        if (v->tensor) return pare_model_tensor(m, v->tensor);
        const pare_node *n = pare_model_node(m, v->producer);
        if (n && pare_node_is(n, "Constant")) return constant_tensor(m, n);
        if (!n || !pare_node_is(n, "Identity")) return NULL;
        value = input(n, 0);
    }
    return NULL;
}

static bool in_order(const pare_const *k) {
    for (uint8_t i = 0; i < 8; i++)
        if (k->perm[i] != i) return false;
    return true;
}

/* With blocks (block_size) scale and zero point have the tensor's rank; axis is the one that is cut in blocks. */
static pare_const through_dequantize(pare_model *m, const pare_node *n, int steps) {
    pare_const k = const_of(m, input(n, 0), steps);
    if (!k.tensor || k.quantized) return const_none();
    const pare_tensor *scale = plain_const(m, input(n, 1)), *zero = plain_const(m, input(n, 2));
    if (!scale || (input(n, 2) && !zero)) return const_none();
    k.quantized = true;
    k.scale = scale->id;
    k.zero_point = zero ? zero->id : 0;
    if (scale->count == 1) return k;
    int64_t axis = pare_node_attr_int(n, "axis", k.ndim == 1 ? 0 : 1);
    if (axis < 0) axis += k.ndim;
    if (axis < 0 || axis >= k.ndim || axis >= 8) return const_none();
    k.axis = k.perm[axis];
    int64_t block = pare_node_attr_int(n, "block_size", 0);
    if (scale->ndim > 1 && block > 0 && in_order(&k)) k.block_size = block;
    return k;
}

static pare_const const_of(pare_model *m, uint32_t value, int steps) {
    const pare_value *v = pare_model_value(m, value);
    if (!v || steps <= 0) return const_none();
    const pare_tensor *t = pare_model_tensor(m, v->tensor);
    if (t) return const_here(t, value);
    const pare_node *n = pare_model_node(m, v->producer);
    if (!n || v->slot != 0) return const_none();
    if (pare_node_is(n, "Constant")) {
        t = constant_tensor(m, n);
        return t ? const_here(t, value) : const_none();
    }
    if (pare_node_is(n, "Identity")) return const_of(m, input(n, 0), steps - 1);
    if (pare_node_is(n, "Transpose")) return through_transpose(m, n, steps - 1);
    if (pare_node_is(n, "DequantizeLinear")) return through_dequantize(m, n, steps - 1);
    return const_none();
}

pare_const pare_const_of(pare_model *m, uint32_t value) { return const_of(m, value, STEPS_MAX); }

/* ---- names ---- */

/* Calls fn for every node with its number among those of its op: the main graph's first, then graph by graph. */
static void number_nodes(const pare_model *m, void (*fn)(void *ctx, const pare_node *n, uint32_t number), void *ctx) {
    pare_map count = {0};
    for (size_t g = 0; g < m->graphs.len; g++) {
        const pare_graph *graph = m->graphs.data[g];
        for (size_t i = 0; graph && i < graph->nodes.len; i++) {
            const pare_node *n = pare_model_node(m, graph->nodes.data[i]);
            uint32_t k = 0;
            if (!n) continue;
            pare_map_get(&count, n->op_type, &k);
            pare_map_set(&count, n->op_type, k + 1);
            fn(ctx, n, k);
        }
    }
    pare_map_free(&count);
}

static void keep_number(void *ctx, const pare_node *n, uint32_t number) { ((uint32_t *)ctx)[n->id - 1] = number; }

const char *pare_node_label(pare_model *m, uint32_t node) {
    const pare_node *n = pare_model_node(m, node);
    if (!n) return "";
    if (!m->numbers || m->numbers_edits != m->edits) {
        m->numbers = pare_xrealloc(m->numbers, m->nodes.len * sizeof *m->numbers);
        number_nodes(m, keep_number, m->numbers);
        m->numbers_edits = m->edits;
    }
    return pare_arena_printf(&m->arena, "%s#%u", n->op_type, m->numbers[node - 1]);
}

/* A constant in an attribute has no name of its own: it goes by the value that its node defines. */
static const char *tensor_name(const pare_model *m, uint32_t tensor) {
    const pare_tensor *t = pare_model_tensor(m, tensor);
    const pare_value *v = t ? pare_tensor_value(m, t) : NULL;
    return v ? v->name : NULL;
}

/* ---- patterns ---- */

typedef struct pattern {
    const char *text;
    bool is_regex;
    regex_t regex;
} pattern;

static bool pattern_open(pattern *p, const char *text, char **error) {
    *p = (pattern){.text = text, .is_regex = strncmp(text, "re:", 3) == 0};
    int r = p->is_regex ? regcomp(&p->regex, text + 3, REG_EXTENDED | REG_NOSUB) : 0;
    if (!r) return true;
    char buf[256];
    regerror(r, &p->regex, buf, sizeof buf);
    if (error) *error = pare_xstrdup(buf);
    return false;
}

static void pattern_close(pattern *p) {
    if (p->is_regex) regfree(&p->regex);
}

/* Names may hold glob characters, so the name itself always matches. */
static bool pattern_fits(const pattern *p, const char *name) {
    if (!name || !*name) return false;
    if (strcmp(p->text, name) == 0) return true;
    return p->is_regex ? regexec(&p->regex, name, 0, NULL, 0) == 0 : pare_glob(p->text, name);
}

static bool fits_node(const pare_model *m, const pattern *p, const pare_node *n) {
    if (!n) return false;
    if (pattern_fits(p, n->name)) return true;
    for (uint32_t i = 0; i < n->n_out; i++) {
        const pare_value *v = pare_model_value(m, n->out[i]);
        if (v && pattern_fits(p, v->name)) return true;
    }
    return false;
}

/* Could it name "Conv#3"? Labels are made on demand, so the plain cases are told apart first. */
static bool may_name_label(const pattern *p) { return p->is_regex || strpbrk(p->text, "#*?[\\"); }

int pare_layer_match(pare_model *m, const char *pattern_text, uint32_t node, uint32_t tensor, char **error) {
    pattern p;
    if (!pattern_open(&p, pattern_text, error)) return -1;
    const pare_node *n = pare_model_node(m, node);
    bool hit = pattern_fits(&p, tensor_name(m, tensor)) || fits_node(m, &p, n);
    if (!hit && n && may_name_label(&p)) {
        size_t used = strlen(n->op_type);
        bool plain = !p.is_regex && !strpbrk(p.text, "*?[\\");
        /* "Conv#3" can only be a label of a Conv */
        if (!plain || (strncmp(p.text, n->op_type, used) == 0 && p.text[used] == '#'))
            hit = pattern_fits(&p, pare_node_label(m, node));
    }
    pattern_close(&p);
    return hit;
}

/* ---- all names of a model ---- */

typedef struct names {
    pare_arena arena;
    PARE_VEC(const char *) list;
} names;

static void add_name(names *s, const char *name) {
    if (name && *name) pare_vec_push(&s->list, name);
}

static void add_node_names(void *ctx, const pare_node *n, uint32_t number) {
    names *s = ctx;
    add_name(s, n->name);
    add_name(s, pare_arena_printf(&s->arena, "%s#%u", n->op_type, number));
}

/* Tensors first: among equally near names the weight's is the one that people mean. */
static void names_of(const pare_model *m, names *s) {
    for (size_t i = 0; i < m->tensors.len; i++)
        if (m->tensors.data[i]) add_name(s, tensor_name(m, m->tensors.data[i]->id));
    number_nodes(m, add_node_names, s);
}

static void names_free(names *s) {
    pare_vec_free(&s->list);
    pare_arena_free(&s->arena);
}

bool pare_pattern_hits(pare_model *m, const char *pattern_text) {
    pattern p;
    if (!pattern_open(&p, pattern_text, NULL)) return false;
    bool hit = false;
    for (size_t i = 0; i < m->nodes.len && !hit; i++) hit = fits_node(m, &p, m->nodes.data[i]);
    names s = {0};
    if (!hit) names_of(m, &s);
    for (size_t i = 0; i < s.list.len && !hit; i++) hit = pattern_fits(&p, s.list.data[i]);
    names_free(&s);
    pattern_close(&p);
    return hit;
}

const char *pare_pattern_nearest(pare_model *m, const char *pattern_text) {
    names s = {0};
    names_of(m, &s);
    const char *text = strncmp(pattern_text, "re:", 3) == 0 ? pattern_text + 3 : pattern_text;
    const char *near = pare_arena_strdup(&m->arena, pare_nearest(text, s.list.data, s.list.len));
    names_free(&s);
    return near;
}
