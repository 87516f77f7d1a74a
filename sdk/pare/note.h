/* pare/note.h - interface "pare.note/1": numbers for report.json. [run]. May include: host.h. */
#ifndef PARE_NOTE_H
#define PARE_NOTE_H

#include <pare/host.h>

#define PARE_NOTE_V1 "pare.note/1"

/* One row of the step's `layers`. */
typedef struct pare_layer_note {
    uint32_t size, n_extra;
    const char *name;           /* the layer's name */
    double requested, achieved; /* in the technique's own unit: a share for pruning, bits for quantization */
    const char *const *keys;    /* n_extra further columns */
    const double *values;       /* NaN is written as null */
} pare_layer_note;

typedef struct pare_note_api {
    uint32_t size, reserved;
    void (*number)(const pare_host *, const char *key, double value); /* under the step's `notes` */
    void (*text)(const pare_host *, const char *key, const char *value);
    void (*layer)(const pare_host *, const pare_layer_note *);
    void (*curve)(const pare_host *, const char *name, double x, double y); /* a point of the step's `curves` */
    /* A file beside the step's model (steps/NN-id/NAME), whole when the step succeeds; named in report.json. `name`: a
     * plain file name. Copies. PARE_EINVAL (reported): not such a name, or model.onnx. */
    pare_status (*file)(const pare_host *, const char *name, const void *bytes, uint64_t n);
} pare_note_api;

#endif
