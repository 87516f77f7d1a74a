/* quantize/float16.h - the technique quantize.float16, and its parts.
 *
 * May use: the SDK, apis.h, verify.h.
 */
#ifndef QUANTIZE_FLOAT16_H
#define QUANTIZE_FLOAT16_H

#include "apis.h"

extern const pare_technique quantize_float16;

/* ---- numbers (float16_numbers.c) ---- */

/* What rounding did to a tensor. */
typedef struct float16_loss {
    uint64_t overflowed; /* finite, beyond 65504: became that */
    uint64_t flushed;    /* not zero, became zero */
    float most;          /* the largest magnitude of those that were finite */
} float16_loss;

/* Round half to even; finite values that are too large become +-65504, infinite ones and NaN stay. */
uint16_t float16_of(float x);
float float16_value(uint16_t h);
void float16_convert(const float *in, uint64_t n, uint16_t *out, float16_loss *loss);

/* ---- which nodes (float16_nodes.c) ---- */

typedef enum float16_kind {
    FLOAT16_OTHER, /* has nothing to do with float32 */
    FLOAT16_HALF,
    FLOAT16_KEPT /* takes and makes float32 as before */
} float16_kind;

typedef struct float16_node {
    uint32_t id;
    float16_kind kind;
    bool quiet;      /* KEPT, and nobody need hear of it: arithmetic on shapes */
    const char *why; /* KEPT: [static] */
} float16_node;

typedef struct float16_plan {
    float16_node *nodes; /* of the main graph, in topological order */
    uint64_t n;
    uint32_t *index; /* by node id: 1 + its place in nodes */
    uint32_t n_index;
} float16_plan;

typedef struct float16_rules {
    const pare_arg *exclude, *keep_ops;
} float16_rules;

pare_status float16_plan_make(const quantize_apis *q, const float16_rules *rules, float16_plan *out);
/* FLOAT16_OTHER for those of subgraphs. */
float16_node *float16_node_of(const float16_plan *plan, uint32_t node);

/* Has this input to stay float32 whatever its node is? */
bool float16_slot_kept(const char *op_type, uint32_t slot);
/* Does it take float16 and float32 alike, whatever the others are? */
bool float16_slot_free(const char *op_type, uint32_t slot);

/* ---- the edit (float16_edit.c) ---- */

/* A tensor that became float16. */
typedef struct float16_tensor {
    char name[320];
    uint64_t count;
    float16_loss loss;
} float16_tensor;

typedef struct float16_result {
    float16_tensor *tensors; /* scratch, grows to n_room */
    uint64_t n, room;
    uint64_t casts;
} float16_result;

pare_status float16_edit(const quantize_apis *q, const float16_plan *plan, bool keep_io, float16_result *out);

#endif
