/* plugin/plugin.h - finding plugins, loading them, and saying why a candidate was not taken.
 *
 * Folders are searched in order: those given (--plugin-dir), PARE_PLUGIN_PATH (colon-separated), the user's
 * (${XDG_DATA_HOME:-~/.local/share}/pare/plugins), and the one beside the executable (../lib/pare/plugins; the build
 * tree has the same layout). Every *.so in them is a candidate; the first plugin of an id wins. Each candidate's fate
 * is kept with its path and reason. Objects are opened RTLD_NOW | RTLD_LOCAL and never closed, so whatever a plugin
 * returned as static data stays good for the life of the process. Is not: running techniques (step.h), parameter values
 * (param.h). May use: base, sdk, param.h.
 */
#ifndef PARE_PLUGIN_PLUGIN_H
#define PARE_PLUGIN_PLUGIN_H

#include "base/diag.h"

#include <pare/plugin.h>

typedef enum {
    PARE_FOLDER_OPTION, /* --plugin-dir */
    PARE_FOLDER_ENV,    /* PARE_PLUGIN_PATH */
    PARE_FOLDER_USER,
    PARE_FOLDER_INSTALL
} pare_folder_origin;

/* A folder that was searched, in order. */
typedef struct pare_plugin_folder {
    const char *path;
    pare_folder_origin origin;
    bool exists;
    bool repeated; /* the same folder as an earlier one: not searched again */
} pare_plugin_folder;

/* A plugin that was taken. */
typedef struct pare_loaded {
    const pare_plugin *plugin;                   /* the plugin's own static data */
    const char *id, *version, *vendor, *license; /* vendor and license "" where the plugin says nothing */
    const char *path;
    const pare_technique *const *techniques;
    size_t n_techniques;
    const pare_backend *const *backends;
    size_t n_backends;
    const pare_loss *const *losses;
    size_t n_losses;
} pare_loaded;

/* A candidate that was not taken. */
typedef struct pare_rejected {
    const char *path;
    const char *reason; /* one line of plain English: "not an ELF file" */
} pare_rejected;

typedef struct pare_plugins pare_plugins;

/* Searches and loads. dirs: the folders named by --plugin-dir. NULL when one of these does not exist (reported:
 * plugin.no-folder); a folder of PARE_PLUGIN_PATH that doesn't exist is a warning; the other two are optional. Rejected
 * candidates are not reported, only kept. Call from the main thread. Free with pare_plugins_free; the objects stay
 * open. */
pare_plugins *pare_plugins_load(const char *const *dirs, size_t n, pare_diags *d);
void pare_plugins_free(pare_plugins *set); /* NULL is fine */

/* Everything below is borrowed from the set. */
size_t pare_plugins_count(const pare_plugins *set);
const pare_loaded *pare_plugins_at(const pare_plugins *set, size_t i); /* in load order */
size_t pare_plugins_rejected_count(const pare_plugins *set);
const pare_rejected *pare_plugins_rejected_at(const pare_plugins *set, size_t i);
size_t pare_plugins_folder_count(const pare_plugins *set);
const pare_plugin_folder *pare_plugins_folder_at(const pare_plugins *set, size_t i);
const char *pare_folder_origin_text(pare_folder_origin origin); /* "--plugin-dir", "PARE_PLUGIN_PATH", … */

/* The technique of an id, or NULL; *from (may be NULL): the plugin that brings it. */
const pare_technique *pare_plugins_technique(const pare_plugins *set, const char *id, const pare_loaded **from);
/* All technique ids, sorted, for "did you mean". */
const char *const *pare_plugins_technique_ids(const pare_plugins *set, size_t *n);

/* The backend of an id, or NULL; *from (may be NULL): the plugin that brings it. */
const pare_backend *pare_plugins_backend(const pare_plugins *set, const char *id, const pare_loaded **from);

/* The same of losses. A technique and a loss may have one id: ids are unique within a kind. */
const pare_loss *pare_plugins_loss(const pare_plugins *set, const char *id, const pare_loaded **from);
const char *const *pare_plugins_loss_ids(const pare_plugins *set, size_t *n);

/* A loaded plugin's file hash (64 hex digits), worked out at the first call and kept. NULL: the file can't be read any
 * more (reported). */
const char *pare_plugin_sha256(pare_plugins *set, const pare_loaded *plugin, pare_diags *d);

#endif
