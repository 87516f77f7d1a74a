/* distill/nodes.c - see nodes.h. */
#include "nodes.h"

#include <stdbool.h>
#include <string.h>

pare_status nodes_open(nodes *b, const pare_host *host, pare_model *model, const pare_loss_io *io) {
    *b = (nodes){.host = host,
                 .model = model,
                 .graph = host->ext(host, PARE_GRAPH_V1),
                 .tensors = host->ext(host, PARE_TENSORS_V1)};
    if (!b->graph || !b->tensors) {
        PARE_REPORT(host, PARE_ERROR, .code = "distill.host",
                    .message = "this host has no interface " PARE_GRAPH_V1 " or " PARE_TENSORS_V1);
        return b->st = PARE_EUNSUPPORTED;
    }
    pare_value_info info = {.size = sizeof info};
    b->st = b->graph->value_info(host, model, io->logits, &info);
    if (b->st) return b->st;
    b->dtype = info.dtype;
    if (b->dtype == PARE_FLOAT || b->dtype == PARE_DOUBLE) return PARE_OK;
    PARE_REPORT(host, PARE_ERROR, .code = "distill.dtype",
                .message = "the logits are neither float32 nor float64: this loss can't be computed from them",
                .hint = "train the model in float32");
    return b->st = PARE_EUNSUPPORTED;
}

static void set_int(nodes *b, uint32_t node, const char *name, int64_t v) {
    const pare_attribute a = {.size = sizeof a, .type = PARE_ATTRIBUTE_INT, .n = 1, .i = v};
    if (!b->st) b->st = b->graph->attr_set(b->host, b->model, node, name, &a);
}

/* The node's id; *out: its one output. */
static uint32_t add(nodes *b, const char *op, const uint32_t *in, uint32_t n, uint32_t *out) {
    uint32_t node = 0;
    *out = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!in[i] && !b->st) b->st = PARE_EINTERNAL; /* what came before it gave nothing */
    if (b->st) return 0;
    const char *name = b->graph->name_fresh(b->host, b->model, "distill:value");
    if (!name) b->st = PARE_ENOMEM;
    if (!b->st) b->st = b->graph->node_add(b->host, b->model, PARE_GRAPH_MAIN, 0, op, "", name, in, n, &name, 1, &node);
    if (b->st) return 0;
    pare_node_info info = {.size = sizeof info};
    b->st = b->graph->node_info(b->host, b->model, node, &info);
    if (!b->st) *out = info.out[0];
    return node;
}

uint32_t node1(nodes *b, const char *op, uint32_t x) {
    uint32_t out;
    add(b, op, &x, 1, &out);
    return out;
}

uint32_t node2(nodes *b, const char *op, uint32_t x, uint32_t y) {
    const uint32_t in[] = {x, y};
    uint32_t out;
    add(b, op, in, 2, &out);
    return out;
}

static uint32_t constant(nodes *b, uint32_t dtype, uint32_t ndim, const int64_t *dims, const void *data,
                         uint64_t bytes) {
    uint32_t tensor = 0;
    if (b->st) return 0;
    const char *name = b->graph->name_fresh(b->host, b->model, "distill:number");
    b->st = name ? b->tensors->add(b->host, b->model, name, dtype, ndim, dims, &tensor) : PARE_ENOMEM;
    pare_view view = {.size = sizeof view};
    if (!b->st) b->st = b->tensors->borrow(b->host, b->model, tensor, PARE_OVERWRITE, &view);
    if (b->st) return 0;
    memcpy((char *)view.data + view.byte_offset, data, bytes);
    b->tensors->release(b->host, b->model, tensor);
    pare_tensor_info info = {.size = sizeof info};
    b->st = b->tensors->info(b->host, b->model, tensor, &info);
    return b->st ? 0 : info.value;
}

uint32_t number(nodes *b, double v) {
    const float single = (float)v;
    if (b->dtype == PARE_DOUBLE) return constant(b, PARE_DOUBLE, 0, NULL, &v, sizeof v);
    return constant(b, PARE_FLOAT, 0, NULL, &single, sizeof single);
}

uint32_t times(nodes *b, uint32_t x, double v) { return v == 1 ? x : node2(b, "Mul", x, number(b, v)); }

uint32_t plus(nodes *b, uint32_t x, uint32_t y) { return x && y ? node2(b, "Add", x, y) : x ? x : y; }

static uint32_t over_classes(nodes *b, const char *op, uint32_t x, double temperature) {
    uint32_t out, node, scaled = times(b, x, 1 / temperature);
    node = add(b, op, &scaled, 1, &out);
    set_int(b, node, "axis", 1);
    return b->st ? 0 : out;
}

uint32_t log_softmax(nodes *b, uint32_t x, double temperature) { return over_classes(b, "LogSoftmax", x, temperature); }

uint32_t softmax(nodes *b, uint32_t x, double temperature) { return over_classes(b, "Softmax", x, temperature); }

uint32_t reduce(nodes *b, const char *op, uint32_t x, int64_t axis, int keep) {
    const int64_t one = 1;
    const uint32_t in[] = {x, constant(b, PARE_INT64, 1, &one, &axis, sizeof axis)};
    uint32_t out, node = add(b, op, in, 2, &out);
    set_int(b, node, "keepdims", keep);
    return b->st ? 0 : out;
}

uint32_t mean(nodes *b, uint32_t x) {
    uint32_t out, node = add(b, "ReduceMean", &x, 1, &out);
    set_int(b, node, "keepdims", 0);
    return b->st ? 0 : out;
}

uint32_t one_hot(nodes *b, const pare_loss_io *io) {
    uint32_t labels = io->labels, out, node;
    if (io->targets) {
        node = add(b, "ArgMax", &io->targets, 1, &labels);
        set_int(b, node, "axis", 1);
        set_int(b, node, "keepdims", 0);
    }
    const int64_t depth = (int64_t)io->classes, two = 2;
    const float singles[] = {0, 1};
    const double doubles[] = {0, 1};
    const bool wide = b->dtype == PARE_DOUBLE;
    const uint32_t in[] = {labels, constant(b, PARE_INT64, 0, NULL, &depth, sizeof depth),
                           wide ? constant(b, PARE_DOUBLE, 1, &two, doubles, sizeof doubles)
                                : constant(b, PARE_FLOAT, 1, &two, singles, sizeof singles)};
    node = add(b, "OneHot", in, 3, &out);
    set_int(b, node, "axis", 1);
    return b->st ? 0 : out;
}

uint32_t cross_entropy(nodes *b, const pare_loss_io *io) {
    if (io->targets) {
        uint32_t shares = node2(b, "Mul", io->targets, log_softmax(b, io->logits, 1));
        return times(b, mean(b, reduce(b, "ReduceSum", shares, 1, 0)), -1);
    }
    const uint32_t in[] = {io->logits, io->labels};
    const pare_attribute how = {.size = sizeof how, .type = PARE_ATTRIBUTE_STRING, .n = 4, .s = "mean"};
    uint32_t out, node = add(b, "SoftmaxCrossEntropyLoss", in, 2, &out);
    if (!b->st) b->st = b->graph->attr_set(b->host, b->model, node, "reduction", &how);
    return b->st ? 0 : out;
}

pare_status nodes_close(const nodes *b, uint32_t loss, uint32_t *out) {
    if (b->st) return b->st;
    *out = loss;
    return PARE_OK;
}
