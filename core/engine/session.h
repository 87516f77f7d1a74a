/* engine/session.h - a model made ready to run on a device, and run.
 *
 * A session is a private copy of the model, lowered to one opset, rewritten by passes, and planned for each set of
 * input shapes that comes: kernels chosen, constants packed, layouts settled, one arena laid out. It sees the model as
 * it was at open. It belongs to one host thread; several sessions may run at once. The engine knows no kernel:
 * `backend` computes, and `host_backend` (the CPU's) folds constants, works out shapes, and takes the nodes that
 * `backend` has no kernel for. May use: base, model, sdk.
 */
#ifndef PARE_ENGINE_SESSION_H
#define PARE_ENGINE_SESSION_H

#include "base/progress.h"
#include "model/array.h"

#include <pare/backend.h>

/* A backend and the host handle its functions take. Borrowed. */
typedef struct pare_engine_backend {
    const pare_backend *backend;
    const pare_host *host;
} pare_engine_backend;

/* Values of the graph that are computed together: some are handed out; others are computed for what they write over,
 * the variables' new contents (the outputs of ops that update: pare/grad_ops.h). Names; borrowed for open. */
typedef struct pare_program {
    const char *const *fetches, *const *effects;
    size_t n_fetches, n_effects;
} pare_program;

typedef struct pare_session_opts {
    pare_engine_backend backend;      /* where nodes run */
    pare_engine_backend host_backend; /* host_memory == 1; may be the same */
    uint32_t device;                  /* index */
    uint32_t threads;                 /* 0: pare_threads() */
    uint64_t memory;                  /* cap in bytes, 0: none */
    const char *const *fetches;       /* names of values to hand out; NULL: the graph's outputs. Fusion stops at them */
    size_t n_fetches;
    /* Instead of fetches: what pare_session_run_program can be asked for. pare_session_run runs the first. */
    const pare_program *programs;
    size_t n_programs;
    /* Initializers that runs and the caller may write: they live on the device, plain, from run to run. */
    const char *const *variables;
    size_t n_variables;
    bool no_passes; /* for tests: only lowering */
    bool profile;   /* times each node (pare_session_profile) */
    bool tune;      /* kernels may be chosen by timing them; the environment's PARE_TUNE=off|on goes before it */
    pare_progress *progress; /* of that timing, which may take a while; borrowed for the session's life; or NULL */
    /* Takes any number of rows in dim 0 where the file fixes it: at once where it is proven that rows don't know of each
     * other (the ports then have a symbol there), else piece by piece, which is said once. */
    bool any_batch;
    uint32_t piece; /* rows of a batch run at once, where they may be run apart; 0: what is fast and fits in memory */
} pare_session_opts;

typedef struct pare_session pare_session;

/* What a session takes or gives. Strings live with the session. */
typedef struct pare_port {
    const char *name;
    uint32_t dtype;
    int32_t ndim;         /* -1: any */
    const pare_dim *dims; /* value -1: any; equal symbols mean equal sizes */
} pare_port;

/* Refuses by name, before anything runs, what can't run: an op that no backend has (with its node), functions, control
 * flow, string tensors. PARE_EUNSUPPORTED, PARE_EINVAL, PARE_ENOMEM; reported. */
pare_status pare_session_open(const pare_model *m, const pare_session_opts *opts, pare_diags *d, pare_session **out);
void pare_session_close(pare_session *s); /* NULL is fine */

/* Graph inputs that are no initializers, in order; fetches in order. */
size_t pare_session_n_inputs(const pare_session *s);
const pare_port *pare_session_input(const pare_session *s, size_t i);
size_t pare_session_n_outputs(const pare_session *s);
const pare_port *pare_session_output(const pare_session *s, size_t i);

/* Runs once. in: one array per input, of the right dtype and of dims that fit (else PARE_EINVAL, reported with the
 * input's name, what came and what is allowed). out: n_outputs arrays, the caller's to unref; untouched on failure. */
pare_status pare_session_run(pare_session *s, pare_array *const *in, pare_diags *d, pare_array **out);

/* The program's fetches. in: NULL where the program needs no such input. */
pare_status pare_session_run_program(pare_session *s, size_t program, pare_array *const *in, pare_diags *d,
                                     pare_array **out);
size_t pare_session_n_fetches(const pare_session *s, size_t program);
/* Copies of a variable's contents, out of the device and in. PARE_ENOTFOUND: no such variable; PARE_EINVAL: other dtype
 * or dims; reported. */
pare_status pare_session_variable_get(pare_session *s, const char *name, pare_diags *d, pare_array **out);
pare_status pare_session_variable_set(pare_session *s, const char *name, const pare_array *a, pare_diags *d);

/* Plans a run ahead: of the arrays only dtype and dims count, and they may be without bytes. So what does not fit in
 * memory (PARE_ENOMEM, reported) is refused before the inputs' own memory is taken. */
pare_status pare_session_ready(pare_session *s, pare_array *const *in, pare_diags *d);

/* Does a run with this many rows fit, as far as the batch goes? */
bool pare_session_takes(const pare_session *s, int64_t rows);
/* The batch that the file fixes, whether or not others are taken (any_batch); 0: it is open, or any_batch is off. */
int64_t pare_session_own_batch(const pare_session *s);
/* Rows that the latest run took at once; 0: all. */
int64_t pare_session_piece(const pare_session *s);

/* One node of the latest plan, in execution order. */
typedef struct pare_profile_node {
    const char *node, *op_type, *kernel, *layout, *device; /* node: name or label; layout: of its first output */
    const char *dtype; /* of its numbers: of its first output; of its first input where it runs in 8 bits */
    bool fell_back;    /* it could run in 8 bits, but no kernel takes it so: in floats */
    double seconds; /* of all runs since the last reset, 0 without `profile` */
    int64_t macs;   /* per run, -1 unknown */
    uint64_t runs;
} pare_profile_node;
size_t pare_session_profile(const pare_session *s, const pare_profile_node **nodes);
void pare_session_profile_reset(pare_session *s);

/* Bytes of the arena and of packed constants of the latest plan. */
typedef struct pare_session_memory {
    uint64_t arena, packed;
} pare_session_memory;
pare_session_memory pare_session_memory_of(const pare_session *s);

bool pare_session_tuned(const pare_session *s);         /* are kernels chosen by measurement? */
const char *pare_session_device(const pare_session *s); /* what the backend says of itself */

#endif
