/* cli/cmd_compare.c - pare compare: two models side by side, and with --data what they say of the same samples. */
#include "cli/eval.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What --data measures; tallies are of A and B, B's against A. */
typedef struct measured {
    pare_eval eval;
    pare_scored s[2];
    pare_tally t[2];
    pare_latency latency[2];
    pare_latency_ratio ratio;
    uint32_t batch; /* of the latency; 0: they were not timed */
    bool there;
} measured;

static pare_status measure_latency(pare_cli *c, measured *m) {
    pare_array **in[2] = {0};
    pare_session *sessions[] = {m->s[0].session, m->s[1].session};
    pare_latency_ratio ratios[2] = {0};
    pare_status st = PARE_OK;
    if (!pare_score_can_time(&m->s[0], c->diags) || !pare_score_can_time(&m->s[1], c->diags)) return PARE_OK;
    m->batch = pare_eval_batch(c, m->s, 2);
    if (!m->batch) {
        pare_say(c->diags, PARE_WARNING, "compare.batch",
                 "A's batch is fixed at %u and B's at %u: their latencies are not compared", m->s[0].batch,
                 m->s[1].batch);
        return PARE_OK;
    }
    if (c->progress) pare_progress_begin(c->progress, "latency");
    for (int i = 0; i < 2 && !st; i++) st = pare_score_noise(sessions[i], m->batch, c->diags, &in[i]);
    if (!st)
        st = pare_latency_against(sessions, (pare_array *const *const *)in, 2, c->args.runs, c->diags, m->latency,
                                  ratios);
    m->ratio = ratios[1];
    if (c->progress) pare_progress_end(c->progress);
    for (int i = 0; i < 2; i++)
        if (in[i]) pare_score_noise_free(sessions[i], in[i]);
    return st;
}

static pare_status measure(pare_cli *c, measured *m, const pare_look *a, const pare_look *b) {
    pare_logits base = {0};
    pare_status st = pare_eval_open(c, &m->eval);
    if (!st) st = pare_eval_session(c, &m->eval, a, &m->s[0]);
    if (!st) st = pare_eval_session(c, &m->eval, b, &m->s[1]);
    if (!st) st = pare_eval_model(c, &m->eval, a, &m->s[0], NULL, &base, &m->t[0]);
    if (!st) st = pare_eval_model(c, &m->eval, b, &m->s[1], &base, NULL, &m->t[1]);
    pare_logits_free(&base);
    if (!st) st = measure_latency(c, m);
    m->there = !st;
    return st;
}

static void measured_free(measured *m) {
    for (int i = 0; i < 2; i++) {
        pare_tally_free(&m->t[i]);
        pare_scored_close(&m->s[i]);
    }
    pare_eval_close(&m->eval);
}

/* ---- JSON ---- */

static json_t *compare_side(const pare_look *l, const measured *m, int side) {
    static const char *const none[] = {"accuracy", "loss", "latency_p50_ms"};
    json_t *j = pare_look_json(l);
    if (m->there) pare_eval_add_json(j, &m->eval, &m->t[side], m->batch ? &m->latency[side] : NULL, m->batch);
    for (size_t i = 0; i < sizeof none / sizeof *none && !m->there; i++) json_object_set_new(j, none[i], json_null());
    return j;
}

static json_t *latency_json(pare_cli *c, const measured *m) {
    if (!m->there || !m->batch) return json_null();
    json_t *j = pare_eval_latency_json(c, m->eval.compute.device, m->s[0].session, m->batch, m->latency[0].runs);
    json_object_set_new(j, "ratio", pare_eval_number(m->ratio.ratio));
    json_object_set_new(j, "ratio_low", pare_eval_number(m->ratio.low));
    json_object_set_new(j, "ratio_high", pare_eval_number(m->ratio.high));
    json_object_set_new(j, "within_noise", json_boolean(pare_latency_in_noise(m->ratio)));
    return j;
}

static void print_json(pare_cli *c, const measured *m, const pare_look *a, const pare_look *b) {
    const pare_tally *t = &m->t[1];
    bool got = m->there && t->compared;
    double p = got ? pare_tally_mcnemar(t) : NAN;
    json_t *j = json_pack("{s:o, s:o}", "a", compare_side(a, m, 0), "b", compare_side(b, m, 1));
    json_object_set_new(j, "set", m->there ? pare_json_str(pare_eval_set_name(&m->eval)) : json_null());
    json_object_set_new(j, "samples", m->there ? json_integer((json_int_t)t->samples) : json_null());
    json_object_set_new(j, "agreement", pare_eval_number(got ? pare_tally_agreement(t) : NAN));
    json_object_set_new(j, "sqnr_db", pare_eval_number(got ? pare_tally_sqnr_db(t) : NAN));
    json_object_set_new(j, "kl", pare_eval_number(got ? pare_tally_kl(t) : NAN));
    json_object_set_new(j, "max_abs_diff", pare_eval_number(got ? t->max_abs_diff : NAN));
    json_object_set_new(j, "mcnemar_p", pare_eval_number(p));
    json_object_set_new(j, "accuracy_within_noise", isfinite(p) ? json_boolean(p >= PARE_MCNEMAR_NOISE) : json_null());
    json_object_set_new(j, "latency", latency_json(c, m));
    pare_json_print(j, stdout);
    json_decref(j);
}

/* ---- text ---- */

static void real_row(pare_table *t, const char *what, const char *format, double a, double b) {
    double x[] = {a, b};
    pare_table_cell(t, "%s", what);
    for (int i = 0; i < 2; i++) {
        char text[64];
        snprintf(text, sizeof text, format, x[i]);
        pare_table_cell(t, "%s", isfinite(x[i]) ? text : isnan(x[i]) ? "NaN" : "infinite");
    }
}

static void label_rows(pare_table *t, const measured *m) {
    const pare_tally *a = &m->t[0], *b = &m->t[1];
    double p = pare_tally_mcnemar(b);
    real_row(t, "accuracy", "%.2f %%", 100 * pare_tally_accuracy(a), 100 * pare_tally_accuracy(b));
    pare_table_cell(t, "%+.2f %%", 100 * (pare_tally_accuracy(b) - pare_tally_accuracy(a)));
    if (isfinite(p))
        pare_table_cell(t, "%s (McNemar's p %.2g)", p < PARE_MCNEMAR_NOISE ? "differs" : "within noise", p);
    else
        pare_table_cell(t, " ");
    real_row(t, "top 5", "%.2f %%", 100 * pare_tally_top5(a), 100 * pare_tally_top5(b));
    pare_table_cell(t, "%+.2f %%", 100 * (pare_tally_top5(b) - pare_tally_top5(a)));
    pare_table_cell(t, " ");
    real_row(t, "loss", "%.4f", pare_tally_loss(a), pare_tally_loss(b));
    pare_table_cell(t, "%+.4f", pare_tally_loss(b) - pare_tally_loss(a));
    pare_table_cell(t, " ");
}

static void latency_rows(pare_table *t, const measured *m) {
    const pare_latency *a = &m->latency[0], *b = &m->latency[1];
    real_row(t, "latency p50, ms", "%.3f", a->p50 * 1e3, b->p50 * 1e3);
    pare_table_cell(t, "%.3fx", m->ratio.ratio);
    pare_table_cell(t, "%s (95 %%: %.3fx to %.3fx)", pare_latency_in_noise(m->ratio) ? "within noise" : "differs",
                    m->ratio.low, m->ratio.high);
    real_row(t, "latency p95, ms", "%.3f", a->p95 * 1e3, b->p95 * 1e3);
    pare_table_cell(t, "%.3fx", b->p95 / a->p95);
    pare_table_cell(t, " ");
    real_row(t, "images/s", "%.1f", m->batch / a->p50, m->batch / b->p50);
    pare_table_cell(t, "%.3fx", a->p50 / b->p50);
    pare_table_cell(t, " ");
}

static void print_agreement(const measured *m) {
    const pare_tally *b = &m->t[1];
    double sqnr = pare_tally_sqnr_db(b);
    pare_sb n = {0};
    pare_sb_count(&n, b->samples);
    printf("\n  on %s samples of %s", pare_sb_str(&n), pare_eval_set_name(&m->eval));
    pare_sb_free(&n);
    if (!b->compared) {
        printf(": the outputs can't be compared\n");
        return;
    }
    printf(": the same class in %.2f %%, ", 100 * pare_tally_agreement(b));
    if (isinf(sqnr) && sqnr > 0)
        printf("equal outputs\n");
    else if (isnan(sqnr))
        printf("NaN in outputs: no SQNR, no KL\n");
    else
        printf("SQNR %.1f dB, KL %.4g, largest difference %.4g\n", sqnr, pare_tally_kl(b), b->max_abs_diff);
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
    pare_table_cell(t, " ");
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

static void print_text(pare_cli *c, const measured *m, const pare_look *a, const pare_look *b) {
    const char *heads[] = {"", ">A", ">B", ">B / A", ""};
    printf("A  ");
    pare_put(a->path);
    printf("\nB  ");
    pare_put(b->path);
    printf("\n\n");
    pare_table *t = pare_table_new(heads, 5);
    pare_table_rule(t);
    compare_row(t, "file", a->metrics.bytes, b->metrics.bytes, true);
    compare_row(t, "gzip -6", a->metrics.gzip_bytes, b->metrics.gzip_bytes, true);
    compare_row(t, "parameters", a->metrics.parameters, b->metrics.parameters, false);
    compare_row(t, "non-zero", a->metrics.nonzero, b->metrics.nonzero, false);
    compare_row(t, "MACs at batch 1", a->metrics.macs, b->metrics.macs, false);
    compare_row(t, "MACs, effective", a->metrics.macs_effective, b->metrics.macs_effective, false);
    if (m->there && m->t[1].labelled) label_rows(t, m);
    if (m->there && (m->t[0].not_finite || m->t[1].not_finite))
        compare_row(t, "samples with NaN or inf", (int64_t)m->t[0].not_finite, (int64_t)m->t[1].not_finite, false);
    if (m->there && m->batch) latency_rows(t, m);
    pare_table_print(t, 2, stdout);
    pare_table_free(t);
    print_op_changes(a, b);
    if (m->there) print_agreement(m);
    if (!m->there || !m->batch) return;
    printf("\n  latency: ");
    pare_eval_put_conditions(c, m->s[0].session, m->batch, m->latency[0].runs);
}

static pare_status compare(pare_cli *c) {
    pare_look a, b = {0};
    measured m = {0};
    pare_status st = pare_look_open(c->args.rest.data[0], c->progress, c->diags, &a);
    if (!st) st = pare_look_open(c->args.rest.data[1], c->progress, c->diags, &b);
    if (!st && c->args.data) st = measure(c, &m, &a, &b);
    if (!st && c->args.json)
        print_json(c, &m, &a, &b);
    else if (!st)
        print_text(c, &m, &a, &b);
    measured_free(&m);
    pare_look_close(&b);
    pare_look_close(&a);
    return st;
}

static const pare_opt compare_opts[] = {
    PARE_OPT("data", PARE_OPT_VALUE, "FILE", data, "run both on a set: any YAML with a data block"),
    PARE_EVAL_OPTS,
};

const pare_command pare_cmd_compare = {
    "compare",
    "A B",
    2,
    2,
    "shows two models side by side: sizes, counts, ops; with --data accuracy, agreement, latency",
    "With --data both are run: accuracy, agreement, SQNR and latency, and whether differences are within noise: of\n"
    "accuracies by McNemar's test at 5 %, of latencies where the 95 % interval of the medians' ratio (bootstrap of "
    "runs\n"
    "taken in turn) holds 1 or comes within 2 % of it, as two sessions of the same model may.",
    compare_opts,
    sizeof compare_opts / sizeof *compare_opts,
    compare};
