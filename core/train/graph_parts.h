/* train/graph_parts.h - what the files of the training graph share. Private to train/graph*.c. */
#ifndef PARE_TRAIN_GRAPH_PARTS_H
#define PARE_TRAIN_GRAPH_PARTS_H

#include "train/graph.h"

typedef struct pare_train_builder {
    pare_train_graph *g;
    pare_model *m;
    const pare_fit_opts *o;
    pare_diags *d;
    pare_status st;
    PARE_VEC(const char *) variables;
} pare_train_builder;

/* ---- graph.c: pieces of a graph; 0 after a failure ---- */
const char *pare_train_name(const pare_train_builder *b, uint32_t value); /* in the graph's own arena */
uint32_t pare_train_find(const pare_train_builder *b, const char *name);
/* The first output of a new node, by fresh names. */
uint32_t pare_train_node(pare_train_builder *b, const char *domain, const char *op, const uint32_t *in, size_t n,
                         const char *const *outs, size_t n_out);
uint32_t pare_train_node1(pare_train_builder *b, const char *domain, const char *op, const uint32_t *in, size_t n,
                          const char *out);
uint32_t pare_train_node_of(pare_train_builder *b, uint32_t first); /* the node that makes a value */
uint32_t pare_train_input(pare_train_builder *b, const char *name, uint32_t dtype, int32_t ndim, const pare_dim *dims);
uint32_t pare_train_number(pare_train_builder *b, uint32_t dtype, double v); /* a constant scalar */

/* ---- graph_loss.c ---- */
/* The sum of all losses; *told: of those in the graph, whose value is known there. 0: b->st says why. */
uint32_t pare_train_losses(pare_train_builder *b, const pare_train_loss_env *env, uint32_t *told);

#endif
