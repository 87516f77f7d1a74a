/* pare/plugin.h - everything a plugin needs, and its one exported function.
 *
 * A plugin is a shared object that exports pare_plugin_v1 and nothing else, links no host library, and returns static
 * const data. Structs begin with their size (set it to sizeof), hold no padding, and only ever grow at the end.
 */
#ifndef PARE_PLUGIN_H
#define PARE_PLUGIN_H

#include <pare/backend.h>
#include <pare/diag.h>
#include <pare/fit.h>
#include <pare/graph.h>
#include <pare/host.h>
#include <pare/layers.h>
#include <pare/loss.h>
#include <pare/note.h>
#include <pare/param.h>
#include <pare/pass.h>
#include <pare/random.h>
#include <pare/run.h>
#include <pare/status.h>
#include <pare/technique.h>
#include <pare/tensor.h>
#include <pare/tensors.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pare_plugin {
    uint32_t size;
    uint16_t abi_major, abi_minor;               /* PARE_ABI_MAJOR, PARE_ABI_MINOR: what it needs */
    const char *id, *version, *vendor, *license; /* [static] */
    const pare_technique *const *techniques;     /* [static] NULL-terminated array of pointers; may be NULL */
    const pare_backend *const *backends;         /* [static] NULL-terminated array of pointers; may be NULL */
    const pare_loss *const *losses;              /* [static] NULL-terminated array of pointers; may be NULL */
} pare_plugin;

/* [load] The only exported symbol. Does nothing but return [static] data. */
PARE_EXPORT const pare_plugin *pare_plugin_v1(void);

#ifdef __cplusplus
}
#endif

#endif
