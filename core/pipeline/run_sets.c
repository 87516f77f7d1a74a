/* pipeline/run_sets.c - a run's data as the lock names it: SHA-256 of the files that samples and labels came from.
 *
 * A file is hashed once, whatever sets are made of it. Images that lie in folders are one entry: their names, sizes
 * and, up to a limit, what they hold. See run_parts.h. Is not: the sets themselves (run_train.c, run_score.c).
 */
#include "data/data.h"
#include "pipeline/run_parts.h"

#include <string.h>

enum { MOST_READ = 1 << 30 }; /* bytes of images that are read for it: more would keep a run waiting */

/* Is it there already, from another set? */
static bool known(const pare_run *r, const char *path, uint64_t files) {
    for (size_t i = 0; i < r->lock_data.len; i++)
        if (strcmp(r->lock_data.data[i].path, path) == 0 && r->lock_data.data[i].files == files) return true;
    return false;
}

static pare_status add_file(pare_run *r, const char *name, const char *path) {
    if (known(r, path, 0)) return PARE_OK;
    char *hex = pare_arena_alloc(&r->arena, PARE_SHA256_HEX);
    pare_lock_file f = {.name = name, .path = pare_arena_strdup(&r->arena, path), .sha256 = hex};
    pare_status st = pare_sha256_file(path, r->d, hex);
    if (!st && !pare_file_size(path, &f.bytes)) f.bytes = 0;
    if (!st) pare_vec_push(&r->lock_data, f);
    return st;
}

/* As it is written in the hash: below the folder, so that the folder may stand elsewhere. */
static const char *below(const char *folder, const char *path) {
    size_t n = strlen(folder);
    return strncmp(folder, path, n) == 0 ? path + n + (path[n] == '/') : pare_path_base(path);
}

static pare_status add_images(pare_run *r, const char *name, const char *folder, const pare_data *set) {
    uint64_t n = pare_data_n_images(set), from = pare_data_n_files(set) - n, bytes;
    if (known(r, folder, n)) return PARE_OK;
    char *hex = pare_arena_alloc(&r->arena, PARE_SHA256_HEX);
    pare_lock_file f = {.name = name, .path = folder, .sha256 = hex, .files = n};
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n; i++)
        if (pare_file_size(pare_data_file(set, from + i), &bytes)) f.bytes += bytes;
    f.contents = f.bytes <= MOST_READ;
    pare_sha256 *sha = pare_sha256_new();
    for (uint64_t i = 0; i < n && !st; i++) {
        const char *path = pare_data_file(set, from + i), *shown = below(folder, path);
        char size[24], inner[PARE_SHA256_HEX];
        bytes = 0;
        pare_file_size(path, &bytes);
        snprintf(size, sizeof size, "%llu", (unsigned long long)bytes);
        pare_sha256_add(sha, shown, strlen(shown) + 1);
        pare_sha256_add(sha, size, strlen(size) + 1);
        if (f.contents) st = pare_sha256_file(path, r->d, inner);
        if (f.contents && !st) pare_sha256_add(sha, inner, strlen(inner));
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    }
    pare_sha256_end(sha, hex);
    if (!st) pare_vec_push(&r->lock_data, f);
    return st;
}

static pare_status add_set(pare_run *r, int32_t i, const pare_data *set) {
    while (r->p->data.sets[i].from >= 0) i = r->p->data.sets[i].from;
    const char *name = pare_arena_printf(&r->arena, "data.%s", r->p->data.sets[i].name);
    uint64_t n = pare_data_n_files(set), images = pare_data_n_images(set);
    pare_status st = PARE_OK;
    for (uint64_t k = 0; k < n - images && !st; k++) {
        st = add_file(r, name, pare_data_file(set, k));
        if (!st && pare_cancelled()) st = PARE_ECANCELLED;
    }
    return st || !images ? st : add_images(r, name, r->p->data.sets[i].source->path, set);
}

pare_status pare_run_hash_sets(pare_run *r) {
    pare_status st = PARE_OK;
    for (size_t i = 0; r->sets && i < 2 * r->p->data.n_sets && !st; i++)
        if (r->sets[i]) st = add_set(r, (int32_t)(i / 2), r->sets[i]);
    if (!st && r->set) st = add_set(r, r->p->report.on, r->set);
    return st;
}
