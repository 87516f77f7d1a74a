/* tests/plugins/edits.c - a test plugin: edits the graph through every function of pare.graph/1. */
#include "common.h"

typedef struct apis {
    const pare_graph_api *g;
    const pare_tensors_api *t;
    const pare_pass_api *p;
} apis;

static uint32_t node_named(const apis *a, const pare_host *host, pare_model *m, const char *name) {
    for (uint32_t n = a->g->node_next(host, m, PARE_GRAPH_MAIN, 0); n;
         n = a->g->node_next(host, m, PARE_GRAPH_MAIN, n)) {
        pare_node_info info = {.size = sizeof info};
        if (a->g->node_info(host, m, n, &info) == PARE_OK && strcmp(info.name, name) == 0) return n;
    }
    return 0;
}

/* c -> Relu becomes c -> Mul(c, factor) -> Relu; factor is a new initializer. */
static pare_status insert_mul(const apis *a, const pare_host *host, pare_model *m) {
    uint32_t factor, mul, c = a->g->value_find(host, m, "c"), relu = node_named(a, host, m, "relu");
    pare_view v = {.size = sizeof v};
    WANT(c && relu);
    const char *name = a->g->name_fresh(host, m, "conv.weight"); /* taken */
    WANT(name && strcmp(name, "conv.weight_1") == 0);
    WANT(a->t->add(host, m, name, PARE_FLOAT, 0, NULL, &factor) == PARE_OK);
    WANT(a->t->borrow(host, m, factor, PARE_OVERWRITE, &v) == PARE_OK && v.count == 1 && v.nbytes == 4);
    *(float *)v.data = 2.0f;
    a->t->release(host, m, factor);

    pare_tensor_info info = {.size = sizeof info};
    WANT(a->t->info(host, m, factor, &info) == PARE_OK && info.value && info.n_uses == 0);
    const uint32_t in[] = {c, info.value};
    const char *const out[] = {"c_scaled"};
    WANT(a->g->node_add(host, m, PARE_GRAPH_MAIN, relu, "Mul", NULL, "mul", in, 2, out, 1, &mul) == PARE_OK);
    pare_node_info node = {.size = sizeof node};
    WANT(a->g->node_info(host, m, mul, &node) == PARE_OK && node.n_in == 2 && node.n_out == 1 && node.opset == 17);
    WANT(a->g->input_set(host, m, relu, 0, node.out[0]) == PARE_OK);
    WANT(a->g->value_rename(host, m, node.out[0], "scaled") == PARE_OK);
    WANT(a->g->value_find(host, m, "scaled") == node.out[0] && !a->g->value_find(host, m, "c_scaled"));

    uint32_t user = 0, slot = 9;
    WANT(a->g->consumer(host, m, node.out[0], 0, &user, &slot) == PARE_OK && user == relu && slot == 0);
    WANT(a->g->consumer(host, m, node.out[0], 1, &user, &slot) == PARE_ENOTFOUND);
    return PARE_OK;
}

/* The output logits gets a node behind it and keeps its name. */
static pare_status wrap_output(const apis *a, const pare_host *host, pare_model *m) {
    uint32_t logits = a->g->output(host, m, PARE_GRAPH_MAIN, 0), node;
    pare_value_info info = {.size = sizeof info};
    WANT(a->g->value_info(host, m, logits, &info) == PARE_OK && strcmp(info.name, "logits") == 0);
    WANT(info.kind == PARE_VALUE_OUTPUT && info.ndim == 2 && info.dims[1] == 5);
    const char *const out[] = {"raised"};
    WANT(a->g->node_add(host, m, PARE_GRAPH_MAIN, 0, "LeakyRelu", "", "leaky", &logits, 1, out, 1, &node) == PARE_OK);
    const pare_attribute alpha = {.size = sizeof alpha, .type = PARE_ATTRIBUTE_FLOAT, .n = 1, .f = 0.125};
    WANT(a->g->attr_set(host, m, node, "alpha", &alpha) == PARE_OK);
    pare_attribute got = {.size = sizeof got};
    WANT(a->g->attr_get(host, m, node, "alpha", &got) == PARE_OK && got.type == PARE_ATTRIBUTE_FLOAT && got.f == 0.125);
    WANT(a->g->attr_get(host, m, node, "beta", &got) == PARE_ENOTFOUND);
    uint32_t raised = a->g->value_find(host, m, "raised");
    WANT(a->g->replace_uses(host, m, logits, raised) == PARE_OK);
    WANT(a->g->input_set(host, m, node, 0, logits) == PARE_OK); /* it goes on taking what it wraps */
    WANT(a->g->output(host, m, PARE_GRAPH_MAIN, 0) == raised);
    WANT(a->g->value_info(host, m, raised, &info) == PARE_OK && strcmp(info.name, "logits") == 0);
    WANT(a->g->value_info(host, m, logits, &info) == PARE_OK && strcmp(info.name, "logits_replaced") == 0);
    return PARE_OK;
}

static pare_status attributes(const apis *a, const pare_host *host, pare_model *m) {
    const int64_t ints[] = {1, 2, 3};
    const float floats[] = {0.5f, -1.0f};
    uint32_t relu = node_named(a, host, m, "relu");
    pare_attribute in[] = {
        {.size = sizeof *in, .type = PARE_ATTRIBUTE_INT, .n = 1, .i = -7},
        {.size = sizeof *in, .type = PARE_ATTRIBUTE_STRING, .n = 5, .s = "hello"},
        {.size = sizeof *in, .type = PARE_ATTRIBUTE_INTS, .n = 3, .ints = ints},
        {.size = sizeof *in, .type = PARE_ATTRIBUTE_FLOATS, .n = 2, .floats = floats},
    };
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
        pare_attribute out = {.size = sizeof out};
        WANT(a->g->attr_set(host, m, relu, "test", &in[i]) == PARE_OK);
        WANT(a->g->attr_get(host, m, relu, "test", &out) == PARE_OK);
        WANT(out.type == in[i].type && out.n == in[i].n && out.i == in[i].i);
        WANT(!in[i].s || strcmp(out.s, "hello") == 0);
        WANT(!in[i].ints || memcmp(out.ints, ints, sizeof ints) == 0);
        WANT(!in[i].floats || memcmp(out.floats, floats, sizeof floats) == 0);
    }
    WANT(a->g->attr_del(host, m, relu, "test") == PARE_OK);
    WANT(a->g->attr_del(host, m, relu, "test") == PARE_ENOTFOUND);
    return PARE_OK;
}

/* Tries something that goes wrong, takes it back, and goes on: ids from before the mark still hold. */
static pare_status try_and_undo(const apis *a, const pare_host *host, pare_model *m) {
    uint32_t mark, inner, conv = node_named(a, host, m, "conv"), w = a->t->find(host, m, "conv.weight");
    pare_view v = {.size = sizeof v};
    pare_tensor_info before = {.size = sizeof before}, after = {.size = sizeof after};
    WANT(a->t->info(host, m, w, &before) == PARE_OK);
    WANT(a->g->mark(host, m, &mark) == PARE_OK);
    const int64_t dims[] = {4, 1, 3, 3}; /* one input channel where there are three */
    WANT(a->t->retype(host, m, w, PARE_FLOAT, 4, dims) == PARE_OK);
    WANT(a->g->mark(host, m, &inner) == PARE_OK);
    uint32_t extra;
    WANT(a->t->add(host, m, "tried", PARE_INT8, 1, dims, &extra) == PARE_OK);
    WANT(a->g->infer(host, m) == PARE_EINVAL);
    WANT(a->g->node_del(host, m, conv) == PARE_OK);
    WANT(a->g->undo(host, m, mark) == PARE_OK); /* the inner mark goes with it */
    WANT(!a->t->find(host, m, "tried"));
    WANT(a->t->info(host, m, w, &after) == PARE_OK && after.nbytes == before.nbytes && after.dims[1] == 3);
    WANT(a->g->infer(host, m) == PARE_OK);
    uint32_t later;
    WANT(a->t->add(host, m, "later", PARE_INT8, 1, dims, &later) == PARE_OK && later != extra); /* ids are used once */
    WANT(a->t->borrow(host, m, w, PARE_WRITE, &v) == PARE_OK);
    a->t->release(host, m, w);
    WANT(a->g->mark(host, m, &mark) == PARE_OK);
    WANT(a->t->del(host, m, later) == PARE_OK);
    WANT(a->g->keep(host, m, mark) == PARE_OK);
    return PARE_OK;
}

static pare_status model_data(const apis *a, const pare_host *host, pare_model *m) {
    WANT(a->g->meta_set(host, m, "author", "edits") == PARE_OK);
    WANT(strcmp(a->g->meta_get(host, m, "author"), "edits") == 0);
    WANT(a->g->meta_set(host, m, "author", NULL) == PARE_OK && !a->g->meta_get(host, m, "author"));
    WANT(a->g->meta_set(host, m, "edited", "yes") == PARE_OK);
    WANT(a->g->opset_need(host, m, "", 11) == PARE_OK); /* older than what it has */
    WANT(a->g->opset_need(host, m, "com.example", 3) == PARE_OK);
    WANT(a->g->opset_need(host, m, "ai.onnx", 18) == PARE_OK);
    return PARE_OK;
}

static pare_status passes(const apis *a, const pare_host *host, pare_model *m) {
    uint64_t n = 0;
    WANT(strcmp(a->p->name(host, 0), "remove_dead") == 0 && !a->p->name(host, 1000));
    WANT(a->p->run(host, m, "remove_dead", &n) == PARE_OK && n == 2); /* the node `dead`, the initializer `spare` */
    WANT(!node_named(a, host, m, "dead") && !a->t->find(host, m, "spare"));
    WANT(a->p->run(host, m, "remove_identity", &n) == PARE_OK && n == 1);
    WANT(!a->g->value_find(host, m, "i"));
    WANT(a->p->run(host, m, "polish", &n) == PARE_ENOTFOUND);
    return PARE_OK;
}

static pare_status apply(void *self, const pare_host *host, pare_model *m) {
    (void)self;
    const apis a = {host->ext(host, PARE_GRAPH_V1), host->ext(host, PARE_TENSORS_V1), host->ext(host, PARE_PASS_V1)};
    WANT(a.g && a.t && a.p && !host->ext(host, "pare.nonsense/1") && !host->ext(host, NULL));
    pare_status (*const parts[])(const apis *, const pare_host *, pare_model *) = {
        insert_mul, wrap_output, attributes, try_and_undo, model_data, passes};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        pare_status st = parts[i](&a, host, m);
        if (!st) st = host->tick(host, (double)(i + 1) / 6, "part");
        if (st) return st;
    }
    return PARE_OK;
}

static const pare_technique edits = TEST_TECHNIQUE("test.edits", create_nothing, apply);

TEST_PLUGIN("test-edits", &edits)
