/* pare/backend.h - a component that computes: a device, its memory, and kernels for ONNX operators.
 *
 * The engine owns graphs, plans and memory; a backend only makes kernels. It is asked for one node at a time: the op,
 * its attributes, dtypes, concrete shapes, layouts and the ops that could be fused behind it; it answers with a kernel
 * and the layouts it prefers, or no. A device belongs to one session and is called from one thread at a time. [run]
 * unless tagged. May include: host.h, graph.h (pare_attribute), tensor.h.
 */
#ifndef PARE_BACKEND_H
#define PARE_BACKEND_H

#include <pare/graph.h>

/* ---- layouts ---- */
enum {
    PARE_LAYOUT_PLAIN = 0, /* row-major in the order of dims, no padding: what ONNX means */
    PARE_LAYOUT_ANY = 1,   /* in a spec: the backend may choose */
    PARE_LAYOUT_OWN = 2    /* the backend's own, known to it by id */
};

/* Frozen at 24 bytes. Two OWN layouts of one backend, dtype and dims are the same exactly when their ids are. */
typedef struct pare_layout {
    uint32_t kind, reserved;
    uint64_t id;
    uint64_t nbytes; /* memory the tensor takes in it, padding included */
} pare_layout;

/* ---- what a kernel is asked for ---- */
enum {
    PARE_OPERAND_ABSENT = 1,   /* an optional input or output left out */
    PARE_OPERAND_CONSTANT = 2, /* the same in every run of the session: may be packed; data holds it */
    PARE_OPERAND_HOST = 4      /* decides shapes: in host memory always, data holds it when the kernel is made */
};

typedef struct pare_operand {
    uint32_t size, flags; /* PARE_OPERAND_* */
    uint32_t dtype, ndim;
    const int64_t *dims; /* all known, >= 0 */
    pare_layout layout;  /* PLAIN, ANY, or an OWN one that an earlier kernel of this device chose */
    const void *data;    /* HOST, and CONSTANT of up to 4096 elements: the contents, plain, in host memory; else NULL
                          * (larger constants come through pack and run) */
    /* Quantized execution: the real value is scale[c] * (q - zero_point[c]); n_scales 0: not quantized. */
    const float *scale;
    const int32_t *zero_point; /* n_scales of them, NULL: all 0 */
    uint64_t n_scales;         /* 1: per tensor; else dims[axis] */
    int32_t axis;
    uint32_t reserved;
} pare_operand;

/* X(NAME, number, ONNX's op): applied to out[0] in order, each to the result of the one before. */
#define PARE_POST_OPS(X)                                                                                               \
    X(PARE_POST_RELU, 0, "Relu")                                                                                       \
    X(PARE_POST_CLIP, 1, "Clip")            /* alpha: min, beta: max */                                                \
    X(PARE_POST_LEAKY_RELU, 2, "LeakyRelu") /* alpha */                                                                \
    X(PARE_POST_SIGMOID, 3, "Sigmoid")                                                                                 \
    X(PARE_POST_TANH, 4, "Tanh")                                                                                       \
    X(PARE_POST_HARD_SWISH, 5, "HardSwish")                                                                            \
    X(PARE_POST_HARD_SIGMOID, 6, "HardSigmoid")     /* alpha, beta */                                                  \
    X(PARE_POST_SWISH, 7, "Mul")                    /* x * Sigmoid(x) */                                               \
    X(PARE_POST_GELU, 8, "Gelu")                    /* the erf form */                                                 \
    X(PARE_POST_ELU, 9, "Elu")                      /* alpha */                                                        \
    X(PARE_POST_ADD, 10, "Add")                     /* + in[operand], of the same dims as out[0] */                    \
    X(PARE_POST_MUL, 11, "Mul")                     /* * in[operand], of the same dims */                              \
    X(PARE_POST_QUANTIZE, 12, "QuantizeLinear")     /* see below; what comes out is of `dtype` */                      \
    X(PARE_POST_DEQUANTIZE, 13, "DequantizeLinear") /* of what a QUANTIZE before it made */

enum {
#define PARE_POST_ENUM_(name, value, op) name = (value),
    PARE_POST_OPS(PARE_POST_ENUM_)
#undef PARE_POST_ENUM_
};

/* Quantized execution. An operand with n_scales stands for the real numbers that it encodes, and an op of such operands
 * means what it means for those: Conv of a uint8 x and an int8 w is a convolution of real numbers, exact in int32
 * before it is scaled (a bias is int32 then, of scale x's times w's). Its result is real and goes through the post-ops:
 * QUANTIZE is one of the file's own rounding points, q = saturate(round half to even(v / alpha) + beta); DEQUANTIZE
 * behind it, alpha and beta being the same, is (q - beta) * alpha. Where the last post-op is a QUANTIZE, out[0] is of
 * that dtype and has its scale and zero point. An ADD's operand may be quantized. A kernel that takes only the first n
 * post-ops writes what comes after those. PARE_EUNSUPPORTED: the engine takes the float kernel, with DequantizeLinear
 * and QuantizeLinear as nodes of their own. */
typedef struct pare_post_op {
    uint32_t size, kind; /* PARE_POST_* */
    float alpha, beta;
    uint32_t operand; /* ADD, MUL: the index in the spec's `in` (appended behind the node's own inputs) */
    uint32_t dtype;   /* QUANTIZE, DEQUANTIZE: PARE_UINT8 or PARE_INT8; else 0 */
} pare_post_op;

typedef struct pare_named_attribute {
    const char *name;
    pare_attribute value;
    const pare_operand *tensor; /* TENSOR: its dtype, dims and data */
} pare_named_attribute;

enum {
    PARE_SPEC_TRAINING = 1,      /* keep what the backward pass needs */
    PARE_SPEC_DETERMINISTIC = 2, /* the same bytes on every run at one thread count */
    PARE_SPEC_TF32 = 4           /* float32 products may be rounded to TF32 */
};

/* Borrowed for the call; a kernel keeps what it needs. */
typedef struct pare_kernel_spec {
    uint32_t size, flags;                     /* PARE_SPEC_* */
    const char *op_type, *domain;             /* "" is ai.onnx; "ai.pare" holds Reorder: in[0] to out[0]'s layout */
    int64_t version;                          /* the op's meaning at this opset */
    const char *node;                         /* for messages */
    const pare_named_attribute *const *attrs; /* arrays of pointers: their elements may grow */
    const pare_operand *const *in;
    const pare_operand *const *out;
    const pare_post_op *const *post;
    uint32_t n_attrs, n_in, n_out, n_post;
} pare_kernel_spec;

/* What the backend answers about a kernel. */
typedef struct pare_kernel_info {
    uint32_t size;
    uint32_t n_post;        /* how many of the spec's post-ops it does itself, from the first */
    const char *name;       /* "dnnl:brgconv:avx512_core", until the kernel is freed */
    const pare_layout *in;  /* one per spec input: how it wants it; until the kernel is freed */
    const pare_layout *out; /* one per spec output: how it writes it */
    /* One per spec input: bytes of its packed form, 0: taken as in[] says; or NULL. Kernels whose in[i] is the same OWN
     * layout share the packed form of a constant. */
    const uint64_t *pack;
    uint64_t scratch; /* bytes, 64-byte aligned, valid during run only */
    int32_t in_place; /* out[0] may be written over this input, -1: none */
    uint32_t view;    /* 1: out[0] is in[0]'s bytes unchanged (Reshape): nothing to run */
} pare_kernel_info;

/* ---- devices ---- */
typedef struct pare_device_opts {
    uint32_t size;
    uint32_t index;   /* which of the backend's devices */
    uint32_t threads; /* compute threads, fixed for the device's life */
    uint32_t reserved;
    uint64_t memory; /* cap in bytes, 0: none */
} pare_device_opts;

enum { PARE_COPY_TO_DEVICE = 0, PARE_COPY_TO_HOST = 1, PARE_COPY_ON_DEVICE = 2 };

typedef struct pare_backend {
    uint32_t size;
    uint32_t host_memory;               /* 1: device memory is host memory, and copies may be left out */
    const char *id, *version, *summary; /* [static] "cpu", "cuda" */
    /* [load] Devices there are, 0: none can be used here, and says why by report (an info). Cheap: opens nothing big.
     */
    uint32_t (*count)(const pare_host *);
    pare_status (*open)(const pare_host *, const pare_device_opts *, void **device);
    void (*close)(void *device);
    const char *(*describe)(void *device); /* "oneDNN 2.6.3, avx512_core_vnni, 2 threads", life of the device */
    /* PARE_ENOMEM is a status like another: no report. 64-byte aligned. */
    pare_status (*alloc)(void *device, uint64_t bytes, void **memory);
    void (*free)(void *device, void *memory);
    /* In the order given, with run; may return before it is done. */
    pare_status (*copy)(void *device, void *dst, const void *src, uint64_t bytes, uint32_t kind);
    pare_status (*fill)(void *device, void *dst, int value, uint64_t bytes);
    pare_status (*sync)(void *device); /* waits for all; the first failure of what came before */
    /* candidate 0 is the backend's best guess; others are for choosing by measurement. PARE_EUNSUPPORTED: no kernel for
     * this; PARE_ENOTFOUND: no such candidate; both silent. */
    pare_status (*kernel)(void *device, const pare_kernel_spec *, uint32_t candidate, void **kernel);
    pare_status (*kernel_info)(void *kernel, pare_kernel_info *out);
    void (*kernel_free)(void *kernel);
    /* Packs constant input i (plain, host memory) into device memory of info.pack[i] bytes. */
    pare_status (*pack)(void *kernel, uint32_t i, const void *src, void *dst);
    /* in[i]: packed memory where there is one, host memory for HOST operands, device memory else; NULL where absent.
     * Allocates nothing, waits for nothing. */
    pare_status (*run)(void *kernel, const void *const *in, void *const *out, void *scratch);
    /* What a person may call an OWN layout of this device ("nChw16c"), until the device's next call. NULL: it has no
     * name; may itself be left out. */
    const char *(*layout_name)(void *device, uint64_t id);
} pare_backend;

#endif
