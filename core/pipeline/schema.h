/* pipeline/schema.h - JSON Schema (draft 2020-12) of the pipeline file, for editors and for tests.
 *
 * Holds every loaded technique's and every zoo network's parameters, and allows what pipeline/config.c allows, as far
 * as a schema can say it: references between steps, files and patterns that match nothing are left to `pare check`.
 * May use: base/json.h, config.h, plugin/param.h, model/zoo.h.
 */
#ifndef PARE_PIPELINE_SCHEMA_H
#define PARE_PIPELINE_SCHEMA_H

#include "pipeline/config.h"

/* A new reference. */
json_t *pare_pipeline_schema(const pare_technique_set *techniques,
                             const pare_loss_choice *losses); /* losses: or NULL */

#endif
