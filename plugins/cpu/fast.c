/* cpu/fast.c - see fast.h: the order in which makers are asked, and reading a spec. */
#include "fast.h"

#include <string.h>

const cpu_maker cpu_fast_makers[] = {
    cpu_make_q_reorder,   cpu_make_reorder,        cpu_make_q_depthwise, cpu_make_q_conv,       cpu_make_conv,
    cpu_make_q_matmul,    cpu_make_q_matmul_float, cpu_make_matmul,      cpu_make_q_pool,       cpu_make_pool,
    cpu_make_layernorm,   cpu_make_q_softmax,      cpu_make_norm,        cpu_make_q_table,      cpu_make_q_quantize,
    cpu_make_q_dynamic,   cpu_make_eltwise,        cpu_make_q_pair,      cpu_make_binary,       cpu_make_transpose,
    cpu_make_q_concat,    cpu_make_concat,         cpu_make_unary,       cpu_make_loops,        cpu_make_attention,
    cpu_make_grad_conv,   cpu_make_grad_norm,      cpu_make_grad_pool,   cpu_make_grad_eltwise, cpu_make_grad_rows,
    cpu_make_grad_update,
};
const uint32_t cpu_n_fast_makers = sizeof cpu_fast_makers / sizeof *cpu_fast_makers;

bool fast_is(const pare_kernel_spec *s, const char *op_type) {
    return strcmp(s->op_type, op_type) == 0 && (!*s->domain || strcmp(s->domain, "ai.onnx") == 0);
}

bool fast_in(const pare_kernel_spec *s, uint32_t i) { return i < s->n_in && !(s->in[i]->flags & PARE_OPERAND_ABSENT); }

bool fast_out(const pare_kernel_spec *s, uint32_t i) {
    return i < s->n_out && !(s->out[i]->flags & PARE_OPERAND_ABSENT);
}

bool fast_f32(const pare_operand *o) {
    if (o->dtype != PARE_FLOAT || o->n_scales || o->ndim > DN_DIMS) return false;
    for (uint32_t i = 0; i < o->ndim; i++)
        if (o->dims[i] <= 0) return false;
    return true;
}

bool fast_same_dims(const pare_operand *a, const pare_operand *b) {
    return a->ndim == b->ndim && (!a->ndim || memcmp(a->dims, b->dims, a->ndim * sizeof *a->dims) == 0);
}

int64_t fast_product(const int64_t *dims, uint32_t begin, uint32_t end) {
    int64_t n = 1;
    for (uint32_t i = begin; i < end; i++) n *= dims[i];
    return n;
}

bool fast_scalar(const pare_operand *o, float *out) {
    if (!o->data || o->dtype != PARE_FLOAT || ref_count(o) != 1) return false;
    memcpy(out, o->data, sizeof *out);
    return true;
}
