/* cli/cmd_inspect.c - pare inspect: a model as a table. */
#include "cli/cli.h"
#include "cli/look.h"
#include "model/layers.h"
#include "pipeline/carry.h"
#include "pipeline/report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- pieces of text ---- */

static void add_shape(pare_sb *b, uint32_t ndim, const int64_t *dims) {
    pare_sb_addc(b, '(');
    for (uint32_t i = 0; i < ndim; i++) pare_sb_printf(b, "%s%" PRId64, i ? ", " : "", dims[i]);
    pare_sb_addc(b, ')');
}

static void print_edges(const pare_model *m, const char *title, bool outputs) {
    const pare_graph *g = pare_model_graph(m, PARE_MAIN_GRAPH);
    size_t n = outputs ? g->outputs.len : g->inputs.len;
    for (size_t i = 0; i < n; i++) {
        const pare_value *v = pare_model_value(m, outputs ? g->outputs.data[i] : g->inputs.data[i]);
        if (!outputs && v->tensor) continue; /* an initializer that is listed as an input too */
        pare_sb b = {0};
        pare_sb_printf(&b, "  %-12s %s", i ? "" : title, v->name);
        if (v->other_type) {
            pare_sb_add(&b, "  (no tensor)");
        } else {
            pare_sb_printf(&b, "  %s", pare_dtype_name(v->dtype));
            if (v->ndim >= 0) pare_sb_add(&b, " (");
            for (int32_t k = 0; k < v->ndim; k++) {
                if (k) pare_sb_add(&b, ", ");
                if (v->dims[k].value >= 0)
                    pare_sb_printf(&b, "%" PRId64, v->dims[k].value);
                else
                    pare_sb_add(&b, v->dims[k].symbol ? v->dims[k].symbol : "?");
            }
            if (v->ndim >= 0) pare_sb_addc(&b, ')');
        }
        pare_put(pare_sb_str(&b));
        putchar('\n');
        pare_sb_free(&b);
    }
}

static void print_count(const char *title, int64_t n, const char *unit) {
    pare_sb b = {0};
    if (n >= 0)
        pare_sb_count(&b, (uint64_t)n);
    else
        pare_sb_add(&b, "unknown: some shapes are not known");
    printf("  %-12s %s%s\n", title, pare_sb_str(&b), n >= 0 ? unit : "");
    pare_sb_free(&b);
}

/* Of a model that has 8-bit weights: how much of it they are. */
static void print_int8(const pare_look *l) {
    uint64_t n = l->stats.parameter_dtypes[PARE_INT8] + l->stats.parameter_dtypes[PARE_UINT8];
    if (!n || l->metrics.parameters <= 0) return;
    printf("  %-12s %.2f %% of the parameters", "in 8 bits", 100.0 * (double)n / (double)l->metrics.parameters);
    if (l->metrics.macs > 0 && l->stats.macs_int8 >= 0)
        printf(", %.2f %% of the MACs", 100.0 * (double)l->stats.macs_int8 / (double)l->metrics.macs);
    putchar('\n');
}

/* ---- inspect ---- */

static void print_tensors(const pare_look *l) {
    const char *heads[] = {"weight", "layer", "node", "shape", "dtype", ">parameters", ">zeros", ">size"};
    pare_table *t = pare_table_new(heads, 8);
    pare_table_rule(t);
    size_t other = 0;
    for (size_t i = 0; i < l->stats.tensors.len; i++) {
        const pare_tensor_stats *s = &l->stats.tensors.data[i];
        const pare_tensor *x = pare_model_tensor(l->model, s->tensor);
        if (!s->parameters) {
            other++;
            continue;
        }
        pare_sb shape = {0};
        add_shape(&shape, x->ndim, x->dims);
        pare_table_cell(t, "%s", s->name);
        pare_table_cell(t, "%s", s->label);
        pare_table_cell(t, "%s", s->node);
        pare_table_cell(t, "%s", pare_sb_str(&shape));
        pare_table_cell(t, "%s", pare_dtype_name(x->dtype));
        pare_table_cell_count(t, (int64_t)s->parameters, "unknown");
        pare_table_cell(t, "%.2f %%", 100.0 * (double)(s->parameters - s->nonzero) / (double)s->parameters);
        pare_table_cell_bytes(t, (int64_t)s->bytes, "-");
        pare_sb_free(&shape);
    }
    putchar('\n');
    pare_table_print(t, 2, stdout);
    pare_table_free(t);
    if (other)
        printf("  and %zu tensor%s that are no parameters (statistics, shapes, scales)\n", other,
               other == 1 ? "" : "s");
}

/* What the model says of its own input. */
static void print_carried(const pare_model *m) {
    const char *pre = pare_model_meta(m, PARE_CARRY_PREPROCESS);
    pare_classes classes;
    pare_classes_of_model(m, &classes);
    if (pre) {
        printf("  %-12s ", "preprocess");
        pare_put(pre);
        putchar('\n');
    }
    if (classes.n) {
        printf("  %-12s %u:", "classes", classes.n);
        for (uint32_t i = 0; i < classes.n && i < 10; i++) {
            printf("%s", i ? ", " : " ");
            pare_put(classes.names[i]);
        }
        printf("%s\n", classes.n > 10 ? ", ..." : "");
    }
    pare_classes_free(&classes);
}

/* ---- nodes ---- */

/* "1x3x224x224", "Nx?": of each value that is no constant, joined. */
static void add_shapes(pare_sb *b, pare_model *m, const uint32_t *values, uint32_t n) {
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        const pare_value *v = pare_model_value(m, values[i]);
        if (!v || pare_const_of(m, values[i]).tensor) continue;
        pare_sb_add(b, any ? ", " : "");
        any = true;
        if (v->other_type || v->ndim < 0) pare_sb_addc(b, '?');
        if (!v->ndim) pare_sb_add(b, "scalar");
        for (int32_t k = 0; k < v->ndim; k++) {
            if (k) pare_sb_addc(b, 'x');
            if (v->dims[k].value >= 0)
                pare_sb_printf(b, "%" PRId64, v->dims[k].value);
            else
                pare_sb_add(b, v->dims[k].symbol ? v->dims[k].symbol : "?");
        }
    }
    if (!any) pare_sb_addc(b, '-');
}

static json_t *shape_json(const pare_value *v) {
    if (v->other_type || v->ndim < 0) return json_null();
    json_t *j = json_array();
    for (int32_t k = 0; k < v->ndim; k++)
        json_array_append_new(j, v->dims[k].value >= 0 ? json_integer(v->dims[k].value)
                                 : v->dims[k].symbol   ? pare_json_str(v->dims[k].symbol)
                                                       : json_null());
    return j;
}

static json_t *values_json(pare_model *m, const uint32_t *values, uint32_t n) {
    json_t *j = json_array();
    for (uint32_t i = 0; i < n; i++) {
        const pare_value *v = pare_model_value(m, values[i]);
        if (!v || pare_const_of(m, values[i]).tensor) continue;
        json_t *one = json_object();
        json_object_set_new(one, "name", pare_json_str(v->name));
        json_object_set_new(one, "shape", shape_json(v));
        json_object_set_new(one, "dtype", v->dtype ? json_string(pare_dtype_name(v->dtype)) : json_null());
        json_array_append_new(j, one);
    }
    return j;
}

/* What is shown of a node: its own, in the file's order, those of subgraphs behind the main graph's. */
typedef struct node_row {
    const pare_node *n;
    const char *label, *dtype; /* of the first output; NULL: not known */
    uint64_t parameters;
    int64_t macs; /* -1: not known */
    double share; /* of the model's MACs; NAN: not known */
} node_row;

static node_row row_of(const pare_look *l, pare_model *m, const pare_node *n) {
    uint64_t bytes;
    node_row r = {.n = n, .label = pare_node_label(m, n->id), .macs = pare_node_macs(m, n), .share = NAN};
    const pare_value *v = n->n_out ? pare_model_value(m, n->out[0]) : NULL;
    if (v && v->dtype) r.dtype = pare_dtype_name(v->dtype);
    pare_node_parameters(m, n, &r.parameters, &bytes);
    if (r.macs >= 0 && l->metrics.macs > 0) r.share = (double)r.macs / (double)l->metrics.macs;
    return r;
}

static json_t *nodes_json(const pare_look *l) {
    json_t *j = json_array();
    pare_model *m = l->model;
    for (size_t k = 0; k < m->graphs.len; k++) {
        const pare_graph *g = m->graphs.data[k];
        for (size_t i = 0; g && i < g->nodes.len; i++) {
            const pare_node *n = pare_model_node(m, g->nodes.data[i]);
            if (!n) continue;
            node_row r = row_of(l, m, n);
            json_t *one = json_object();
            json_object_set_new(one, "label", pare_json_str(r.label));
            json_object_set_new(one, "node", pare_json_str(n->name));
            json_object_set_new(one, "op", pare_json_str(n->op_type));
            json_object_set_new(one, "domain", pare_json_str(n->domain));
            json_object_set_new(one, "inputs", values_json(m, n->in, n->n_in));
            json_object_set_new(one, "outputs", values_json(m, n->out, n->n_out));
            json_object_set_new(one, "dtype", pare_json_str(r.dtype));
            json_object_set_new(one, "parameters", json_integer((json_int_t)r.parameters));
            json_object_set_new(one, "macs", pare_json_count(r.macs));
            json_object_set_new(one, "share", isfinite(r.share) ? json_real(r.share) : json_null());
            json_array_append_new(j, one);
        }
    }
    return j;
}

static void print_nodes(const pare_look *l) {
    const char *heads[] = {"layer", "node", "in", "out", "dtype", ">parameters", ">MACs", ">share"};
    pare_table *t = pare_table_new(heads, 8);
    pare_model *m = l->model;
    pare_table_rule(t);
    for (size_t k = 0; k < m->graphs.len; k++) {
        const pare_graph *g = m->graphs.data[k];
        for (size_t i = 0; g && i < g->nodes.len; i++) {
            const pare_node *n = pare_model_node(m, g->nodes.data[i]);
            if (!n) continue;
            node_row r = row_of(l, m, n);
            pare_sb in = {0}, out = {0};
            add_shapes(&in, m, n->in, n->n_in);
            add_shapes(&out, m, n->out, n->n_out);
            pare_table_cell(t, "%s", r.label);
            pare_table_cell(t, "%s", n->name ? n->name : "");
            pare_table_cell(t, "%s", pare_sb_str(&in));
            pare_table_cell(t, "%s", pare_sb_str(&out));
            pare_table_cell(t, "%s", r.dtype ? r.dtype : "?");
            pare_table_cell_count(t, r.parameters ? (int64_t)r.parameters : PARE_NOT_MEASURED, "-");
            pare_table_cell_count(t, r.macs ? r.macs : PARE_NOT_MEASURED, r.macs ? "unknown" : "-");
            pare_table_cell(t, r.macs > 0 && isfinite(r.share) ? "%.2f %%" : "-", 100 * r.share);
            pare_sb_free(&in);
            pare_sb_free(&out);
        }
    }
    putchar('\n');
    pare_table_print(t, 2, stdout);
    pare_table_free(t);
}

static void print_look(const pare_look *l) {
    const pare_model *m = l->model;
    pare_put(l->path);
    putchar('\n');
    pare_sb b = {0};
    pare_sb_bytes(&b, (uint64_t)l->metrics.bytes);
    pare_sb_add(&b, ", gzip -6 ");
    pare_sb_bytes(&b, (uint64_t)l->metrics.gzip_bytes);
    printf("  %-12s %s%s\n", "size", pare_sb_str(&b), l->packed ? " (packed; below are the plain weights)" : "");
    pare_sb_free(&b);
    printf("  %-12s IR %" PRId64, "format", m->ir_version);
    for (size_t i = 0; i < m->opsets.len; i++) {
        printf(", ");
        pare_put(m->opsets.data[i].domain[0] ? m->opsets.data[i].domain : "ai.onnx");
        printf(" opset %" PRId64, m->opsets.data[i].version);
    }
    putchar('\n');
    if (m->producer_name && m->producer_name[0]) {
        printf("  %-12s ", "made by");
        pare_put(m->producer_name);
        putchar(' ');
        pare_put(m->producer_version ? m->producer_version : "");
        putchar('\n');
    }
    print_edges(m, "inputs", false);
    print_edges(m, "outputs", true);
    print_count("parameters", l->metrics.parameters, "");
    print_count("non-zero", l->metrics.nonzero, "");
    print_count("MACs", l->metrics.macs, " at batch 1");
    print_count("  effective", l->metrics.macs_effective, " without those by zero weights");
    print_int8(l);
    printf("  %-12s ", "ops");
    for (size_t i = 0; i < l->stats.ops.len; i++) {
        printf("%s", i ? ", " : "");
        pare_put(l->stats.ops.data[i].op);
        printf(" %" PRIu64, l->stats.ops.data[i].count);
    }
    printf("\n  %-12s ", "dtypes");
    bool any = false;
    for (uint32_t t = 1; t < PARE_DTYPE_COUNT; t++) {
        if (!l->stats.dtypes[t]) continue;
        printf("%s%s %" PRIu64, any ? ", " : "", pare_dtype_name(t), l->stats.dtypes[t]);
        any = true;
    }
    printf("%s\n", any ? "" : "no initializers");
    print_carried(m);
}

static pare_status inspect(pare_cli *c) {
    pare_look l;
    pare_status st = pare_look_open(c->args.rest.data[0], c->progress, c->diags, &l);
    if (!st && c->args.json) {
        json_t *j = pare_look_json(&l);
        if (c->args.nodes) json_object_set_new(j, "nodes", nodes_json(&l));
        pare_json_print(j, stdout);
        json_decref(j);
    } else if (!st) {
        print_look(&l);
        if (c->args.nodes)
            print_nodes(&l);
        else if (l.stats.tensors.len)
            print_tensors(&l);
    }
    pare_look_close(&l);
    return st;
}

static const pare_opt inspect_opts[] = {
    PARE_OPT("nodes", PARE_OPT_FLAG, NULL, nodes,
             "a row for each node instead of each weight: shapes, parameters, MACs"),
    PARE_OPT_JSON,
};

const pare_command pare_cmd_inspect = {"inspect",
                                       "MODEL",
                                       1,
                                       1,
                                       "shows what a model holds: ops, shapes, parameters, MACs, zeros, bytes",
                                       "A layer may be named in pipelines by its weight, its node, or its op and "
                                       "number (the columns weight, node, layer).\nMACs are multiply-adds at batch 1; "
                                       "a node's share is of all of them.",
                                       inspect_opts,
                                       sizeof inspect_opts / sizeof *inspect_opts,
                                       inspect};
