/* pipeline/run_teach.c - a step's teachers: their sessions, and their logits kept on disk. See run_train.h.
 *
 * Kept are rows by sample, in a file of the run's work folder that has no name: whatever ends the run, it goes with it.
 */
#include "model/edit.h"
#include "model/finite.h"
#include "model/infer.h"
#include "model/pack.h"
#include "pipeline/carry.h"
#include "pipeline/run_train.h"

#include <stdlib.h>
#include <string.h>

/* ---- kept logits ---- */

static bool again(const pare_run_train *t) {
    const pare_fit_opts *o = &t->opts;
    double n = (double)pare_data_count(t->services.env.set);
    return o->epochs > 1 || (double)o->steps * o->batch > n;
}

static void give_up(pare_run *r, pare_run_logits *k) {
    pare_say(r->d, PARE_WARNING, "run.logits", "the teacher's logits can't be kept in %s: it is asked each time",
             r->dir.work);
    if (k->file) fclose(k->file);
    k->file = NULL;
}

/* Its place in the run's list, from 1. */
static size_t kept_for(pare_run_train *t, const char *ref) {
    pare_run *r = t->r;
    pare_sb key = {0};
    pare_sb_printf(&key, "%s\n%d\n", ref, t->step->fit->data);
    pare_data_preprocess_print(&t->pre, &key);
    for (size_t i = 0; i < r->logits.len; i++)
        if (strcmp(r->logits.data[i].key, pare_sb_str(&key)) == 0) {
            pare_sb_free(&key);
            return i + 1;
        }
    const char *path = pare_run_path(r, pare_arena_printf(&r->arena, ".logits-%zu.tmp", r->logits.len));
    pare_run_logits k = {.key = pare_arena_strdup(&r->arena, pare_sb_str(&key)),
                         .file = fopen(path, "w+b"),
                         .count = pare_data_count(t->services.env.set)};
    pare_sb_free(&key);
    if (k.file) pare_file_remove(path); /* nameless from here on */
    k.there = k.file ? pare_try_alloc((size_t)(k.count / 8 + 1)) : NULL;
    if (k.there)
        memset(k.there, 0, (size_t)(k.count / 8 + 1));
    else
        give_up(r, &k);
    pare_vec_push(&r->logits, k);
    return r->logits.len;
}

static bool all_there(const pare_run_logits *k, const pare_batch *b) {
    for (uint64_t i = 0; i < b->n; i++)
        if (b->samples[i] >= k->count || !(k->there[b->samples[i] / 8] >> b->samples[i] % 8 & 1)) return false;
    return true;
}

static bool seek(pare_run_logits *k, uint64_t sample) {
    uint64_t at = sample * k->classes * sizeof(float);
    return at <= INT64_MAX && fseek(k->file, (long)at, SEEK_SET) == 0;
}

/* NULL: they can't be read. */
static pare_array *read_rows(pare_run_logits *k, const pare_batch *b) {
    pare_array *a = pare_array_new(PARE_FLOAT, 2, (int64_t[]){(int64_t)b->n, (int64_t)k->classes});
    bool ok = a != NULL;
    for (uint64_t i = 0; i < b->n && ok; i++)
        ok = seek(k, b->samples[i]) && fread((float *)pare_array_data_mut(a) + i * k->classes, sizeof(float),
                                             (size_t)k->classes, k->file) == k->classes;
    if (ok) return a;
    pare_array_unref(a);
    return NULL;
}

static bool write_rows(pare_run_logits *k, const pare_batch *b, const pare_array *a) {
    if (a->dtype != PARE_FLOAT || a->ndim != 2 || (uint64_t)a->dims[0] != b->n) return true; /* nothing to keep */
    k->classes = (uint64_t)a->dims[1];
    for (uint64_t i = 0; i < b->n; i++) {
        if (b->samples[i] >= k->count) continue;
        if (!seek(k, b->samples[i]) || fwrite((const float *)pare_array_data(a) + i * k->classes, sizeof(float),
                                              (size_t)k->classes, k->file) != k->classes)
            return false;
        k->there[b->samples[i] / 8] |= (unsigned char)(1u << b->samples[i] % 8);
    }
    return true;
}

void pare_run_logits_free(pare_run *r) {
    for (size_t i = 0; i < r->logits.len; i++) {
        if (r->logits.data[i].file) fclose(r->logits.data[i].file);
        free(r->logits.data[i].there);
    }
    pare_vec_free(&r->logits);
}

pare_status pare_run_teach(void *ctx, pare_session *s, const pare_batch *b, pare_array *images, pare_array **out) {
    pare_run_train *t = ctx;
    pare_run_logits *k = NULL;
    for (size_t i = 0; i < t->teachers.len; i++)
        if (t->teachers.data[i].m.session == s && t->teachers.data[i].kept)
            k = &t->r->logits.data[t->teachers.data[i].kept - 1];
    if (k && !k->file) k = NULL;
    if (k && all_there(k, b) && (*out = read_rows(k, b))) return PARE_OK;
    pare_status st = pare_session_run(s, &images, t->r->d, out);
    if (!st && k && !write_rows(k, b, *out)) give_up(t->r, k);
    return st;
}

/* ---- sessions ---- */

static void add_dims(pare_sb *b, uint32_t ndim, const int64_t *dims) {
    for (uint32_t i = 1; i < ndim; i++) {
        if (i > 1) pare_sb_addc(b, 'x');
        if (dims[i] < 0)
            pare_sb_addc(b, '?');
        else
            pare_sb_printf(b, "%lld", (long long)dims[i]);
    }
}

pare_status pare_run_teacher_fits(const char *ref, const pare_data_target *takes, const pare_data_preprocess *pre,
                                  const pare_data_target *student, const pare_data_preprocess *own, pare_diags *d) {
    static const char hint[] = "both see the same batch: take a teacher of that input, or wrap it in an ONNX file that "
                               "adapts its input first";
    bool same = takes->dtype == student->dtype && takes->ndim == student->ndim;
    for (uint32_t i = 1; i < takes->ndim && same; i++)
        same = takes->dims[i] < 0 || student->dims[i] < 0 || takes->dims[i] == student->dims[i];
    pare_sb a = {0}, b = {0};
    pare_status st = PARE_OK;
    if (!same && takes->ndim && student->ndim) {
        add_dims(&a, takes->ndim, takes->dims);
        add_dims(&b, student->ndim, student->dims);
        st =
            pare_fail(d, PARE_EINVAL, "train.teacher-input", hint,
                      "the teacher \"%s\" takes samples of %s %s, the student of %s %s", ref,
                      pare_dtype_name(takes->dtype), pare_sb_str(&a), pare_dtype_name(student->dtype), pare_sb_str(&b));
    } else {
        pare_data_preprocess_print(pre, &a);
        pare_data_preprocess_print(own, &b);
        if (strcmp(pare_sb_str(&a), pare_sb_str(&b)) != 0)
            st = pare_fail(d, PARE_EINVAL, "train.teacher-input", hint,
                           "the teacher \"%s\" wants its samples prepared by %s, the student by %s", ref,
                           pare_sb_str(&a), pare_sb_str(&b));
    }
    pare_sb_free(&a);
    pare_sb_free(&b);
    return st;
}

pare_status pare_run_teacher_read(pare_run *r, const char *path, bool say, pare_model **out) {
    pare_model *m = NULL;
    pare_status st = pare_model_load(path, r->d, &m);
    if (!st) st = pare_model_check(m, r->d);
    if (!st) st = pare_model_infer(m, r->d);
    if (!st && say) st = pare_model_say_not_finite(m, path, r->d);
    if (st) {
        pare_model_free(m);
        return st;
    }
    *out = m;
    return PARE_OK;
}

/* Its model: as the run has it, else read anew (*own then). */
static pare_status open_model(pare_run *r, const char *ref, const pare_pipeline_model **line, pare_model **own,
                              const pare_model **out) {
    pare_pipeline_ref at;
    *line = NULL;
    *own = NULL;
    pare_status st = PARE_OK;
    if (!pare_pipeline_ref_find(r->p, ref, &at)) {
        st = pare_run_teacher_read(r, ref, true, own);
    } else {
        pare_run_slot *slot = pare_run_slot_of(r, at);
        *line = &r->p->models[at.kind == PARE_REF_MODEL ? at.i : r->p->steps[at.i].model];
        *out = slot->model;
        if (*out) return PARE_OK;
        st = at.kind == PARE_REF_MODEL ? pare_pipeline_model_open(r->p, *line, r->d, own)
                                       : pare_model_load(pare_run_path(r, slot->file), r->d, own);
    }
    *out = *own;
    return st;
}

pare_status pare_run_teacher(void *ctx, const char *ref, pare_session **out) {
    pare_run_train *t = ctx;
    pare_run *r = t->r;
    for (size_t i = 0; i < t->teachers.len; i++)
        if (strcmp(t->teachers.data[i].ref, ref) == 0) {
            *out = t->teachers.data[i].m.session;
            return PARE_OK;
        }
    const pare_pipeline_model *line;
    const pare_model *m = NULL;
    pare_model *own = NULL;
    pare_data_preprocess pre;
    pare_run_taught new = {.ref = pare_arena_strdup(&r->arena, ref)};
    pare_status st = open_model(r, ref, &line, &own, &m);
    if (!st) st = pare_carry_preprocess(pare_carry_given(r->p, line), m, ref, r->d, &pre, NULL);
    if (!st) st = pare_scored_open(m, t->services.env.compute, 0, r->d, &new.m);
    pare_model_free(own);
    if (!st) st = pare_run_teacher_fits(ref, &new.m.target, &pre, &t->target, &t->pre, r->d);
    if (st) {
        pare_scored_close(&new.m);
        return st;
    }
    new.m.name = new.ref;
    pare_switch keep = t->step->fit ? t->step->fit->cache_logits : PARE_OFF;
    if (keep == PARE_ON || (keep == PARE_AUTO && again(t))) new.kept = kept_for(t, ref);
    pare_vec_push(&t->teachers, new);
    *out = new.m.session;
    return PARE_OK;
}

void pare_run_teachers_close(pare_run_train *t) {
    for (size_t i = 0; i < t->teachers.len; i++) pare_scored_close(&t->teachers.data[i].m);
    pare_vec_free(&t->teachers);
}
