/* data/reader.c - see data.h: batches, made by threads of the reader's own.
 *
 * Threads claim samples in order, a few at a time, of batches that the queue has room for, and write each into its
 * place in its batch; so batches do not depend on who made them. Where no thread could be started, the caller's does
 * the work.
 */
#include "data/prep.h"
#include "data/set.h"

#include <pare/random.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD = 10 }; /* skipped samples that are named */

/* What went wrong with a sample, to be told when its batch is handed out. */
typedef struct trouble {
    uint64_t at; /* in the batch */
    pare_status st;
    bool skip;
    char *code, *message, *hint, *path;
} trouble;

typedef struct slot {
    pare_array *images, *labels;
    uint64_t *samples;
    uint64_t n, claimed, done;
    bool no_memory;
    PARE_VEC(trouble) troubles;
} slot;

struct pare_reader {
    const pare_data *set;
    pare_prep prep;
    pare_reader_opts opts;
    uint64_t *order; /* NULL: as the set has it */
    uint64_t total, batches, chunk;
    slot *slots;     /* opts.ahead of them; batch b lies in slot b % ahead */
    uint64_t handed; /* batches handed out */
    uint64_t next;   /* the batch of which samples are claimed */
    uint64_t skipped;
    pare_status failed;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    bool closing;
    uint32_t live; /* threads that work */
    pthread_t owner;
    pare_job **jobs;
    uint32_t n_jobs;
    pare_prep_room room; /* the caller's */
};

static void trouble_free(trouble *t) {
    free(t->code);
    free(t->message);
    free(t->hint);
    free(t->path);
}

static void slot_clear(slot *s) {
    pare_array_unref(s->images);
    pare_array_unref(s->labels);
    free(s->samples);
    for (size_t i = 0; i < s->troubles.len; i++) trouble_free(&s->troubles.data[i]);
    pare_vec_free(&s->troubles);
    *s = (slot){0};
}

/* ---- making batches ---- */

/* The first claim of a batch: its arrays. Called with the lock held. */
static void slot_begin(pare_reader *r, slot *s, uint64_t batch) {
    uint64_t first = batch * r->opts.batch;
    s->n = r->total - first < r->opts.batch ? r->total - first : r->opts.batch;
    int64_t dims[PARE_ARRAY_DIMS] = {(int64_t)s->n};
    memcpy(dims + 1, r->prep.dims, r->prep.ndim * sizeof *dims);
    s->images = pare_array_new(r->prep.dtype, r->prep.ndim + 1, dims);
    if (pare_data_labelled(r->set)) s->labels = pare_array_new(PARE_INT64, 1, dims);
    s->samples = pare_try_alloc(s->n * sizeof *s->samples);
    s->no_memory = !s->images || !s->samples || (pare_data_labelled(r->set) && !s->labels);
    if (s->no_memory) s->claimed = s->done = s->n;
}

/* Makes sample `at` of a batch; what goes wrong is in *d and comes back as its status. */
static pare_status make(const pare_reader *r, slot *s, uint64_t batch, uint64_t at, pare_prep_room *room, pare_diags *d,
                        bool *skip) {
    uint64_t i = batch * r->opts.batch + at, of_set = r->order ? r->order[i] : i;
    uint64_t sample = pare_set_sample(r->set, of_set);
    s->samples[at] = of_set;
    if (s->labels) ((int64_t *)pare_array_data_mut(s->labels))[at] = r->set->store->labels[sample];
    pare_status st = r->prep.pixels ? pare_prep_load(&r->prep, sample, d, room) : PARE_OK;
    *skip = st != PARE_OK && st != PARE_ENOMEM && r->set->on_error == PARE_ON_ERROR_SKIP;
    unsigned char *to = pare_array_data_mut(s->images);
    return st == PARE_OK ? pare_prep_write(&r->prep, sample, d, room, to + at * r->prep.bytes) : st;
}

static char *copy(const char *s) { return s ? pare_xstrdup(s) : NULL; }

static trouble trouble_of(const pare_diags *d, uint64_t at, pare_status st, bool skip) {
    trouble t = {.at = at, .st = st, .skip = skip};
    size_t n = pare_diags_count(d);
    if (n) {
        const pare_diag_item *it = pare_diags_get(d, n - 1);
        t.code = copy(it->code);
        t.message = copy(it->message);
        t.hint = copy(it->hint);
        t.path = copy(it->path);
    }
    return t;
}

/* Claims some samples and makes them. The lock is held before and after. false: the queue has no room, or all is done.
 */
static bool work_some(pare_reader *r, pare_prep_room *room, pare_diags **d) {
    while (r->next < r->batches && r->next < r->handed + r->opts.ahead) {
        uint64_t batch = r->next;
        slot *s = &r->slots[batch % r->opts.ahead];
        if (!s->n) slot_begin(r, s, batch);
        uint64_t first = s->claimed, n = s->n - first < r->chunk ? s->n - first : r->chunk;
        s->claimed += n;
        if (s->claimed == s->n) r->next++;
        if (!n) { /* no memory: told when it is handed out */
            pthread_cond_broadcast(&r->done);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        PARE_VEC(trouble) troubles = {0};
        for (uint64_t at = first; at < first + n; at++) {
            bool skip = false;
            pare_status st = make(r, s, batch, at, room, *d, &skip);
            if (st == PARE_OK) continue;
            pare_vec_push(&troubles, trouble_of(*d, at, st, skip));
            pare_diags_free(*d); /* collectors keep all they were told */
            *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
        }
        pthread_mutex_lock(&r->lock);
        for (size_t i = 0; i < troubles.len; i++) pare_vec_push(&s->troubles, troubles.data[i]);
        pare_vec_free(&troubles);
        s->done += n;
        if (s->done == s->n) pthread_cond_broadcast(&r->done);
        return true;
    }
    return false;
}

static void worker(void *ctx) {
    pare_reader *r = ctx;
    if (pthread_equal(pthread_self(), r->owner)) return; /* there was no thread to be had */
    pare_prep_room room = {0};
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pthread_mutex_lock(&r->lock);
    r->live++;
    while (!r->closing) {
        if (work_some(r, &room, &d)) continue;
        if (r->next == r->batches) break;
        pthread_cond_wait(&r->work, &r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    pare_diags_free(d);
    pare_prep_room_free(&room);
}

/* ---- handing out ---- */

static int by_place(const void *a, const void *b) {
    const trouble *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static pare_status tell(pare_reader *r, const slot *s, pare_diags *d) {
    for (size_t i = 0; i < s->troubles.len; i++) {
        const trouble *t = &s->troubles.data[i];
        if (!t->skip) {
            if (t->path) return pare_fail_file(d, t->st, t->path, t->code, t->hint, "%s", t->message);
            return pare_fail(d, t->st, t->code ? t->code : "data.sample", t->hint, "%s",
                             t->message ? t->message : pare_status_text(t->st));
        }
    }
    for (size_t i = 0; i < s->troubles.len; i++) {
        const trouble *t = &s->troubles.data[i];
        if (r->skipped++ < TOLD) {
            pare_diag_item it = {.severity = PARE_WARNING,
                                 .code = t->code,
                                 .message = t->message,
                                 .path = t->path,
                                 .hint = "left out, as on_error: skip says"};
            if (d && t->code && t->message) pare_diags_add(d, &it);
        } else if (r->skipped == TOLD + 1) {
            pare_say(d, PARE_WARNING, "data.skipped", "%s: further samples that are left out are not named",
                     r->set->name);
        }
    }
    return PARE_OK;
}

/* A batch's array without the samples that were left out. */
static pare_array *without(pare_array *a, const slot *s, uint64_t bytes, pare_array *shape) {
    const unsigned char *from = pare_array_data(a);
    unsigned char *to = pare_array_data_mut(shape);
    size_t bad = 0;
    for (uint64_t i = 0; i < s->n; i++) {
        if (bad < s->troubles.len && s->troubles.data[bad].at == i) {
            bad++;
            continue;
        }
        if (bytes) memcpy(to, from + i * bytes, bytes);
        to += bytes;
    }
    pare_array_unref(a);
    return shape;
}

static pare_status leave_out(slot *s, const pare_prep *p, pare_batch *out) {
    uint64_t n = s->n - s->troubles.len;
    int64_t dims[PARE_ARRAY_DIMS] = {(int64_t)n};
    memcpy(dims + 1, p->dims, p->ndim * sizeof *dims);
    pare_array *images = pare_array_new(p->dtype, p->ndim + 1, dims);
    pare_array *labels = s->labels ? pare_array_new(PARE_INT64, 1, dims) : NULL;
    if (!images || (s->labels && !labels)) {
        pare_array_unref(images);
        pare_array_unref(labels);
        return PARE_ENOMEM;
    }
    out->images = without(s->images, s, p->bytes, images);
    if (s->labels) out->labels = without(s->labels, s, sizeof(int64_t), labels);
    uint64_t kept = 0;
    size_t bad = 0;
    for (uint64_t i = 0; i < s->n; i++)
        if (bad < s->troubles.len && s->troubles.data[bad].at == i)
            bad++;
        else
            s->samples[kept++] = s->samples[i];
    out->n = n;
    return PARE_OK;
}

/* From a finished slot to a batch. */
static pare_status hand_out(pare_reader *r, slot *s, pare_diags *d, pare_batch *out) {
    uint64_t bytes;
    if (s->no_memory) {
        if (!pare_mul_ok(s->n, r->prep.bytes, &bytes)) bytes = UINT64_MAX;
        return pare_fail_file(d, PARE_ENOMEM, r->set->name, "memory", "take a smaller batch",
                              "no memory for a batch of %" PRIu64 " samples: %" PRIu64 " bytes", s->n, bytes);
    }
    if (s->troubles.len) qsort(s->troubles.data, s->troubles.len, sizeof *s->troubles.data, by_place);
    pare_status st = tell(r, s, d);
    if (st != PARE_OK || s->troubles.len == s->n) return st;
    if (s->troubles.len) {
        st = leave_out(s, &r->prep, out);
        if (st != PARE_OK)
            return pare_fail_file(d, st, r->set->name, "memory", "take a smaller batch", "no memory for a batch");
    } else {
        out->images = s->images;
        out->labels = s->labels;
        out->n = s->n;
    }
    out->samples = s->samples;
    s->images = s->labels = NULL;
    s->samples = NULL;
    return PARE_OK;
}

pare_status pare_reader_next(pare_reader *r, pare_diags *d, pare_batch *out) {
    *out = (pare_batch){0};
    if (r->failed != PARE_OK) return r->failed;
    pare_status st = PARE_OK;
    pare_diags *own = NULL;
    while (st == PARE_OK && !out->n && r->handed < r->batches) {
        if (pare_cancelled()) {
            st = PARE_ECANCELLED;
            break;
        }
        pthread_mutex_lock(&r->lock);
        slot *s = &r->slots[r->handed % r->opts.ahead];
        while (!s->n || s->done < s->n) {
            if (!r->live) {
                if (!own) own = pare_diags_new(PARE_DIAG_SILENT, NULL);
                if (work_some(r, &r->room, &own)) continue;
            }
            if (s->n && s->done == s->n) break;
            pthread_cond_wait(&r->done, &r->lock);
        }
        slot ready = *s;
        *s = (slot){0};
        r->handed++;
        pthread_cond_broadcast(&r->work);
        pthread_mutex_unlock(&r->lock);
        st = hand_out(r, &ready, d, out);
        slot_clear(&ready);
    }
    pare_diags_free(own);
    r->failed = st;
    return st;
}

void pare_batch_free(pare_batch *b) {
    pare_array_unref(b->images);
    pare_array_unref(b->labels);
    free(b->samples);
    *b = (pare_batch){0};
}

/* ---- opening ---- */

/* Where the shape of images follows from the images: from the first that can be decoded. */
static pare_status fix_shape(pare_reader *r, pare_diags *d) {
    for (uint64_t i = 0; i < r->set->count; i++) {
        uint64_t sample = pare_set_sample(r->set, i);
        bool skip = r->set->on_error == PARE_ON_ERROR_SKIP;
        pare_status st = pare_prep_load(&r->prep, sample, skip ? NULL : d, &r->room);
        if (st == PARE_OK) return pare_prep_fix(&r->prep, &r->room.image, r->set->store->paths[sample], d);
        if (!skip || st == PARE_ENOMEM) return st;
    }
    return pare_fail_file(d, PARE_EINVAL, r->set->name, "data.empty", NULL, "none of its images can be decoded");
}

pare_status pare_reader_open(const pare_data *set, const pare_data_preprocess *pre, const pare_data_target *target,
                             const pare_reader_opts *opts, pare_diags *d, pare_reader **out) {
    *out = NULL;
    if (!opts->batch)
        return pare_fail(d, PARE_EINVAL, "data.batch", "at least 1", "a batch of 0 samples holds nothing");
    pare_reader *r = pare_xcalloc(1, sizeof *r);
    r->set = set;
    r->opts = *opts;
    if (!r->opts.ahead) r->opts.ahead = 1;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->done, NULL);
    r->owner = pthread_self();
    r->slots = pare_xcalloc(r->opts.ahead, sizeof *r->slots);
    pare_status st = pare_prep_open(&r->prep, set->store, set->name, pre, target, d);
    if (st == PARE_OK && !r->prep.fixed) st = fix_shape(r, d);
    if (st == PARE_OK && r->prep.ndim + 1 > PARE_ARRAY_DIMS)
        st = pare_fail_file(d, PARE_EUNSUPPORTED, set->name, "data.shape", NULL, "samples have too many dimensions");
    r->total = opts->only ? opts->n_only : set->count;
    if (st == PARE_OK && opts->only) {
        r->order = pare_store_alloc(r->total, sizeof *r->order, set->name, d);
        if (r->order)
            memcpy(r->order, opts->only, (size_t)r->total * sizeof *r->order);
        else
            st = PARE_ENOMEM;
    } else if (st == PARE_OK && set->shuffle) {
        r->order = pare_store_alloc(set->count, sizeof *r->order, set->name, d);
        if (!r->order) {
            st = PARE_ENOMEM;
        } else {
            for (uint64_t i = 0; i < set->count; i++) r->order[i] = i;
            pare_select_shuffle(r->order, set->count, set->seed, pare_random_stream("data.shuffle") + opts->epoch);
        }
    }
    if (st != PARE_OK) {
        pare_reader_close(r);
        return st;
    }
    r->opts.only = NULL;
    if (opts->drop_last) r->total = r->total / opts->batch * opts->batch;
    r->batches = (r->total + opts->batch - 1) / opts->batch;
    uint32_t threads = opts->threads ? opts->threads : pare_threads();
    /* decoding is worth a claim each; records are cheap */
    r->chunk = set->store->kind == STORE_FILES ? 1 : opts->batch / (threads * 2) + 1;
    r->jobs = pare_xcalloc(threads, sizeof *r->jobs);
    for (; r->n_jobs < threads; r->n_jobs++) r->jobs[r->n_jobs] = pare_job_start(worker, r);
    *out = r;
    return PARE_OK;
}

uint64_t pare_reader_skipped(const pare_reader *r) { return r->skipped; }

void pare_reader_shape(const pare_reader *r, uint32_t *dtype, uint32_t *ndim, int64_t dims[PARE_ARRAY_DIMS]) {
    *dtype = r->prep.dtype;
    *ndim = r->prep.ndim;
    memcpy(dims, r->prep.dims, sizeof r->prep.dims);
}

void pare_reader_close(pare_reader *r) {
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    for (uint32_t i = 0; i < r->n_jobs; i++) pare_job_join(r->jobs[i]);
    free(r->jobs);
    for (uint32_t i = 0; i < r->opts.ahead; i++) slot_clear(&r->slots[i]);
    free(r->slots);
    free(r->order);
    pare_prep_close(&r->prep);
    pare_prep_room_free(&r->room);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

pare_status pare_data_image(const char *path, const pare_data_preprocess *pre, const pare_data_target *target,
                            pare_diags *d, pare_array **out) {
    pare_data_source src = {.kind = PARE_DATA_FLAT, .path = path};
    pare_reader_opts opts = {.batch = 1, .threads = 1};
    pare_data *set;
    pare_reader *r = NULL;
    pare_batch b = {0};
    if (pare_path_what(path) == PARE_PATH_DIR)
        return pare_fail_file(d, PARE_EINVAL, path, "file.folder", "name a file in it",
                              "this is a folder, not an image");
    pare_status st = pare_data_open(&src, target, d, &set);
    if (st == PARE_OK) st = pare_reader_open(set, pre, target, &opts, d, &r);
    if (st == PARE_OK) st = pare_reader_next(r, d, &b);
    if (st == PARE_OK) {
        *out = b.images;
        b.images = NULL;
    }
    pare_batch_free(&b);
    pare_reader_close(r);
    pare_data_free(set);
    return st;
}
