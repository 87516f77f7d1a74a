/* tests/prune/test_gradual.c - the arithmetic of gradual pruning: schedules, RigL's choice, ERK's shares. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_host.h"
#include "prune/choose.h"
#include "prune/erk.h"
#include "prune/schedule.h"

#include <math.h>
#include <stdlib.h>

/* ---- when ---- */

static prune_times times_of(prune_options o, uint64_t steps, uint64_t per_epoch) {
    prune_times t;
    assert_int_equal(prune_times_make(&fake_host[0], &o, steps, per_epoch, &t), PARE_OK);
    return t;
}

static void steps_and_epochs(void **state) {
    (void)state;
    prune_times t = times_of((prune_options){.end = 0.75}, 1000, 100);
    assert_true(t.start == 0 && t.end == 750 && t.every == 37);
    t = times_of((prune_options){.end = 0.75}, 10000, 100);
    assert_true(t.every == 100); /* at most */
    t = times_of((prune_options){.end = 0.75}, 4, 2);
    assert_true(t.end == 3 && t.every == 1); /* at least */
    t = times_of((prune_options){.start = 0.1, .end = 800, .has_end = true, .every = 100, .has_every = true}, 1000, 9);
    assert_true(t.start == 100 && t.end == 800 && t.every == 100);
    t = times_of(
        (prune_options){.start = 0.5, .end = 2, .has_end = true, .every = 0.25, .has_every = true, .epochs = true},
        1000, 100);
    assert_true(t.start == 50 && t.end == 200 && t.every == 25);
    t = times_of((prune_options){.end = 0.75, .epochs = true}, 1000, 100); /* left out: a share all the same */
    assert_true(t.end == 750);
    t = times_of((prune_options){.end = 1, .has_end = true}, 1000, 100);
    assert_true(t.end == 1000);
}

static void wrong_times(void **state) {
    (void)state;
    const struct {
        double start, end;
        bool has_end, epochs;
        const char *text;
    } bad[] = {{0.5, 400, true, false, "not after the start at step 500"},
               {900, 0.75, false, false, "not after the start at step 900"},
               {0, 1001, true, false, "has only 1000 steps"},
               {0, 11, true, true, "is step 1100"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const prune_options o = {
            .start = bad[i].start, .end = bad[i].end, .has_end = bad[i].has_end, .epochs = bad[i].epochs};
        prune_times t;
        memset(&fake_last, 0, sizeof fake_last);
        assert_int_equal(prune_times_make(&fake_host[0], &o, 1000, 100, &t), PARE_EINVAL);
        assert_string_equal(fake_last.param, "end");
        if (!strstr(fake_last.message, bad[i].text)) fail_msg("%s", fake_last.message);
    }
}

static void changes(void **state) {
    (void)state;
    const prune_times t = {.start = 10, .end = 45, .every = 10};
    const uint64_t after[] = {0, 9, 10, 19, 20, 39, 40, 44}, want[] = {20, 20, 20, 20, 30, 40, 45, 45};
    for (int i = 0; i < 8; i++) assert_int_equal(prune_times_next(&t, after[i]), want[i]);
    assert_true(prune_times_next(&t, 45) == PRUNE_NEVER && prune_times_next(&t, 99) == PRUNE_NEVER);
    const prune_times even = {.start = 0, .end = 40, .every = 20};
    assert_true(prune_times_next(&even, 20) == 40 && prune_times_next(&even, 40) == PRUNE_NEVER);
    const prune_times rare = {.start = 5, .end = 7, .every = UINT64_MAX};
    assert_true(prune_times_next(&rare, 0) == 7);
}

/* s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n dt))^3, by hand. */
static void curves(void **state) {
    (void)state;
    const prune_times t = {.start = 100, .end = 500, .every = 100};
    const double cubic[] = {0, 0.578125, 0.875, 0.984375, 1}, linear[] = {0, 0.25, 0.5, 0.75, 1};
    for (uint64_t i = 0; i < 5; i++) {
        assert_true(fabs(prune_times_done(&t, PRUNE_CUBIC, 100 + 100 * i) - cubic[i]) < 1e-12);
        assert_true(fabs(prune_times_done(&t, PRUNE_LINEAR, 100 + 100 * i) - linear[i]) < 1e-12);
    }
    assert_true(prune_times_done(&t, PRUNE_CUBIC, 3) == 0 && prune_times_done(&t, PRUNE_CUBIC, 501) == 1);
    /* from 20 % to 80 % of 1000: 0.8 + (0.2 - 0.8) (1 - 1/4)^3 = 0.546875 */
    assert_int_equal(prune_between(200, 800, prune_times_done(&t, PRUNE_CUBIC, 200)), 547);
    assert_int_equal(prune_between(200, 800, 0), 200);
    assert_int_equal(prune_between(200, 800, 1), 800);
    assert_int_equal(prune_between(800, 200, 0.5), 500);
    /* 0.3 / 2 (1 + cos(pi x)) */
    assert_true(fabs(prune_times_drop(&t, 0.3, 100) - 0.3) < 1e-12);
    assert_true(fabs(prune_times_drop(&t, 0.3, 200) - 0.15 * (1 + sqrt(0.5))) < 1e-12);
    assert_true(fabs(prune_times_drop(&t, 0.3, 300) - 0.15) < 1e-12);
    assert_true(fabs(prune_times_drop(&t, 0.3, 500)) < 1e-12);
}

/* ---- ERK ---- */

/* Two layers by hand: dims / count are 16/400 = 0.04 and 40/400... and, with one that stays dense, epsilon anew. */
static void erk_by_hand(void **state) {
    (void)state;
    /* (10, 10) and (20, 20): densities e * 20/100 and e * 40/400; 250 of 500 stay: e (20 + 40) = 250 */
    prune_erk_layer two[] = {{.count = 100, .dims = 20}, {.count = 400, .dims = 40}};
    prune_erk(two, 2, 0.5);
    assert_true(fabs(two[0].sparsity - (1 - 250.0 / 60 * 0.2)) < 1e-12 && !two[0].dense);
    assert_true(fabs(two[1].sparsity - (1 - 250.0 / 60 * 0.1)) < 1e-12 && !two[1].dense);
    /* (6, 1, 3, 3), dims 13: e (13 + 99) = 0.25 * 342 gives 0.76 * 13/54 < 1; at 5 % sparsity the first is dense */
    prune_erk_layer net[] = {{.count = 54, .dims = 13}, {.count = 288, .dims = 99}};
    prune_erk(net, 2, 0.75);
    assert_true(fabs(net[0].sparsity - (1 - 0.25 * 342 / 112 * 13 / 54)) < 1e-12);
    assert_true(fabs(net[1].sparsity - (1 - 0.25 * 342 / 112 * 99 / 288)) < 1e-12);
    /* e = 0.95 * 342 / 112 = 2.9; 2.9 * 99/288 = 0.997; at 4 % it passes 1: that layer is dense, all comes from the
     * other */
    prune_erk(net, 2, 0.04);
    assert_true(net[1].dense && net[1].sparsity == 0);
    assert_true(fabs(net[0].sparsity - 0.04 * 342 / 54) < 1e-12);
    prune_erk(net, 2, 0);
    assert_true(fabs(net[0].sparsity) < 1e-12 && fabs(net[1].sparsity) < 1e-12);
    prune_erk(NULL, 0, 0.5);
}

/* All together are as sparse as asked, no layer is more than dense; as many layers, some dense, as the reference says.
 */
static void erk_adds_up(void **state) {
    (void)state;
    prune_erk_layer l[] = {{.count = 9408, .dims = 64 + 3 + 14}, {.count = 36864, .dims = 134},
                           {.count = 2359296, .dims = 1030},     {.count = 8192, .dims = 194},
                           {.count = 512000, .dims = 1512},      {.count = 64, .dims = 65}};
    for (double s = 0.05; s < 0.99; s += 0.047) {
        double all = 0, gone = 0, density = -1;
        prune_erk(l, 6, s);
        for (int i = 0; i < 6; i++) {
            all += l[i].count;
            gone += l[i].count * l[i].sparsity;
            assert_true(l[i].sparsity >= -1e-12 && l[i].sparsity < 1);
            if (l[i].dense) continue;
            const double e = (1 - l[i].sparsity) * l[i].count / l[i].dims; /* the same for all that are not dense */
            assert_true(density < 0 || fabs(e / density - 1) < 1e-9);
            density = e;
        }
        assert_true(fabs(gone / all - s) < 1e-9);
        assert_true(l[5].dense || s > 0.9);
    }
}

/* ---- RigL ---- */

static uint64_t seed_at;
static double drawn(void) {
    seed_at = seed_at * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed_at >> 11) * 0x1p-53;
}

typedef struct ranked {
    float size;
    uint64_t i;
} ranked;

static int smaller(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return x->i < y->i ? -1 : 1;
}

/* The plain way: sort the living by |w|, drop the first, sort all that do not live by |g|, take the last. */
static void by_sorting(const float *w, const float *g, uint64_t n, double share, const uint8_t *old, uint8_t *now) {
    ranked *r = malloc(n * sizeof *r);
    uint64_t living = 0, m = 0;
    for (uint64_t i = 0; i < n; i++)
        if (old[i]) r[living++] = (ranked){fabsf(w[i]), i};
    qsort(r, living, sizeof *r, smaller);
    const uint64_t drop = (uint64_t)(share * (double)living);
    memcpy(now, old, n);
    for (uint64_t i = 0; i < drop; i++) now[r[i].i] = 0;
    for (uint64_t i = 0; i < n; i++)
        if (!now[i]) r[m++] = (ranked){fabsf(g[i]), i};
    qsort(r, m, sizeof *r, smaller);
    for (uint64_t i = 0; i < drop; i++) now[r[m - 1 - i].i] = 1;
    free(r);
}

static void rigl_is_the_sort(void **state) {
    (void)state;
    prune_work *work = calloc(1, sizeof *work);
    work->host = &fake_host[0];
    const uint64_t sizes[] = {1, 7, 64, 1000, 70001};
    for (int k = 0; k < 40; k++) {
        const uint64_t n = sizes[k % 5];
        float *w = malloc(n * sizeof *w), *g = malloc(n * sizeof *g);
        uint64_t *key = malloc(n * sizeof *key), *grow = malloc(n * sizeof *grow), grown = 0, want = 0, living = 0;
        uint8_t *old = malloc(n), *now = malloc(n), *bits = calloc(1, (n + 7) / 8);
        const double share = k < 5 ? 0 : k < 10 ? 1 : drawn();
        for (uint64_t i = 0; i < n; i++) {
            old[i] = drawn() < 0.3;
            w[i] = old[i] ? (float)(drawn() - 0.5) : 0.0f;
            g[i] = (float)(k % 2 ? drawn() - 0.5 : floor(drawn() * 8) - 4); /* with ties */
            bits[i / 8] |= (uint8_t)(old[i] << i % 8);
            living += old[i];
        }
        by_sorting(w, g, n, share, old, now);
        assert_true(prune_key_magnitude(g, NULL, n, grow));
        assert_true(prune_rigl(work, w, n, share, grow, PRUNE_KEY_MAGNITUDE, key, bits, &grown));
        for (uint64_t i = 0; i < n; i++) {
            if (prune_bit(bits, i) != now[i]) fail_msg("case %d, element %llu", k, (unsigned long long)i);
            want += now[i] && !old[i];
        }
        assert_int_equal(grown, want);
        assert_int_equal(prune_bits_count(bits, n), living);
        free(w);
        free(g);
        free(key);
        free(grow);
        free(old);
        free(now);
        free(bits);
    }
    free(work);
}

static void keys_are_in_order(void **state) {
    (void)state;
    const float x[] = {-INFINITY, -2, -1, -1e-45f, -0.0f, 0, 1e-45f, 1, 2, INFINITY};
    const uint8_t bits[] = {0xff, 0x03}, none[] = {0xef, 0x01};
    uint64_t key[10];
    assert_true(prune_key_signed(x, bits, 10, key));
    for (int i = 1; i < 10; i++) assert_true(i == 5 ? key[5] == key[4] : key[i] > key[i - 1]);
    assert_true(key[0] >= 1 && key[9] < (uint64_t)1 << PRUNE_KEY_SIGNED);
    assert_true(prune_key_signed(x, none, 10, key));
    assert_true(key[4] == 0 && key[9] == 0 && key[5] > 0);
    assert_true(prune_key_magnitude(x, bits, 10, key));
    assert_true(key[1] == key[8] && key[4] == key[5] && key[4] == 1 && key[0] < (uint64_t)1 << PRUNE_KEY_MAGNITUDE);
    prune_key_drawn(3, 4, none, 10, key);
    assert_true(key[4] == 0 && key[0] > 0 && key[0] < (uint64_t)1 << PRUNE_KEY_DRAWN && key[0] != key[1]);
    const float bad[] = {1, NAN};
    const uint8_t first[] = {1}, both[] = {3};
    assert_true(prune_key_magnitude(bad, first, 2, key)); /* what is masked may be anything */
    assert_false(prune_key_magnitude(bad, both, 2, key));
    assert_true(prune_key_signed(bad, first, 2, key));
    assert_false(prune_key_signed(bad, both, 2, key));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_and_epochs), cmocka_unit_test(wrong_times),
                                       cmocka_unit_test(changes),          cmocka_unit_test(curves),
                                       cmocka_unit_test(erk_by_hand),      cmocka_unit_test(erk_adds_up),
                                       cmocka_unit_test(rigl_is_the_sort), cmocka_unit_test(keys_are_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
