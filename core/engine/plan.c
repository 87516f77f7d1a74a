/* engine/plan.c - a plan: the model bound to one set of input dims, made into steps, and run. See parts.h.
 *
 * Is not: the steps themselves (steps.c), their memory (layout.c). May use: parts.h, model.
 */
#include "engine/parts.h"
#include "engine/pass.h"

#include "model/edit.h"
#include "model/infer.h"
#include "model/pass.h"

#include <stdlib.h>
#include <string.h>

/* ---- binding ---- */

static pare_status bind(pare_session *s, pare_model *m, pare_array *const *in, pare_diags *d) {
    for (size_t i = 0; i < s->input_values.len; i++) {
        pare_dim dims[PARE_ARRAY_DIMS];
        const pare_value *v = pare_model_value(m, s->input_values.data[i]);
        if (!in[i] && v && v->uses.len)
            return pare_fail(d, PARE_EINVAL, "engine.input", NULL, "input \"%s\" is missing", v->name);
        if (!in[i]) continue;
        for (uint32_t k = 0; k < in[i]->ndim; k++) dims[k] = (pare_dim){.value = in[i]->dims[k]};
        uint32_t value = s->input_values.data[i];
        pare_value_type_set(m, value, in[i]->dtype, (int32_t)in[i]->ndim, dims);
        /* one whose numbers decide shapes becomes a constant of this plan */
        pare_status st = s->decides[i] ? pare_engine_put(m, value, in[i], d) : PARE_OK;
        if (st) return st;
    }
    return PARE_OK;
}

pare_status pare_plan_settle(pare_session *s, pare_model *m, pare_diags *d) {
    uint64_t folded, any = 0;
    do {
        pare_status st = pare_model_infer(m, d);
        if (!st) st = pare_engine_fold(s, m, d, &folded);
        if (st) return st;
        any += folded;
    } while (folded);
    const pare_pass *dead = pare_pass_find("remove_dead");
    return any && dead ? dead->run(m, d, &any) : PARE_OK;
}

/* ---- making ---- */

static void plan_key(pare_session *s, pare_plan *p, pare_array *const *in) {
    for (size_t i = 0; i < s->input_values.len; i++) {
        if (!in[i]) {
            pare_vec_push(&p->key, -1);
            continue;
        }
        pare_vec_push(&p->key, (int64_t)in[i]->ndim);
        for (uint32_t k = 0; k < in[i]->ndim; k++) pare_vec_push(&p->key, in[i]->dims[k]);
        const unsigned char *data = pare_array_data(in[i]);
        for (uint64_t k = 0; s->decides[i] && k < in[i]->nbytes; k += 8) {
            int64_t word = 0;
            memcpy(&word, data + k, in[i]->nbytes - k < 8 ? (size_t)(in[i]->nbytes - k) : 8);
            pare_vec_push(&p->key, word);
        }
    }
}

static bool counted_before(const pare_plan *p, size_t i) {
    const pare_buffer *b = &p->buffers.data[i];
    for (size_t k = 0; k < i; k++) {
        const pare_buffer *o = &p->buffers.data[k];
        if (b->tensor && o->kind == PARE_BUFFER_CONSTANT && o->tensor == b->tensor && o->device == b->device &&
            o->layout.id == b->layout.id && o->layout.nbytes == b->layout.nbytes)
            return true;
    }
    return false;
}

static void count_constants(pare_session *s, pare_plan *p) {
    for (size_t i = 0; i < p->buffers.len; i++) {
        const pare_buffer *b = &p->buffers.data[i];
        if (b->kind != PARE_BUFFER_CONSTANT || b->root != i || b->on_host || (s->memory && counted_before(p, i)))
            continue;
        p->constants[b->device] += b->layout.nbytes;
    }
}

pare_status pare_plan_make(pare_session *s, pare_array *const *in, pare_diags *d, pare_plan **out) {
    pare_model *m = pare_model_clone(s->model);
    pare_plan *p = pare_xcalloc(1, sizeof *p);
    p->program = s->program;
    p->batch = s->input_values.len && in[0] && in[0]->ndim ? in[0]->dims[0] : 0;
    p->unfed = s->input_values.len && in[0] && !in[0]->blob;
    plan_key(s, p, in);
    pare_status st = pare_program_cut(s, m, p->program, d);
    if (!st) st = bind(s, m, in, d);
    if (!st) st = pare_plan_settle(s, m, d);
    if (!st && s->passes) st = pare_engine_passes_bound(m, s->attention, s->integer, d);
    if (!st) st = pare_engine_fits_ahead(s, m, p, d);
    if (!st) st = pare_plan_steps(s, m, p, d);
    if (!st) st = pare_plan_layout(p, d);
    if (st) goto fail;
    count_constants(s, p);
    st = pare_engine_arenas(s, p, d);
    if (!st) st = pare_engine_constants_make(s, p, d);
    if (st) goto fail;
    for (size_t i = 0; i < p->buffers.len; i++) { /* the copies are made; what is read in place stays */
        pare_buffer *b = &p->buffers.data[i];
        if (b->on_host) continue;
        pare_blob_unref(b->blob);
        b->blob = NULL;
    }
    pare_model_free(m);
    *out = p;
    return PARE_OK;
fail:
    pare_model_free(m);
    pare_plan_free(s, p);
    return st;
}

void pare_plan_free(pare_session *s, pare_plan *p) {
    if (!p) return;
    for (size_t i = 0; i < p->n_kernels; i++)
        s->devices[p->kernels[i].device].use.backend->kernel_free(p->kernels[i].kernel);
    free(p->kernels);
    for (size_t i = 0; i < p->buffers.len; i++) pare_blob_unref(p->buffers.data[i].blob);
    for (size_t i = 0; i < p->outputs.len; i++) pare_blob_unref(p->outputs.data[i].blob);
    pare_engine_constants_free(s, &p->own);
    pare_vec_free(&p->key);
    pare_vec_free(&p->buffers);
    pare_vec_free(&p->steps);
    pare_vec_free(&p->rows);
    pare_vec_free(&p->outputs);
    pare_arena_free(&p->memory);
    free(p);
}

/* ---- running ---- */

/* An array where kernels may read it: as it is, or copied where it isn't aligned. NULL: no memory. */
static void *aligned(pare_session *s, uint32_t i, const pare_array *a) {
    static uint64_t nothing[8];
    void *data = (void *)(uintptr_t)pare_array_data(a);
    if (!data) return nothing;
    if ((uintptr_t)data % PARE_ENGINE_ALIGN == 0) return data;
    if (s->staging_bytes[i] < a->nbytes) {
        free(s->staging[i]);
        s->staging[i] = pare_try_alloc(a->nbytes);
        s->staging_bytes[i] = s->staging[i] ? a->nbytes : 0;
    }
    if (s->staging[i]) memcpy(s->staging[i], data, a->nbytes);
    return s->staging[i];
}

static pare_status place(pare_session *s, pare_plan *p, pare_array *const *in, pare_diags *d) {
    for (size_t i = 0; i < p->buffers.len; i++) {
        pare_buffer *b = &p->buffers.data[i];
        if (b->root != i) continue;
        if (b->kind == PARE_BUFFER_ARENA) b->at = (char *)s->devices[b->device].arena + b->offset;
        if (b->kind == PARE_BUFFER_INPUT && !(b->at = aligned(s, b->input, in[b->input])))
            return pare_fail(d, PARE_ENOMEM, "engine.memory", NULL, "no memory for a copy of the input \"%s\"",
                             s->inputs.data[b->input].name);
    }
    for (size_t i = 0; i < p->steps.len; i++) {
        pare_step *st = &p->steps.data[i];
        for (uint32_t k = 0; k < st->n_in; k++)
            st->in_at[k] = st->in[k] < 0 ? NULL : p->buffers.data[p->buffers.data[st->in[k]].root].at;
        for (uint32_t k = 0; k < st->n_out; k++)
            st->out_at[k] = st->out[k] < 0 ? NULL : p->buffers.data[p->buffers.data[st->out[k]].root].at;
    }
    return PARE_OK;
}

static pare_status run_step(pare_session *s, pare_plan *p, pare_step *st) {
    const pare_engine_device *dev = &s->devices[st->device];
    const pare_backend *b = dev->use.backend;
    uint64_t bytes = st->n_in ? p->buffers.data[st->in[0]].nbytes : 0;
    switch (st->kind) {
    case PARE_STEP_RUN:
        return b->run(st->kernel, st->in_at, st->out_at, st->scratch ? (char *)dev->arena + st->scratch_at : NULL);
    case PARE_STEP_TO_DEVICE: return b->copy(dev->handle, st->out_at[0], st->in_at[0], bytes, PARE_COPY_TO_DEVICE);
    case PARE_STEP_TO_HOST: return b->copy(dev->handle, st->out_at[0], st->in_at[0], bytes, PARE_COPY_TO_HOST);
    case PARE_STEP_ON_DEVICE: return b->copy(dev->handle, st->out_at[0], st->in_at[0], bytes, PARE_COPY_ON_DEVICE);
    case PARE_STEP_SYNC: return b->sync(dev->handle);
    }
    return PARE_EINTERNAL;
}

static const pare_profile_node *row_of(const pare_plan *p, const pare_step *st) {
    return st->row < p->rows.len ? &p->rows.data[st->row] : NULL;
}

static pare_status run_steps(pare_session *s, pare_plan *p, pare_diags *d) {
    for (size_t i = 0; i < p->steps.len; i++) {
        pare_step *st = &p->steps.data[i];
        if (!s->variables.len && pare_cancelled()) return PARE_ECANCELLED; /* half an update is no state */
        double t = s->profile ? pare_clock() : 0;
        pare_status r = run_step(s, p, st);
        if (!r && s->profile && st->kind == PARE_STEP_RUN) {
            r = s->devices[st->device].use.backend->sync(s->devices[st->device].handle);
            p->rows.data[st->row].seconds += pare_clock() - t;
            p->rows.data[st->row].runs++;
        }
        if (!r) continue;
        const pare_profile_node *row = row_of(p, st);
        return pare_fail(d, r, "engine.run", NULL, "%s node \"%s\" failed on \"%s\": %s", row ? row->op_type : "copy",
                         row ? row->node : "", s->devices[st->device].use.backend->id,
                         row ? pare_engine_why(row->op_type, r) : pare_status_text(r));
    }
    return PARE_OK;
}

static pare_status sync_all(pare_session *s, pare_diags *d, pare_status st) {
    for (uint32_t i = 0; i < s->n_devices; i++) {
        pare_status r = s->devices[i].use.backend->sync(s->devices[i].handle);
        if (r && !st)
            st = pare_fail(d, r, "engine.run", NULL, "a run on \"%s\" failed: %s", s->devices[i].use.backend->id,
                           pare_status_text(r));
    }
    return st;
}

/* Device memory into the caller's; the copies may still be under way after this. */
static pare_status fetch(pare_session *s, pare_plan *p, pare_array *const *in, pare_diags *d, void *const *to) {
    for (size_t i = 0; i < p->outputs.len; i++) {
        const pare_plan_output *o = &p->outputs.data[i];
        if (!to[i] || !o->nbytes) continue; /* handed through, or empty */
        if (o->input >= 0 || o->buffer < 0) {
            memcpy(to[i], o->input >= 0 ? pare_array_data(in[o->input]) : o->blob->data, (size_t)o->nbytes);
            continue;
        }
        const pare_buffer *b = &p->buffers.data[o->buffer];
        const pare_engine_device *dev = &s->devices[b->device];
        pare_status st =
            dev->use.backend->copy(dev->handle, to[i], p->buffers.data[b->root].at, o->nbytes, PARE_COPY_TO_HOST);
        if (st)
            return pare_fail(d, st, "engine.run", NULL, "the output \"%s\" can't be fetched: %s",
                             s->outputs.data[i].name, pare_status_text(st));
    }
    return PARE_OK;
}

pare_status pare_plan_run_into(pare_session *s, pare_plan *p, pare_array *const *in, pare_diags *d, void *const *to) {
    pare_status st = pare_engine_arenas(s, p, d);
    if (!st) st = place(s, p, in, d);
    if (!st) st = run_steps(s, p, d);
    if (!st) st = fetch(s, p, in, d, to);
    return sync_all(s, d, st); /* also after a failure: the caller's arrays must not be read any more */
}

/* Arrays for the outputs; what is handed through is shared. */
static pare_status outputs(pare_session *s, const pare_plan *p, pare_array *const *in, pare_diags *d, pare_array **got,
                           void **to) {
    for (size_t i = 0; i < p->outputs.len; i++) {
        const pare_plan_output *o = &p->outputs.data[i];
        if (o->input >= 0) {
            got[i] = pare_array_ref(in[o->input]);
            continue;
        }
        if (!(got[i] = pare_array_new(o->dtype, o->ndim, o->dims)))
            return pare_fail(d, PARE_ENOMEM, "engine.memory", "use a smaller batch", "no memory for the output \"%s\"",
                             s->outputs.data[i].name);
        to[i] = pare_array_data_mut(got[i]);
    }
    return PARE_OK;
}

pare_status pare_plan_run(pare_session *s, pare_plan *p, pare_array *const *in, pare_diags *d, pare_array **out) {
    pare_array **got = pare_xcalloc(p->outputs.len + 1, sizeof *got);
    void **to = pare_xcalloc(p->outputs.len + 1, sizeof *to);
    pare_status st = pare_engine_arenas(s, p, d); /* what does not fit is said before anything is taken */
    if (!st) st = outputs(s, p, in, d, got, to);
    if (!st) st = pare_plan_run_into(s, p, in, d, to);
    for (size_t i = 0; i < p->outputs.len; i++) {
        if (st)
            pare_array_unref(got[i]);
        else
            out[i] = got[i];
    }
    free(got);
    free(to);
    return st;
}
