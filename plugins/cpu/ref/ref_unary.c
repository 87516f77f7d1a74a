/* plugins/cpu/ref/ref_unary.c - one input, no parameters: arithmetic, roots, trigonometry, rounding, tests, Not.
 *
 * Integers are exact: Abs, Neg and Sign of them wrap as two's complement does. May use: ref.h.
 */
#include "ref_map.h"
#include "ref_rows.h"

#include <math.h>
#include <string.h>

REF_MAP_F(abs_of, v < 0 ? -v : v == 0 ? 0 : v)
REF_MAP_F(neg, -v)
REF_MAP_F(sign, v > 0 ? 1 : v < 0 ? -1 : v)
REF_MAP_F(reciprocal, 1 / v)
REF_MAP_D(sqrt_of, sqrt(v))
REF_MAP_D(floor_of, floor(v))
REF_MAP_D(ceil_of, ceil(v))
REF_MAP_D(round_of, nearbyint(v)) /* halves to even */
REF_MAP_D(exp_of, exp(v))
REF_MAP_D(log_of, log(v))
REF_MAP_D(sin_of, sin(v))
REF_MAP_D(cos_of, cos(v))
REF_MAP_D(tan_of, tan(v))
REF_MAP_D(asin_of, asin(v))
REF_MAP_D(acos_of, acos(v))
REF_MAP_D(atan_of, atan(v))
REF_MAP_D(sinh_of, sinh(v))
REF_MAP_D(cosh_of, cosh(v))
REF_MAP_D(asinh_of, asinh(v))
REF_MAP_D(acosh_of, acosh(v))
REF_MAP_D(atanh_of, atanh(v))
static double is_nan(double v, double a, double b) {
    (void)a, (void)b;
    return isnan(v);
}
static double is_inf(double v, double negative, double positive) {
    return isinf(v) && (v < 0 ? negative : positive) != 0;
}

static const ref_map table[] = {
    {"Abs", abs_of_f32, abs_of_f64},
    {"Neg", neg_f32, neg_f64},
    {"Sign", sign_f32, sign_f64},
    {"Reciprocal", reciprocal_f32, reciprocal_f64},
    {"Sqrt", sqrt_of_f32, sqrt_of_f64},
    {"Floor", floor_of_f32, floor_of_f64},
    {"Ceil", ceil_of_f32, ceil_of_f64},
    {"Round", round_of_f32, round_of_f64},
    {"Exp", exp_of_f32, exp_of_f64},
    {"Log", log_of_f32, log_of_f64},
    {"Sin", sin_of_f32, sin_of_f64},
    {"Cos", cos_of_f32, cos_of_f64},
    {"Tan", tan_of_f32, tan_of_f64},
    {"Asin", asin_of_f32, asin_of_f64},
    {"Acos", acos_of_f32, acos_of_f64},
    {"Atan", atan_of_f32, atan_of_f64},
    {"Sinh", sinh_of_f32, sinh_of_f64},
    {"Cosh", cosh_of_f32, cosh_of_f64},
    {"Asinh", asinh_of_f32, asinh_of_f64},
    {"Acosh", acosh_of_f32, acosh_of_f64},
    {"Atanh", atanh_of_f32, atanh_of_f64},
    {"IsNaN", NULL, is_nan},
    {"IsInf", NULL, is_inf},
};

pare_status ref_map_run(const ref_call *c, const ref_map *m, double a, double b) {
    const pare_operand *x = c->spec->in[0], *y = c->spec->out[0];
    uint64_t n = ref_count(y);
    if (ref_count(x) != n) return PARE_EINVAL;
    if (m->f32 && x->dtype == PARE_FLOAT && y->dtype == PARE_FLOAT) {
        m->f32(c->in[0], c->out[0], n, a, b);
        return PARE_OK;
    }
    for (uint64_t i = 0; i < n; i++) ref_set(c->out[0], y->dtype, i, m->f64(ref_get(c->in[0], x->dtype, i), a, b));
    return PARE_OK;
}

enum { EXACT_ABS, EXACT_NEG, EXACT_SIGN, EXACT_NOT, EXACT_BITS, EXACT_RELU, EXACT_SAME };

static int64_t of_int(int what, uint32_t dtype, int64_t v) {
    bool negative = pare_dtype_kind(dtype) == 'i' && v < 0;
    switch (what) {
    case EXACT_ABS: return negative ? (int64_t)(0 - (uint64_t)v) : v;
    case EXACT_NEG: return (int64_t)(0 - (uint64_t)v);
    case EXACT_SIGN: return negative ? -1 : v != 0;
    case EXACT_NOT: return !v;
    case EXACT_BITS: return ~v;
    case EXACT_RELU: return negative ? 0 : v;
    default: return v; /* Floor, Ceil, Round */
    }
}

pare_status ref_run_unary(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    const char *op = s->op_type;
    const pare_operand *x = s->in[0];
    static const struct {
        const char *op_type;
        int what;
    } exact[] = {{"Abs", EXACT_ABS},    {"Neg", EXACT_NEG},         {"Sign", EXACT_SIGN},
                 {"Not", EXACT_NOT},    {"BitwiseNot", EXACT_BITS}, {"Relu", EXACT_RELU},
                 {"Floor", EXACT_SAME}, {"Ceil", EXACT_SAME},       {"Round", EXACT_SAME}};
    for (size_t k = 0; ref_is_int(x->dtype) && k < sizeof exact / sizeof *exact; k++) {
        if (strcmp(op, exact[k].op_type)) continue;
        uint64_t n = ref_count(x);
        if (ref_count(s->out[0]) != n) return PARE_EINVAL;
        for (uint64_t i = 0; i < n; i++)
            ref_set_int(c->out[0], s->out[0]->dtype, i,
                        of_int(exact[k].what, x->dtype, ref_get_int(c->in[0], x->dtype, i)));
        return PARE_OK;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(op, table[i].op_type))
            return ref_map_run(c, &table[i], (double)ref_attr_int(s, "detect_negative", 1),
                               (double)ref_attr_int(s, "detect_positive", 1));
    return PARE_EUNSUPPORTED;
}
