/* cli/cmd_eval.c - pare eval: the metrics of one model on a set; and what pare compare --data adds. */
#include "cli/eval.h"

#include "model/finite.h"
#include "pipeline/carry.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- shared with pare compare ---- */

pare_status pare_eval_open(pare_cli *c, pare_eval *e) {
    *e = (pare_eval){.set_index = -1};
    e->plugins = pare_cli_plugins(c);
    if (!e->plugins) return PARE_EINVAL;
    pare_status st = pare_compute_open(e->plugins, c->args.device, c->diags, &e->compute);
    if (!st) st = pare_pipeline_data_open(c->args.data, NULL, c->diags, &e->p);
    if (st) return st;
    e->set_index = e->p->report.on;
    if (e->set_index < 0) e->set_index = pare_pipeline_set_find(e->p, "test");
    if (e->set_index < 0 && e->p->data.n_sets == 1) e->set_index = 0;
    if (e->set_index >= 0) return PARE_OK;
    if (!e->p->data.n_sets)
        return pare_fail_file(c->diags, PARE_EINVAL, c->args.data, "eval.set", "as in `data: {test: {folder: images}}`",
                              "its data block describes no set");
    return pare_fail_file(c->diags, PARE_EINVAL, c->args.data, "eval.set",
                          "add `report: {on: NAME}`, or call the one to measure on `test`",
                          "it describes %zu sets, none called test: which one is meant?", e->p->data.n_sets);
}

void pare_eval_close(pare_eval *e) {
    free(e->preprocess);
    pare_data_free(e->set);
    pare_pipeline_free(e->p);
    pare_compute_close(&e->compute);
    pare_plugins_free(e->plugins);
}

const char *pare_eval_set_name(const pare_eval *e) { return e->p->data.sets[e->set_index].name; }

pare_status pare_eval_session(pare_cli *c, pare_eval *e, const pare_look *l, pare_scored *out) {
    *out = (pare_scored){0};
    pare_status st = pare_model_say_not_finite(l->model, l->path, c->diags);
    if (!st) st = pare_scored_open(l->model, &e->compute, (uint32_t)c->args.threads, c->diags, out);
    if (st && st != PARE_ECANCELLED) pare_say(c->diags, PARE_NOTE, "eval.model", "this is said of %s", l->path);
    out->name = l->path;
    return st;
}

/* Are samples prepared by nobody's word, or otherwise for the second model than for the first? */
static void say_preprocess(pare_cli *c, pare_eval *e, const pare_look *l, const pare_scored *s,
                           pare_carry_source source, const pare_data_preprocess *pre) {
    const pare_pipeline *p = e->p;
    int32_t root = e->set_index;
    while (p->data.sets[root].from >= 0) root = p->data.sets[root].from;
    if (p->data.sets[root].source->kind == PARE_DATA_RANDOM) return; /* made for the model as they are */
    if (source == PARE_CARRY_NOTHING && s->target.dtype == PARE_FLOAT)
        pare_say(c->diags, PARE_NOTE, "eval.preprocess",
                 "neither %s nor %s says how samples are prepared: pixels of 8 bits become x/255, all else stays; if "
                 "that is wrong, add a data: {preprocess: ...} block",
                 c->args.data, l->path);
    pare_sb b = {0};
    pare_data_preprocess_print(pre, &b);
    if (!e->preprocess) {
        e->preprocess = pare_xstrdup(pare_sb_str(&b));
        e->first = l->path;
    } else if (strcmp(e->preprocess, pare_sb_str(&b)) != 0) {
        pare_say(c->diags, PARE_WARNING, "compare.preprocess",
                 "the two don't see the same samples: those of %s go through %s, those of %s through %s", e->first,
                 e->preprocess, l->path, pare_sb_str(&b));
    }
    pare_sb_free(&b);
}

pare_status pare_eval_model(pare_cli *c, pare_eval *e, const pare_look *l, pare_scored *s, const pare_logits *baseline,
                            pare_logits *keep, pare_tally *out) {
    pare_data_preprocess pre;
    pare_carry_source source;
    const pare_data_preprocess *given = pare_carry_given_for(e->p, l->path, c->diags);
    pare_status st = pare_carry_preprocess(given, l->model, l->path, c->diags, &pre, &source);
    if (!st && source == PARE_CARRY_MODEL)
        pare_say(c->diags, PARE_NOTE, "eval.preprocess",
                 "%s has no preprocess block: samples go through what %s carries in its metadata", c->args.data,
                 l->path);
    if (!st) say_preprocess(c, e, l, s, source, &pre);
    if (!st && !e->set) st = pare_score_set_open(e->p, e->set_index, &s->target, c->diags, &e->set);
    if (st) return st;
    st = pare_score_check_labels(e->set, pare_eval_set_name(e), l->model, false, c->diags);
    if (st) {
        pare_say_at(c->diags, PARE_NOTE, e->p->data.sets[e->set_index].source_at, "score.set", NULL,
                    "this is where the set '%s' is described", pare_eval_set_name(e));
        return st;
    }
    pare_sb task = {0};
    pare_sb_printf(&task, "%s on %s", l->path, pare_eval_set_name(e));
    if (c->progress) pare_progress_begin(c->progress, pare_sb_str(&task));
    pare_sb_free(&task);
    st = pare_score(s, e->set, &pre, baseline, keep, c->progress, c->diags, out);
    if (c->progress) pare_progress_end(c->progress);
    return st;
}

uint32_t pare_eval_batch(const pare_cli *c, const pare_scored *s, size_t n) {
    uint32_t batch = (uint32_t)c->args.batch;
    for (size_t i = 0; i < n; i++) {
        if (!s[i].batch) continue;
        if (batch && batch != s[i].batch && !c->args.batch) return 0;
        if (!batch) batch = s[i].batch;
    }
    /* one that takes any batch is timed at its own all the same */
    for (size_t i = 0; i < n && !batch; i++) {
        int64_t own = pare_session_own_batch(s[i].session);
        if (own > 0 && own <= UINT32_MAX) batch = (uint32_t)own;
    }
    return batch ? batch : 1;
}

uint64_t pare_eval_threads(const pare_cli *c) { return c->args.threads ? c->args.threads : pare_threads(); }

json_t *pare_eval_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

void pare_eval_add_json(json_t *j, const pare_eval *e, const pare_tally *t, const pare_latency *latency,
                        uint32_t batch) {
    json_t *classes = pare_score_classes_json(e->set, t);
    json_object_set_new(j, "loss", pare_eval_number(pare_tally_loss(t)));
    json_object_set_new(j, "accuracy", pare_eval_number(pare_tally_accuracy(t)));
    json_object_set_new(j, "top5", pare_eval_number(pare_tally_top5(t)));
    json_object_set_new(j, "not_finite", json_integer((json_int_t)t->not_finite));
    json_object_set_new(j, "nan", json_integer((json_int_t)t->nan));
    json_object_set_new(j, "latency_p50_ms", pare_eval_number(latency ? latency->p50 * 1e3 : NAN));
    json_object_set_new(j, "latency_p95_ms", pare_eval_number(latency ? latency->p95 * 1e3 : NAN));
    json_object_set_new(j, "images_per_s", pare_eval_number(latency ? batch / latency->p50 : NAN));
    json_object_set_new(j, "classes", classes ? classes : json_array());
}

json_t *pare_eval_latency_json(const pare_cli *c, const char *device, const pare_session *s, uint32_t batch,
                               uint64_t runs) {
    return json_pack("{s:I, s:I, s:I, s:s, s:o, s:o, s:s}", "batch", (json_int_t)batch, "threads",
                     (json_int_t)pare_eval_threads(c), "runs", (json_int_t)runs, "device", device, "engine",
                     pare_json_str(pare_session_device(s)), "cpu", pare_json_str(pare_cpu_model()), "set", "noise");
}

void pare_eval_put_conditions(const pare_cli *c, const pare_session *s, uint32_t batch, uint64_t runs) {
    const char *engine = pare_session_device(s);
    uint64_t threads = pare_eval_threads(c);
    printf("batch %u of noise, ", batch);
    if (!strstr(engine, "thread")) printf("%" PRIu64 " thread%s, ", threads, threads == 1 ? "" : "s");
    pare_put(engine);
    printf(", ");
    pare_put(pare_cpu_model());
    printf("; %" PRIu64 " run%s\n", runs, runs == 1 ? "" : "s");
}

/* ---- pare eval ---- */

typedef struct class_row {
    uint64_t index, total, correct;
} class_row;

/* Worst first; of equal ones the larger, then in the set's order. */
static int by_accuracy(const void *x, const void *y) {
    const class_row *a = x, *b = y;
    double pa = (double)a->correct / (double)a->total, pb = (double)b->correct / (double)b->total;
    if (pa != pb) return pa < pb ? -1 : 1;
    if (a->total != b->total) return a->total > b->total ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Few classes in their own order; of many the worst. */
static void print_classes(const pare_eval *e, const pare_tally *t) {
    enum { FEW = 20 };
    PARE_VEC(class_row) rows = {0};
    for (uint64_t i = 0; i < t->classes; i++)
        if (t->class_total[i]) pare_vec_push(&rows, ((class_row){i, t->class_total[i], t->class_correct[i]}));
    bool many = rows.len > FEW;
    if (many) qsort(rows.data, rows.len, sizeof *rows.data, by_accuracy);
    const char *heads[] = {"class", ">samples", ">accuracy"};
    pare_table *table = pare_table_new(heads, 3);
    pare_table_rule(table);
    for (size_t i = 0; i < rows.len && i < FEW; i++) {
        const class_row *r = &rows.data[i];
        const char *name = pare_data_class_name(e->set, (uint32_t)r->index);
        if (name)
            pare_table_cell(table, "%s", name);
        else
            pare_table_cell(table, "%" PRIu64, r->index);
        pare_table_cell_count(table, (int64_t)r->total, "-");
        pare_table_cell(table, "%.2f %%", 100.0 * (double)r->correct / (double)r->total);
    }
    putchar('\n');
    pare_table_print(table, 2, stdout);
    if (many) printf("  (the %d worst of %zu classes; --json has them all)\n", FEW, rows.len);
    pare_table_free(table);
    pare_vec_free(&rows);
}

static void real_row(pare_table *t, const char *what, const char *format, double x) {
    char text[64];
    snprintf(text, sizeof text, format, x);
    pare_table_cell(t, "%s", what);
    pare_table_cell(t, "%s", isfinite(x) ? text : isnan(x) ? "NaN" : "infinite");
}

static void count_row(pare_table *t, const char *what, int64_t n, bool bytes) {
    pare_table_cell(t, "%s", what);
    if (bytes)
        pare_table_cell_bytes(t, n, "-");
    else
        pare_table_cell_count(t, n, "unknown");
}

static void print_eval(const pare_cli *c, const pare_eval *e, const pare_look *l, const pare_scored *s,
                       const pare_tally *t, const pare_latency *latency, uint32_t batch) {
    const char *heads[] = {"", ">"};
    pare_table *table = pare_table_new(heads, 2);
    pare_sb n = {0};
    pare_sb_count(&n, t->samples);
    pare_put(l->path);
    printf(" on %s samples of %s", pare_sb_str(&n), pare_eval_set_name(e));
    pare_sb_free(&n);
    printf(t->labelled ? "\n" : ", which has no labels: there is nothing to be right or wrong about\n");
    if (t->labelled) {
        real_row(table, "accuracy", "%.2f %%", 100 * pare_tally_accuracy(t));
        real_row(table, "top 5", "%.2f %%", 100 * pare_tally_top5(t));
        real_row(table, "loss", "%.4f", pare_tally_loss(t));
    }
    if (t->not_finite) count_row(table, "samples with NaN or infinity", (int64_t)t->not_finite, false);
    if (batch) {
        real_row(table, "latency p50", "%.3f ms", latency->p50 * 1e3);
        real_row(table, "latency p95", "%.3f ms", latency->p95 * 1e3);
        real_row(table, "images/s", "%.1f", batch / latency->p50);
    }
    count_row(table, "file", l->metrics.bytes, true);
    count_row(table, "gzip -6", l->metrics.gzip_bytes, true);
    count_row(table, "parameters", l->metrics.parameters, false);
    count_row(table, "MACs at batch 1", l->metrics.macs, false);
    count_row(table, "MACs, effective", l->metrics.macs_effective, false);
    pare_table_print(table, 2, stdout);
    pare_table_free(table);
    if (t->labelled) print_classes(e, t);
    if (!batch) return;
    printf("\n  latency: ");
    pare_eval_put_conditions(c, s->session, batch, latency->runs);
}

static pare_status time_it(pare_cli *c, const pare_scored *s, uint32_t batch, pare_latency *out) {
    pare_array **in = NULL;
    pare_status st = pare_score_noise(s->session, batch, c->diags, &in);
    if (!st) st = pare_latency_of(&s->session, (pare_array *const *const[]){in}, 1, c->args.runs, c->diags, out);
    if (in) pare_score_noise_free(s->session, in);
    return st;
}

static pare_status eval(pare_cli *c) {
    pare_eval e = {0};
    pare_look l = {0};
    pare_scored s = {0};
    pare_tally t = {0};
    pare_latency latency = {0};
    uint32_t batch = 0;
    if (!c->args.data)
        return pare_fail(c->diags, PARE_EINVAL, "eval.data", "as in --data pipeline.yaml",
                         "pare eval needs --data FILE: a YAML file with a data block");
    pare_status st = pare_eval_open(c, &e);
    if (!st) st = pare_look_open(c->args.rest.data[0], c->progress, c->diags, &l);
    if (!st) st = pare_eval_session(c, &e, &l, &s);
    if (!st) st = pare_eval_model(c, &e, &l, &s, NULL, NULL, &t);
    if (!st && pare_score_can_time(&s, c->diags)) st = time_it(c, &s, batch = pare_eval_batch(c, &s, 1), &latency);
    if (!st && c->args.json) {
        json_t *j = json_pack("{s:o, s:o, s:I}", "path", pare_json_str(l.path), "set",
                              pare_json_str(pare_eval_set_name(&e)), "samples", (json_int_t)t.samples);
        json_object_set_new(j, "bytes", pare_json_count(l.metrics.bytes));
        json_object_set_new(j, "gzip_bytes", pare_json_count(l.metrics.gzip_bytes));
        json_object_set_new(j, "parameters", pare_json_count(l.metrics.parameters));
        json_object_set_new(j, "nonzero", pare_json_count(l.metrics.nonzero));
        json_object_set_new(j, "macs", pare_json_count(l.metrics.macs));
        json_object_set_new(j, "macs_effective", pare_json_count(l.metrics.macs_effective));
        pare_eval_add_json(j, &e, &t, batch ? &latency : NULL, batch);
        json_object_set_new(j, "latency",
                            batch ? pare_eval_latency_json(c, e.compute.device, s.session, batch, latency.runs)
                                  : json_null());
        pare_json_print(j, stdout);
        json_decref(j);
    } else if (!st) {
        print_eval(c, &e, &l, &s, &t, &latency, batch);
    }
    pare_tally_free(&t);
    pare_scored_close(&s);
    pare_look_close(&l);
    pare_eval_close(&e);
    return st;
}

static const pare_opt eval_opts[] = {
    PARE_OPT("data", PARE_OPT_VALUE, "FILE", data,
             "any YAML with a data block; its report.on names the set, else `test`"),
    PARE_EVAL_OPTS,
};

const pare_command pare_cmd_eval = {"eval",
                                    "MODEL",
                                    1,
                                    1,
                                    "measures a model on a set: accuracy, top 5, loss, each class, latency, size",
                                    "A model that ends in Softmax is measured by what goes into it. The latency is "
                                    "taken on noise, after warm-up.",
                                    eval_opts,
                                    sizeof eval_opts / sizeof *eval_opts,
                                    eval};
