/* pipeline/carry.c - see carry.h. */
#include "pipeline/carry.h"

#include "base/json.h"
#include "base/os.h"
#include "model/edit.h"

#include <stdlib.h>
#include <string.h>

/* ---- preprocessing ---- */

const pare_data_preprocess *pare_carry_given(const pare_pipeline *p, const pare_pipeline_model *pm) {
    if (pm && pm->own_preprocess) return pm->preprocess;
    return p->data.preprocess_at.src ? (pm ? pm->preprocess : p->data.preprocess) : NULL;
}

/* The model whose file lies at `path`, or NULL. */
static const pare_pipeline_model *model_at(const pare_pipeline *p, const char *path) {
    char *real = pare_path_real(path);
    const pare_pipeline_model *found = NULL;
    for (size_t i = 0; i < p->n_models && !found && real; i++) {
        char *its = p->models[i].onnx ? pare_path_real(p->models[i].onnx) : NULL;
        if (its && strcmp(its, real) == 0) found = &p->models[i];
        free(its);
    }
    free(real);
    return found;
}

const pare_data_preprocess *pare_carry_given_for(const pare_pipeline *p, const char *path, pare_diags *d) {
    const pare_pipeline_model *pm = model_at(p, path);
    if (!pm && p->n_models == 1) {
        pm = &p->models[0];
        if (pm->own_preprocess)
            pare_say(d, PARE_NOTE, "carry.preprocess", "%s is taken for %s's model %s: its preprocess is used", path,
                     p->path, pm->name);
    }
    pare_sb b = {0};
    for (size_t i = 0; i < p->n_models && !pm; i++)
        if (p->models[i].own_preprocess) pare_sb_printf(&b, "%smodels.%s", b.len ? ", " : "", p->models[i].name);
    if (b.len)
        pare_say(d, PARE_NOTE, "carry.preprocess",
                 "%s is none of the models of %s: the preprocess of its own that these have is not used: %s", path,
                 p->path, pare_sb_str(&b));
    pare_sb_free(&b);
    return pare_carry_given(p, pm);
}

pare_status pare_carry_preprocess(const pare_data_preprocess *given, const pare_model *m, const char *name,
                                  pare_diags *d, pare_data_preprocess *out, pare_carry_source *source) {
    const char *own = given ? NULL : pare_model_meta(m, PARE_CARRY_PREPROCESS);
    if (source) *source = given ? PARE_CARRY_GIVEN : own ? PARE_CARRY_MODEL : PARE_CARRY_NOTHING;
    *out = given ? *given : (pare_data_preprocess){0};
    if (!own) return PARE_OK;
    pare_status st = pare_data_preprocess_parse(own, name, d, out);
    if (st)
        pare_say(d, PARE_NOTE, "carry.preprocess",
                 "it is the model's metadata entry " PARE_CARRY_PREPROCESS
                 "; a preprocess block in the data file goes before it");
    return st;
}

/* ---- classes ---- */

void pare_classes_free(pare_classes *c) {
    for (uint32_t i = 0; i < c->n; i++) free(c->names[i]);
    free(c->names);
    *c = (pare_classes){0};
}

void pare_classes_of_set(const pare_pipeline *p, int32_t i, pare_classes *out) {
    *out = (pare_classes){0};
    while (p->data.sets[i].from >= 0) i = p->data.sets[i].from;
    if (p->data.sets[i].source) out->names = pare_data_source_classes(p->data.sets[i].source, &out->n);
}

void pare_classes_of_pipeline(const pare_pipeline *p, pare_classes *out) {
    *out = (pare_classes){0};
    if (p->report.on >= 0) pare_classes_of_set(p, p->report.on, out);
    for (size_t i = 0; i < p->data.n_sets && !out->n; i++) pare_classes_of_set(p, (int32_t)i, out);
}

void pare_classes_of_model(const pare_model *m, pare_classes *out) {
    *out = (pare_classes){0};
    const char *text = pare_model_meta(m, PARE_CARRY_CLASSES);
    json_t *j = text ? json_loads(text, 0, NULL) : NULL;
    size_t n = json_array_size(j); /* 0 for what is no array */
    bool good = n && n <= UINT32_MAX;
    for (size_t i = 0; i < n && good; i++) good = json_is_string(json_array_get(j, i));
    if (good) {
        out->names = pare_xcalloc(n, sizeof *out->names);
        for (; out->n < n; out->n++) out->names[out->n] = pare_xstrdup(json_string_value(json_array_get(j, out->n)));
    }
    json_decref(j);
}

/* Columns of the first output; -1: not known. */
static int64_t columns(const pare_model *m) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    const pare_value *v = g->outputs.len ? pare_model_value(m, g->outputs.data[0]) : NULL;
    return v && v->ndim > 0 ? v->dims[v->ndim - 1].value : -1;
}

static char *classes_text(const pare_classes *c) {
    json_t *j = json_array();
    for (uint32_t i = 0; i < c->n; i++) json_array_append_new(j, pare_json_str(c->names[i]));
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

void pare_carry_write(pare_model *m, const pare_data_preprocess *pre, const pare_classes *classes) {
    pare_sb b = {0};
    pare_data_preprocess_print(pre, &b);
    pare_model_meta_set(m, PARE_CARRY_PREPROCESS, pare_sb_str(&b));
    pare_sb_free(&b);
    if (!classes || !classes->n || classes->n > PARE_CARRY_MOST_CLASSES) return;
    int64_t k = columns(m);
    if (k >= 0 && k != (int64_t)classes->n) return;
    char *text = classes_text(classes);
    if (text && strlen(text) <= PARE_CARRY_MOST_BYTES) pare_model_meta_set(m, PARE_CARRY_CLASSES, text);
    free(text);
}
