/* tests/plugin/test_growth.c - structs of other ages: a plugin's may end where minor 0 ended, or go on past what this
 * host knows. What the host fills in it fills as far as there is room and both know, and no byte further; what it reads
 * it reads as far as it is there. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "plugin/host_run.h"

#include "plugin/host_impl.h"
#include "plugin/param.h"

enum { MORE = 24, CANARY = 0xA5 };

/* A plugin's struct: `used` bytes of it are the struct, the rest of the room must stay as it is. */
typedef union room {
    uint32_t size;
    uint64_t aligned;
    pare_layer layer; /* read where the host has filled it */
    pare_constant constant;
    unsigned char bytes[512];
} room;

static room room_of(uint32_t used) {
    room r;
    memset(&r, CANARY, sizeof r);
    r.size = used;
    return r;
}

/* Nothing past `used` was touched. */
static bool intact(const room *r, size_t used) {
    for (size_t i = used; i < sizeof *r; i++)
        if (r->bytes[i] != CANARY) return false;
    return true;
}

static bool zero(const room *r, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (r->bytes[i]) return false;
    return true;
}

typedef pare_status (*filler)(const pare_host *host, pare_model *m, void *out);

static uint32_t conv(const pare_host *host, pare_model *m) { return g->node_next(host, m, PARE_GRAPH_MAIN, 0); }
static pare_status fill_tensor(const pare_host *host, pare_model *m, void *out) {
    return t->info(host, m, t->find(host, m, "conv.weight"), out);
}
static pare_status fill_view(const pare_host *host, pare_model *m, void *out) {
    uint32_t w = t->find(host, m, "conv.weight");
    pare_status st = t->borrow(host, m, w, PARE_READ, out);
    if (!st) t->release(host, m, w);
    return st;
}
static pare_status fill_node(const pare_host *host, pare_model *m, void *out) {
    return g->node_info(host, m, conv(host, m), out);
}
static pare_status fill_value(const pare_host *host, pare_model *m, void *out) {
    return g->value_info(host, m, g->value_find(host, m, "x"), out);
}
static pare_status fill_attribute(const pare_host *host, pare_model *m, void *out) {
    pare_node_info info = {.size = sizeof info};
    uint32_t node = conv(host, m);
    while (node && g->node_info(host, m, node, &info) == PARE_OK && strcmp(info.op_type, "Gemm") != 0)
        node = g->node_next(host, m, PARE_GRAPH_MAIN, node);
    return g->attr_get(host, m, node, "transB", out);
}
static pare_status fill_constant(const pare_host *host, pare_model *m, void *out) {
    return g->const_of(host, m, g->value_find(host, m, "conv.weight"), out);
}
static pare_status fill_cost(const pare_host *host, pare_model *m, void *out) {
    return g->cost(host, m, conv(host, m), out);
}

static const struct {
    const char *what;
    filler fill;
    uint32_t least, size;
} filled[] = {
    {"pare_tensor_info", fill_tensor, PARE_LEAST_TENSOR_INFO, sizeof(pare_tensor_info)},
    {"pare_view", fill_view, PARE_LEAST_VIEW, sizeof(pare_view)},
    {"pare_node_info", fill_node, PARE_LEAST_NODE_INFO, sizeof(pare_node_info)},
    {"pare_value_info", fill_value, PARE_LEAST_VALUE_INFO, sizeof(pare_value_info)},
    {"pare_attribute", fill_attribute, PARE_LEAST_ATTRIBUTE, sizeof(pare_attribute)},
    {"pare_constant", fill_constant, PARE_LEAST_CONSTANT, sizeof(pare_constant)},
    {"pare_cost", fill_cost, PARE_LEAST_COST, sizeof(pare_cost)},
};

static pare_status fills(const pare_host *host, pare_model *m) {
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++) {
        const uint32_t least = filled[i].least, size = filled[i].size, used[] = {least, size, size + MORE};
        room today = room_of(size);
        WANT(filled[i].fill(host, m, &today) == PARE_OK);
        for (size_t k = 0; k < 3; k++) {
            room r = room_of(used[k]);
            if (filled[i].fill(host, m, &r) != PARE_OK || !intact(&r, used[k])) {
                PARE_REPORT(host, PARE_ERROR, .code = "test.want", .message = filled[i].what);
                return PARE_EINTERNAL;
            }
            uint32_t both = used[k] < size ? used[k] : size;
            WANT(r.size == both); /* what was written, so that PARE_HAS of something later says no */
            WANT(zero(&r, both, used[k]));
        }
    }
    return PARE_OK;
}

static void plugins_may_be_older_or_newer(void **state) {
    (void)state;
    pare_model_free(run(fills, PARE_OK));
}

static pare_status fills_too_small(const pare_host *host, pare_model *m) {
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++) {
        room small = room_of(filled[i].least - 1), unset = room_of(0xAAAAAAAA);
        WANT(filled[i].fill(host, m, &small) == PARE_EINVAL && intact(&small, 4));
        WANT(filled[i].fill(host, m, &unset) == PARE_EINVAL && intact(&unset, 4)); /* nobody's size */
    }
    room l1 = room_of(PARE_LEAST_LAYER - 4), l2 = room_of(PARE_LEAST_LAYER + 4);
    const char *const ops[] = {"Conv"};
    uint64_t n_layers;
    WANT(l->list(host, m, NULL, ops, 1, &l1.layer, 1, &n_layers) == PARE_EINVAL && intact(&l1, 4));
    WANT(l->list(host, m, NULL, ops, 1, &l2.layer, 1, &n_layers) == PARE_EINVAL && intact(&l2, 4)); /* not aligned */
    return PARE_OK;
}

static void smaller_than_minor_0_is_misuse(void **state) {
    (void)state;
    run(fills_too_small, PARE_EINTERNAL);
    assert_int_equal(said(said_by, "plugin.misuse", "set it to sizeof"), 2 * sizeof filled / sizeof *filled + 1);
}

/* Layers lie as far apart as the plugin's struct is long, and are given back to select as they are. */
static pare_status lists(const pare_host *host, pare_model *m) {
    const char *const ops[] = {"Conv", "Gemm"};
    const pare_arg pattern = {.u.s = "fc.weight", .n = 1};
    enum { N = 5 };
    const uint32_t used[] = {PARE_LEAST_LAYER, sizeof(pare_layer), sizeof(pare_layer) + MORE};
    for (size_t k = 0; k < 3; k++) {
        unsigned char *all = host->scratch(host, N * used[k] + MORE);
        memset(all, CANARY, N * used[k] + MORE);
        for (size_t i = 0; i < N; i++) memcpy(all + i * used[k], &used[k], sizeof used[k]);
        uint64_t n_layers = 0;
        uint32_t hit[N] = {0}, hits = 0;
        WANT(l->list(host, m, NULL, ops, 2, (pare_layer *)(void *)all, N, &n_layers) == PARE_OK && n_layers == 4);
        for (size_t i = 0; i < MORE; i++) WANT(all[N * used[k] + i] == CANARY);
        for (size_t i = 0; i < n_layers; i++) {
            room r = room_of(0);
            memcpy(&r, all + i * used[k], used[k]);
            WANT(r.size == used[k] && r.layer.n_uses == 1 && strcmp(r.layer.op_type, i == 1 ? "Gemm" : "Conv") == 0);
            if (used[k] > sizeof(pare_layer)) WANT(zero(&r, sizeof(pare_layer), used[k]));
        }
        WANT(l->select(host, m, NULL, &pattern, 1, (pare_layer *)(void *)all, n_layers, hit) == PARE_OK);
        for (size_t i = 0; i < n_layers; i++) hits += hit[i];
        WANT(hits == 1 && hit[1] == 1);
    }
    return PARE_OK;
}

static void lists_of_layers(void **state) {
    (void)state;
    pare_model_free(run(lists, PARE_OK));
}

/* ---- what the host reads ---- */

static pare_status reads(const pare_host *host, pare_model *m) {
    room newer = room_of(sizeof(pare_attribute) + MORE);
    const pare_attribute a = {.size = newer.size, .type = PARE_ATTRIBUTE_INT, .n = 1, .i = 7};
    memcpy(&newer, &a, sizeof a);
    uint32_t node = conv(host, m);
    pare_attribute back = {.size = sizeof back};
    WANT(g->attr_set(host, m, node, "seven", (const pare_attribute *)(const void *)&newer) == PARE_OK);
    WANT(g->attr_get(host, m, node, "seven", &back) == PARE_OK && back.i == 7);

    room note = room_of(sizeof(pare_layer_note) + MORE);
    const pare_layer_note row = {.size = note.size, .name = "fc.weight", .requested = 0.5, .achieved = 0.25};
    memcpy(&note, &row, sizeof row);
    n->layer(host, (const pare_layer_note *)(const void *)&note);

    room diag = room_of(sizeof(pare_diag) + MORE);
    const pare_diag d = {
        .size = diag.size, .severity = PARE_NOTE, .code = "test.newer", .message = "newer", .hint = "h"};
    memcpy(&diag, &d, sizeof d);
    host->report(host, (const pare_diag *)(const void *)&diag);
    room old = room_of(PARE_END(pare_diag, message)); /* what stands behind is no pointer */
    const pare_diag o = {.size = old.size, .severity = PARE_NOTE, .code = "test.older", .message = "older"};
    memcpy(&old, &o, old.size);
    host->report(host, (const pare_diag *)(const void *)&old);
    return PARE_OK;
}

static void what_plugins_give(void **state) {
    (void)state;
    pare_model_free(run(reads, PARE_OK));
    assert_said(said_by, "test.newer", "newer");
    assert_said(said_by, "test.older", "older");
    assert_int_equal(json_array_size(json_object_get(notes, "layers")), 1);
}

/* ---- this host as it will be: its structs have grown, those of minor 0 still come ---- */

typedef struct grown {
    pare_cost now;
    uint64_t later;
} grown;

static pare_status future(const pare_host *host, pare_model *m) {
    (void)m;
    const grown full = {{.macs = 5, .bytes = 6}, 7};
    room old = room_of(PARE_LEAST_COST), same = room_of(sizeof(grown)), newer = room_of(sizeof(grown) + MORE);
    WANT(PARE_GIVE(host, "f", &old, full, PARE_LEAST_COST) && intact(&old, PARE_LEAST_COST) &&
         old.size == PARE_LEAST_COST);
    WANT(PARE_GIVE(host, "f", &same, full, PARE_LEAST_COST) && intact(&same, sizeof full) && same.size == sizeof full);
    WANT(PARE_GIVE(host, "f", &newer, full, PARE_LEAST_COST) && intact(&newer, sizeof full + MORE) &&
         newer.size == sizeof full && zero(&newer, sizeof full, sizeof full + MORE));
    WANT(memcmp(old.bytes + 4, (const char *)&full + 4, PARE_LEAST_COST - 4) == 0);
    WANT(memcmp(newer.bytes + 4, (const char *)&full + 4, sizeof full - 4) == 0);
    grown taken;
    memset(&taken, CANARY, sizeof taken);
    old.size = PARE_LEAST_COST;
    WANT(PARE_TAKE(host, "f", "cost", &old, taken, PARE_LEAST_COST) && taken.now.macs == 5 && taken.later == 0);
    newer.size = sizeof full + MORE;
    WANT(PARE_TAKE(host, "f", "cost", &newer, taken, PARE_LEAST_COST) && taken.later == 7);
    return PARE_OK;
}

static void a_grown_host_takes_minor_0(void **state) {
    (void)state;
    pare_model_free(run(future, PARE_OK));
}

/* ---- blocks of scales ---- */

static uint32_t constant_of(pare_model *m, const char *name, uint32_t dtype, size_t ndim, const int64_t *dims) {
    uint32_t id = pare_tensor_add(m, PARE_MAIN_GRAPH, name, dtype, ndim, dims);
    void *data;
    assert_int_equal(pare_tensor_overwrite(pare_model_tensor(m, id), NULL, &data), PARE_OK);
    memset(data, 0, (size_t)pare_model_tensor(m, id)->blob->len);
    return pare_graph_find(m, PARE_MAIN_GRAPH, name);
}

static pare_model *blocked_model(bool turned) {
    static const int64_t w[] = {8, 8}, s[] = {2, 8};
    pare_model *m = pare_model_new("blocked");
    const pare_dim x_dims[] = {{1, NULL}, {8, NULL}};
    pare_model_opset_set(m, "", 21);
    m->ir_version = 10;
    uint32_t x = pare_value_add(m, PARE_MAIN_GRAPH, "x");
    pare_graph_input_add(m, PARE_MAIN_GRAPH, x);
    pare_value_type_set(m, x, PARE_FLOAT, 2, x_dims);
    uint32_t q = constant_of(m, "q", PARE_INT8, 2, w), scale = constant_of(m, "scale", PARE_FLOAT, 2, s);
    if (turned) q = node1(m, PARE_MAIN_GRAPH, "Transpose", "turn", q, 0, 0, "qt");
    uint32_t f = node1(m, PARE_MAIN_GRAPH, "DequantizeLinear", "dq", q, scale, 0, "f");
    pare_attr_set_int(m, pare_model_value(m, f)->producer, "axis", 0);
    pare_attr_set_int(m, pare_model_value(m, f)->producer, "block_size", 4);
    const int64_t y[] = {1, 8};
    output(m, PARE_MAIN_GRAPH, node1(m, PARE_MAIN_GRAPH, "MatMul", "mm", x, f, 0, "y"), 2, y);
    return m;
}

static int64_t want_block;

static pare_status blocks(const pare_host *host, pare_model *m) {
    const char *const ops[] = {"MatMul"};
    pare_layer layer = {.size = sizeof layer};
    pare_constant c = {.size = sizeof c};
    uint64_t n_layers = 0;
    WANT(l->list(host, m, NULL, ops, 1, &layer, 1, &n_layers) == PARE_OK && n_layers == 1 && layer.scale);
    WANT(layer.block_size == want_block && layer.quant_axis == (want_block ? 0 : 1));
    WANT(g->const_of(host, m, g->value_find(host, m, "f"), &c) == PARE_OK && c.block_size == want_block);
    return PARE_OK;
}

static void layers_know_their_blocks(void **state) {
    (void)state;
    for (int turned = 0; turned < 2; turned++) {
        pare_model *m = blocked_model(turned);
        want_block = turned ? 0 : 4;
        pare_model_free(run_on(m, blocks, PARE_OK));
        pare_model_free(m);
    }
}

/* ---- tables of parameters ---- */

static void rows_of_parameters(void **state) {
    (void)state;
    room rows[2];
    for (size_t i = 0; i < 2; i++) {
        rows[i] = room_of(sizeof(pare_param) + MORE);
        const pare_param p = {
            .size = rows[i].size, .type = PARE_PARAM_INT, .name = i ? "b" : "a", .doc = "A test.", .dflt = "3"};
        memcpy(&rows[i], &p, sizeof p);
    }
    pare_param_table table = {(const pare_param *)(const void *)rows, 2, sizeof(room)};
    assert_null(pare_params_check(table));
    json_t *schema = pare_params_schema(table);
    assert_non_null(schema);
    json_decref(schema);
    rows[1].size = PARE_END(pare_param, n_columns);
    char *why = pare_params_check(table);
    assert_non_null(why);
    assert_non_null(strstr(why, "row 1 has size"));
    free(why);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plugins_may_be_older_or_newer),
        cmocka_unit_test(smaller_than_minor_0_is_misuse),
        cmocka_unit_test(lists_of_layers),
        cmocka_unit_test(what_plugins_give),
        cmocka_unit_test(a_grown_host_takes_minor_0),
        cmocka_unit_test(layers_know_their_blocks),
        cmocka_unit_test(rows_of_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
