/* engine/parts.h - what the engine's own files share: devices, constants, plans, steps, the session.
 *
 * Is: private to core/engine. A session owns one or two devices and one lowered model; a plan is that model bound to
 * one set of input dims: a list of steps over buffers, laid out in one arena per device. May use: session.h, base,
 * model.
 */
#ifndef PARE_ENGINE_PARTS_H
#define PARE_ENGINE_PARTS_H

#include "engine/session.h"

enum { PARE_PLANS_KEPT = 8, PARE_ENGINE_ALIGN = 64, PARE_HOST_OPERANDS_MAX = 65536, PARE_CONSTANT_SHOWN_MAX = 4096 };

/* ---- devices ---- */

typedef struct pare_engine_device {
    pare_engine_backend use;
    void *handle;
    void *arena;
    uint64_t arena_bytes;    /* as allocated */
    uint64_t constant_bytes; /* of all plans */
} pare_engine_device;

enum { PARE_DEVICE_MAIN = 0, PARE_DEVICE_HOST = 1 }; /* of a session; where both are one, there is no second */

/* ---- constants on a device ---- */

/* A constant as some kernel takes it. Shared between plans where the tensor is the session's own model's. */
typedef struct pare_engine_constant {
    uint32_t tensor; /* of the session's model */
    uint32_t device;
    uint64_t version;
    pare_layout layout;
    void *memory; /* the device's */
    void *block;  /* what is freed with it: those made together lie in one block, which one of them holds; or NULL */
} pare_engine_constant;
typedef PARE_VEC(pare_engine_constant) pare_engine_constants;

/* ---- plans ---- */

typedef enum {
    PARE_BUFFER_ARENA,    /* in its device's arena, at offset */
    PARE_BUFFER_CONSTANT, /* at `at` from planning on */
    PARE_BUFFER_VARIABLE, /* likewise: the session's, from run to run */
    PARE_BUFFER_INPUT     /* where the caller's array lies: host memory */
} pare_buffer_kind;

typedef struct pare_buffer {
    pare_buffer_kind kind;
    uint32_t device;
    uint64_t nbytes, offset;
    uint32_t root;        /* the buffer whose memory this is; itself for most */
    uint32_t first, last; /* steps that touch it (roots only) */
    uint32_t input;       /* INPUT */
    void *at;
    /* CONSTANT: what has to be made of which bytes */
    pare_blob *blob; /* the plan's reference: plain contents, perhaps still to be made; NULL: none or empty */
    uint32_t tensor; /* of the session's model, 0: this plan's own */
    uint32_t slot;
    uint64_t version;
    void *packer; /* the kernel that packs it, or NULL */
    pare_layout layout;
    bool on_host; /* taken where it lies */
} pare_buffer;

typedef enum {
    PARE_STEP_RUN,
    PARE_STEP_TO_DEVICE,
    PARE_STEP_TO_HOST,
    PARE_STEP_ON_DEVICE,
    PARE_STEP_SYNC
} pare_step_kind;

typedef struct pare_step {
    pare_step_kind kind;
    uint32_t device;
    void *kernel;
    uint32_t n_in, n_out;
    int32_t *in, *out;  /* buffers, -1: absent */
    const void **in_at; /* filled for a run */
    void **out_at;
    uint64_t scratch, scratch_at; /* bytes, and where in the arena */
    int32_t in_place;             /* the input that out[0] may overwrite, -1: none */
    uint32_t row;                 /* of the profile */
} pare_step;

/* How an output of the session comes out of a plan. */
typedef struct pare_plan_output {
    int32_t buffer;  /* plain; -1: see blob */
    bool host;       /* the buffer is host memory */
    pare_blob *blob; /* a constant */
    int32_t input;   /* >= 0: an input handed through */
    uint32_t dtype, ndim;
    int64_t dims[PARE_ARRAY_DIMS];
    uint64_t nbytes;
} pare_plan_output;

typedef struct pare_plan {
    pare_arena memory; /* of the plan's bookkeeping */
    PARE_VEC(int64_t) key;
    PARE_VEC(pare_buffer) buffers;
    PARE_VEC(pare_step) steps;
    PARE_VEC(pare_profile_node) rows;
    PARE_VEC(pare_plan_output) outputs;
    struct {
        void *kernel;
        uint32_t device;
    } * kernels;
    size_t n_kernels, kernels_cap;
    pare_engine_constants own;       /* constants of this plan alone */
    uint64_t arena[2], constants[2]; /* arena: scratch memory included */
    int64_t batch;                   /* first dim of the first input, 0: none */
    size_t program;
    bool unfed;    /* made ahead: the inputs' own memory is still to be taken */
    uint64_t used; /* the session's clock when it last ran */
} pare_plan;

/* ---- the session ---- */

typedef struct pare_tune pare_tune; /* tune.h */

/* How many rows of a batch are run at once (rows.c). */
typedef struct pare_rows_choice {
    int64_t key; /* of the inputs' dims, the batch included */
    int64_t rows;
} pare_rows_choice;
typedef struct pare_session_rows {
    bool any;       /* any batch is taken, whatever the file fixes */
    int64_t piece;  /* as asked for, 0: chosen */
    int64_t fixed;  /* dim 0 in the file, where it is a number; 0: open, or none */
    bool opened;    /* it has been made a symbol */
    char *why;      /* else: what ties rows together; or NULL. Owned */
    bool said;      /* that it is run piece by piece */
    bool *carries;  /* [input]: dim 0 is the batch */
    bool *joins;    /* [output]: likewise; others are the same for every piece */
    int64_t latest; /* rows run at once in the latest run, 0: all */
    PARE_VEC(pare_rows_choice) choices;
} pare_session_rows;

/* A tensor that runs may write. It lies on the main device, plain. */
typedef struct pare_variable {
    const char *name;
    uint32_t value; /* of the session's model: a graph input */
    uint32_t dtype, ndim;
    int64_t dims[PARE_ARRAY_DIMS];
    uint64_t nbytes;
    pare_blob *first; /* its contents until it is on the device */
    void *memory;
} pare_variable;

/* Values of the session's model: fetches, then effects. */
typedef struct pare_session_program {
    uint32_t *values;
    size_t n_fetches, n;
} pare_session_program;

struct pare_session {
    pare_model *model; /* private: lowered, passes done, outputs are the fetches */
    pare_engine_device devices[2];
    uint32_t n_devices, threads;
    uint64_t memory;
    bool profile;
    bool passes;             /* a plan's model is rewritten too */
    bool attention, integer; /* the main device has a kernel for ai.pare's node of that: pass.h */
    pare_tune *tune;         /* NULL: the backend's best guess is taken */
    pare_progress *progress; /* of choosing by measurement; or NULL */
    PARE_VEC(pare_port) inputs;
    PARE_VEC(uint32_t) input_values;
    bool *decides;               /* [input]: its numbers decide shapes, so they are part of a plan's key */
    PARE_VEC(pare_port) outputs; /* of the first program */
    PARE_VEC(pare_variable) variables;
    PARE_VEC(pare_session_program) programs; /* none: the outputs are all there is */
    size_t program;                          /* that is asked for now */
    pare_engine_constants constants;
    pare_plan *plans[PARE_PLANS_KEPT];
    size_t n_plans;
    pare_plan *latest;
    uint64_t clock;
    void **staging; /* [input]: for arrays that are not aligned; or NULL */
    uint64_t *staging_bytes;
    pare_session_rows rows;
};

/* ---- prepare.c ---- */
/* Lowers the session's model, makes the fetches its outputs, runs the passes; refuses what can't run. */
pare_status pare_engine_prepare(pare_session *s, const pare_session_opts *opts, pare_diags *d);

/* ---- device.c ---- */
pare_status pare_engine_devices_open(pare_session *s, const pare_session_opts *opts, pare_diags *d);
void pare_engine_devices_close(pare_session *s);
static inline bool pare_engine_on_host(const pare_session *s, uint32_t device) {
    return s->devices[device].use.backend->host_memory != 0;
}
/* The device that folds: the host's. */
static inline uint32_t pare_engine_host_device(const pare_session *s) { return s->n_devices - 1; }
pare_status pare_engine_alloc(pare_session *s, uint32_t device, uint64_t bytes, void **out); /* silent */
/* At least the plan's arenas on each device; drops other plans where memory is short. PARE_ENOMEM, reported. */
pare_status pare_engine_arenas(pare_session *s, const pare_plan *p, pare_diags *d);
/* Has the machine room for those inputs that have no bytes yet? */
pare_status pare_engine_inputs_fit(pare_session *s, pare_array *const *in, pare_diags *d);
/* Before kernels are made and tried: do the largest node's tensors alone go beyond the cap or the machine? m: bound. */
pare_status pare_engine_fits_ahead(pare_session *s, pare_model *m, const pare_plan *p, pare_diags *d);
/* Makes the plan's constants, or finds them made. Reported. */
pare_status pare_engine_constants_make(pare_session *s, pare_plan *p, pare_diags *d);
void pare_engine_constants_free(pare_session *s, pare_engine_constants *c);

/* ---- spec.c: a node as a kernel spec ---- */
typedef struct pare_spec {
    pare_kernel_spec k;
    pare_operand *operands; /* n_in + n_out of them, in the arena */
    const pare_operand **in, **out;
} pare_spec;
/* Plain layouts, dims as the values have them (all known); `extra` inputs behind the node's own are left absent.
 * PARE_EUNSUPPORTED (reported): an attribute that no kernel takes. */
pare_status pare_spec_of(pare_arena *a, pare_model *m, const pare_node *n, uint32_t extra, pare_diags *d,
                         pare_spec *out);
void pare_spec_operand(pare_arena *a, const pare_value *v, pare_operand *o); /* dtype, dims, plain layout */
/* Does input `slot` of this op decide shapes (or say how, rather than what, to compute)? */
bool pare_spec_host_slot(const pare_node *n, uint32_t slot);
bool pare_value_known(const pare_value *v);                           /* dtype and all dims */
const char *pare_value_text(pare_arena *a, const pare_value *v);      /* "float32 [1, 3]" */
const char *pare_engine_node_name(pare_model *m, const pare_node *n); /* its name, else its label */

/* ---- node_check.c: nodes against ONNX's specification ---- */
/* Numbers of inputs, equal dtypes, words in attributes, whole numbers over a constant 0. PARE_EINVAL, reported. */
pare_status pare_engine_check_nodes(pare_model *m, pare_diags *d);
/* What a kernel of this op may mean by a status. [static] */
const char *pare_engine_why(const char *op_type, pare_status st);

/* ---- variable.c: variables and programs ---- */
/* Initializers become inputs that the device keeps. Before lowering. PARE_ENOTFOUND, reported. */
pare_status pare_variables_take(pare_session *s, const pare_session_opts *opts, pare_diags *d);
/* The programs' values become the model's outputs. Before lowering. PARE_ENOTFOUND, reported. */
pare_status pare_programs_take(pare_session *s, const pare_session_opts *opts, pare_diags *d);
/* After the ports are known: allocates and fills. */
pare_status pare_variables_place(pare_session *s, pare_diags *d);
void pare_variables_free(pare_session *s);
pare_variable *pare_variable_of(pare_session *s, uint32_t value); /* NULL: it is none */
/* The outputs of a plan's model become those of its program, and what does not serve them goes. */
pare_status pare_program_cut(pare_session *s, pare_model *m, size_t program, pare_diags *d);

/* ---- fold.c: nodes run at planning time ---- */
/* Replaces every node of the main graph whose inputs are constants, and Shape and Size of known dims, by initializers.
 * Shapes must have been inferred. *changed counts nodes. */
pare_status pare_engine_fold(pare_session *s, pare_model *m, pare_diags *d, uint64_t *changed);
/* A constant takes a value's place: an initializer of another name, to which all uses move. PARE_ENOMEM, reported. */
pare_status pare_engine_put(pare_model *m, uint32_t value, const pare_array *a, pare_diags *d);
/* What a node of constants computes, its first output. PARE_ENOTFOUND: no kernel takes it as it is. */
pare_status pare_engine_constant_of(pare_session *s, pare_model *m, const pare_node *n, pare_diags *d,
                                    pare_array **out);
/* Constant nodes become initializers. */
pare_status pare_engine_constant_nodes(pare_model *m, pare_diags *d);

/* ---- plan.c, steps.c, layout.c ---- */
pare_status pare_plan_make(pare_session *s, pare_array *const *in, pare_diags *d, pare_plan **out);
void pare_plan_free(pare_session *s, pare_plan *p);
/* Fills the steps from the bound model m. */
pare_status pare_plan_steps(pare_session *s, pare_model *m, pare_plan *p, pare_diags *d);
/* In place, liveness, offsets. PARE_ENOMEM when sizes overflow. */
pare_status pare_plan_layout(pare_plan *p, pare_diags *d);
/* Shapes, and what they make computable, until nothing new comes. */
pare_status pare_plan_settle(pare_session *s, pare_model *m, pare_diags *d);
pare_status pare_plan_run(pare_session *s, pare_plan *p, pare_array *const *in, pare_diags *d, pare_array **out);
/* The same into memory of the caller's, one for each output, of the plan's sizes. */
pare_status pare_plan_run_into(pare_session *s, pare_plan *p, pare_array *const *in, pare_diags *d, void *const *to);

/* ---- session.c ---- */
/* The plan for these dims, made if need be. Reported. */
pare_status pare_session_plan(pare_session *s, pare_array *const *in, pare_diags *d, pare_plan **out);

/* ---- rows.c: batches run in pieces ---- */
/* After the ports are known. */
void pare_rows_ready(pare_session *s);
void pare_rows_free(pare_session *s);
/* Checks dim 0 of input i where any batch is taken: true: it fits the file's. */
bool pare_rows_fits(const pare_session *s, size_t i, int64_t rows);
/* How many rows to run at once. *piece 0: all. Reported. */
pare_status pare_rows_choose(pare_session *s, pare_array *const *in, pare_diags *d, int64_t *piece);
pare_status pare_rows_run(pare_session *s, pare_array *const *in, int64_t piece, pare_diags *d, pare_array **out);
/* Plans for a run in pieces. */
pare_status pare_rows_plan(pare_session *s, pare_array *const *in, int64_t piece, pare_diags *d);

/* ---- fuse.c ---- */
enum { PARE_POSTS_MAX = 8 };
typedef struct pare_chain {
    uint32_t n;
    pare_post_op post[PARE_POSTS_MAX];
    uint32_t operand[PARE_POSTS_MAX];  /* value id, 0: none */
    uint32_t nodes[PARE_POSTS_MAX][2]; /* the nodes that this post-op is; [1] 0: one */
    uint32_t out[PARE_POSTS_MAX];      /* the value after it */
} pare_chain;
/* The elementwise nodes and rounding points behind n that could be its post-ops; `taken` [node id] are not to be used
 * again. */
void pare_chain_find(pare_model *m, const pare_node *n, const unsigned char *taken, pare_chain *out);

#endif
