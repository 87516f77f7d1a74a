/* quantize/calibrate_compare.c - see calibrate_compare.h. */
#include "calibrate_compare.h"

#include "histogram.h"

#include <math.h>

enum { LANES = HISTOGRAM_LANES, PIECES = 64, PIECE_LEAST = 65536 };

typedef struct job {
    const void *a, *b;
    uint32_t a_dtype, b_dtype;
    uint64_t n, pieces;
    double sum[PIECES][4];
    const histogram_loops *loops;
} job;

static uint64_t piece_start(const job *j, uint64_t i) {
    const uint64_t blocks = (j->n + HISTOGRAM_BLOCK - 1) / HISTOGRAM_BLOCK, whole = blocks / j->pieces,
                   rest = blocks % j->pieces;
    const uint64_t at = (whole * i + (i < rest ? i : rest)) * HISTOGRAM_BLOCK;
    return at < j->n ? at : j->n;
}

static void compare_piece(void *ctx, uint64_t index) {
    job *j = ctx;
    const uint64_t end = piece_start(j, index + 1);
    float a_buffer[HISTOGRAM_BLOCK], b_buffer[HISTOGRAM_BLOCK];
    double lane[4][LANES] = {{0}};
    for (uint64_t first = piece_start(j, index); first < end;) {
        const uint32_t n = end - first < HISTOGRAM_BLOCK ? (uint32_t)(end - first) : HISTOGRAM_BLOCK;
        const float *a = histogram_floats(j->a, j->a_dtype, first, n, a_buffer);
        const float *b = histogram_floats(j->b, j->b_dtype, first, n, b_buffer);
        j->loops->sums(a, b, n - n % LANES, lane);
        for (uint32_t i = n - n % LANES; i < n; i++) {
            const double x = (double)a[i], y = (double)b[i];
            lane[0][0] += x * x;
            lane[1][0] += y * y;
            lane[2][0] += x * y;
            lane[3][0] += (x - y) * (x - y);
        }
        first += n;
    }
    for (int k = 0; k < 4; k++) {
        double sum = 0;
        for (int l = 0; l < LANES; l++) sum += lane[k][l];
        j->sum[index][k] = sum;
    }
}

pare_status calibrate_compare_add(const pare_host *host, calibrate_compare *c, const pare_view *a, const pare_view *b) {
    if (a->count != b->count) return PARE_EINVAL;
    if (!histogram_reads(a->dtype) || !histogram_reads(b->dtype)) return PARE_EUNSUPPORTED;
    if (!a->count) return PARE_OK;
    job j = {.a = (const char *)a->data + a->byte_offset,
             .b = (const char *)b->data + b->byte_offset,
             .a_dtype = a->dtype,
             .b_dtype = b->dtype,
             .n = a->count,
             .loops = histogram_loops_best()};
    j.pieces = (j.n + PIECE_LEAST - 1) / PIECE_LEAST;
    if (j.pieces > PIECES) j.pieces = PIECES;
    if (j.pieces == 1)
        compare_piece(&j, 0);
    else
        host->parallel(host, j.pieces, compare_piece, &j);
    for (uint64_t i = 0; i < j.pieces; i++) {
        c->aa += j.sum[i][0];
        c->bb += j.sum[i][1];
        c->ab += j.sum[i][2];
        c->dd += j.sum[i][3];
    }
    c->n += j.n;
    return PARE_OK;
}

pare_status calibrate_compare_merge(const pare_host *host, calibrate_compare *c) {
    double sums[4] = {c->aa, c->bb, c->ab, c->dd};
    pare_status st = host->reduce(host, PARE_REDUCE_SUM, PARE_DOUBLE, sums, 4);
    if (!st) st = host->reduce(host, PARE_REDUCE_SUM, PARE_UINT64, &c->n, 1);
    c->aa = sums[0];
    c->bb = sums[1];
    c->ab = sums[2];
    c->dd = sums[3];
    return st;
}

double calibrate_compare_sqnr(const calibrate_compare *c) {
    if (!(c->aa > 0)) return NAN;
    return c->dd > 0 ? 10 * log10(c->aa / c->dd) : c->dd == 0 ? INFINITY : NAN;
}

double calibrate_compare_cosine(const calibrate_compare *c) {
    return c->aa > 0 && c->bb > 0 ? c->ab / sqrt(c->aa) / sqrt(c->bb) : NAN;
}
