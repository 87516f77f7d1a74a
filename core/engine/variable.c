/* engine/variable.c - tensors that runs may write, and the sets of values that are run together. See parts.h.
 *
 * A variable is an initializer that became an input which the main device keeps from run to run. May use: parts.h,
 * model.
 */
#include "engine/parts.h"

#include "model/edit.h"
#include "model/pass.h"

#include <stdlib.h>
#include <string.h>

/* ---- taking them out of the model ---- */

static pare_status take(pare_session *s, const char *name, pare_diags *d) {
    pare_model *m = s->model;
    uint32_t value = pare_graph_find(m, PARE_MAIN_GRAPH, name);
    const pare_value *v = pare_model_value(m, value);
    const pare_tensor *t = v ? pare_model_tensor(m, v->tensor) : NULL;
    pare_dim dims[PARE_ARRAY_DIMS];
    if (!t || t->ndim > PARE_ARRAY_DIMS || t->strings || v->is_input)
        return pare_fail(d, PARE_ENOTFOUND, "engine.variable", NULL, "the model has no initializer \"%s\" to vary",
                         name);
    pare_variable x = {.value = value, .dtype = t->dtype, .ndim = t->ndim};
    x.name = pare_arena_strdup(&m->arena, v->name);
    for (uint32_t i = 0; i < t->ndim; i++) {
        x.dims[i] = t->dims[i];
        dims[i] = (pare_dim){.value = t->dims[i]};
    }
    x.first = t->blob ? pare_blob_ref(t->blob) : NULL;
    x.nbytes = t->blob ? t->blob->len : 0;
    pare_vec_push(&s->variables, x);
    pare_graph_input_add(m, PARE_MAIN_GRAPH, value);
    pare_tensor_del(m, t->id);
    pare_value_type_set(m, value, x.dtype, (int32_t)x.ndim, dims);
    return PARE_OK;
}

pare_status pare_variables_take(pare_session *s, const pare_session_opts *opts, pare_diags *d) {
    pare_status st = PARE_OK;
    for (size_t i = 0; !st && i < opts->n_variables; i++) st = take(s, opts->variables[i], d);
    return st;
}

pare_variable *pare_variable_of(pare_session *s, uint32_t value) {
    for (size_t i = 0; i < s->variables.len; i++)
        if (s->variables.data[i].value == value) return &s->variables.data[i];
    return NULL;
}

/* ---- their memory ---- */

pare_status pare_variables_place(pare_session *s, pare_diags *d) {
    const pare_engine_device *dev = &s->devices[PARE_DEVICE_MAIN];
    for (size_t i = 0; i < s->variables.len; i++) {
        pare_variable *x = &s->variables.data[i];
        pare_status st = pare_engine_alloc(s, PARE_DEVICE_MAIN, x->nbytes ? x->nbytes : 1, &x->memory);
        if (st)
            return pare_fail(d, st, "engine.memory", NULL, "no memory on \"%s\" for the variable \"%s\" (%llu bytes)",
                             dev->use.backend->id, x->name, (unsigned long long)x->nbytes);
        if (x->nbytes) {
            st = dev->use.backend->copy(dev->handle, x->memory, x->first->data, x->nbytes, PARE_COPY_TO_DEVICE);
            if (!st) st = dev->use.backend->sync(dev->handle);
        }
        if (st)
            return pare_fail(d, st, "engine.run", NULL, "\"%s\" can't be copied to \"%s\": %s", x->name,
                             dev->use.backend->id, pare_status_text(st));
        pare_blob_unref(x->first);
        x->first = NULL;
    }
    return PARE_OK;
}

void pare_variables_free(pare_session *s) {
    const pare_engine_device *dev = &s->devices[PARE_DEVICE_MAIN];
    for (size_t i = 0; i < s->variables.len; i++) {
        pare_variable *x = &s->variables.data[i];
        pare_blob_unref(x->first);
        if (x->memory && dev->handle) dev->use.backend->free(dev->handle, x->memory);
    }
    pare_vec_free(&s->variables);
    for (size_t i = 0; i < s->programs.len; i++) free(s->programs.data[i].values);
    pare_vec_free(&s->programs);
}

static pare_status named(pare_session *s, const char *name, pare_diags *d, pare_variable **out) {
    for (size_t i = 0; i < s->variables.len; i++)
        if (strcmp(s->variables.data[i].name, name) == 0) {
            *out = &s->variables.data[i];
            return PARE_OK;
        }
    return pare_fail(d, PARE_ENOTFOUND, "engine.variable", NULL, "the session has no variable \"%s\"", name);
}

static pare_status move(pare_session *s, pare_variable *x, void *to, const void *from, uint32_t kind, pare_diags *d) {
    const pare_engine_device *dev = &s->devices[PARE_DEVICE_MAIN];
    if (!x->nbytes) return PARE_OK;
    pare_status st = dev->use.backend->copy(dev->handle, to, from, x->nbytes, kind);
    pare_status after = dev->use.backend->sync(dev->handle);
    if (!st) st = after;
    return st ? pare_fail(d, st, "engine.run", NULL, "the variable \"%s\" can't be copied: %s", x->name,
                          pare_status_text(st))
              : PARE_OK;
}

pare_status pare_session_variable_get(pare_session *s, const char *name, pare_diags *d, pare_array **out) {
    pare_variable *x = NULL;
    pare_status st = named(s, name, d, &x);
    if (st) return st;
    pare_array *a = pare_array_new(x->dtype, x->ndim, x->dims);
    if (!a) return pare_fail(d, PARE_ENOMEM, "engine.memory", NULL, "no memory for a copy of \"%s\"", name);
    st = move(s, x, pare_array_data_mut(a), x->memory, PARE_COPY_TO_HOST, d);
    if (st) {
        pare_array_unref(a);
        return st;
    }
    *out = a;
    return PARE_OK;
}

pare_status pare_session_variable_set(pare_session *s, const char *name, const pare_array *a, pare_diags *d) {
    pare_variable *x = NULL;
    pare_status st = named(s, name, d, &x);
    if (st) return st;
    bool fits = a->dtype == x->dtype && a->ndim == x->ndim && a->nbytes == x->nbytes;
    for (uint32_t i = 0; fits && i < a->ndim; i++) fits = a->dims[i] == x->dims[i];
    if (!fits)
        return pare_fail(d, PARE_EINVAL, "engine.variable", NULL, "the variable \"%s\" has another dtype or other dims",
                         name);
    return move(s, x, x->memory, pare_array_data(a), PARE_COPY_TO_DEVICE, d);
}

/* ---- programs ---- */

static pare_status output(pare_session *s, const char *name, uint32_t *to, pare_diags *d) {
    pare_model *m = s->model;
    pare_value *v = pare_model_value(m, pare_graph_find(m, PARE_MAIN_GRAPH, name));
    if (!v || v->graph != PARE_MAIN_GRAPH)
        return pare_fail(d, PARE_ENOTFOUND, "engine.fetch", NULL, "the model has no value \"%s\" to fetch", name);
    if (!v->is_output) pare_graph_output_add(m, PARE_MAIN_GRAPH, v->id);
    *to = v->id;
    return PARE_OK;
}

static void no_outputs(pare_model *m) {
    pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    for (size_t i = 0; i < g->outputs.len; i++) pare_model_value(m, g->outputs.data[i])->is_output = false;
    g->outputs.len = 0;
    m->edits++;
}

pare_status pare_programs_take(pare_session *s, const pare_session_opts *opts, pare_diags *d) {
    if (!opts->n_programs) return PARE_OK;
    no_outputs(s->model);
    for (size_t i = 0; i < opts->n_programs; i++) {
        const pare_program *from = &opts->programs[i];
        pare_session_program p = {.n_fetches = from->n_fetches, .n = from->n_fetches + from->n_effects};
        p.values = pare_xcalloc(p.n + 1, sizeof *p.values);
        pare_vec_push(&s->programs, p);
        for (size_t k = 0; k < p.n; k++) {
            const char *name = k < from->n_fetches ? from->fetches[k] : from->effects[k - from->n_fetches];
            pare_status st = output(s, name, &p.values[k], d);
            if (st) return st;
        }
    }
    return PARE_OK;
}

pare_status pare_program_cut(pare_session *s, pare_model *m, size_t program, pare_diags *d) {
    if (!s->programs.len) return PARE_OK;
    const pare_session_program *p = &s->programs.data[program];
    pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    uint64_t changed;
    no_outputs(m);
    for (size_t i = 0; i < p->n; i++) {
        pare_value *v = pare_model_value(m, p->values[i]);
        if (!v) return pare_fail(d, PARE_EINTERNAL, "engine.program", NULL, "a value of a program is gone");
        pare_vec_push(&g->outputs, v->id); /* one that stands twice is handed out twice */
        v->is_output = true;
    }
    const pare_pass *dead = pare_pass_find("remove_dead");
    return dead->run(m, d, &changed);
}

size_t pare_session_n_fetches(const pare_session *s, size_t program) {
    return s->programs.len ? s->programs.data[program].n_fetches : s->outputs.len;
}
