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
/* PARE_PARAM_MODEL's callback: user is the pare_config. */
const char *pare_config_model_ref(void *user, const char *ref, pare_span at, const char *param);

/* The parts. Each says what is wrong and goes on as far as it makes sense. */
void pare_config_set(pare_config *c, const char *set);
void pare_config_models(pare_config *c, const pare_yaml_node *models);
void pare_config_steps(pare_config *c, const pare_yaml_node *steps);
void pare_config_report(pare_config *c, const pare_yaml_node *report);
void pare_config_output(pare_config *c, const pare_yaml_node *output);

#endif
