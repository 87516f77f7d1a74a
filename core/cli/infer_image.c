/* cli/infer_image.c - see infer_image.h. One image at a time, so that an answer depends on its image alone. */
#include "cli/infer_image.h"

#include "cli/look.h"
#include "model/edit.h"
#include "model/finite.h"
#include "model/pack.h"
#include "pipeline/carry.h"
#include "pipeline/report.h"
#include "pipeline/score.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOP = 5 };

typedef struct infer_images {
    pare_cli *c;
    pare_plugins *plugins;
    pare_compute compute;
    pare_pipeline *p; /* --data's; NULL: not given */
    pare_scored scored;
    pare_data_preprocess pre;
    pare_carry_source source;
    pare_classes classes;
    bool classes_fit; /* looked at once, with the first answer */
    bool skip;        /* --data's on_error: an image that can't be decoded is left out */
    uint64_t answers, left_out, failed;
    json_t *list; /* --json: one object an image */
} infer_images;

/* ---- opening ---- */

/* The set whose classes are meant: as pare eval chooses it, but without one nothing is wrong. */
static void data_classes(const pare_pipeline *p, pare_classes *out) {
    int32_t test = p->report.on < 0 ? pare_pipeline_set_find(p, "test") : -1;
    if (test >= 0) pare_classes_of_set(p, test, out);
    if (!out->n) pare_classes_of_pipeline(p, out);
}

static bool skips(const pare_pipeline *p) {
    int32_t i = p->report.on >= 0 ? p->report.on : pare_pipeline_set_find(p, "test");
    if (i < 0 && p->data.n_sets == 1) i = 0;
    return i >= 0 && p->data.sets[i].source->on_error == PARE_ON_ERROR_SKIP;
}

static pare_status open_all(infer_images *x) {
    pare_cli *c = x->c;
    pare_model *m = NULL;
    const char *path = c->args.rest.data[0];
    x->plugins = pare_cli_plugins(c);
    if (!x->plugins) return PARE_EINVAL;
    pare_status st = pare_compute_open(x->plugins, c->args.device, c->diags, &x->compute);
    if (!st && c->args.data) st = pare_pipeline_data_open(c->args.data, NULL, c->diags, &x->p);
    if (!st) st = pare_model_load(path, c->diags, &m);
    if (!st) st = pare_model_check(m, c->diags);
    if (!st) st = pare_model_say_not_finite(m, path, c->diags);
    if (!st)
        st = pare_carry_preprocess(x->p ? pare_carry_given_for(x->p, path, c->diags) : NULL, m, path, c->diags, &x->pre,
                                   &x->source);
    if (!st) st = pare_scored_open(m, &x->compute, (uint32_t)c->args.threads, c->diags, &x->scored);
    if (st && st != PARE_ECANCELLED && m) pare_say(c->diags, PARE_NOTE, "cli.model", "this is said of %s", path);
    if (!st && x->p) data_classes(x->p, &x->classes);
    if (!st && x->p) x->skip = skips(x->p);
    if (!st && !x->classes.n) pare_classes_of_model(m, &x->classes);
    pare_model_free(m);
    if (st || x->source == PARE_CARRY_GIVEN) return st;
    if (x->source == PARE_CARRY_MODEL)
        pare_say(c->diags, PARE_NOTE, "infer.preprocess", "preprocessing as the model's metadata says");
    else
        pare_say(c->diags, PARE_NOTE, "infer.preprocess",
                 "neither %s nor the model says how it was trained: pixels become x/255 and nothing else; if that is "
                 "wrong, give --data FILE with a data: {preprocess: ...} block",
                 x->p ? "the data file" : "a data file");
    return PARE_OK;
}

static void close_all(infer_images *x) {
    json_decref(x->list);
    pare_classes_free(&x->classes);
    pare_scored_close(&x->scored);
    pare_pipeline_free(x->p);
    pare_compute_close(&x->compute);
    pare_plugins_free(x->plugins);
}

/* ---- one answer ---- */

typedef struct answer {
    uint64_t label[TOP];
    double logit[TOP], probability[TOP];
    size_t n;
} answer;

/* The highest first; of equals the lower label. What is NaN is never among them. */
static answer top_of(const float *x, uint64_t n) {
    answer a = {0};
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        size_t at = a.n;
        while (at && x[i] > a.logit[at - 1]) at--;
        if (isnan(x[i]) || at == TOP) continue;
        if (a.n < TOP) a.n++;
        for (size_t k = a.n - 1; k > at; k--) {
            a.label[k] = a.label[k - 1];
            a.logit[k] = a.logit[k - 1];
        }
        a.label[at] = i;
        a.logit[at] = x[i];
    }
    for (uint64_t i = 0; i < n && a.n; i++) sum += exp(x[i] - a.logit[0]);
    for (size_t k = 0; k < a.n; k++) a.probability[k] = exp(a.logit[k] - a.logit[0]) / sum;
    return a;
}

static const char *class_name(const infer_images *x, uint64_t label) {
    return x->classes_fit && label < x->classes.n ? x->classes.names[label] : NULL;
}

static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static void add_json(infer_images *x, const char *path, const answer *a) {
    json_t *top = json_array(), *j = json_object();
    for (size_t k = 0; k < a->n; k++) {
        json_t *row = json_object();
        json_object_set_new(row, "rank", json_integer((json_int_t)k + 1));
        json_object_set_new(row, "label", json_integer((json_int_t)a->label[k]));
        json_object_set_new(row, "class", pare_json_str(class_name(x, a->label[k])));
        json_object_set_new(row, "probability", number(a->probability[k]));
        json_object_set_new(row, "logit", number(a->logit[k]));
        json_array_append_new(top, row);
    }
    json_object_set_new(j, "path", pare_json_str(path));
    json_object_set_new(j, "top", top);
    json_array_append_new(x->list, j);
}

static void print_answer(const infer_images *x, const char *path, const answer *a) {
    const char *heads[] = {">rank", "class", ">probability", ">logit"};
    pare_table *t = pare_table_new(heads, 4);
    if (x->answers) putchar('\n');
    pare_put(path);
    putchar('\n');
    for (size_t k = 0; k < a->n; k++) {
        const char *name = class_name(x, a->label[k]);
        pare_table_cell(t, "%zu", k + 1);
        if (name)
            pare_table_cell(t, "%s", name);
        else
            pare_table_cell(t, "%" PRIu64, a->label[k]);
        pare_table_cell(t, "%.2f %%", 100 * a->probability[k]);
        pare_table_cell(t, "%.4f", a->logit[k]);
    }
    pare_table_print(t, 2, stdout);
    pare_table_free(t);
}

/* Class scores, one row for each sample of the batch. */
static pare_status check_scores(const pare_array *a, uint64_t batch, pare_diags *d) {
    bool row = a->dtype == PARE_FLOAT && a->ndim > 1 && (uint64_t)a->dims[0] == batch && a->count;
    for (uint32_t i = 1, wide = 0; i < a->ndim && row; i++) {
        wide += a->dims[i] > 1;
        row = wide <= 1;
    }
    if (row) return PARE_OK;
    pare_sb b = {0};
    for (uint32_t i = 0; i < a->ndim; i++) pare_sb_printf(&b, "%s%" PRId64, i ? ", " : "", a->dims[i]);
    pare_status st = pare_fail(d, PARE_EUNSUPPORTED, "infer.scores",
                               "what else it gives, pare infer MODEL --in X.npy --out DIR writes",
                               "the model's output is %s (%s), and no row of float32 class scores for each image",
                               pare_dtype_name(a->dtype), pare_sb_str(&b));
    pare_sb_free(&b);
    return st;
}

/* An image as often as the graph's fixed batch wants it. */
static pare_array *repeated(pare_array *one, uint32_t batch) {
    if (batch <= 1) return pare_array_ref(one);
    int64_t dims[PARE_ARRAY_DIMS];
    memcpy(dims, one->dims, one->ndim * sizeof *dims);
    dims[0] = batch;
    pare_array *a = pare_array_new(one->dtype, one->ndim, dims);
    char *to = a ? pare_array_data_mut(a) : NULL;
    for (uint32_t i = 0; to && i < batch; i++) memcpy(to + i * one->nbytes, pare_array_data(one), (size_t)one->nbytes);
    return a;
}

static pare_status answer_of(infer_images *x, pare_array *image, const char *path) {
    pare_diags *d = x->c->diags;
    uint32_t batch = x->scored.batch > 1 ? x->scored.batch : 1;
    pare_array *in = repeated(image, batch), *out = NULL;
    if (!in) return pare_fail(d, PARE_ENOMEM, "memory.input", NULL, "no memory for a batch of %u images", batch);
    pare_status st = x->answers ? PARE_OK : pare_session_ready(x->scored.session, &in, d);
    if (st == PARE_ENOMEM) st = PARE_EINVAL; /* what does not fit is the asker's mistake, as in pare bench */
    if (!st) st = pare_session_run(x->scored.session, &in, d, &out);
    pare_array_unref(in);
    if (!st) st = check_scores(out, batch, d);
    if (!st) {
        uint64_t n = out->count / batch, lost = 0;
        const float *scores = pare_array_data(out);
        for (uint64_t i = 0; i < n; i++) lost += !isfinite(scores[i]);
        if (lost)
            pare_say(d, PARE_WARNING, "infer.not-finite", "%s: %" PRIu64 " of %" PRIu64 " scores are NaN or infinite",
                     path, lost, n);
        x->classes_fit = x->classes.n == n;
        if (!x->answers && x->classes.n && !x->classes_fit)
            pare_say(d, PARE_NOTE, "infer.classes",
                     "%u class names are known and the model gives %" PRIu64 " scores: numbers are shown", x->classes.n,
                     n);
        answer a = top_of(scores, n);
        if (x->list)
            add_json(x, path, &a);
        else
            print_answer(x, path, &a);
        x->answers++;
    }
    pare_array_unref(out);
    return st;
}

/* ---- all of them ---- */

/* Is the latest error that of one image, so that the next may do? */
static bool of_one_image(const pare_diags *d) {
    size_t n = pare_diags_count(d);
    while (n && pare_diags_get(d, n - 1)->severity != PARE_ERROR) n--;
    const char *code = n ? pare_diags_get(d, n - 1)->code : "";
    return strncmp(code, "image.", 6) == 0 || strncmp(code, "file.", 5) == 0 || strcmp(code, "data.empty") == 0;
}

static pare_status answer_file(infer_images *x, const char *path) {
    pare_diags *d = x->c->diags;
    pare_data_source src = {
        .kind = PARE_DATA_FLAT, .path = path, .on_error = x->skip ? PARE_ON_ERROR_SKIP : PARE_ON_ERROR_FAIL};
    pare_reader_opts opts = {.batch = 1, .threads = 1, .ahead = 1};
    pare_data_target target = x->scored.target;
    if (target.ndim) target.dims[0] = -1;
    pare_data *set = NULL;
    pare_reader *r = NULL;
    pare_batch b = {0};
    pare_status st = pare_data_open(&src, &target, d, &set);
    if (!st) st = pare_reader_open(set, &x->pre, &target, &opts, d, &r);
    if (!st) st = pare_reader_next(r, d, &b);
    if (!st && b.n) st = answer_of(x, b.images, path);
    if (!st && !b.n) x->left_out++;
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_data_free(set);
    if (st && st != PARE_ECANCELLED && of_one_image(d)) { /* said; the others are shown */
        x->failed++;
        return PARE_OK;
    }
    return st;
}

/* A file, or a folder's images. */
static pare_status answer_path(infer_images *x, const char *path) {
    pare_diags *d = x->c->diags;
    size_t len = strlen(path);
    if ((len > 4 && strcmp(path + len - 4, ".npy") == 0) || (len > 3 && strcmp(path + len - 3, ".pb") == 0))
        return pare_fail_file(d, PARE_EINVAL, path, "infer.operand", "pare infer MODEL --in X.npy --out DIR",
                              "this is a tensor's name: tensors go with --in, images without");
    if (pare_path_what(path) == PARE_PATH_NONE) {
        pare_fail_file(d, PARE_ENOTFOUND, path, "file.missing", NULL, "there is no such image");
        x->failed++;
        return PARE_OK;
    }
    if (pare_path_what(path) != PARE_PATH_DIR) return answer_file(x, path);
    pare_data_source src = {
        .kind = PARE_DATA_FLAT, .path = path, .on_error = x->skip ? PARE_ON_ERROR_SKIP : PARE_ON_ERROR_FAIL};
    pare_data *set = NULL;
    pare_status st = pare_data_open(&src, &x->scored.target, d, &set);
    if (st && st != PARE_ECANCELLED && of_one_image(d)) {
        x->failed++;
        return PARE_OK;
    }
    for (uint64_t i = 0; !st && i < pare_data_count(set); i++) st = answer_file(x, pare_data_path(set, i));
    pare_data_free(set);
    return st;
}

/* Those that gave no answer. */
static pare_status settle(infer_images *x) {
    uint64_t all = x->answers + x->left_out + x->failed;
    if (x->left_out)
        pare_say(x->c->diags, PARE_WARNING, "infer.skipped",
                 "%" PRIu64 " of %" PRIu64 " images were left out: they can't be decoded", x->left_out, all);
    if (!x->failed) return PARE_OK;
    if (all > 1)
        pare_say(x->c->diags, PARE_NOTE, "infer.failed",
                 "%" PRIu64 " of %" PRIu64 " can't be read; the others are shown", x->failed, all);
    return PARE_EINVAL;
}

static void print_json(infer_images *x) {
    static const char *const sources[] = {"data", "model", "default"};
    json_t *j = json_object();
    pare_sb b = {0};
    pare_data_preprocess_print(&x->pre, &b);
    json_object_set_new(j, "preprocess", json_loads(pare_sb_str(&b), 0, NULL));
    json_object_set_new(j, "preprocess_from", json_string(sources[x->source]));
    json_object_set(j, "images", x->list);
    json_object_set_new(j, "left_out", json_integer((json_int_t)(x->left_out + x->failed)));
    pare_json_print(j, stdout);
    json_decref(j);
    pare_sb_free(&b);
}

pare_status pare_infer_images(pare_cli *c) {
    infer_images x = {.c = c, .list = c->args.json ? json_array() : NULL};
    pare_status st = open_all(&x);
    for (size_t i = 1; i < c->args.rest.len && !st; i++) st = answer_path(&x, c->args.rest.data[i]);
    for (size_t i = 0; i < c->args.image.len && !st; i++) st = answer_path(&x, c->args.image.data[i]);
    if (!st && x.list && (x.answers || !x.failed)) print_json(&x);
    if (!st) st = settle(&x);
    close_all(&x);
    return st;
}
