/* pipeline/run_train.h - what a step is given to work with: samples, a device, training. Private to pipeline/.
 *
 * run_data.c: sets by name, runs on them (pare.run/1), files. run_train.c: samples, device, validation, progress.
 * run_teach.c: teachers and their logits. run_train_check.c: what can be known before.
 */
#ifndef PARE_PIPELINE_RUN_TRAIN_H
#define PARE_PIPELINE_RUN_TRAIN_H

#include "pipeline/run_parts.h"
#include "pipeline/score.h"
#include "plugin/runner.h"
#include "train/services.h"

/* A teacher of the step at hand. */
typedef struct pare_run_taught {
    const char *ref;
    pare_scored m;
    size_t kept; /* 1 + its place in the run's kept logits; 0: they are not kept */
} pare_run_taught;

/* A set of this step alone: made for the shape of its model, or a part of one. */
typedef struct pare_run_own_set {
    int32_t set;       /* data.sets[]; -1: "random" */
    bool shuffle;      /* in a new order each epoch */
    uint64_t samples;  /* of "random": how many; of others: the part that is taken, 0: all */
    pare_data *opened; /* owned */
} pare_run_own_set;

/* A file that the technique wants beside its model. Owned. */
typedef struct pare_run_file {
    char *name;
    void *bytes;
    uint64_t n;
} pare_run_file;

/* One step's services. Stays where it is from open to close. */
typedef struct pare_run_train {
    pare_run *r;
    const pare_pipeline_step *step;
    json_t *notes;           /* the step's, borrowed */
    const pare_model *model; /* as it comes into the step; borrowed; NULL: it can't be opened */
    uint64_t seed;           /* the step's */
    pare_fit_opts opts;
    pare_compute compute, cpu;
    pare_data_preprocess pre;
    bool pre_known, evaluated;
    pare_data_target target;
    const pare_data *validate;
    PARE_VEC(pare_run_own_set) own_sets;
    PARE_VEC(pare_run_taught) teachers;
    PARE_VEC(pare_run_file) files;
    pare_train_services services;
    pare_run_services runs;
} pare_run_train;

/* What every step is given, on a model that stands for what it will get (`pare check`: as it was before earlier steps).
 * Nothing is opened; pare_run_train_close ends it. */
void pare_run_train_begin(pare_run *r, size_t i, const pare_model *model, json_t *notes, pare_run_train *t);
/* What a step is given; of one without a fit block what it may ask for. On failure nothing is left to close. */
pare_status pare_run_train_open(pare_run *r, size_t i, json_t *notes, pare_run_train *t);
void pare_run_train_close(pare_run_train *t);
/* The interface of an id, or NULL. */
const void *pare_run_train_ext(pare_run_train *t, const char *id);
/* Adds where in the file it was asked for; st as it came. */
pare_status pare_run_train_said(pare_run *r, size_t i, pare_status st);
/* Where a step's checkpoint lies. In the run's arena. */
const char *pare_run_checkpoint(pare_run *r, size_t i);

/* ---- run_data.c ---- */
/* Set i of data, or (-1) `samples` of noise for the target; until the step ends. */
pare_status pare_run_step_set(pare_run_train *t, int32_t i, bool shuffle, const pare_data_target *target,
                              uint64_t samples, const pare_data **out);
/* A set by its name: its index, -1: "random". PARE_ENOTFOUND, reported with what there is. */
pare_status pare_run_set_find(const pare_run_train *t, const char *name, int32_t *out);
pare_status pare_run_pre(pare_run_train *t); /* fills in t->pre, once */
pare_run_services pare_run_services_of(pare_run_train *t);
/* pare_host_env.file; ctx is the pare_run_train. */
pare_status pare_run_keep_file(void *ctx, const char *name, const void *bytes, uint64_t n);
void pare_run_own_free(pare_run_train *t); /* its own sets and files */

/* A new set, the caller's; what it comes from is taken from those that are open. target: for random samples. */
pare_status pare_run_set_open(pare_run *r, int32_t i, bool shuffle, const pare_data_target *target, pare_data **out);
/* Are the samples of a set made for each model's input? */
bool pare_run_is_random(const pare_pipeline *p, int32_t set);
/* What a model's first input takes; ndim 0: not known. */
pare_data_target pare_run_target(const pare_model *m);

/* ---- run_teach.c: see services.h and fit.h ---- */
pare_status pare_run_teacher(void *ctx, const char *ref, pare_session **out);
pare_status pare_run_teach(void *ctx, pare_session *s, const pare_batch *b, pare_array *images, pare_array **out);
void pare_run_teachers_close(pare_run_train *t);
/* A teacher that is no step and no model: a file, read and checked; `say`: looked through for NaN too. The caller's.
 * Reported. */
pare_status pare_run_teacher_read(pare_run *r, const char *path, bool say, pare_model **out);
/* Both see one batch: its samples must fit the teacher, prepared as it wants them. "train.teacher-input", reported. */
pare_status pare_run_teacher_fits(const char *ref, const pare_data_target *teacher, const pare_data_preprocess *its,
                                  const pare_data_target *student, const pare_data_preprocess *own, pare_diags *d);

#endif
