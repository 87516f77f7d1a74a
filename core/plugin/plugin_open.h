/* plugin/plugin_open.h - from one candidate file to a plugin, or to the reason why not. Of plugin.c alone. */
#ifndef PARE_PLUGIN_PLUGIN_OPEN_H
#define PARE_PLUGIN_PLUGIN_OPEN_H

#include "base/mem.h"

#include <pare/plugin.h>

/* What of an ELF header must agree between us and an object that we open: class, byte order, machine. */
typedef struct pare_elf_kind {
    bool known;
    unsigned char class_, order;
    uint16_t machine;
} pare_elf_kind;

/* Of this process's own executable; known is false where that can't be read. */
pare_elf_kind pare_elf_kind_own(void);

/* Checks the file before the system's loader sees it, opens it, passes the version gate and checks what the plugin
 * declares. NULL: *reason (in the arena) says why in one line. Does not know the other plugins. */
const pare_plugin *pare_plugin_open(const char *path, const pare_elf_kind *own, pare_arena *a, const char **reason);

#endif
