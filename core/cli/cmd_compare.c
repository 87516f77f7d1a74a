/* cli/cmd_compare.c - pare compare: two models side by side, and with --data what they say of the same samples. */
#include "cli/eval.h"
#include "cli/look.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What --data measures; tallies are of A and B, B's against A. */
typedef struct measured {
    pare_eval eval;
    pare_tally a, b;
    pare_latency latency[2];
    bool there;
} measured;

static pare_status measure_latency(pare_cli *c, measured *m, const pare_look *a, const pare_look *b) {
    pare_scored s[2] = {{0}, {0}};
    pare_array **in[2] = {0};
    pare_status st = pare_scored_open(a->model, &m->eval.compute, (uint32_t)c->args.threads, c->diags, &s[0]);
    if (!st) st = pare_scored_open(b->model, &m->eval.compute, (uint32_t)c->args.threads, c->diags, &s[1]);
    for (int i = 0; i < 2 && !st; i++) st = pare_score_noise(s[i].session, 0, c->diags, &in[i]);
    pare_session *sessions[] = {s[0].session, s[1].session};
    if (!st) st = pare_latency_of(sessions, (pare_array *const *const *)in, 2, 0, c->diags, m->latency);
    for (int i = 0; i < 2; i++) {
        if (in[i]) pare_score_noise_free(s[i].session, in[i]);
        pare_scored_close(&s[i]);
    }
    return st;
}

static pare_status measure(pare_cli *c, measured *m, const pare_look *a, const pare_look *b) {
    pare_logits base = {0};
    pare_status st = pare_eval_open(c, &m->eval);
    if (!st) st = pare_eval_model(c, &m->eval, a->model, NULL, &base, &m->a);
    if (!st) st = pare_eval_model(c, &m->eval, b->model, &base, NULL, &m->b);
    pare_logits_free(&base);
    if (!st) st = measure_latency(c, m, a, b);
    m->there = !st;
    return st;
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *compare_side(const pare_look *l, const measured *m, int side) {
    json_t *j = pare_look_json(l);
    const pare_tally *t = side ? &m->b : &m->a;
    json_object_set_new(j, "accuracy", number(m->there ? pare_tally_accuracy(t) : NAN));
    json_object_set_new(j, "loss", number(m->there ? pare_tally_loss(t) : NAN));
    json_object_set_new(j, "latency_p50_ms", number(m->there ? m->latency[side].p50 * 1e3 : NAN));
    return j;
}

static void real_row(pare_table *t, const char *what, const char *format, double a, double b, const char *third) {
    char text[2][64];
    snprintf(text[0], sizeof text[0], format, a);
    snprintf(text[1], sizeof text[1], format, b);
    pare_table_cell(t, "%s", what);
    pare_table_cell(t, "%s", isfinite(a) ? text[0] : "-");
    pare_table_cell(t, "%s", isfinite(b) ? text[1] : "-");
    pare_table_cell(t, "%s", third);
}

static void measured_rows(pare_table *t, const measured *m) {
    char third[96];
    double p = pare_tally_mcnemar(&m->b);
    snprintf(third, sizeof third, "%s (McNemar p %.2g)", p < 0.05 ? "differs" : "within noise", p);
    real_row(t, "accuracy", "%.2f %%", 100 * pare_tally_accuracy(&m->a), 100 * pare_tally_accuracy(&m->b),
             isfinite(p) ? third : "-");
    real_row(t, "top 5", "%.2f %%", 100 * pare_tally_top5(&m->a), 100 * pare_tally_top5(&m->b), "");
    real_row(t, "loss", "%.4f", pare_tally_loss(&m->a), pare_tally_loss(&m->b), "");
    snprintf(third, sizeof third, "%.3fx", m->latency[1].p50 / m->latency[0].p50);
    real_row(t, "latency p50, ms", "%.3f", m->latency[0].p50 * 1e3, m->latency[1].p50 * 1e3, third);
}

static void print_agreement(const measured *m) {
    double sqnr = pare_tally_sqnr_db(&m->b);
    printf("\n  on %" PRIu64 " samples of %s: the same class in %.2f %%, ", m->b.samples,
           m->eval.p->data.sets[m->eval.set_index].name, 100 * pare_tally_agreement(&m->b));
    if (isfinite(sqnr))
        printf("SQNR %.1f dB, KL %.4g, largest difference %.4g\n", sqnr, pare_tally_kl(&m->b), m->b.max_abs_diff);
    else
        printf("equal outputs\n");
}

static void compare_row(pare_table *t, const char *what, int64_t a, int64_t b, bool bytes) {
    pare_table_cell(t, "%s", what);
    if (bytes) {
        pare_table_cell_bytes(t, a, "-");
        pare_table_cell_bytes(t, b, "-");
    } else {
        pare_table_cell_count(t, a, "unknown");
        pare_table_cell_count(t, b, "unknown");
    }
    if (a > 0 && b >= 0)
        pare_table_cell(t, "%.3fx", (double)b / (double)a);
    else
        pare_table_cell(t, "-");
}

static uint64_t op_count(const pare_look *l, const char *op) {
    for (size_t i = 0; i < l->stats.ops.len; i++)
        if (strcmp(l->stats.ops.data[i].op, op) == 0) return l->stats.ops.data[i].count;
    return 0;
}

static void print_op_changes(const pare_look *a, const pare_look *b) {
    bool any = false;
    for (int side = 0; side < 2; side++) {
        const pare_look *l = side ? b : a;
        for (size_t i = 0; i < l->stats.ops.len; i++) {
            const char *op = l->stats.ops.data[i].op;
            uint64_t na = op_count(a, op), nb = op_count(b, op);
            if (na == nb || (side && na)) continue;
            printf("%s", any ? ", " : "\n  ops that differ: ");
            pare_put(op);
            printf(" %" PRIu64 " -> %" PRIu64, na, nb);
            any = true;
        }
    }
    printf(any ? "\n" : "\n  the same ops in the same numbers\n");
}

static pare_status compare(pare_cli *c) {
    pare_look a, b = {0};
    measured m = {0};
    pare_status st = pare_look_open(c->args.rest.data[0], c->progress, c->diags, &a);
    if (!st) st = pare_look_open(c->args.rest.data[1], c->progress, c->diags, &b);
    if (!st && c->args.data) st = measure(c, &m, &a, &b);
    if (!st && c->args.json) {
        bool got = m.there && m.b.compared;
        json_t *j =
            json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "a", compare_side(&a, &m, 0), "b", compare_side(&b, &m, 1),
                      "agreement", number(got ? pare_tally_agreement(&m.b) : NAN), "sqnr_db",
                      number(got ? pare_tally_sqnr_db(&m.b) : NAN), "max_abs_diff",
                      number(got ? m.b.max_abs_diff : NAN), "mcnemar_p", number(got ? pare_tally_mcnemar(&m.b) : NAN));
        pare_json_print(j, stdout);
        json_decref(j);
    } else if (!st) {
        const char *heads[] = {"", ">A", ">B", ">B / A"};
        printf("A  ");
        pare_put(a.path);
        printf("\nB  ");
        pare_put(b.path);
        printf("\n\n");
        pare_table *t = pare_table_new(heads, 4);
        pare_table_rule(t);
        compare_row(t, "file", a.metrics.bytes, b.metrics.bytes, true);
        compare_row(t, "gzip -6", a.metrics.gzip_bytes, b.metrics.gzip_bytes, true);
        compare_row(t, "parameters", a.metrics.parameters, b.metrics.parameters, false);
        compare_row(t, "non-zero", a.metrics.nonzero, b.metrics.nonzero, false);
        compare_row(t, "MACs at batch 1", a.metrics.macs, b.metrics.macs, false);
        compare_row(t, "MACs, effective", a.metrics.macs_effective, b.metrics.macs_effective, false);
        if (m.there) measured_rows(t, &m);
        pare_table_print(t, 2, stdout);
        pare_table_free(t);
        print_op_changes(&a, &b);
        if (m.there && m.b.compared) print_agreement(&m);
    }
    pare_tally_free(&m.a);
    pare_tally_free(&m.b);
    pare_eval_close(&m.eval);
    pare_look_close(&b);
    pare_look_close(&a);
    return st;
}

static const pare_opt compare_opts[] = {
    PARE_OPT("data", PARE_OPT_VALUE, "FILE", data, "run both on a set: any YAML with a data block"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_QUIET,
    PARE_OPT_JSON,
};

const pare_command pare_cmd_compare = {
    "compare",
    "A B",
    2,
    2,
    "shows two models' sizes, counts and ops side by side",
    "With --data both are run: accuracy, agreement, SQNR and latency, and whether differences are within noise.",
    compare_opts,
    sizeof compare_opts / sizeof *compare_opts,
    compare};
