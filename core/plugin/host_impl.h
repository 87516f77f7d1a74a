/* plugin/host_impl.h - what the files host*.c share: the host behind the vtable, and the ways it answers a plugin.
 *
 * Private to plugin/ and train/host_fit.c. Everything here runs on the step's thread but reporting, which any thread
 * may do. May use: host.h, base, model.
 */
#ifndef PARE_PLUGIN_HOST_IMPL_H
#define PARE_PLUGIN_HOST_IMPL_H

#include "plugin/host.h"

#include <pare/run.h>
#include <pthread.h>

typedef struct pare_borrow {
    uint32_t tensor;
    uint32_t readers; /* 0: one writer */
} pare_borrow;

typedef struct pare_mark {
    uint32_t id;
    pare_model *snapshot;
} pare_mark;

typedef struct pare_host_impl {
    pare_host pub; /* what the plugin holds; pub.impl points back here */
    pare_host_env env;
    pare_phase phase;
    pare_model *model;
    pthread_mutex_t lock; /* over held, shown and the flags */
    pare_diags *held;     /* errors of the host's own functions, until the component's function returns */
    size_t shown;         /* of held, passed on already */
    bool misused, said_error, cancelled;
    pare_arena call; /* strings until the component's function returns */
    pare_arena step; /* strings until the step ends */
    PARE_VEC(void *) scratch;
    PARE_VEC(pare_borrow) borrows;
    PARE_VEC(pare_mark) marks;
    uint32_t last_mark;
    PARE_VEC(pare_model *) undone;             /* what undo threw away: strings of it may still be held by the plugin */
    PARE_VEC(uint32_t) next_node, next_tensor; /* [id]: what follows in the walk; deleted ones keep their place */
    uint64_t sorted_at;                        /* model->edits when the nodes were last put in order */
    /* What an interface of a layer above keeps until the component's function returns; NULL: nothing. `st` is what the
     * function returned; the model may still be touched. */
    void *kept;
    void (*kept_end)(const pare_host *, void *kept, pare_status st);
    PARE_VEC(struct pare_runner *) runners; /* open ones */
    struct pare_int8 *int8;                 /* NULL: nobody asked yet */
} pare_host_impl;

static inline pare_host_impl *pare_host_of(const pare_host *h) { return (pare_host_impl *)h->impl; }

/* Whether a function may run now. NULL: refused and reported as misuse. `fn` is "pare.tensors/1 borrow". */
pare_host_impl *pare_host_look(const pare_host *h, const pare_model *m, const char *fn);
pare_host_impl *pare_host_edit(const pare_host *h, const pare_model *m, const char *fn);

/* The plugin broke a rule of the SDK: an error at once, and the step fails whatever the plugin returns. PARE_EINVAL. */
pare_status pare_host_misuse(const pare_host *h, const char *fn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The host can't do what was asked: held, and shown when the component's function fails. Returns st. `it` needs code
 * and message only; severity is set here. */
pare_status pare_host_refuse(const pare_host *h, pare_status st, const pare_diag_item *it);
pare_status pare_host_refuse_text(const pare_host *h, pare_status st, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Errors that were reported past the host since there were `before` of them count as the component's. Returns st. */
size_t pare_host_errors(const pare_host_impl *s);
pare_status pare_host_said(pare_host_impl *s, size_t before, pare_status st);
/* Hands on what the host's own parts said, from *passed on: errors are held back, all else is reported. */
void pare_host_pass(const pare_host *h, pare_diags *said, size_t *passed);

/* ---- structs that begin with their size, the plugin's and ours ----
 *
 * A plugin may be older than the host (its struct ends earlier) or newer (its struct goes on). The smallest one is that
 * of minor 0, which ends with the field named here and never changes; what was appended since may be missing. */
enum {
    PARE_LEAST_TENSOR_INFO = PARE_END(pare_tensor_info, n_uses),
    PARE_LEAST_VIEW = PARE_END(pare_view, writable),
    PARE_LEAST_NODE_INFO = PARE_END(pare_node_info, reserved),
    PARE_LEAST_VALUE_INFO = PARE_END(pare_value_info, n_uses),
    PARE_LEAST_ATTRIBUTE = PARE_END(pare_attribute, graph),
    PARE_LEAST_CONSTANT = PARE_END(pare_constant, perm),
    PARE_LEAST_COST = PARE_END(pare_cost, bytes),
    PARE_LEAST_LAYER = PARE_END(pare_layer, reserved),
    PARE_LEAST_LAYER_NOTE = PARE_END(pare_layer_note, values),
    PARE_LEAST_RUNNER_REQUEST = PARE_END(pare_runner_request, reserved),
    PARE_LEAST_RUNNER_BATCH = PARE_END(pare_runner_batch, total),
    PARE_LEAST_RUNNER_SET = PARE_END(pare_runner_set, reserved)
};

/* The size that a plugin's struct says it has. 0 and misuse: it is NULL, its size is below `min`, or no size at all.
 * `what` is "view". */
uint32_t pare_host_room(const pare_host *h, const char *fn, const char *what, const void *plugins, uint32_t min);
/* Copies `full` (of `size` bytes) to a plugin's struct of `room` bytes: as much as there is room for, zeros behind it.
 * Leaves the size alone. */
void pare_host_fill(void *out, uint32_t room, const void *full, uint32_t size);
/* The same to a struct whose size is looked at first and then set to what was written, so that a newer plugin's
 * PARE_HAS sees which fields this host filled. false and misuse: as pare_host_room. */
bool pare_host_give(const pare_host *h, const char *fn, void *out, const void *full, uint32_t size, uint32_t min);
#define PARE_GIVE(h, fn, out, full, min) pare_host_give(h, fn, out, &(full), (uint32_t)sizeof(full), min)
/* A plugin's struct as ours: zeros where it ends early, cut where it goes on. false and misuse: as pare_host_room. */
bool pare_host_take(const pare_host *h, const char *fn, const char *what, const void *in, void *full, uint32_t size,
                    uint32_t min);
#define PARE_TAKE(h, fn, what, in, full, min) pare_host_take(h, fn, what, in, &(full), (uint32_t)sizeof(full), min)

/* Valid UTF-8 that is not empty; else misuse. `what` is "name". */
bool pare_host_text_ok(const pare_host *h, const char *fn, const char *what, const char *s);

/* Live entries by id, or misuse and NULL. */
pare_tensor *pare_host_tensor(const pare_host *h, const char *fn, uint32_t id);
pare_node *pare_host_node(const pare_host *h, const char *fn, uint32_t id);
pare_value *pare_host_value(const pare_host *h, const char *fn, uint32_t id);
pare_graph *pare_host_graph(const pare_host *h, const char *fn, uint32_t id);

/* Is a tensor borrowed; is any; is one that the node holds, itself or in its subgraphs? */
bool pare_host_borrowed(const pare_host_impl *s, uint32_t tensor);
bool pare_host_borrowed_inside(const pare_host_impl *s, uint32_t node);
/* The IR version that a dtype or an opset of ai.onnx came with; the model's is raised to it. */
void pare_host_ir_for_dtype(pare_model *m, uint32_t dtype);

/* Raises ai.onnx to `min` where every op in use means the same in both; see host_opset.c. */
pare_status pare_host_opset_raise(const pare_host *h, pare_model *m, int64_t min);

/* The interfaces. */
extern const pare_tensors_api pare_host_tensors_v1;
extern const pare_graph_api pare_host_graph_v1;
extern const pare_layers_api pare_host_layers_v1;
extern const pare_pass_api pare_host_pass_v1;
extern const pare_note_api pare_host_note_v1;
extern const pare_run_api pare_host_run_v1;

/* What pare.run/1 has left open ends (host_run.c). */
void pare_host_runs_end(pare_host_impl *s);

/* The editing half of pare.graph/1 (host_edit.c), put into the table by host_graph.c. */
pare_status pare_host_node_add(const pare_host *h, pare_model *m, uint32_t graph, uint32_t before, const char *op_type,
                               const char *domain, const char *name, const uint32_t *in, uint32_t n_in,
                               const char *const *out_names, uint32_t n_out, uint32_t *node);
pare_status pare_host_node_del(const pare_host *h, pare_model *m, uint32_t node);
pare_status pare_host_input_set(const pare_host *h, pare_model *m, uint32_t node, uint32_t slot, uint32_t value);
pare_status pare_host_replace_uses(const pare_host *h, pare_model *m, uint32_t from, uint32_t to);
pare_status pare_host_value_rename(const pare_host *h, pare_model *m, uint32_t value, const char *name);
pare_status pare_host_attr_set(const pare_host *h, pare_model *m, uint32_t node, const char *name,
                               const pare_attribute *attr);
pare_status pare_host_attr_del(const pare_host *h, pare_model *m, uint32_t node, const char *name);
const char *pare_host_name_fresh(const pare_host *h, pare_model *m, const char *want);
pare_status pare_host_meta_set(const pare_host *h, pare_model *m, const char *key, const char *value);
pare_status pare_host_opset_need(const pare_host *h, pare_model *m, const char *domain, int64_t min);
pare_status pare_host_mark(const pare_host *h, pare_model *m, uint32_t *mark);
pare_status pare_host_undo(const pare_host *h, pare_model *m, uint32_t mark);
pare_status pare_host_keep(const pare_host *h, pare_model *m, uint32_t mark);
pare_status pare_host_value_retype(const pare_host *h, pare_model *m, uint32_t value, uint32_t dtype);

#endif
