/* pare/status.h - the codes every pare function returns, and the few macros of the whole SDK.
 *
 * Is: statuses, the ABI's version numbers, the export macro. Is not: the story of a failure (diag.h).
 * May include: the C library only. Compiles as C11 and as C++17.
 */
#ifndef PARE_STATUS_H
#define PARE_STATUS_H

#include <stddef.h>
#include <stdint.h>

/* The major is part of the entry symbol's name (pare_plugin_v1): another major can't be mistaken for this one. */
#define PARE_ABI_MAJOR 1
/* The newest minor these headers describe. */
#define PARE_ABI_MINOR_LATEST 0
/* The minor a plugin NEEDS, not the one it was built with: a plugin that uses nothing newer loads in any host of
 * the same major. Define it before including pare/plugin.h to opt into newer fields. */
#ifndef PARE_ABI_MINOR
#define PARE_ABI_MINOR 0
#endif

/* A field exists if the peer's struct reaches past it and, for functions, is set. */
#define PARE_HAS(type, ptr, field) ((ptr)->size >= offsetof(type, field) + sizeof((ptr)->field) && (ptr)->field)

/* Where a field ends: the size of a struct that stops with it. */
#define PARE_END(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

#if defined(_WIN32)
#define PARE_EXPORT __declspec(dllexport)
#else
#define PARE_EXPORT __attribute__((visibility("default")))
#endif

/* name, value, what a person reads. 0 is success, below 0 failed; the story travels by diagnostics. */
#define PARE_STATUSES(X)                                                                                               \
    X(PARE_OK, 0, "ok")                                                                                                \
    X(PARE_EINVAL, -1, "the input is wrong")                                                                           \
    X(PARE_ENOMEM, -2, "out of memory")                                                                                \
    X(PARE_EUNSUPPORTED, -3, "not supported")                                                                          \
    X(PARE_ECANCELLED, -4, "cancelled")                                                                                \
    X(PARE_EIO, -5, "reading or writing failed")                                                                       \
    X(PARE_EINTERNAL, -6, "a bug in pare or in a plugin")                                                              \
    X(PARE_ENOTFOUND, -7, "not found")                                                                                 \
    X(PARE_EDIVERGED, -8, "numbers ran away")

typedef int32_t pare_status;
enum {
#define PARE_STATUS_ENUM(name, value, text) name = (value),
    PARE_STATUSES(PARE_STATUS_ENUM)
#undef PARE_STATUS_ENUM
};

#endif
