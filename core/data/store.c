/* data/store.c - see store.h: what all stores share. */
#include "data/store.h"

#include "model/weights.h"

#include <inttypes.h>
#include <stdlib.h>

pare_store *pare_store_new(store_kind kind) {
    pare_store *s = pare_xcalloc(1, sizeof *s);
    s->refs = 1;
    s->kind = kind;
    return s;
}

pare_store *pare_store_ref(pare_store *s) {
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void pare_store_unref(pare_store *s) {
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL)) return;
    for (uint32_t i = 0; i < s->n_classes; i++) free(s->classes[i]);
    free(s->classes);
    if (s->paths)
        for (uint64_t i = 0; i < s->count; i++) free(s->paths[i]);
    free(s->paths);
    free(s->labels);
    pare_vec_free(&s->runs);
    for (size_t i = 0; i < s->sources.len; i++) free(s->sources.data[i].path);
    pare_vec_free(&s->sources);
    for (size_t i = 0; i < s->files.len; i++) pare_map_file_unref(s->files.data[i]);
    pare_vec_free(&s->files);
    for (size_t i = 0; i < s->arrays.len; i++) pare_array_unref(s->arrays.data[i]);
    pare_vec_free(&s->arrays);
    if (s->weights) pare_weights_free(s->weights);
    free(s->owned);
    free(s);
}

void pare_store_source(pare_store *s, const char *path, uint64_t first, bool labels) {
    store_source x = {pare_xstrdup(path), first, labels};
    pare_vec_push(&s->sources, x);
}

const unsigned char *pare_store_record(const pare_store *s, uint64_t i) {
    const store_run *r = s->runs.data;
    for (size_t k = s->runs.len; k-- > 1;)
        if (i >= s->runs.data[k].first) {
            r = &s->runs.data[k];
            break;
        }
    return r->data + (i - r->first) * r->stride;
}

void *pare_store_alloc(uint64_t n, uint64_t size, const char *path, pare_diags *d) {
    uint64_t bytes;
    void *p = pare_mul_ok(n, size, &bytes) && bytes <= SIZE_MAX ? pare_try_alloc((size_t)bytes) : NULL;
    if (!p)
        pare_fail_file(d, PARE_ENOMEM, path, "memory", NULL, "no memory for %" PRIu64 " elements of %" PRIu64 " bytes",
                       n, size);
    return p;
}
