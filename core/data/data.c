/* data/data.c - see data.h: opening sets and what can be asked of them. */
#include "data/set.h"

#include <pare/random.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static pare_status random_store(pare_store *s, const pare_data_source *src, const pare_data_target *t, pare_diags *d) {
    if (!src->count)
        return pare_fail(d, PARE_EINVAL, "data.random", "random: N with N at least 1", "random: 0 makes no samples");
    if (!t || !t->ndim)
        return pare_fail(d, PARE_EINVAL, "data.random", NULL,
                         "random samples have the shape of the model's input, and there is none");
    if (t->dtype && t->dtype != PARE_FLOAT)
        return pare_fail(d, PARE_EUNSUPPORTED, "data.random", NULL,
                         "random samples are float32, and the model takes %s", pare_dtype_name(t->dtype));
    s->dtype = PARE_FLOAT;
    s->ndim = t->ndim - 1;
    uint64_t n = 1;
    for (uint32_t i = 0; i < s->ndim; i++) {
        s->dims[i] = t->dims[i + 1];
        if (s->dims[i] <= 0)
            return pare_fail(d, PARE_EINVAL, "data.random", "use real samples, or a model with fixed sizes",
                             "random samples have the shape of the model's input, whose dimension %u is not fixed",
                             i + 1);
        if (!pare_mul_ok(n, (uint64_t)s->dims[i], &n))
            return pare_fail(d, PARE_EINVAL, "data.random", NULL, "the model's input is too large");
    }
    s->bytes = pare_nbytes(PARE_FLOAT, n);
    s->seed = src->seed;
    if (src->classes) {
        s->labels = pare_store_alloc(src->count, sizeof *s->labels, "random", d);
        if (!s->labels) return PARE_ENOMEM;
        for (uint64_t i = 0; i < src->count; i++)
            s->labels[i] =
                (int64_t)(pare_random_double(src->seed, pare_random_stream("data.random.labels"), i) * src->classes);
    }
    s->count = src->count;
    return PARE_OK;
}

static pare_status open_store(const pare_data_source *src, const pare_data_target *target, pare_diags *d,
                              pare_store **out) {
    if (src->kind == PARE_DATA_FROM) {
        *out = pare_store_ref(src->from->store);
        return PARE_OK;
    }
    bool files = src->kind == PARE_DATA_FOLDER || src->kind == PARE_DATA_FLAT || src->kind == PARE_DATA_LIST;
    pare_store *s = *out = pare_store_new(src->kind == PARE_DATA_RANDOM ? STORE_RANDOM
                                          : files                       ? STORE_FILES
                                                                        : STORE_RECORDS);
    switch (src->kind) {
    case PARE_DATA_IDX: return pare_store_idx(s, src, d);
    case PARE_DATA_NPY: return pare_store_npy(s, src, d);
    case PARE_DATA_CIFAR10:
    case PARE_DATA_CIFAR100: return pare_store_cifar(s, src, d);
    case PARE_DATA_FOLDER: return pare_store_folder(s, src, d);
    case PARE_DATA_FLAT: return pare_store_flat(s, src, d);
    case PARE_DATA_LIST: return pare_store_list(s, src, d);
    case PARE_DATA_SAFETENSORS: return pare_store_safetensors(s, src, d);
    case PARE_DATA_RANDOM: return random_store(s, src, target, d);
    case PARE_DATA_FROM: break;
    }
    return PARE_EINTERNAL;
}

char **pare_data_source_classes(const pare_data_source *src, uint32_t *n) {
    pare_store *s = pare_store_new(STORE_FILES);
    if (src->kind == PARE_DATA_FOLDER) pare_store_folder_classes(s, src->path);
    if (src->kind == PARE_DATA_CIFAR10 || src->kind == PARE_DATA_CIFAR100) pare_store_cifar_classes(s, src);
    char **names = s->n_classes ? s->classes : NULL;
    *n = s->n_classes;
    if (names) {
        s->classes = NULL;
        s->n_classes = 0;
    }
    pare_store_unref(s);
    return names;
}

/* Which of the store's samples, from the set it comes from, `split` and `take`. */
static pare_status choose(pare_data *set, const pare_data_source *src, pare_diags *d) {
    double lo = src->split_from, hi = src->split_to;
    bool split = lo != 0 || hi != 0;
    if (split && !(lo >= 0 && lo < hi && hi <= 1))
        return pare_fail_file(d, PARE_EINVAL, set->name, "data.split", "such as [0, 0.9] and [0.9, 1]",
                              "split [%g, %g] is no share between 0 and 1", lo, hi);
    const pare_data *from = src->kind == PARE_DATA_FROM ? src->from : NULL;
    set->count = from ? from->count : set->store->count;
    if (!split && !src->take && !(from && from->index)) return PARE_OK;
    set->index = pare_store_alloc(set->count, sizeof *set->index, set->name, d);
    if (!set->index) return PARE_ENOMEM;
    for (uint64_t i = 0; i < set->count; i++) set->index[i] = from ? pare_set_sample(from, i) : i;
    pare_status st = PARE_OK;
    if (split) st = pare_select_split(set, set->index, &set->count, lo, hi, src->seed, d);
    if (st == PARE_OK && src->take) st = pare_select_take(set, set->index, &set->count, src->take, src->seed, d);
    return st;
}

/* Where the label of the i-th sample stands: the file, and as which of its samples. */
static const char *label_file(const pare_data *set, uint64_t i, uint64_t *at) {
    const pare_store *s = set->store;
    *at = pare_set_sample(set, i);
    if (s->paths) return s->paths[*at];
    for (size_t k = s->sources.len; k-- > 0;)
        if (s->sources.data[k].labels && s->sources.data[k].first <= *at) {
            *at -= s->sources.data[k].first;
            return s->sources.data[k].path;
        }
    return set->name;
}

/* Labels lie in 0..limit-1 (limit 0: any); sets `classes` to the highest + 1, or to the names there are. */
static pare_status check_labels(const pare_data *set, uint64_t limit, pare_diags *d, uint32_t *classes) {
    uint64_t most = set->store->n_classes;
    for (uint64_t i = 0; i < set->count; i++) {
        int64_t v = pare_data_label(set, i);
        if (v < 0 || (limit && (uint64_t)v >= limit) || v >= INT32_MAX) {
            uint64_t top = limit ? limit - 1 : INT32_MAX - 1, at;
            const char *path = label_file(set, i, &at);
            return pare_fail_file(d, PARE_EINVAL, path, "data.label-range",
                                  limit ? "does the model have as many classes as the data?" : NULL,
                                  "the label of sample %" PRIu64 " is %" PRId64 "; 0 to %" PRIu64 " are allowed", at, v,
                                  top);
        }
        if ((uint64_t)v + 1 > most) most = (uint64_t)v + 1;
    }
    if (classes) *classes = (uint32_t)most;
    return PARE_OK;
}

pare_status pare_data_open(const pare_data_source *src, const pare_data_target *target, pare_diags *d,
                           pare_data **out) {
    *out = NULL;
    bool path = src->kind != PARE_DATA_RANDOM && src->kind != PARE_DATA_FROM;
    if (path ? !src->path || !*src->path : src->kind == PARE_DATA_FROM && !src->from)
        return pare_fail(d, PARE_EINVAL, "data.source", NULL, "the set '%s' says not where its samples are",
                         src->name ? src->name : "");
    pare_data *set = pare_xcalloc(1, sizeof *set);
    const pare_data *from = src->kind == PARE_DATA_FROM ? src->from : NULL;
    set->name = pare_xstrdup(src->name ? src->name : path ? src->path : from ? from->name : "random");
    set->seed = src->seed;
    set->shuffle = src->shuffle;
    set->on_error = from && src->on_error == PARE_ON_ERROR_FAIL ? from->on_error : src->on_error;
    pare_status st = open_store(src, target, d, &set->store);
    if (st == PARE_OK) st = choose(set, src, d);
    if (st == PARE_OK && !set->count)
        st = pare_fail_file(d, PARE_EINVAL, set->name, "data.empty", NULL, "the set has no samples");
    if (st == PARE_OK && set->store->labels) st = check_labels(set, src->classes, d, &set->classes);
    if (st != PARE_OK) {
        pare_data_free(set);
        return st;
    }
    *out = set;
    return PARE_OK;
}

void pare_data_free(pare_data *set) {
    if (!set) return;
    pare_store_unref(set->store);
    free(set->index);
    free(set->name);
    free(set);
}

uint64_t pare_data_count(const pare_data *set) { return set->count; }
bool pare_data_labelled(const pare_data *set) { return set->store->labels != NULL; }
uint32_t pare_data_classes(const pare_data *set) { return set->classes; }

const char *pare_data_class_name(const pare_data *set, uint32_t label) {
    return label < set->store->n_classes ? set->store->classes[label] : NULL;
}

int64_t pare_data_label(const pare_data *set, uint64_t i) {
    return set->store->labels ? set->store->labels[pare_set_sample(set, i)] : -1;
}

const char *pare_data_path(const pare_data *set, uint64_t i) {
    return set->store->paths ? set->store->paths[pare_set_sample(set, i)] : NULL;
}

uint64_t pare_data_n_images(const pare_data *set) { return set->store->paths ? set->store->count : 0; }

uint64_t pare_data_n_files(const pare_data *set) { return set->store->sources.len + pare_data_n_images(set); }

const char *pare_data_file(const pare_data *set, uint64_t i) {
    const pare_store *s = set->store;
    return i < s->sources.len ? s->sources.data[i].path : s->paths[i - s->sources.len];
}

pare_status pare_data_check_labels(const pare_data *set, uint32_t classes, pare_diags *d) {
    return set->store->labels ? check_labels(set, classes, d, NULL) : PARE_OK;
}
