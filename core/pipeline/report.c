/* pipeline/report.c - see report.h. */
#include "pipeline/report.h"

#include "pipeline/evaluate.h"
#include "pipeline/latency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pare_report *pare_report_new(const pare_pipeline *p) {
    pare_report *r = pare_xcalloc(1, sizeof *r);
    r->pipeline = p;
    r->input = pare_xcalloc(p->n_models, sizeof *r->input);
    for (size_t i = 0; i < p->n_models; i++) r->input[i] = pare_metrics_none();
    return r;
}

void pare_report_free(pare_report *r) {
    if (!r) return;
    for (size_t i = 0; i < r->pipeline->n_models; i++) {
        json_decref(r->input[i].classes);
        pare_vec_free(&r->input[i].timed);
    }
    for (size_t i = 0; i < r->steps.len; i++) {
        json_decref(r->steps.data[i].notes);
        json_decref(r->steps.data[i].metrics.classes);
        pare_vec_free(&r->steps.data[i].metrics.timed);
    }
    free(r->latency.engine);
    for (size_t i = 0; i < r->outputs.len; i++) free(r->outputs.data[i].path);
    pare_vec_free(&r->steps);
    pare_vec_free(&r->outputs);
    free(r->input);
    free(r);
}

void pare_report_add_output(pare_report *r, const char *path, const char *sha256, uint64_t bytes) {
    pare_report_output o = {.path = pare_xstrdup(path), .bytes = bytes};
    memcpy(o.sha256, sha256, sizeof o.sha256);
    pare_vec_push(&r->outputs, o);
}

const pare_metrics *pare_report_baseline(const pare_report *r) {
    pare_pipeline_ref b = r->pipeline->report.baseline;
    return b.kind == PARE_REF_MODEL ? &r->input[b.i] : &r->steps.data[b.i].metrics;
}

/* ---- report.json ---- */

static json_t *latency_json(const pare_report_latency *l) {
    if (!l->runs) return json_null();
    json_t *all = json_array();
    for (uint32_t i = 0; i < l->n_threads; i++) json_array_append_new(all, json_integer(l->threads[i]));
    return json_pack("{s:I, s:I, s:o, s:I, s:s, s:o, s:o, s:s}", "batch", (json_int_t)l->batch, "threads",
                     (json_int_t)l->threads[0], "all_threads", all, "runs", (json_int_t)l->runs, "device", l->device,
                     "engine", pare_json_str(l->engine), "cpu", pare_json_str(pare_cpu_model()), "set", "noise");
}

json_t *pare_report_json(const pare_report *r) {
    const pare_pipeline *p = r->pipeline;
    json_t *j = json_object(), *steps = json_array(), *outputs = json_array(), *inputs = json_object();
    json_object_set_new(j, "name", pare_json_str(p->name));
    json_object_set_new(j, "seed", json_integer((json_int_t)p->seed));
    json_object_set_new(j, "baseline", pare_json_str(p->report.baseline_name));
    json_object_set_new(j, "input",
                        json_pack("{s:s, s:o}", "model", p->models[p->main_model].name, "metrics",
                                  pare_metrics_json(&r->input[p->main_model])));
    for (size_t i = 0; i < p->n_models; i++)
        json_object_set_new(inputs, p->models[i].name, json_pack("{s:o}", "metrics", pare_metrics_json(&r->input[i])));
    json_object_set_new(j, "inputs", inputs);
    for (size_t i = 0; i < r->steps.len; i++) {
        const pare_report_step *s = &r->steps.data[i];
        json_t *o = json_object();
        json_object_set_new(o, "id", pare_json_str(s->id));
        json_object_set_new(o, "use", pare_json_str(s->use));
        json_object_set_new(o, "model", pare_json_str(s->model));
        json_object_set_new(o, "seconds", json_real(round(s->seconds * 1e6) / 1e6));
        json_object_set_new(o, "metrics", pare_metrics_json(&s->metrics));
        json_t *layers = json_object_get(s->notes, "layers"), *curves = json_object_get(s->notes, "curves");
        json_t *notes = json_object_get(s->notes, "notes");
        json_object_set_new(o, "layers", layers ? json_incref(layers) : json_array());
        json_object_set_new(o, "curves", curves ? json_incref(curves) : json_object());
        json_object_set_new(o, "notes", notes ? json_incref(notes) : json_object());
        json_t *files = json_object_get(s->notes, "files");
        json_object_set_new(o, "files", files ? json_incref(files) : json_array());
        json_array_append_new(steps, o);
    }
    json_object_set_new(j, "steps", steps);
    for (size_t i = 0; i < r->outputs.len; i++) {
        const pare_report_output *o = &r->outputs.data[i];
        json_array_append_new(outputs, json_pack("{s:o, s:s, s:I}", "path", pare_json_str(o->path), "sha256", o->sha256,
                                                 "bytes", (json_int_t)o->bytes));
    }
    json_object_set_new(j, "outputs", outputs);
    json_object_set_new(j, "measured_on",
                        r->set
                            ? json_pack("{s:o, s:I}", "set", pare_json_str(r->set), "samples", (json_int_t)r->samples)
                            : json_null());
    json_object_set_new(j, "latency", latency_json(&r->latency));
    json_object_set_new(j, "seconds", json_real(round(r->seconds * 1e6) / 1e6));
    json_object_set_new(j, "pare", json_string(PARE_VERSION));
    return j;
}

/* ---- the table ---- */

/* "6.09 MB (7.7x)": and how many times smaller than the baseline's, where it is compared with that. */
static void cell_bytes(pare_table *t, int64_t n, int64_t base) {
    double factor = base > 0 && n > 0 ? (double)base / (double)n : 1;
    if (n <= 0 || (factor > 0.995 && factor < 1.005)) {
        pare_table_cell_bytes(t, n, "-");
        return;
    }
    pare_sb b = {0};
    pare_sb_bytes(&b, (uint64_t)n);
    pare_table_cell(t, "%s (%.2fx)", pare_sb_str(&b), factor);
    pare_sb_free(&b);
}

/* The pipeline model whose line the baseline stands in: only its results are compared with it. */
static uint32_t baseline_model(const pare_pipeline *p) {
    pare_pipeline_ref b = p->report.baseline;
    return b.kind == PARE_REF_MODEL ? b.i : p->steps[b.i].model;
}

/* One row of the table, as a column sees it. */
typedef struct row {
    const char *name, *use;
    const pare_metrics *mx, *base; /* base: all PARE_NOT_MEASURED where there is nothing to compare with */
} row;

static void cell_name(pare_table *t, const row *r) { pare_table_cell(t, "%s", r->name); }
static void cell_use(pare_table *t, const row *r) { pare_table_cell(t, "%s", r->use); }
static void cell_file(pare_table *t, const row *r) { cell_bytes(t, r->mx->bytes, r->base->bytes); }
static void cell_gzip(pare_table *t, const row *r) { cell_bytes(t, r->mx->gzip_bytes, r->base->gzip_bytes); }
static void cell_packed(pare_table *t, const row *r) { cell_bytes(t, r->mx->packed_bytes, r->base->bytes); }
static void cell_parameters(pare_table *t, const row *r) { pare_table_cell_count(t, r->mx->parameters, "-"); }
static void cell_nonzero(pare_table *t, const row *r) { pare_table_cell_count(t, r->mx->nonzero, "-"); }
static void cell_macs(pare_table *t, const row *r) { pare_table_cell_count(t, r->mx->macs, "-"); }
static void cell_macs_effective(pare_table *t, const row *r) { pare_table_cell_count(t, r->mx->macs_effective, "-"); }

static void cell_zeros(pare_table *t, const row *r) {
    if (r->mx->parameters > 0)
        pare_table_cell(t, "%.2f %%", 100.0 * (double)(r->mx->parameters - r->mx->nonzero) / (double)r->mx->parameters);
    else
        pare_table_cell(t, "-");
}

static void cell_real(pare_table *t, const char *format, double x) {
    char text[64];
    snprintf(text, sizeof text, format, x);
    pare_table_cell(t, "%s", isfinite(x) ? text : "-");
}

static void cell_loss(pare_table *t, const row *r) { cell_real(t, "%.4f", r->mx->loss); }
static void cell_accuracy(pare_table *t, const row *r) {
    double p = r->mx->mcnemar_p;
    if (isfinite(p))
        pare_table_cell(t, "%.2f %% (%s)", 100 * r->mx->accuracy, p < PARE_MCNEMAR_NOISE ? "differs" : "noise");
    else
        cell_real(t, "%.2f %%", 100 * r->mx->accuracy);
}
static void cell_top5(pare_table *t, const row *r) { cell_real(t, "%.2f %%", 100 * r->mx->top5); }
static void cell_agreement(pare_table *t, const row *r) { cell_real(t, "%.2f %%", 100 * r->mx->agreement); }
static void cell_kl(pare_table *t, const row *r) { cell_real(t, "%.4f", r->mx->kl); }
static void cell_images(pare_table *t, const row *r) { cell_real(t, "%.0f", r->mx->images_per_s); }

static void cell_sqnr(pare_table *t, const row *r) {
    if (isinf(r->mx->sqnr_db))
        pare_table_cell(t, "equal");
    else
        cell_real(t, "%.1f dB", r->mx->sqnr_db);
}

static void put_latency(pare_table *t, double ms, pare_latency_ratio ratio) {
    if (isfinite(ratio.ratio))
        pare_table_cell(t, "%.2f ms (%.2fx%s)", ms, ratio.ratio, pare_latency_in_noise(ratio) ? ", noise" : "");
    else
        cell_real(t, "%.2f ms", ms);
}

static void cell_latency(pare_table *t, const row *r) {
    const pare_metrics *m = r->mx;
    put_latency(t, m->latency_p50_ms,
                (pare_latency_ratio){m->latency_ratio, m->latency_ratio_low, m->latency_ratio_high});
}

/* At the k-th number of threads. */
static void cell_timed(pare_table *t, const row *r, size_t k) {
    const pare_timed *x = k < r->mx->timed.len ? &r->mx->timed.data[k] : NULL;
    if (x)
        put_latency(t, x->p50_ms, (pare_latency_ratio){x->ratio, x->low, x->high});
    else
        pare_table_cell(t, "-");
}

static void cell_p95(pare_table *t, const row *r) { cell_real(t, "%.2f ms", r->mx->latency_p95_ms); }

/* metric: the column is there when the report asks for it; 0: always. Those of PARE_BY_RUNNING make a table of their
 * own. */
#define PARE_BY_RUNNING (PARE_METRICS_DATA | PARE_METRICS_TIME)
static const struct {
    const char *head;
    void (*cell)(pare_table *t, const row *r);
    uint32_t metric;
} columns[] = {
    {"step", cell_name, 0},
    {"technique", cell_use, 0},
    {">model.onnx", cell_file, 0},
    {">gzip -6", cell_gzip, PARE_METRIC_GZIP},
    {">packed", cell_packed, 0},
    {">parameters", cell_parameters, 0},
    {">non-zero", cell_nonzero, 0},
    {">zeros", cell_zeros, 0},
    {">MACs", cell_macs, PARE_METRIC_MACS},
    {">effective", cell_macs_effective, PARE_METRIC_MACS},
    {">loss", cell_loss, PARE_METRIC_LOSS},
    {">accuracy", cell_accuracy, PARE_METRIC_ACCURACY},
    {">top 5", cell_top5, PARE_METRIC_TOP5},
    {">agreement", cell_agreement, PARE_METRIC_AGREEMENT},
    {">SQNR", cell_sqnr, PARE_METRIC_SQNR},
    {">KL", cell_kl, PARE_METRIC_KL},
    {">latency p50", cell_latency, PARE_METRIC_LATENCY},
    {">p95", cell_p95, PARE_METRIC_LATENCY},
    {">images/s", cell_images, PARE_METRIC_IMAGES_PER_S},
};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

static bool shown(const pare_report *r, size_t i, bool running) {
    if (i == 0) return true;
    if (running != ((columns[i].metric & PARE_BY_RUNNING) != 0)) return false;
    return !columns[i].metric || (r->pipeline->report.metrics & columns[i].metric);
}

static void add_row(pare_table *t, const pare_report *r, bool running, uint32_t model, const char *name,
                    const char *use, const pare_metrics *m) {
    pare_metrics none = pare_metrics_none();
    row x = {name, use, m, model == baseline_model(r->pipeline) ? pare_report_baseline(r) : &none};
    for (size_t i = 0; i < N_COLUMNS; i++)
        if (shown(r, i, running)) columns[i].cell(t, &x);
    for (size_t k = 1; running && k < r->latency.n_threads; k++) cell_timed(t, &x, k);
}

static void print_rows(const pare_report *r, bool running, FILE *out) {
    const pare_pipeline *p = r->pipeline;
    const char *heads[N_COLUMNS + PARE_MOST_THREADS];
    char words[PARE_MOST_THREADS][32];
    size_t n = 0;
    bool several = r->latency.n_threads > 1;
    for (size_t k = 0; k < r->latency.n_threads; k++)
        snprintf(words[k], sizeof words[k], ">p50, %u thread%s", r->latency.threads[k],
                 r->latency.threads[k] == 1 ? "" : "s");
    for (size_t i = 0; i < N_COLUMNS; i++)
        if (shown(r, i, running)) heads[n++] = several && columns[i].cell == cell_latency ? words[0] : columns[i].head;
    for (size_t k = 1; running && k < r->latency.n_threads; k++) heads[n++] = words[k];
    pare_table *t = pare_table_new(heads, n);
    pare_table_rule(t);
    for (size_t i = 0; i < p->n_models; i++) {
        const pare_pipeline_model *m = &p->models[i];
        const char *use = m->zoo ? m->weights ? "(zoo, own weights)" : "(from the zoo)" : "(as it came in)";
        add_row(t, r, running, (uint32_t)i, m->name, use, &r->input[i]);
    }
    for (size_t i = 0; i < r->steps.len; i++)
        add_row(t, r, running, p->steps[i].model, r->steps.data[i].id, r->steps.data[i].use, &r->steps.data[i].metrics);
    pare_table_print(t, 2, out);
    pare_table_free(t);
}

static void add_word(pare_sb *b, const char *word) { pare_sb_printf(b, "%s%s", b->len ? ", " : "", word); }

/* Under what the numbers that execution gave hold, and what the words in brackets mean. */
static void print_measured(const pare_report *r, FILE *out) {
    const pare_pipeline *p = r->pipeline;
    const char *base = p->report.baseline_name;
    uint32_t w = p->report.metrics;
    pare_sb b = {0}, n = {0};
    if (w & PARE_METRIC_AGREEMENT) add_word(&b, "agreement");
    if (w & PARE_METRIC_SQNR) add_word(&b, "SQNR");
    if (w & PARE_METRIC_KL) add_word(&b, "KL");
    if (r->set) {
        pare_sb_count(&n, r->samples);
        fprintf(out, "  On %s samples of %s", pare_sb_str(&n), r->set);
        if (b.len) fprintf(out, "; %s: with %s's outputs", pare_sb_str(&b), base);
        if ((w & PARE_METRIC_ACCURACY) && r->steps.len)
            fprintf(out, "; accuracy in brackets: McNemar's test against %s", base);
        fprintf(out, ".\n");
    }
    if (r->latency.runs) {
        n.len = 0;
        pare_sb_count(&n, r->latency.runs);
        fprintf(out, "  Latency: batch %u of noise, %s run%s%s", r->latency.batch, pare_sb_str(&n),
                r->latency.runs == 1 ? "" : "s", r->steps.len ? " each, in turn" : "");
        if (r->steps.len) fprintf(out, "; in brackets the ratio of medians to %s's", base);
        fprintf(out, ".\n  By %s, ", r->latency.engine);
        if (!strstr(r->latency.engine, "thread")) fprintf(out, "%u threads, ", r->latency.threads[0]);
        fprintf(out, "on %s.\n", pare_cpu_model());
    }
    pare_sb_free(&b);
    pare_sb_free(&n);
}

void pare_report_print(const pare_report *r, const char *dir, FILE *out) {
    const pare_pipeline *p = r->pipeline;
    fprintf(out, "%s, seed %llu, %.2f s\n\n", p->name, (unsigned long long)p->seed, r->seconds);
    print_rows(r, false, out);
    if (r->steps.len)
        fprintf(out, "\n  Factors in brackets: how many times smaller than %s's file%s.\n", p->report.baseline_name,
                p->report.gzip ? " (gzip against its gzip)" : "");
    bool packed = false;
    for (size_t i = 0; i < r->steps.len; i++) packed = packed || r->steps.data[i].metrics.packed_bytes >= 0;
    if (packed)
        fprintf(out, "  packed: an ordinary .onnx of that size; runtimes unfold it as they load it (same outputs).\n");
    if (r->set || r->latency.runs) {
        fputc('\n', out);
        print_rows(r, true, out);
        fputc('\n', out);
        print_measured(r, out);
    }
    pare_sb safe = {0};
    pare_sb_add_safe(&safe, dir, strlen(dir));
    fprintf(out, "\n  in %s/\n", pare_sb_str(&safe));
    pare_sb_free(&safe);
    const char *head[] = {"file", ">size", "sha256"};
    pare_table *t = pare_table_new(head, 3);
    for (size_t i = 0; i < r->outputs.len; i++) {
        pare_table_cell(t, "%s", r->outputs.data[i].path);
        cell_bytes(t, (int64_t)r->outputs.data[i].bytes, 0);
        pare_table_cell(t, "%.16s...", r->outputs.data[i].sha256);
    }
    pare_table_cell(t, "report.json");
    pare_table_cell(t, " ");
    pare_table_cell(t, "all of these numbers, and every layer's");
    pare_table_print(t, 4, out);
    pare_table_free(t);
}
