/* plugins/cpu/ref/ref_cast.c - Cast and CastLike between all numeric dtypes.
 *
 * Floats to integers truncate towards zero; what does not fit wraps to the low bits, NaN gives 0. `saturate` is for the
 * 8-bit floats, `round_mode` for float8_e8m0. May use: ref.h.
 */
#include "ref_rows.h"

#include <string.h>

static void of_f32(const float *x, void *out, uint32_t to, uint64_t n) {
    switch (to) {
    case PARE_DOUBLE: {
        double *y = out;
        for (uint64_t i = 0; i < n; i++) y[i] = x[i];
        break;
    }
    default: {
        uint8_t *y = out;
        for (uint64_t i = 0; i < n; i++) y[i] = x[i] != 0;
        break;
    }
    }
}

pare_status ref_run_cast(const ref_call *c) {
    const pare_kernel_spec *s = c->spec;
    uint32_t from = s->in[0]->dtype, to = s->out[0]->dtype;
    uint64_t n = ref_count(s->out[0]), bytes = pare_nbytes(to, n);
    if (ref_count(s->in[0]) != n) return PARE_EINVAL;
    if (from == to) {
        if (bytes) memmove(c->out[0], c->in[0], bytes);
        return PARE_OK;
    }
    if (from == PARE_FLOAT && (to == PARE_DOUBLE || to == PARE_BOOL)) {
        of_f32(c->in[0], c->out[0], to, n);
        return PARE_OK;
    }
    bool saturate = ref_attr_int(s, "saturate", 1) != 0;
    int mode = ref_attr_is(s, "round_mode", "up", "up")     ? REF_ROUND_UP
               : ref_attr_is(s, "round_mode", "up", "down") ? REF_ROUND_DOWN
                                                            : REF_ROUND_NEAREST;
    if (pare_dtype_bits(to) < 8 && bytes) memset(c->out[0], 0, bytes); /* the bits behind the last element */
    /* uint64 is int64's bits, so it goes by way of double only where a float is wanted. */
    bool exact = ref_is_int(from) && (ref_is_int(to) || (to == PARE_FLOAT && from != PARE_UINT64));
    for (uint64_t i = 0; i < n; i++) {
        if (exact)
            ref_set_int(c->out[0], to, i, ref_get_int(c->in[0], from, i));
        else if (from == PARE_UINT64 && to == PARE_FLOAT)
            ((float *)c->out[0])[i] = (float)((const uint64_t *)c->in[0])[i];
        else
            ref_set_cast(c->out[0], to, i, ref_get(c->in[0], from, i), saturate, mode);
    }
    return PARE_OK;
}
