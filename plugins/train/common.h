/* train/common.h - the techniques of this plugin. */
#ifndef TRAIN_COMMON_H
#define TRAIN_COMMON_H

#include <pare/technique.h>

extern const pare_technique train_supervised, train_recalibrate;

#endif
