/* cli/cmd_eval.c - pare eval: the metrics of one model on a set; and what pare compare --data adds. */
#include "cli/eval.h"

#include "model/edit.h"
#include "model/pack.h"

#include <inttypes.h>
#include <math.h>

pare_status pare_eval_open(pare_cli *c, pare_eval *e) {
    *e = (pare_eval){.set_index = -1};
    e->plugins = pare_cli_plugins(c);
    if (!e->plugins) return PARE_EINVAL;
    pare_status st = pare_compute_open(e->plugins, c->args.device, c->diags, &e->compute);
    if (!st) st = pare_pipeline_data_open(c->args.data, NULL, c->diags, &e->p);
    if (st) return st;
    e->set_index = e->p->report.on;
    if (e->set_index < 0) e->set_index = pare_pipeline_set_find(e->p, "test");
    if (e->set_index < 0 && e->p->data.n_sets == 1) e->set_index = 0;
    if (e->set_index >= 0) return PARE_OK;
    return pare_fail(c->diags, PARE_EINVAL, "eval.set", "add `report: {on: NAME}` to it, or call the set `test`",
                     e->p->data.n_sets ? "%s describes %zu sets: which one is meant?" : "%s describes no set (%zu)",
                     c->args.data, e->p->data.n_sets);
}

void pare_eval_close(pare_eval *e) {
    pare_data_free(e->set);
    pare_pipeline_free(e->p);
    pare_compute_close(&e->compute);
    pare_plugins_free(e->plugins);
}

pare_status pare_eval_model(pare_cli *c, pare_eval *e, const pare_model *m, const pare_logits *baseline,
                            pare_logits *keep, pare_tally *out) {
    pare_scored s = {0};
    pare_status st = pare_scored_open(m, &e->compute, (uint32_t)c->args.threads, c->diags, &s);
    if (!st && !e->set) st = pare_score_set_open(e->p, e->set_index, &s.target, c->diags, &e->set);
    if (c->progress) pare_progress_begin(c->progress, e->p->data.sets[e->set_index].name);
    if (!st) st = pare_score(&s, e->set, e->p->data.preprocess, baseline, keep, c->progress, c->diags, out);
    if (c->progress) pare_progress_end(c->progress);
    pare_scored_close(&s);
    return st;
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

json_t *pare_eval_json(const pare_eval *e, const pare_tally *t) {
    json_t *j = json_object(), *classes = json_array();
    json_object_set_new(j, "samples", json_integer((json_int_t)t->samples));
    json_object_set_new(j, "loss", number(pare_tally_loss(t)));
    json_object_set_new(j, "accuracy", number(pare_tally_accuracy(t)));
    json_object_set_new(j, "top5", number(pare_tally_top5(t)));
    json_object_set_new(j, "not_finite", json_integer((json_int_t)t->not_finite));
    for (uint64_t i = 0; i < t->classes && t->labelled; i++) {
        const char *name = pare_data_class_name(e->set, (uint32_t)i);
        json_t *row = json_object();
        json_object_set_new(row, "class", name ? pare_json_str(name) : json_integer((json_int_t)i));
        json_object_set_new(row, "samples", json_integer((json_int_t)t->class_total[i]));
        json_object_set_new(row, "accuracy",
                            t->class_total[i] ? json_real((double)t->class_correct[i] / (double)t->class_total[i])
                                              : json_null());
        json_array_append_new(classes, row);
    }
    json_object_set_new(j, "classes", classes);
    return j;
}

static void print_tally(const pare_eval *e, const pare_tally *t) {
    printf("%" PRIu64 " samples of %s\n", t->samples, e->p->data.sets[e->set_index].name);
    if (!t->labelled) {
        printf("  without labels: nothing to be right or wrong about\n");
        return;
    }
    printf("  accuracy %.2f %%, top 5 %.2f %%, loss %.4f\n\n", 100 * pare_tally_accuracy(t), 100 * pare_tally_top5(t),
           pare_tally_loss(t));
    const char *heads[] = {"class", ">samples", ">accuracy"};
    pare_table *table = pare_table_new(heads, 3);
    pare_table_rule(table);
    for (uint64_t i = 0; i < t->classes; i++) {
        const char *name = pare_data_class_name(e->set, (uint32_t)i);
        if (!t->class_total[i]) continue;
        if (name)
            pare_table_cell(table, "%s", name);
        else
            pare_table_cell(table, "%" PRIu64, i);
        pare_table_cell(table, "%" PRIu64, t->class_total[i]);
        pare_table_cell(table, "%.2f %%", 100.0 * (double)t->class_correct[i] / (double)t->class_total[i]);
    }
    pare_table_print(table, 2, stdout);
    pare_table_free(table);
}

static pare_status eval(pare_cli *c) {
    pare_eval e = {0};
    pare_model *m = NULL;
    pare_tally t = {0};
    if (!c->args.data)
        return pare_fail(c->diags, PARE_EINVAL, "eval.data", "as in --data pipeline.yaml",
                         "pare eval needs --data FILE: a YAML file with a data block");
    pare_status st = pare_eval_open(c, &e);
    if (!st) st = pare_model_load(c->args.rest.data[0], c->diags, &m);
    if (!st) st = pare_model_check(m, c->diags);
    if (!st) st = pare_eval_model(c, &e, m, NULL, NULL, &t);
    if (!st && c->args.json) {
        json_t *j = pare_eval_json(&e, &t);
        pare_json_print(j, stdout);
        json_decref(j);
    } else if (!st) {
        print_tally(&e, &t);
    }
    pare_tally_free(&t);
    pare_model_free(m);
    pare_eval_close(&e);
    return st;
}

static const pare_opt eval_opts[] = {
    PARE_OPT("data", PARE_OPT_VALUE, "FILE", data,
             "any YAML with a data block; its report.on names the set, else `test`"),
    PARE_OPT("device", PARE_OPT_VALUE, "D", device, "auto or cpu"),
    PARE_OPT_THREADS,
    PARE_OPT_PLUGIN_DIR,
    PARE_OPT_QUIET,
    PARE_OPT_JSON,
};

const pare_command pare_cmd_eval = {"eval",
                                    "MODEL",
                                    1,
                                    1,
                                    "measures a model on a set: accuracy, top 5, loss, each class",
                                    "A model that ends in Softmax is measured by what goes into it.",
                                    eval_opts,
                                    sizeof eval_opts / sizeof *eval_opts,
                                    eval};
