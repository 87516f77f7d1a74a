/* data/store_cifar.c - see store.h: CIFAR-10 and CIFAR-100, "binary version": mapped, nothing is copied but labels.
 *
 * Source: the page of CIFAR: a record is one label byte (CIFAR-100: coarse, then fine) and 3072 bytes, 32x32 planes of
 * red, green and blue.
 */
#include "data/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 3 * 32 * 32 };

static pare_status add_file(pare_store *s, const char *path, uint32_t n_labels, pare_diags *d) {
    pare_map_file *f;
    pare_status st = pare_map_file_open(path, d, &f);
    if (st != PARE_OK) return st;
    pare_vec_push(&s->files, f);
    uint64_t record = n_labels + PIXELS, n = f->len / record;
    if (!n || f->len % record)
        return pare_fail_file(d, PARE_EINVAL, path, "data.cifar", "cifar10: and cifar100: read the binary version",
                              "%" PRIu64 " bytes are no whole number of records of %" PRIu64, f->len, record);
    int64_t *labels = pare_store_alloc(s->count + n, sizeof *labels, path, d);
    if (!labels) return PARE_ENOMEM;
    if (s->count) memcpy(labels, s->labels, s->count * sizeof *labels);
    free(s->labels);
    s->labels = labels;
    unsigned most = n_labels == 1 ? 10 : 100;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char label = f->data[i * record + n_labels - 1];
        if (label >= most)
            return pare_fail_file(d, PARE_EINVAL, path, "data.label-range",
                                  n_labels == 1 ? "is it CIFAR-100? Then say cifar100:" : NULL,
                                  "record %" PRIu64 " has label %u; labels are 0 to %u", i, label, most - 1);
        labels[s->count + i] = label;
    }
    pare_store_source(s, path, s->count, true);
    pare_vec_push(&s->runs, ((store_run){f->data + n_labels, s->count, record}));
    s->count += n;
    return PARE_OK;
}

/* One name a line, as many as there are classes; anything else is as good as no file. */
static void read_names(pare_store *s, const char *path, uint32_t n) {
    pare_map_file *f;
    if (pare_path_what(path) != PARE_PATH_FILE || pare_map_file_open(path, NULL, &f) != PARE_OK) return;
    s->classes = pare_xcalloc(n, sizeof *s->classes);
    const char *p = (const char *)f->data, *end = p + f->len;
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop) stop = end;
        size_t len = (size_t)(stop - p);
        if (len && p[len - 1] == '\r') len--;
        if (len && s->n_classes < n) s->classes[s->n_classes++] = pare_xstrndup(p, len);
        p = stop + 1;
    }
    if (s->n_classes != n) {
        for (uint32_t i = 0; i < s->n_classes; i++) free(s->classes[i]);
        free(s->classes);
        s->classes = NULL;
        s->n_classes = 0;
    }
    pare_map_file_unref(f);
}

void pare_store_cifar_classes(pare_store *s, const pare_data_source *src) {
    bool ten = src->kind == PARE_DATA_CIFAR10, file = pare_path_what(src->path) != PARE_PATH_DIR;
    char *dir = file ? pare_path_dir(src->path) : pare_xstrdup(src->path);
    char *names = pare_path_join(dir, ten ? "batches.meta.txt" : "fine_label_names.txt");
    read_names(s, names, ten ? 10 : 100);
    free(names);
    free(dir);
}

static pare_status add_in(pare_store *s, const char *dir, const char *name, uint32_t n_labels, pare_diags *d) {
    char *path = pare_path_join(dir, name);
    pare_status st = add_file(s, path, n_labels, d);
    free(path);
    return st;
}

pare_status pare_store_cifar(pare_store *s, const pare_data_source *src, pare_diags *d) {
    uint32_t n_labels = src->kind == PARE_DATA_CIFAR10 ? 1 : 2;
    pare_status st = PARE_OK;
    s->dtype = PARE_UINT8;
    s->ndim = 3;
    s->dims[0] = 3;
    s->dims[1] = s->dims[2] = 32;
    s->bytes = PIXELS;
    s->image = true;
    s->layout = PARE_DATA_LAYOUT_NCHW;
    if (pare_path_what(src->path) != PARE_PATH_DIR) {
        st = add_file(s, src->path, n_labels, d);
    } else {
        const char *part = src->part ? src->part : "train", *dir = src->path;
        if (strcmp(part, "train") != 0 && strcmp(part, "test") != 0)
            st = pare_fail_file(d, PARE_EINVAL, src->path, "data.part", NULL, "part '%s' is neither train nor test",
                                part);
        else if (n_labels == 2)
            st = add_in(s, dir, part[1] == 'r' ? "train.bin" : "test.bin", n_labels, d);
        else if (part[1] == 'e')
            st = add_in(s, dir, "test_batch.bin", n_labels, d);
        else
            for (int i = 1; i <= 5 && st == PARE_OK; i++) {
                char name[] = "data_batch_0.bin";
                name[11] = (char)('0' + i);
                st = add_in(s, dir, name, n_labels, d);
            }
    }
    if (st == PARE_OK) pare_store_cifar_classes(s, src);
    return st;
}
