/* base/os_memory.c - see os.h: how much memory this process may still take.
 *
 * Linux says it in two places: the machine's /proc/meminfo, and the control groups that the process is in (version 2
 * and 1), whose limit is what counts in a container. May use: str, POSIX.
 */
#include "base/os.h"

#include "base/mem.h"
#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind `key` in a file of lines "key number …"; key "": the file's first word. false: there is none. */
static bool number_in(const char *path, const char *key, uint64_t *out) {
    FILE *f = fopen(path, "re");
    char line[512];
    bool found = false;
    size_t n = strlen(key);
    while (f && !found && fgets(line, sizeof line, f))
        found = strncmp(line, key, n) == 0 && sscanf(line + n, "%" SCNu64, out) == 1;
    if (f) fclose(f);
    return found;
}

static void lower(uint64_t *to, uint64_t with) {
    if (with < *to) *to = with;
}

/* One group's limit less what it holds; cached file contents are given back when somebody needs the room. */
static uint64_t group_room(const char *dir, const char *limit, const char *usage, const char *cached) {
    char *p = pare_path_join(dir, limit), *u = pare_path_join(dir, usage), *s = pare_path_join(dir, "memory.stat");
    uint64_t max, now = 0, cache = 0, room = UINT64_MAX;
    if (number_in(p, "", &max) && number_in(u, "", &now)) { /* "max" is no number */
        number_in(s, cached, &cache);
        now -= cache < now ? cache : now;
        room = max > now ? max - now : 0;
    }
    free(p);
    free(u);
    free(s);
    return room;
}

/* The group and all above it: each may have a limit of its own. */
static uint64_t groups_room(const char *mount, const char *group, bool v2) {
    uint64_t room = UINT64_MAX;
    char *at = pare_xstrdup(group);
    for (;;) {
        pare_sb dir = {0};
        pare_sb_printf(&dir, "%s%s", mount, at);
        lower(&room, v2 ? group_room(pare_sb_str(&dir), "memory.max", "memory.current", "inactive_file ")
                        : group_room(pare_sb_str(&dir), "memory.limit_in_bytes", "memory.usage_in_bytes",
                                     "total_inactive_file "));
        pare_sb_free(&dir);
        char *slash = strrchr(at, '/');
        if (!slash) break;
        *slash = 0;
    }
    free(at);
    return room;
}

uint64_t pare_memory_available(void) {
    uint64_t room = UINT64_MAX, kib, swap = 0;
    if (number_in("/proc/meminfo", "MemAvailable:", &kib)) {
        number_in("/proc/meminfo", "SwapFree:", &swap);
        room = (kib + swap) * 1024;
    }
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[4096];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path || path[1] != '/') continue;
        *path++ = 0;
        if (strcmp(path, "/") == 0) *path = 0;
        if (!names[1])
            lower(&room, groups_room("/sys/fs/cgroup", path, true));
        else if (strcmp(names + 1, "memory") == 0)
            lower(&room, groups_room("/sys/fs/cgroup/memory", path, false));
    }
    if (f) fclose(f);
    return room;
}
