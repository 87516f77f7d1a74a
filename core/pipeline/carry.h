/* pipeline/carry.h - what a model carries about its input, for the next tool: preprocessing and class names.
 *
 * Two entries of the model's metadata_props. `ai.pare.preprocess`: one line of JSON with the keys that the pipeline
 * file's preprocess block has (data/data.h). `ai.pare.classes`: a JSON list of class names, in the order of the model's
 * outputs. Is not: applying them. May use: config.h, data, model.
 */
#ifndef PARE_PIPELINE_CARRY_H
#define PARE_PIPELINE_CARRY_H

#include "data/data.h"
#include "model/model.h"
#include "pipeline/config.h"

#define PARE_CARRY_PREPROCESS "ai.pare.preprocess"
#define PARE_CARRY_CLASSES "ai.pare.classes"
enum { PARE_CARRY_MOST_CLASSES = 2000, PARE_CARRY_MOST_BYTES = 1 << 16 }; /* names that are more are not written */

typedef enum { PARE_CARRY_GIVEN, PARE_CARRY_MODEL, PARE_CARRY_NOTHING } pare_carry_source;

/* What a pipeline says of one of its models' input (pm NULL: of every model's); NULL: nothing. */
const pare_data_preprocess *pare_carry_given(const pare_pipeline *p, const pare_pipeline_model *pm);
/* The same for a model that stands alone, at `path`: it is the pipeline's model of that file, or the only one there is.
 * Says so where it is taken for that one, and which models' own keys are not used. */
const pare_data_preprocess *pare_carry_given_for(const pare_pipeline *p, const char *path, pare_diags *d);
/* What a model's samples go through: `given` where it is not NULL, else what the model carries, else nothing (8-bit
 * pixels become x/255). PARE_EINVAL, reported about `name`: the model's entry can't be read. source may be NULL. */
pare_status pare_carry_preprocess(const pare_data_preprocess *given, const pare_model *m, const char *name,
                                  pare_diags *d, pare_data_preprocess *out, pare_carry_source *source);

/* Names by label. Zero-initialise. */
typedef struct pare_classes {
    char **names;
    uint32_t n;
} pare_classes;
void pare_classes_free(pare_classes *c);
/* Those of set i, from names of folders or the set's own list, without opening its samples; none: c->n is 0. */
void pare_classes_of_set(const pare_pipeline *p, int32_t i, pare_classes *out);
/* Those that a pipeline knows: of report.on, else of the first set that has any. */
void pare_classes_of_pipeline(const pare_pipeline *p, pare_classes *out);
/* Those that a model carries. An entry that is no list of texts is as good as none. */
void pare_classes_of_model(const pare_model *m, pare_classes *out);

/* Writes both entries. classes may be NULL; they are left out where they are too many, or not as many as the model's
 * first output has columns. */
void pare_carry_write(pare_model *m, const pare_data_preprocess *pre, const pare_classes *classes);

#endif
