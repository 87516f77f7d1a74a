/* pipeline/run_parts.h - what the pieces of a run share with each other, and with nobody else.
 *
 * run.c: the order of things and the steps. run_inputs.c: models in, and their hashes. run_sets.c: hashes of data.
 * run_write.c: models out.
 * run_score.c: what execution measures. run_train.h: what steps that train need. run_dir.h: the folder.
 */
#ifndef PARE_PIPELINE_RUN_PARTS_H
#define PARE_PIPELINE_RUN_PARTS_H

#include "base/hash.h"
#include "pipeline/lock.h"
#include "pipeline/run.h"
#include "pipeline/run_dir.h"

enum { PARE_NEVER = -1 };

/* A model of the run: a pipeline model as it came in, or a step's result. */
typedef struct pare_run_slot {
    pare_model *model; /* NULL once nothing needs it any more */
    int64_t last_use;  /* the last step that works on it or learns from it, or PARE_NEVER */
    const char *file;  /* where it was saved, relative to the run folder; NULL when it was not */
    char sha256[PARE_SHA256_HEX];
} pare_run_slot;

typedef struct pare_run_hashes pare_run_hashes;

/* A teacher's logits for a set, on disk: rows that came once come from here. */
typedef struct pare_run_logits {
    const char *key; /* teacher, set, preprocessing */
    FILE *file;      /* count rows of `classes` floats; NULL: it could not be made */
    uint64_t count, classes;
    unsigned char *there; /* a bit a sample: its row is written */
} pare_run_logits;

typedef struct pare_run {
    const pare_pipeline *p;
    const pare_run_opts *o;
    pare_diags *d;
    pare_report *report;
    pare_run_slot *models, *steps;
    uint64_t *seeds;         /* one a step */
    pare_run_hashes *hashes; /* NULL until the hashing starts */
    PARE_VEC(pare_lock_file) lock_in, lock_out, lock_data;
    struct pare_data *set;            /* that the report measures on, once it is open */
    struct pare_data **sets;          /* [2 * set + shuffled]: that steps train on; NULL: not open */
    PARE_VEC(pare_run_logits) logits; /* of teachers, kept for later epochs and steps */
    pare_arena arena;
    pare_run_dir dir;
    bool step_done;
} pare_run;

pare_run_slot *pare_run_slot_of(pare_run *r, pare_pipeline_ref ref);
const char *pare_run_path(pare_run *r, const char *rel); /* in the work folder; in the arena */
/* Is it some model's end result? The main model's? */
bool pare_run_is_final(const pare_run *r, pare_pipeline_ref ref);
bool pare_run_is_main_final(const pare_run *r, pare_pipeline_ref ref);

/* ---- run_inputs.c ---- */
pare_status pare_run_open_models(pare_run *r);
/* Starts hashing what came in, on a thread beside the rest, once; all input models are in memory then. */
void pare_run_hash_start(pare_run *r);
void pare_run_hash_join(pare_run *r);        /* waits, and lets go of the models */
pare_status pare_run_hash_note(pare_run *r); /* into lock_in; starts and joins where that was not done */
void pare_run_hash_free(pare_run *r);

/* ---- run_sets.c ---- */
/* Hashes the files of all sets that are open into lock_data, each file once. Before they are closed. */
pare_status pare_run_hash_sets(pare_run *r);

/* ---- run_fits.c ---- */

/* After the models are open and the sets looked at (pare_run_score_prepare, pare_run_train_prepare): does the device
 * open that metrics and training need, and do samples fit the models? Says all that doesn't. */
pare_status pare_run_fits(pare_run *r);

/* ---- run_write.c ---- */

/* Writes a model into the work folder, hashes it, and gzips it on the way: into `gz` (or NULL), or only to learn the
 * size where the report wants it. A model with external data has no .gz: its weights are not in that file. */
pare_status pare_run_write_model(pare_run *r, pare_model *m, const char *rel, const char *gz, pare_metrics *mx,
                                 char *sha256);
/* Has the model carry what models[i] goes through on its way in, where the pipeline says so: in its metadata. */
pare_status pare_run_carry(pare_run *r, size_t i, pare_model *m);
/* A file of a step, beside its model; `files`: the list of the step's files, which gets it. */
pare_status pare_run_write_file(pare_run *r, const char *rel, const void *bytes, uint64_t n, json_t *files);
/* models[i]'s end result: model.onnx and what stands beside it, or models/NAME.onnx. */
pare_status pare_run_write_final(pare_run *r, size_t i);

/* ---- run_train.c, run_teach.c ---- */
/* A set of the pipeline that stays open; not one of random samples. */
pare_status pare_run_set(pare_run *r, int32_t i, bool shuffle, const struct pare_data **out);
void pare_run_sets_free(pare_run *r);
void pare_run_logits_free(pare_run *r);
/* What can be known of step i's training on model m, as it is before earlier steps. */
pare_status pare_train_check(pare_run *r, size_t i, const pare_model *m);
pare_status pare_run_train_prepare(pare_run *r); /* of all steps */

/* ---- run_score.c ---- */
/* What can be known of the report's set before the steps: that it opens, has labels where they are needed, and that the
 * main model knows them all. */
pare_status pare_run_score_prepare(pare_run *r);
/* The metrics of report: that need execution, into the report's rows. After the models are written. */
pare_status pare_run_score(pare_run *r);

#endif
