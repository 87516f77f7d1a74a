/* quantize/report.c - see report.h. */
#include "report.h"

#include <math.h>
#include <stdio.h>

static bool is_layer(const place_node *n) { return n->kind == PLACE_HEAVY && n->on; }

static uint32_t point_of(const place_plan *plan, uint32_t value) {
    for (uint32_t i = 0; i < plan->n_points; i++)
        if (plan->points[i].value == value) return i;
    return UINT32_MAX;
}

/* A layer's name: the weight's; of MatMul without one, the node's. */
static const char *name_of(const quantize_work *w, const place_node *node) {
    if (node->choice >= 0) return w->choices.at[node->choice].layer.name;
    const pare_node_info n = quantize_node(&w->q, node->id);
    return n.name && n.name[0] ? n.name : n.label;
}

void report_float(const quantize_work *w, uint32_t severity) {
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) {
        const place_node *node = &w->plan.nodes[i];
        if (node->kind != PLACE_HEAVY || !node->asked || !node->why) continue;
        quantize_say(&w->q, severity, "quantize.float", NULL, name_of(w, node), NULL, "%s stays in float: %s",
                     name_of(w, node), node->why);
    }
    for (uint64_t i = 0; i < w->choices.n; i++) {
        const pare_layer *l = &w->choices.at[i].layer;
        const char *why = place_missing(w->o, &w->choices, &w->plan, i);
        if (why)
            quantize_say(&w->q, severity, "quantize.float", NULL, l->label, NULL, "%s (%s) stays in float: %s", l->name,
                         l->label, why);
    }
}

pare_status report_machine(const quantize_work *w) {
    const quantize_apis *q = &w->q;
    for (uint64_t i = 0; q->run && i < w->plan.n_nodes; i++) {
        const place_node *node = &w->plan.nodes[i];
        uint32_t fast = 1;
        bool told = false;
        if (!is_layer(node)) continue;
        const pare_node_info n = quantize_node(q, node->id);
        for (uint64_t k = 0; k < i && !told; k++)
            told = is_layer(&w->plan.nodes[k]) && quantize_is(quantize_node(q, w->plan.nodes[k].id).op_type, n.op_type);
        if (told) continue; /* one word an op */
        const pare_status st = q->run->int8(q->host, n.op_type, w->o->activations, PARE_INT8, &fast);
        if (st) return st;
        if (fast == 1) continue;
        quantize_say(q, PARE_WARNING, "quantize.slow", NULL, n.name[0] ? n.name : n.label,
                     fast ? "portable: on makes the file exact here, with weights of 7 bits"
                          : "measure with pare bench before and after; another machine may gain",
                     fast ? "%s (and others like it): this machine adds int8 products in pairs that may saturate, and "
                            "is at most twice as fast in int8"
                          : "%s (and others like it): this machine's device runs them in float, so that int8 makes the "
                            "file smaller and nothing faster",
                     n.label);
    }
    return PARE_OK;
}

static void row(const quantize_work *w, const place_node *node, uint64_t compared) {
    const emit_weight *weight = node->choice >= 0 ? &w->weights[node->choice] : NULL;
    const uint32_t point = point_of(&w->plan, w->x[node - w->plan.nodes]);
    const work_range *known = NULL;
    if (point != UINT32_MAX && !(known = work_known(w, w->plan.points[point].value)))
        known = work_known(w, w->plan.points[w->plan.points[point].source].value);
    const calibrate_range *r = known ? &known->range : NULL;
    const char *keys[] = {"lo", "hi", "clipped", "sqnr_db", "cosine", "weight_sqnr_db", "alone_db"};
    const double values[] = {
        r ? (double)r->lo : NAN,
        r ? (double)r->hi : NAN,
        r ? r->clipped : NAN,
        w->compare ? calibrate_compare_sqnr(&w->compare[compared]) : NAN,
        w->compare ? calibrate_compare_cosine(&w->compare[compared]) : NAN,
        weight ? weight->sqnr : NAN,
        w->alone && node->choice >= 0 ? w->alone[node->choice] : NAN,
    };
    const pare_layer_note note = {.size = sizeof note,
                                  .n_extra = w->alone ? 7 : 6,
                                  .name = name_of(w, node),
                                  .requested = 8,
                                  .achieved = weight ? weight->bits : 8,
                                  .keys = keys,
                                  .values = values};
    w->q.note->layer(w->q.host, &note);
}

static void float_text(const quantize_work *w, const char *name, const char *why) {
    char key[400];
    (void)snprintf(key, sizeof key, "float: %.300s", name);
    w->q.note->text(w->q.host, key, why);
}

static void float_row(const quantize_work *w, const place_node *node) {
    const bool tuned = w->skip && node->choice >= 0 && w->skip[node->choice];
    const char *keys[] = {"alone_db"};
    const double values[] = {w->alone && node->choice >= 0 ? w->alone[node->choice] : NAN};
    const pare_layer_note note = {.size = sizeof note,
                                  .n_extra = w->alone != NULL,
                                  .name = name_of(w, node),
                                  .requested = node->asked ? 8 : 32,
                                  .achieved = 32,
                                  .keys = keys,
                                  .values = values};
    w->q.note->layer(w->q.host, &note);
    if (node->asked && (node->why || tuned))
        float_text(w, name_of(w, node), node->why ? node->why : "tune left it in float");
}

static void missing_row(const quantize_work *w, uint64_t choice, const char *why) {
    const char *name = w->choices.at[choice].layer.name;
    const pare_layer_note note = {.size = sizeof note, .name = name, .requested = 8, .achieved = 32};
    w->q.note->layer(w->q.host, &note);
    float_text(w, name, why);
}

static void portability(const quantize_work *w, uint64_t *sevens, uint64_t *eights) {
    *sevens = *eights = 0;
    for (uint64_t i = 0; i < w->choices.n; i++) {
        if (!w->weights[i].done) continue;
        if (w->weights[i].may_saturate)
            ++*eights;
        else
            ++*sevens;
    }
}

void report_all(const quantize_work *w) {
    const quantize_apis *q = &w->q;
    uint64_t compared = 0, layers = 0, left = 0, exact, inexact;
    for (uint64_t i = 0; i < w->plan.n_nodes; i++) {
        const place_node *node = &w->plan.nodes[i];
        if (node->kind != PLACE_HEAVY) continue;
        if (is_layer(node)) {
            if (q->note) row(w, node, compared);
            compared++;
            layers++;
        } else {
            if (q->note) float_row(w, node);
            left++;
        }
    }
    for (uint64_t i = 0; i < w->choices.n; i++) {
        const char *why = place_missing(w->o, &w->choices, &w->plan, i);
        if (!why) continue;
        if (q->note) missing_row(w, i, why);
        left++;
    }
    portability(w, &exact, &inexact);
    char text[300];
    if (w->o->activations == PARE_INT8)
        (void)snprintf(text, sizeof text,
                       "activations are int8: exact on CPUs with VNNI or the like, on ARM and on GPUs");
    else if (!inexact)
        (void)snprintf(text, sizeof text, "no pair of products can saturate: exact on every CPU");
    else
        (void)snprintf(
            text, sizeof text,
            "exact on CPUs with VNNI or the like, on ARM and on GPUs; on other x86 CPUs pairs of products may "
            "saturate in %llu of %llu layers (portable: on avoids it)",
            (unsigned long long)inexact, (unsigned long long)(exact + inexact));
    if (q->note) {
        q->note->number(q->host, "int8_layers", (double)layers);
        q->note->number(q->host, "float_layers", (double)left);
        q->note->number(q->host, "sqnr_db", w->sqnr);
        q->note->number(q->host, "agreement", w->agreement);
        if (!isnan(w->portable_cost)) q->note->number(q->host, "portable_cost_db", w->portable_cost);
        if (w->corrected) q->note->number(q->host, "corrected_layers", (double)w->corrected);
        if (w->o->equalize) q->note->number(q->host, "equalized_pairs", (double)w->equalized);
        q->note->text(q->host, "target", quantize_target_name(w->o->target));
        q->note->text(q->host, "portable", text);
    }
    report_float(w, PARE_WARNING);
    quantize_say(q, PARE_INFO, "quantize.done", NULL, NULL, text,
                 "%llu layers are int8 now, %llu in float; the outputs' SQNR is %.1f dB", (unsigned long long)layers,
                 (unsigned long long)left, w->sqnr);
}
