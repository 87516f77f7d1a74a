/* data/prep.h - from a sample of a store to the model's tensor. Inside the layer. May use: store.h, image.h. */
#ifndef PARE_DATA_PREP_H
#define PARE_DATA_PREP_H

#include "data/image.h"
#include "data/store.h"

/* What is settled for a reader: the shape of a sample and the arithmetic of each channel. */
typedef struct pare_prep {
    const pare_store *store;
    const char *name; /* the set's */
    pare_data_preprocess pre;
    pare_data_target target;
    bool pixels; /* 8-bit images: resize, crop, colours */
    bool fixed;  /* height and width are known */
    bool nhwc;
    uint32_t channels;
    uint64_t height, width;
    /* a sample as batches have it */
    uint32_t dtype, ndim;
    int64_t dims[PARE_ARRAY_DIMS];
    uint64_t bytes;
    /* x * scale, - mean, / std */
    float scale, mean[PARE_DATA_CHANNELS], std[PARE_DATA_CHANNELS];
    bool plain;          /* bytes are copied as they are */
    float (*table)[256]; /* pixels: one row a channel of the tensor; owned */
} pare_prep;

/* A thread's own memory. Zero-initialise. */
typedef struct pare_prep_room {
    pare_image image, out;
    pare_resize_room resize;
} pare_prep_room;
void pare_prep_room_free(pare_prep_room *room);

/* Refuses, reported, what can't fit the model. Afterwards `fixed` says whether pare_prep_fix is still needed. */
pare_status pare_prep_open(pare_prep *p, const pare_store *s, const char *name, const pare_data_preprocess *pre,
                           const pare_data_target *target, pare_diags *d);
void pare_prep_close(pare_prep *p);
/* Settles height and width as what this decoded image becomes. */
pare_status pare_prep_fix(pare_prep *p, const pare_image *im, const char *path, pare_diags *d);

/* Sample i of the store into room->image: decoded, or records' pixels. Only for pixels. */
pare_status pare_prep_load(const pare_prep *p, uint64_t i, pare_diags *d, pare_prep_room *room);
/* Sample i (for pixels: room->image) into p->bytes bytes. */
pare_status pare_prep_write(const pare_prep *p, uint64_t i, pare_diags *d, pare_prep_room *room, void *to);

#endif
