/* pipeline/config_read.h - what the parts of the config reader share. Not for others: they see config.h.
 * May use: config.h.
 */
#ifndef PARE_PIPELINE_CONFIG_READ_H
#define PARE_PIPELINE_CONFIG_READ_H

#include "pipeline/config.h"

typedef struct pare_config {
    pare_pipeline *p;
    const pare_pipeline_opts *opts;
    pare_diags *d;
    size_t errors;   /* of the file; the first 20 are said */
    pare_map steps;  /* id -> index, of those read so far */
    pare_map models; /* name -> index */
    pare_map sets;   /* name -> index, of data's */
} pare_config;

/* A key a map may have; `later`: it belongs to a part that pare hasn't got yet, and is refused by that name. */
typedef struct pare_config_key {
    const char *name;
    bool later;
} pare_config_key;

void pare_config_fail(pare_config *c, pare_span at, const char *path, const char *code, const char *hint,
                      const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* "PATH must be ALLOWED, got …". */
void pare_config_wrong(pare_config *c, const pare_yaml_node *n, const char *path, const char *allowed,
                       const char *hint);
/* What a later pare will know. */
void pare_config_later(pare_config *c, pare_span at, const char *path, const char *what);
/* Says which keys of a map are unknown (with the nearest) or of a later part. */
void pare_config_keys(pare_config *c, const pare_yaml_node *map, const char *path, const pare_config_key *keys,
                      size_t n);

/* A text that is not empty, or NULL after having said so. */
const char *pare_config_text(pare_config *c, const pare_yaml_node *n, const char *path, const char *allowed);
/* The index of a word among n, or -1 after having said so. */
int pare_config_word(pare_config *c, const pare_yaml_node *n, const char *path, const char *const *words,
                     size_t n_words);
/* Letters, digits, '_', '-' (and '.' with `dots`); not starting with '-' or '.'; at most 100. */
bool pare_config_name_ok(const char *s, bool dots);
/* "did you mean "x"? known are: …", in the arena; `what` opens the list. */
const char *pare_config_hint(pare_config *c, const char *word, const char *what, const char *const *names, size_t n);
/* A path as it opens from the current folder, in the arena. NULL after having said that there is no such file. With
 * must_exist false anything but "~" passes. */
const char *pare_config_path(pare_config *c, const pare_yaml_node *n, const char *path, bool must_exist);
/* An int from lo to hi, or a float that is one (1e6). False after having said so. */
bool pare_config_int(pare_config *c, const pare_yaml_node *n, const char *path, int64_t lo, int64_t hi, int64_t *out);
/* True or false, on or off. False after having said that it is neither. */
bool pare_config_bool(pare_config *c, const pare_yaml_node *n, const char *path, bool *out);
/* For pare_params_parse: what parameters name is looked up in c. `prefix`: "steps.pruned.with"; `at`: the place for
 * what is missing. */
pare_params_ctx pare_config_params_ctx(pare_config *c, const char *prefix, pare_span at);

extern const char *const pare_config_layouts[3]; /* the words, in the order of data.h's enum */

/* The parts. Each says what is wrong and goes on as far as it makes sense. */
void pare_config_set(pare_config *c, const char *set);
void pare_config_models(pare_config *c, const pare_yaml_node *models);
/* Of each model only its name, its file (which need not be there) and its preprocess. NULL: no such block. */
void pare_config_model_inputs(pare_config *c, const pare_yaml_node *models);
/* A new one in the arena: `base` (NULL: the defaults) with the keys of n (NULL: none) laid over it; null takes a key
 * back. Never NULL. */
struct pare_data_preprocess *pare_config_preprocess(pare_config *c, const pare_yaml_node *n, const char *path,
                                                    const struct pare_data_preprocess *base);
void pare_config_data(pare_config *c, const pare_yaml_node *data); /* NULL: no such block */
void pare_config_steps(pare_config *c, const pare_yaml_node *steps);
/* Of a step whose technique trains; n NULL: it has no such block. */
void pare_config_fit(pare_config *c, pare_pipeline_step *s, const pare_yaml_node *n, const char *path);
void pare_config_losses(pare_config *c, pare_pipeline_fit *f, const pare_yaml_node *n, const char *fit);
/* After the report: which set each step trains on, where the file doesn't say it. */
void pare_config_fit_sets(pare_config *c);
void pare_config_report(pare_config *c, const pare_yaml_node *report);
void pare_config_report_on(pare_config *c, const pare_yaml_node *on);
void pare_config_output(pare_config *c, const pare_yaml_node *output);

/* The keys of a fit block that are plain values; of its schedule; of its augment. For the schema. */
typedef enum { PARE_FIT_KEYS, PARE_FIT_SCHEDULE, PARE_FIT_AUGMENT } pare_fit_table;
pare_param_table pare_config_fit_table(pare_fit_table which);

/* Is it known without opening the set that it has no labels? */
bool pare_config_no_labels(const pare_pipeline *p, int32_t set);

/* As the lock holds them. With `all` what isn't set is null, so that it takes back what lies below. New references. */
json_t *pare_config_preprocess_json(const struct pare_data_preprocess *q, bool all);
json_t *pare_config_data_json(const pare_pipeline *p);
json_t *pare_config_fit_json(const pare_pipeline *p, const pare_pipeline_fit *f);

#endif
