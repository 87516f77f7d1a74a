/* cli/cmd_bench.c - pare bench: one model timed, as a whole and node by node. */
#include "cli/eval.h"
#include "cli/load.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- --shape ---- */

/* "1,3,224,224" */
static bool read_dims(const char *text, pare_score_shape *out) {
    *out = (pare_score_shape){.given = true};
    while (*text) {
        char *end;
        errno = 0;
        long long v = strtoll(text, &end, 10);
        if (*text < '0' || *text > '9' || errno || v < 1 || out->ndim == PARE_ARRAY_DIMS) return false;
        out->dims[out->ndim++] = v;
        if (*end && (*end != ',' || !end[1])) return false;
        text = *end ? end + 1 : end;
    }
    return out->ndim > 0;
}

static size_t find_input(const pare_session *s, const char *name, size_t len) {
    size_t n = pare_session_n_inputs(s), i = 0;
    for (; i < n; i++) {
        const char *have = pare_session_input(s, i)->name;
        if (strlen(have) == len && memcmp(have, name, len) == 0) break;
    }
    return i;
}

/* Do these sizes fit the input? What it fixes has to be met; its batch may be another where any is taken. */
static pare_status check_shape(pare_cli *c, const pare_session *s, const pare_port *p, const pare_score_shape *x) {
    bool fits = p->ndim < 0 || (uint32_t)p->ndim == x->ndim;
    for (int32_t k = 0; fits && k < p->ndim; k++)
        fits = p->dims[k].value < 0 || p->dims[k].value == x->dims[k] || (!k && pare_session_takes(s, x->dims[0]));
    if (fits && c->args.batch && x->dims[0] != (int64_t)c->args.batch)
        return pare_fail(c->diags, PARE_EINVAL, "bench.shape", "give one of them",
                         "--batch is %" PRIu64 ", but --shape of %s begins with %" PRId64, c->args.batch, p->name,
                         x->dims[0]);
    if (fits) return PARE_OK;
    pare_sb want = {0};
    for (int32_t k = 0; k < p->ndim; k++) {
        if (k) pare_sb_addc(&want, ',');
        if (p->dims[k].value >= 0)
            pare_sb_printf(&want, "%" PRId64, p->dims[k].value);
        else
            pare_sb_add(&want, p->dims[k].symbol ? p->dims[k].symbol : "?");
    }
    pare_status st =
        pare_fail(c->diags, PARE_EINVAL, "bench.shape", NULL, "--shape of %s does not fit: the model takes %s=%s",
                  p->name, p->name, want.len ? pare_sb_str(&want) : "one number and no shape");
    pare_sb_free(&want);
    return st;
}

/* given: one an input, zeroed. */
static pare_status read_shapes(pare_cli *c, const pare_session *s, pare_score_shape *given) {
    size_t n = pare_session_n_inputs(s);
    for (size_t i = 0; i < c->args.shape.len; i++) {
        const char *text = c->args.shape.data[i], *equals = strrchr(text, '=');
        size_t at = equals ? find_input(s, text, (size_t)(equals - text)) : n == 1 ? 0 : n;
        pare_score_shape x;
        if (!read_dims(equals ? equals + 1 : text, &x))
            return pare_fail(c->diags, PARE_EINVAL, "bench.shape", "as in --shape x=1,3,224,224",
                             "--shape %s: expected sizes above 0 with commas between them", text);
        if (at == n) {
            pare_sb b = {0};
            for (size_t k = 0; k < n; k++)
                pare_sb_printf(&b, "%s\"%s\"", k ? ", " : "the model takes ", pare_session_input(s, k)->name);
            pare_status st = pare_fail(c->diags, PARE_EINVAL, "bench.shape", pare_sb_str(&b),
                                       "--shape %s: the model has no such input", text);
            pare_sb_free(&b);
            return st;
        }
        if (given[at].given)
            return pare_fail(c->diags, PARE_EINVAL, "bench.shape", "once for each input",
                             "the shape of \"%s\" was given twice", pare_session_input(s, at)->name);
        pare_status st = check_shape(c, s, pare_session_input(s, at), &x);
        if (st) return st;
        given[at] = x;
    }
    return PARE_OK;
}

/* ---- what was measured ---- */

typedef struct measured {
    pare_loaded_model l;
    pare_latency t;
    double opened; /* seconds to load and make ready */
    int64_t batch, piece;
    const pare_profile_node *nodes;
    size_t n_nodes;
} measured;

static double node_ms(const pare_profile_node *n) { return n->runs ? n->seconds * 1e3 / (double)n->runs : 0; }

/* NaN: it has no arithmetic to speak of. */
static double node_gflops(const pare_profile_node *n) {
    double ms = node_ms(n);
    return n->macs > 0 && ms > 0 ? 2e-6 * (double)n->macs / ms : (double)NAN;
}

static double all_seconds(const measured *m) {
    double total = 0;
    for (size_t i = 0; i < m->n_nodes; i++) total += m->nodes[i].seconds;
    return total;
}

/* ---- JSON ---- */

static json_t *node_counts(const measured *m) {
    json_t *j = json_object();
    for (size_t i = 0; i < m->n_nodes; i++) {
        json_t *old = json_object_get(j, m->nodes[i].dtype);
        json_object_set_new(j, m->nodes[i].dtype, json_integer(json_integer_value(old) + 1));
    }
    return j;
}

static json_t *node_rows(const measured *m) {
    json_t *list = json_array();
    double total = all_seconds(m);
    for (size_t i = 0; i < m->n_nodes; i++) {
        const pare_profile_node *n = &m->nodes[i];
        json_t *j = json_object();
        json_object_set_new(j, "node", pare_json_str(n->node));
        json_object_set_new(j, "op", pare_json_str(n->op_type));
        json_object_set_new(j, "ms", pare_eval_number(node_ms(n)));
        json_object_set_new(j, "share", pare_eval_number(n->seconds / total));
        json_object_set_new(j, "gflops", pare_eval_number(node_gflops(n)));
        json_object_set_new(j, "dtype", pare_json_str(n->dtype));
        json_object_set_new(j, "fell_back", json_boolean(n->fell_back));
        json_object_set_new(j, "layout", pare_json_str(n->layout));
        json_object_set_new(j, "kernel", pare_json_str(n->kernel));
        json_array_append_new(list, j);
    }
    return list;
}

static void print_json(pare_cli *c, const measured *m) {
    json_t *j = json_object(),
           *how = pare_eval_latency_json(c, m->l.compute.device, m->l.session, (uint32_t)m->batch, m->t.runs);
    json_object_set_new(j, "path", pare_json_str(c->args.rest.data[0]));
    json_object_update(j, how); /* batch, threads, runs, device, engine, cpu, set */
    json_object_set_new(j, "piece", json_integer((json_int_t)(m->piece ? m->piece : m->batch)));
    json_object_set_new(j, "tune", json_string(pare_session_tuned(m->l.session) ? "on" : "off"));
    json_object_set_new(j, "p50_ms", pare_eval_number(m->t.p50 * 1e3));
    json_object_set_new(j, "p95_ms", pare_eval_number(m->t.p95 * 1e3));
    json_object_set_new(j, "images_per_s", pare_eval_number((double)m->batch / m->t.p50));
    json_object_set_new(j, "open_ms", pare_eval_number(m->opened * 1e3));
    json_object_set_new(j, "nodes", node_counts(m));
    json_object_set_new(j, "node_rows", c->args.nodes ? node_rows(m) : json_null());
    pare_json_print(j, stdout);
    json_decref(how);
    json_decref(j);
}

/* ---- text ---- */

static void print_nodes(const measured *m) {
    const char *heads[] = {"node", "op", ">ms", ">share", ">GFLOP/s", "dtype", "layout", "kernel"};
    pare_table *t = pare_table_new(heads, 8);
    double total = all_seconds(m);
    pare_table_rule(t);
    for (size_t i = 0; i < m->n_nodes; i++) {
        const pare_profile_node *n = &m->nodes[i];
        pare_table_cell(t, "%s", n->node);
        pare_table_cell(t, "%s", n->op_type);
        pare_table_cell(t, "%.3f", node_ms(n));
        pare_table_cell(t, "%.1f %%", total > 0 ? 100 * n->seconds / total : 0);
        if (isfinite(node_gflops(n)))
            pare_table_cell(t, "%.1f", node_gflops(n));
        else
            pare_table_cell(t, "-");
        pare_table_cell(t, "%s%s", n->dtype, n->fell_back ? " (no int8)" : "");
        pare_table_cell(t, "%s", n->layout);
        pare_table_cell(t, "%s", n->kernel);
    }
    putchar('\n');
    pare_table_print(t, 2, stdout);
    pare_table_free(t);
}

static void print_text(pare_cli *c, const measured *m) {
    pare_eval_put_conditions(c, m->l.session, (uint32_t)m->batch, m->t.runs);
    printf("  p50 %.3f ms, p95 %.3f ms; %.1f images/s; loaded in %.1f ms\n", m->t.p50 * 1e3, m->t.p95 * 1e3,
           (double)m->batch / m->t.p50, m->opened * 1e3);
    if (m->piece)
        printf("  run %" PRId64 " image%s at a time%s\n", m->piece, m->piece == 1 ? "" : "s",
               c->args.nodes ? ": the times of nodes are for these" : "");
    if (c->args.nodes) print_nodes(m);
}

/* ---- the command ---- */

static pare_status bench(pare_cli *c) {
    measured m = {0};
    pare_array **in = NULL;
    pare_score_shape *given = NULL;
    double start = pare_clock();
    pare_status st = pare_cli_load(c, c->args.nodes, true, &m.l);
    m.opened = pare_clock() - start;
    if (!st) {
        given = pare_xcalloc(pare_session_n_inputs(m.l.session) + 1, sizeof *given);
        st = read_shapes(c, m.l.session, given);
    }
    if (!st) st = pare_score_noise_like(m.l.session, given, (uint32_t)c->args.batch, c->diags, &in);
    pare_array *const *const ins[] = {in};
    if (!st) st = pare_latency_of(&m.l.session, ins, 1, c->args.runs, c->diags, &m.t);
    if (!st) {
        m.n_nodes = pare_session_profile(m.l.session, &m.nodes);
        m.batch = pare_session_n_inputs(m.l.session) && in[0]->ndim ? in[0]->dims[0] : 1;
        m.piece = pare_session_piece(m.l.session);
        if (c->args.json)
            print_json(c, &m);
        else
            print_text(c, &m);
    }
    if (in) pare_score_noise_free(m.l.session, in);
    free(given);
    pare_cli_unload(&m.l);
    return st;
}

static const pare_opt bench_opts[] = {
    PARE_OPT("batch", PARE_OPT_MANY, "N", batch, "images at once (default: the model's own, else 1)"),
    PARE_OPT("shape", PARE_OPT_LIST, "NAME=SIZES", shape,
             "an input's sizes where the model leaves them open, as x=1,3,224,224; once for each"),
    PARE_OPT("runs", PARE_OPT_MANY, "N", runs, "timed runs after warm-up (default: three seconds' worth)"),
    PARE_OPT("nodes", PARE_OPT_FLAG, NULL, nodes, "a row for each node: time, share, GFLOP/s, layout, kernel"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
    PARE_OPT_MEMORY,
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_QUIET,
    PARE_OPT_JSON,
};

const pare_command pare_cmd_bench = {
    "bench",
    "MODEL",
    1,
    1,
    "times a model: latency p50 and p95 after warm-up",
    "Inputs are filled with repeatable noise. --nodes times each node as well, which slows the whole a little. Its\n"
    "layout is that of the node's output: plain is ONNX's own order; letters are dims from the slowest to the "
    "fastest,\n"
    "so nhwc has channels last, and nChw16c has them in blocks of 16.\n"
    "Kernels are chosen by timing them, once per machine and shape; PARE_TUNE=off takes the best guess instead.",
    bench_opts,
    sizeof bench_opts / sizeof *bench_opts,
    bench};
