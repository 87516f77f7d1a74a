/* engine/batch.h - rows that don't know of each other: which values carry the batch, and proof that nodes keep them
 * apart.
 *
 * Is: private to core/engine. A model is looked at twice, bound to a batch of 2 and of 3 rows, all shapes known and all
 * that follows from shapes folded: what scales with the batch carries it, and one rule for each op (batch_rules.c) says
 * whether the rows of what goes in become the rows of what comes out, in order and each alone. What no rule proves is
 * not so. Is not: running (rows.c). May use: parts.h, model.
 */
#ifndef PARE_ENGINE_BATCH_H
#define PARE_ENGINE_BATCH_H

#include "engine/parts.h"

/* Where a value carries the batch: dims[axis] is rows * mult, rows outermost. */
enum {
    PARE_ROWS_NONE = -1,  /* it has nothing to do with the batch */
    PARE_ROWS_SHAPE = -2, /* numbers made of the batch's size: the target of a Reshape */
    PARE_ROWS_TIED = -3   /* it depends on the batch in another way */
};
typedef struct pare_rows {
    int32_t axis;
    int64_t mult;
} pare_rows;

/* A node at batch 2, and how its operands carry the batch. Left-out operands: NONE. */
typedef struct pare_rows_node {
    pare_model *m;
    const pare_node *n;
    const pare_rows *in, *out;
} pare_rows_node;

/* Does the node keep rows apart and in order? Some operand carries the batch; no output is TIED. */
bool pare_rows_rule(const pare_rows_node *r);

/* Per row of a batch: what a run moves. For choosing how many rows to run at once. */
typedef struct pare_rows_cost {
    uint64_t activations; /* bytes that one node reads and writes for one row */
    uint64_t constants;   /* bytes that it reads once for all rows */
} pare_rows_cost;

typedef struct pare_rows_proof {
    bool apart;    /* proven: every row is computed alone */
    bool joins;    /* and outputs have the batch in dim 0, or none at all */
    bool *outputs; /* where it joins [output]: it has the batch; owned */
    char *why;     /* where not apart: what ties rows together, as "Transpose node \"t\""; owned */
    PARE_VEC(pare_rows_cost) costs;
} pare_rows_proof;

/* The inputs of a model whose ids are the session's. */
typedef struct pare_rows_inputs {
    const uint32_t *values;
    size_t n;
    const bool *carries;       /* [n]: dim 0 is the batch */
    pare_array *const *arrays; /* their dims count; NULL: those that the model has */
} pare_rows_inputs;

/* Silent: what fails is not proven. */
void pare_rows_prove(pare_session *s, const pare_model *m, const pare_rows_inputs *in, pare_rows_proof *out);
void pare_rows_proof_free(pare_rows_proof *p);

/* Dim 0 of the inputs that carry the batch becomes n (-1: the symbol). */
void pare_rows_bind(pare_model *m, const pare_rows_inputs *in, int64_t n, const char *symbol);

/* Where the file fixes the batch: the session's model with an open one, if that is proven to mean the same; else s's
 * note of what ties rows together. Between lowering and passes. PARE_OK also where nothing can be done. */
pare_status pare_rows_open(pare_session *s, pare_diags *d);

#endif
