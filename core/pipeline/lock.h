/* pipeline/lock.h - pipeline.lock.yaml: what a run was made of, so that next month's run can be held against it.
 *
 * Is: a deterministic block-style YAML file (no times, no machine names). Is not: the reading of it (`--locked`).
 * May use: base (json, os, diag), config.h, libyaml.
 */
#ifndef PARE_PIPELINE_LOCK_H
#define PARE_PIPELINE_LOCK_H

#include "pipeline/config.h"

/* All borrowed. Strings may be NULL: written as null. */
typedef struct pare_lock_plugin {
    const char *id, *version, *sha256;
} pare_lock_plugin;

typedef struct pare_lock_file {
    const char *name; /* the model's, or what the file is: "net", "net weights", "pruned", "model" */
    const char *path; /* as written (inputs), relative to the run folder (outputs); NULL: built from the zoo */
    const char *zoo;  /* the network's name, or NULL */
    uint64_t bytes;   /* 0 with sha256 NULL: unknown */
    const char *sha256;
    uint64_t files; /* 0: one; else how many images lie under path: `bytes` is their sum, sha256 over names and sizes,
                     * and over their contents where `contents` */
    bool contents;
} pare_lock_file;

typedef struct pare_lock {
    const pare_pipeline *pipeline;
    const uint64_t *step_seeds;      /* pipeline->n_steps of them, or NULL */
    const pare_lock_plugin *plugins; /* those the run used */
    size_t n_plugins;
    const pare_lock_file *in, *out;
    size_t n_in, n_out;
    const char *cpu_model, *cpu_features; /* features separated by commas */
    uint32_t threads;
} pare_lock;

/* The lock as JSON. A new reference. */
json_t *pare_lock_json(const pare_lock *l);
/* Writes it; the file appears when it is whole. */
pare_status pare_lock_write(const pare_lock *l, const char *path, pare_diags *d);

/* Any JSON as a block-style YAML text that reads back with the same types (strings that look like something else are
 * quoted), keys in insertion order. */
void pare_lock_emit(const json_t *j, pare_sb *out);

#endif
