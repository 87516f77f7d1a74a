/* pipeline/run_train.h - the pieces of a run that steps which train need. Private to pipeline/.
 *
 * run_train.c: samples, device, validation, progress. run_teach.c: teachers and their logits.
 */
#ifndef PARE_PIPELINE_RUN_TRAIN_H
#define PARE_PIPELINE_RUN_TRAIN_H

#include "pipeline/run_parts.h"
#include "pipeline/score.h"
#include "train/services.h"

/* A teacher of the step at hand. */
typedef struct pare_run_taught {
    const char *ref;
    pare_scored m;
    size_t kept; /* 1 + its place in the run's kept logits; 0: they are not kept */
} pare_run_taught;

/* One step's services. Stays where it is from open to close. */
typedef struct pare_run_train {
    pare_run *r;
    const pare_pipeline_step *step;
    json_t *notes;     /* the step's, borrowed */
    pare_model *model; /* as it comes into the step; borrowed */
    pare_fit_opts opts;
    pare_compute compute;
    pare_data_preprocess pre;
    pare_data_target target;
    const pare_data *validate;
    PARE_VEC(pare_data *) own_sets;
    PARE_VEC(pare_run_taught) teachers;
    pare_train_services services;
} pare_run_train;

/* What a step is given; of one without a fit block what it may ask for. On failure nothing is left to close. */
pare_status pare_run_train_open(pare_run *r, size_t i, json_t *notes, pare_run_train *t);
void pare_run_train_close(pare_run_train *t);
/* The interface of an id, or NULL. */
const void *pare_run_train_ext(pare_run_train *t, const char *id);
/* Adds where in the file it was asked for; st as it came. */
pare_status pare_run_train_said(pare_run *r, size_t i, pare_status st);
/* Where a step's checkpoint lies. In the run's arena. */
const char *pare_run_checkpoint(pare_run *r, size_t i);

/* Are the samples of a set made for each model's input? */
bool pare_run_is_random(const pare_pipeline *p, int32_t set);
/* What a model's first input takes; ndim 0: not known. */
pare_data_target pare_run_target(const pare_model *m);

/* ---- run_teach.c: see services.h and fit.h ---- */
pare_status pare_run_teacher(void *ctx, const char *ref, pare_session **out);
pare_status pare_run_teach(void *ctx, pare_session *s, const pare_batch *b, pare_array *images, pare_array **out);
void pare_run_teachers_close(pare_run_train *t);

#endif
