/* test_attention.c - the cpu plugin's Attention and LayerNormalization against the plain C kernels, in sizes that end
 * within vectors, panels and rows; on every instruction set that ONEDNN_MAX_CPU_ISA lets through. */
#include "backend_case.h"

#include "ref/ref_attention.h"

typedef struct sizes {
    int64_t n, h, tq, tk, d, dv;
    int mask; /* 0: none, 1: (tq, tk), 2: (n, 1, 1, tk), 3: (h, tq, 1) */
} sizes;

static const sizes all[] = {{1, 1, 1, 1, 1, 1, 0},    {2, 3, 7, 7, 5, 5, 0},     {1, 2, 13, 65, 16, 32, 1},
                            {3, 1, 6, 130, 8, 70, 2}, {1, 5, 20, 33, 64, 64, 3}, {2, 2, 65, 48, 20, 17, 1},
                            {1, 1, 50, 100, 3, 16, 0}};

static int64_t the_mask_view[7], the_shape[8];

/* q, k, v side by side in one (n, t, 3 h d) where all is of one size, else each by itself; y (n, tq, h, dv). */
static void begin(const sizes *s, bool packed, bool mask) {
    const int64_t shape[] = {1, 1, s->n, s->h, s->tq, s->tk, s->d, s->dv};
    const int64_t w = s->h * s->d, wv = s->h * s->dv, all3 = 3 * w;
    case_begin("Attention");
    the_case.spec.domain = "ai.pare";
    if (packed) {
        const int64_t dims[] = {s->n, s->tq, all3};
        const int64_t q[] = {0, 0, 0, s->tq * all3, s->d, all3}, k[] = {w, 0, 0, s->tq * all3, s->d, all3},
                      v[] = {2 * w, 0, 0, s->tq * all3, s->d, all3};
        for (int i = 0; i < 3; i++) case_in(dims, 3, 0);
        case_ints("q", q, 6);
        case_ints("k", k, 6);
        case_ints("v", v, 6);
    } else {
        const int64_t dq[] = {s->n, s->tq, w}, dk[] = {s->n, s->h, s->tk, s->d}, dvs[] = {s->tk, s->n, wv};
        const int64_t q[] = {0, 0, 0, s->tq * w, s->d, w}, k[] = {0, 0, 0, w * s->tk, s->tk * s->d, s->d},
                      v[] = {0, 0, 0, wv, s->dv, s->n * wv};
        case_in(dq, 3, 0);
        case_in(dk, 4, 0);
        case_in(dvs, 3, 0);
        case_ints("q", q, 6);
        case_ints("k", k, 6);
        case_ints("v", v, 6);
    }
    if (mask) {
        const int64_t m1[] = {s->tq, s->tk}, m2[] = {s->n, 1, 1, s->tk}, m3[] = {s->h, s->tq, 1};
        const int64_t v1[] = {0, 0, 0, 0, 0, s->tk, 1}, v2[] = {0, 0, 0, s->tk, 0, 0, 1},
                      v3[] = {0, 0, 0, 0, s->tq, 1, 0};
        case_in(s->mask == 1 ? m1 : s->mask == 2 ? m2 : m3, s->mask == 1 ? 2 : s->mask == 2 ? 4 : 3, 0);
        attribute("mask", PARE_ATTRIBUTE_INTS, 7)->ints = memcpy(the_mask_view,
                                                                 s->mask == 1   ? v1
                                                                 : s->mask == 2 ? v2
                                                                                : v3,
                                                                 sizeof v1);
    }
    const int64_t y[] = {s->n, s->tq, s->h, s->dv}, to[] = {0, 0, 0, s->tq * wv, s->dv, wv};
    case_out(y, 4);
    case_ints("y", to, 6);
    attribute("shape", PARE_ATTRIBUTE_INTS, 8)->ints = memcpy(the_shape, shape, sizeof shape);
    case_float("scale", 1.7);
}

static void sizes_of_all_kinds(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        begin(&all[i], false, all[i].mask != 0);
        case_check("c:attention", 5e-6);
        if (all[i].tq != all[i].tk || all[i].d != all[i].dv) continue;
        begin(&all[i], true, false);
        case_check("c:attention", 5e-6);
    }
}

/* -inf hides; where all is hidden, nothing is a number, and its neighbours are not touched. */
static void hidden(void **state) {
    (void)state;
    const sizes s = {1, 1, 9, 21, 4, 8, 1};
    begin(&s, false, true);
    float *mask = the_case.in[3].data;
    for (int i = 0; i < 9 * 21; i += 2) mask[i] = -INFINITY;
    case_check("c:attention", 5e-6);
    for (int i = 0; i < 21; i++) mask[3 * 21 + i] = -INFINITY;
    run_backend("c:attention");
    uint64_t n;
    const float *y = case_result(&n);
    for (uint64_t i = 0; i < n; i++) assert_int_equal(isnan(y[i]) != 0, i / 8 == 3);
}

static void scores_of_any_size(void **state) {
    (void)state;
    const sizes s = {1, 1, 8, 40, 6, 16, 0};
    for (int times = 0; times < 2; times++) {
        begin(&s, false, false);
        for (int i = 0; i < 8 * 6; i++) the_case.in[0].data[i] *= times ? 300.0f : 0.0f;
        case_check("c:attention", 1e-4); /* e^x of sums of large products: their rounding counts */
    }
}

/* Views that point outside are nobody's. */
static void views_are_checked(void **state) {
    (void)state;
    const sizes s = {2, 2, 5, 5, 4, 4, 1};
    for (uint32_t a = 0; a < 6; a++) { /* q, k, v, mask, y, shape */
        begin(&s, false, true);
        assert_true(case_has_kernel());
        int64_t *view = (int64_t *)(uintptr_t)the_case.attrs[a].value.ints;
        for (int i = 0; i < 6; i++) {
            int64_t was = view[i];
            static const int64_t wrong[] = {-1, 1000, INT64_MAX, INT64_MIN};
            for (size_t k = 0; k < 4; k++) {
                if (a == 5 || i == 0 || i > 2) { /* the dims 1 and 2 are of size 1: their steps say nothing */
                    view[i] = wrong[k];
                    if (a != 5 || i > 1 || k != 1) assert_false(case_has_kernel());
                }
                view[i] = was;
            }
        }
        the_case.attrs[a].value.n--;
        assert_false(case_has_kernel());
    }
}

static void layer_norms(void **state) {
    (void)state;
    static const int64_t dims[][3] = {{1, 1, 1}, {3, 5, 7}, {2, 4, 16}, {1, 9, 31}, {2, 3, 100}, {1, 40, 384}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int shift = 0; shift < 2; shift++) {
            case_begin("LayerNormalization");
            case_in(dims[i], 3, 0);
            case_in(&dims[i][2], 1, PARE_OPERAND_CONSTANT);
            if (shift) case_in(&dims[i][2], 1, PARE_OPERAND_CONSTANT);
            for (int k = 0; i > 0 && k < dims[i][2]; k++) the_case.in[0].data[k] += 100; /* far from 0 */
            case_out(dims[i], 3);
            case_int("axis", -1);
            case_check("c:layernorm", 2e-5);
        }
    case_begin("LayerNormalization"); /* over the last two */
    case_in(dims[1], 3, 0);
    case_in(&dims[1][1], 2, 0);
    case_out(dims[1], 3);
    case_int("axis", 1);
    case_float("epsilon", 0.1);
    case_check("c:layernorm", 1e-5);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sizes_of_all_kinds), cmocka_unit_test(hidden),
                                       cmocka_unit_test(scores_of_any_size), cmocka_unit_test(views_are_checked),
                                       cmocka_unit_test(layer_norms)};
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
