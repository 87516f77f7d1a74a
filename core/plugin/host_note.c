/* plugin/host_note.c - pare.note/1 (numbers for report.json) and pare.pass/1 (graph passes by name).
 * Every argument comes from a plugin and is checked. May use: host_impl.h, model/pass.h. */
#include "plugin/host_impl.h"

#include "base/str.h"
#include "model/pass.h"

#include <math.h>
#include <string.h>

/* ---- notes ---- */

/* Counts come as doubles too: whole numbers are written as such. */
static json_t *number_of(double x) {
    if (!isfinite(x)) return json_null();
    return x == floor(x) && fabs(x) <= 0x1p53 ? json_integer((json_int_t)x) : json_real(x);
}

/* A part of the step's notes, or NULL: nobody wants them. */
static json_t *part(const pare_host *h, const char *name) {
    json_t *notes = pare_host_of(h)->env.notes;
    return notes ? json_object_get(notes, name) : NULL;
}

static void note_number(const pare_host *h, const char *key, double value) {
    if (pare_host_text_ok(h, "pare.note/1 number", "key", key) && part(h, "notes"))
        json_object_set_new(part(h, "notes"), key, number_of(value));
}

static void note_text(const pare_host *h, const char *key, const char *value) {
    if (pare_host_text_ok(h, "pare.note/1 text", "key", key) && part(h, "notes"))
        json_object_set_new(part(h, "notes"), key, pare_json_str(value));
}

static void note_layer(const pare_host *h, const pare_layer_note *note) {
    static const char fn[] = "pare.note/1 layer";
    pare_layer_note full;
    if (!PARE_TAKE(h, fn, "note", note, full, PARE_LEAST_LAYER_NOTE)) return;
    const pare_layer_note *n = &full;
    if (!pare_host_text_ok(h, fn, "name", n->name)) return;
    if (n->n_extra && (!n->keys || !n->values)) {
        pare_host_misuse(h, fn, "%u further columns, but keys or values is NULL", n->n_extra);
        return;
    }
    json_t *row = json_object();
    json_object_set_new(row, "name", pare_json_str(n->name));
    json_object_set_new(row, "requested", number_of(n->requested));
    json_object_set_new(row, "achieved", number_of(n->achieved));
    bool ok = true;
    for (uint32_t i = 0; i < n->n_extra && ok; i++) {
        ok = pare_host_text_ok(h, fn, "a column's key", n->keys[i]);
        if (ok && json_object_get(row, n->keys[i])) {
            pare_host_misuse(h, fn, "the column %s comes twice", n->keys[i]);
            ok = false;
        }
        if (ok) json_object_set_new(row, n->keys[i], number_of(n->values[i]));
    }
    if (ok && part(h, "layers")) json_array_append(part(h, "layers"), row);
    json_decref(row);
}

static void note_curve(const pare_host *h, const char *name, double x, double y) {
    if (!pare_host_text_ok(h, "pare.note/1 curve", "name", name) || !part(h, "curves")) return;
    json_t *points = json_object_get(part(h, "curves"), name);
    if (!points) {
        points = json_array();
        json_object_set_new(part(h, "curves"), name, points);
    }
    json_t *point = json_array();
    json_array_append_new(point, number_of(x));
    json_array_append_new(point, number_of(y));
    json_array_append_new(points, point);
}

/* A name that makes no trouble in any folder, and is no model's. */
static bool file_name_ok(const char *name) {
    static const char *const ours[] = {"model.onnx", "model.onnx.data", "model.onnx.gz", "checkpoint.safetensors"};
    if (*name == '.' || strlen(name) > 200) return false;
    for (const char *c = name; *c; c++)
        if (*c == '/' || *c == '\\' || (unsigned char)*c < 0x20 || *c == 0x7f) return false;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strcmp(name, ours[i]) == 0) return false;
    return true;
}

static pare_status note_file(const pare_host *h, const char *name, const void *bytes, uint64_t n) {
    static const char fn[] = "pare.note/1 file";
    const pare_host_env *env = pare_host_env_of(h);
    if (!pare_host_text_ok(h, fn, "name", name)) return PARE_EINVAL;
    if (!file_name_ok(name)) return pare_host_misuse(h, fn, "\"%s\" is no plain name, or one of the host's own", name);
    if (!bytes && n) return pare_host_misuse(h, fn, "bytes is NULL");
    if (pare_host_of(h)->phase == PARE_PHASE_NONE)
        return pare_host_misuse(h, fn, "called while no function of the technique runs");
    if (!env->file) return PARE_OK;
    pare_status st = env->file(env->ctx, name, bytes, n);
    return st == PARE_ENOMEM ? pare_host_refuse_text(h, st, "memory.file", "no memory for %llu bytes of %s",
                                                     (unsigned long long)n, name)
                             : st;
}

const pare_note_api pare_host_note_v1 = {
    .size = sizeof(pare_note_api),
    .number = note_number,
    .text = note_text,
    .layer = note_layer,
    .curve = note_curve,
    .file = note_file,
};

/* ---- passes ---- */

static const char *pass_name(const pare_host *h, uint32_t i) {
    (void)h;
    const pare_pass *p = pare_pass_at(i);
    return p ? p->name : NULL;
}

static pare_status pass_run(const pare_host *h, pare_model *m, const char *pass, uint64_t *changed) {
    static const char fn[] = "pare.pass/1 run";
    pare_host_impl *s = pare_host_edit(h, m, fn);
    if (!s || !pare_host_text_ok(h, fn, "pass", pass)) return PARE_EINVAL;
    if (s->borrows.len) return pare_host_misuse(h, fn, "tensor %u is borrowed", s->borrows.data[0].tensor);
    const pare_pass *p = pare_pass_find(pass);
    if (!p) {
        pare_sb b = {0};
        for (size_t i = 0; pare_pass_at(i); i++) pare_sb_printf(&b, "%s%s", i ? ", " : "", pare_pass_at(i)->name);
        pare_host_refuse_text(h, PARE_ENOTFOUND, "pass.unknown", "there is no pass %s; there are %s", pass,
                              pare_sb_str(&b));
        pare_sb_free(&b);
        return PARE_ENOTFOUND;
    }
    uint64_t n = 0;
    pare_status st = p->run(s->model, s->held, &n);
    if (!st && changed) *changed = n;
    return st;
}

const pare_pass_api pare_host_pass_v1 = {.size = sizeof(pare_pass_api), .name = pass_name, .run = pass_run};
