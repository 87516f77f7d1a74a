/* distill/nodes.h - adding a loss's nodes to the graph that is trained, one call a node.
 *
 * Every function gives 0 after the first failure, which is kept in `st` (the host has reported it), so that a formula
 * reads as one. Values are (N, K) unless said otherwise. May use: the SDK.
 */
#ifndef DISTILL_NODES_H
#define DISTILL_NODES_H

#include <pare/graph.h>
#include <pare/loss.h>
#include <pare/tensors.h>

typedef struct nodes {
    const pare_host *host;
    pare_model *model;
    const pare_graph_api *graph;
    const pare_tensors_api *tensors;
    uint32_t dtype; /* of the logits: PARE_FLOAT or PARE_DOUBLE */
    pare_status st;
} nodes;

/* PARE_EUNSUPPORTED, reported: logits of another dtype. */
pare_status nodes_open(nodes *b, const pare_host *host, pare_model *model, const pare_loss_io *io);

uint32_t node1(nodes *b, const char *op, uint32_t x);
uint32_t node2(nodes *b, const char *op, uint32_t x, uint32_t y);
uint32_t number(nodes *b, double v);                            /* a scalar of the logits' dtype */
uint32_t times(nodes *b, uint32_t x, double v);                 /* x where v is 1 */
uint32_t plus(nodes *b, uint32_t x, uint32_t y);                /* either may be 0: left out */
uint32_t log_softmax(nodes *b, uint32_t x, double temperature); /* over the classes, of x / temperature */
uint32_t softmax(nodes *b, uint32_t x, double temperature);     /* likewise */
uint32_t reduce(nodes *b, const char *op, uint32_t x, int64_t axis, int keep); /* keep: the axis stays, of size 1 */
uint32_t mean(nodes *b, uint32_t x);                                           /* of all numbers: a scalar */
/* Ones where the label is, zeros elsewhere; of targets: at the largest. */
uint32_t one_hot(nodes *b, const pare_loss_io *io);

/* Cross-entropy by labels or targets, the mean over the batch: a scalar. */
uint32_t cross_entropy(nodes *b, const pare_loss_io *io);

/* What a component's build returns: PARE_OK and the loss, or the failure. */
pare_status nodes_close(const nodes *b, uint32_t loss, uint32_t *out);

#endif
