/* data/store.h - where samples come from: files that are decoded, records that lie ready, or a generator. Inside the
 * layer. A store is immutable and shared by the sets made from it. May use: data.h.
 */
#ifndef PARE_DATA_STORE_H
#define PARE_DATA_STORE_H

#include "data/data.h"

typedef enum { STORE_FILES, STORE_RECORDS, STORE_RANDOM } store_kind;

/* Records that lie one after the other; a store may have several such runs (CIFAR's files). */
typedef struct store_run {
    const unsigned char *data; /* the first record's sample */
    uint64_t first, stride;    /* index of the first; bytes from one to the next */
} store_run;

/* A file that samples or labels come from; images of folders and lists are in `paths` instead. */
typedef struct store_source {
    char *path;
    uint64_t first; /* the sample that is its first */
    bool labels;    /* it holds labels */
} store_source;

typedef struct pare_store {
    uint32_t refs; /* atomic */
    store_kind kind;
    uint64_t count;
    int64_t *labels;    /* count of them; NULL: none */
    uint32_t n_classes; /* names; 0: none */
    char **classes;
    char **paths; /* STORE_FILES: count of them */
    /* STORE_RECORDS */
    uint32_t dtype, ndim;
    int64_t dims[PARE_ARRAY_DIMS]; /* of a sample */
    uint64_t bytes;                /* of a sample */
    pare_data_layout layout;       /* NCHW or NHWC where ndim is 3: where the channels are. 2 dims: one channel */
    bool image;                    /* 2 or 3 dims that are rows and columns of pixels */
    PARE_VEC(store_run) runs;
    PARE_VEC(store_source) sources;
    uint64_t seed; /* STORE_RANDOM, which has dtype, dims and bytes too */
    /* what keeps the bytes */
    PARE_VEC(pare_map_file *) files;
    PARE_VEC(pare_array *) arrays;
    struct pare_weights *weights;
    void *owned;
} pare_store;

pare_store *pare_store_new(store_kind kind);
pare_store *pare_store_ref(pare_store *s);
void pare_store_unref(pare_store *s); /* NULL is fine */

void pare_store_source(pare_store *s, const char *path, uint64_t first, bool labels);

/* The sample's bytes; STORE_RECORDS. */
const unsigned char *pare_store_record(const pare_store *s, uint64_t i);

/* Each fills a new store; on failure (reported) the caller frees it as it is. */
pare_status pare_store_idx(pare_store *s, const pare_data_source *src, pare_diags *d);
pare_status pare_store_cifar(pare_store *s, const pare_data_source *src, pare_diags *d);
pare_status pare_store_npy(pare_store *s, const pare_data_source *src, pare_diags *d);
pare_status pare_store_safetensors(pare_store *s, const pare_data_source *src, pare_diags *d);
pare_status pare_store_folder(pare_store *s, const pare_data_source *src, pare_diags *d);
pare_status pare_store_flat(pare_store *s, const pare_data_source *src, pare_diags *d);
pare_status pare_store_list(pare_store *s, const pare_data_source *src, pare_diags *d);

/* Only s->classes and s->n_classes; both stay empty where there are none. */
void pare_store_folder_classes(pare_store *s, const char *path);
void pare_store_cifar_classes(pare_store *s, const pare_data_source *src);

/* For the above: memory that files decide on. NULL after it told why. */
void *pare_store_alloc(uint64_t n, uint64_t size, const char *path, pare_diags *d);

#endif
