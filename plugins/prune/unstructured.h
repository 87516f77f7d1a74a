/* prune/unstructured.h - the technique prune.unstructured. May use: the SDK. */
#ifndef PRUNE_UNSTRUCTURED_H
#define PRUNE_UNSTRUCTURED_H

#include <pare/technique.h>

extern const pare_technique prune_unstructured;

#endif
