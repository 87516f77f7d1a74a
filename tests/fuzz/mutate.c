/* tests/fuzz/mutate.c - damaged ONNX files through all that a reader's caller does with them: read, check, infer,
 * count, pack, unpack, write. Meant to run under ASan and UBSan; the same count, seed and files give the same
 * mutations.
 *
 * usage: tool_mutate COUNT SEED [FOLDER | FILE ...]
 * Seeds are the .onnx files (up to 64 KiB) under the folders, and one model made here. They are tried unmutated first
 * and must be read. Exit 1: a hang (over two seconds), a refusal without a reason, a model that was read but can't be
 * written.
 */
#define _POSIX_C_SOURCE 200809L
#include "fuzz/fields.h"
#include "model/edit.h"
#include "model/infer.h"
#include "model/layers.h"
#include "model/onnx.h"
#include "model/onnx_make.h"
#include "model/pack.h"
#include "model/stats.h"

enum { SEED_MAX = 64 * 1024, BIG = 1 << 20 };

typedef struct bytes {
    unsigned char *p;
    size_t n;
} bytes;

static PARE_VEC(bytes) seeds;
static uint64_t rng_state;
static unsigned failures, accepted, refused;

static uint64_t rng(void) { /* splitmix64 */
    uint64_t z = rng_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(size_t n) { return n ? (size_t)(rng() % n) : 0; }

/* ---- seeds ---- */

static void seed_file(const char *path) {
    uint64_t size;
    pare_map_file *f = NULL;
    if (!pare_file_size(path, &size) || !size || size > SEED_MAX || pare_map_file_open(path, NULL, &f)) return;
    bytes b = {pare_xmalloc((size_t)f->len), (size_t)f->len};
    memcpy(b.p, f->data, b.n);
    pare_vec_push(&seeds, b);
    pare_map_file_unref(f);
}

static void seed_folder(const char *path) {
    if (pare_path_what(path) == PARE_PATH_FILE) {
        size_t n = strlen(path);
        if (n > 5 && strcmp(path + n - 5, ".onnx") == 0) seed_file(path);
        return;
    }
    size_t n;
    char **names = pare_dir_list(path, &n);
    for (size_t i = 0; names && i < n; i++) {
        char *inner = pare_path_join(path, names[i]);
        seed_folder(inner);
        free(inner);
    }
    pare_dir_list_free(names);
}

/* A Conv with a big sparse weight (so that packing has something to do), a branch, a function, and the rest. */
static msg made_here(void) {
    int64_t dims[4] = {8, 4, 3, 3}, input[4] = {-1, 4, 8, 8};
    float w[288] = {0};
    for (int i = 0; i < 288; i += 9) w[i] = (float)i;
    msg g = graph_add(), inner = {0}, name = {0}, a = {0}, iff = node("If", "x", "z"), fn = {0};
    msg_sub(&g, 1, node("Conv", "image weight", "conv"));
    msg_sub(&g, 1, node("Relu", "conv", "relu"));
    msg_sub(&g, 5, tensor_raw("weight", 1, 4, dims, w, sizeof w));
    msg_sub(&g, 11, info_f32("image", 4, input));
    msg_sub(&inner, 1, node("Neg", "w", "r"));
    msg_str(&name, 1, "r");
    msg_sub(&inner, 12, name);
    msg_str(&a, 1, "then_branch");
    msg_sub(&a, 6, inner);
    msg_int(&a, 20, 5);
    msg_sub(&iff, 5, a);
    msg_sub(&g, 1, iff);
    msg_str(&fn, 1, "f");
    msg_sub(&fn, 7, node("Anything", "a", "b"));
    msg m = model(g);
    msg_sub(&m, 25, fn);
    return m;
}

/* ---- mutations ---- */

static void splice(bytes *b, size_t at, const unsigned char *data, size_t n) {
    b->p = pare_xrealloc(b->p, b->n + n);
    memmove(b->p + at + n, b->p + at, b->n - at);
    if (n) memmove(b->p + at, data, n);
    b->n += n;
}

static void mutate(bytes *b) {
    static const unsigned char blowups[][10] = {{0xff, 0xff, 0xff, 0xff, 0x0f},
                                                {0xff, 0xff, 0xff, 0xff, 0x07},
                                                {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
                                                {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
                                                {0},
                                                {0x80, 0x80, 0x80, 0x80, 0x10}};
    static const size_t blowup_len[] = {5, 5, 10, 10, 1, 5};
    size_t at = below(b->n), n, k;
    switch (below(10)) {
    case 0:
    case 1:
        if (b->n) b->p[at] ^= (unsigned char)(1u << below(8));
        break;
    case 2:
    case 3:
        if (b->n) b->p[at] = (unsigned char)rng();
        break;
    case 4: { /* insert noise */
        unsigned char noise[9];
        for (size_t i = 0; i < sizeof noise; i++) noise[i] = (unsigned char)rng();
        splice(b, at, noise, 1 + below(sizeof noise));
        break;
    }
    case 5: /* delete */
        n = 1 + below(20);
        if (n > b->n - at) n = b->n - at;
        memmove(b->p + at, b->p + at + n, b->n - at - n);
        b->n -= n;
        break;
    case 6: /* cut off */ b->n = at; break;
    case 7: /* a number that is too big, in place of one or between two */
        k = below(sizeof blowup_len / sizeof *blowup_len);
        if (below(2) && b->n - at >= blowup_len[k])
            memcpy(b->p + at, blowups[k], blowup_len[k]);
        else
            splice(b, at, blowups[k], blowup_len[k]);
        break;
    case 8: { /* a piece of another file */
        const bytes *other = &seeds.data[below(seeds.len)];
        size_t from = below(other->n);
        splice(b, at, other->p + from, below(other->n - from < 4096 ? other->n - from : 4096));
        break;
    }
    default: { /* a piece of itself, again */
        n = below(b->n - at < 4096 ? b->n - at : 4096);
        unsigned char *piece = pare_xmalloc(n);
        if (n) memcpy(piece, b->p + at, n);
        splice(b, below(b->n), piece, n);
        free(piece);
        break;
    }
    }
}

/* One field of a file that still is one: see fields.h. */
static void mutate_field(bytes *b) {
    field_change c = {.rng = rng, .swap = (const unsigned char *)""};
    size_t n = count_fields(b->p, b->n, SIZE_MAX, &c.swap, &c.swap_len, 0, 0);
    msg out = {0};
    count_fields(b->p, b->n, below(n), &c.swap, &c.swap_len, 0, 0);
    c.at = below(n);
    change_message(&c, b->p, b->n, &out, 0);
    free(b->p);
    *b = (bytes){out.p ? out.p : pare_xmalloc(1), out.n};
}

/* ---- what is done with a file ---- */

static pare_status to_nowhere(void *ctx, const void *data, size_t n) {
    uint64_t *sum = ctx;
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) *sum = (*sum ^ p[i]) * 0x100000001b3u; /* FNV-1a: every byte is touched */
    return PARE_OK;
}

static void failed(uint64_t number, const char *what) {
    printf("FAILED: mutation %llu: %s\n", (unsigned long long)number, what);
    failures++;
}

static uint64_t written(pare_model *m, uint64_t number, pare_diags *d) {
    uint64_t sum = 0xcbf29ce484222325u;
    if (pare_onnx_stream(m, (pare_sink){to_nowhere, &sum}, d)) failed(number, "it was read and can't be written");
    return sum;
}

static void use(pare_model *m, uint64_t number, pare_diags *d) {
    uint64_t sum = written(m, number, d);
    pare_model *copy = pare_model_clone(m);
    if (pare_model_check(m, d)) failed(number, "it was read and doesn't stand the check");
    pare_model_stats s;
    if (!pare_model_stats_of(m, d, &s)) pare_model_stats_free(&s); /* a contradiction of shapes is an error, and fine */
    if (written(copy, number, d) != sum) failed(number, "a clone is written differently");
    char *error = NULL;
    for (size_t i = 0; i < copy->nodes.len; i++)
        for (uint32_t k = 0; copy->nodes.data[i] && k < copy->nodes.data[i]->n_in; k++) {
            pare_const c = pare_const_of(copy, copy->nodes.data[i]->in[k]);
            if (c.tensor) pare_layer_match(copy, "*conv*", (uint32_t)i + 1, c.tensor, &error);
        }
    free(error);
    pare_pack_result r = {0};
    if (!pare_model_is_packed(copy) && !pare_model_pack(copy, d, &r) && !r.why_not && !pare_model_unpack(copy, d) &&
        written(copy, number, d) != sum)
        failed(number, "packed and unpacked, it is written differently");
    pare_model_free(copy);
}

static void try(const bytes *b, uint64_t number, bool must_read) {
    pare_diags *d = pare_diags_new(PARE_DIAG_SILENT, NULL);
    pare_model *m = NULL;
    double start = pare_clock();
    pare_status st = pare_onnx_read_bytes(b->p, b->n, "mutated.onnx", d, &m);
    if (st) {
        refused++;
        if (!pare_diags_errors(d)) failed(number, "refused without a reason");
        if (must_read)
            failed(number, pare_diags_errors(d) ? pare_diags_get(d, 0)->message : "an unmutated file is refused");
    } else {
        accepted++;
        use(m, number, d);
    }
    pare_model_free(m);
    pare_diags_free(d);
    if (pare_clock() - start > 2) failed(number, "it took more than two seconds");
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s COUNT SEED [FOLDER | FILE ...]\n", argv[0]);
        return 2;
    }
    uint64_t count = strtoull(argv[1], NULL, 10), seed = strtoull(argv[2], NULL, 10);
    msg own = made_here();
    pare_vec_push(&seeds, ((bytes){own.p, own.n}));
    for (int i = 3; i < argc; i++) seed_folder(argv[i]);
    for (size_t i = 0; i < seeds.len && i < count; i++)
        try(&seeds.data[seeds.len < count ? i : i * seeds.len / count], i, true);
    for (uint64_t i = 0; i < count; i++) {
        rng_state = seed * 0x2545f4914f6cdd1du + i;
        const bytes *from = &seeds.data[below(seeds.len)];
        bytes b = {pare_xmalloc(from->n), from->n};
        memcpy(b.p, from->p, b.n);
        bool framed = below(4) > 0;
        for (size_t k = 1 + below(below(4) ? 3 : 12); k > 0 && b.n < BIG; k--) {
            if (framed)
                mutate_field(&b);
            else
                mutate(&b);
        }
        try(&b, i, false);
        free(b.p);
    }
    printf("%llu mutations of %zu files: %u read, %u refused, %u failed\n", (unsigned long long)count, seeds.len,
           accepted, refused, failures);
    for (size_t i = 0; i < seeds.len; i++) free(seeds.data[i].p);
    pare_vec_free(&seeds);
    return failures ? 1 : 0;
}
