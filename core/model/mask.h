/* model/mask.h - keeping the list of masked tensors right while names change hands. For edit.c and model.c; what others
 * call is in edit.h. May use: model.h.
 */
#ifndef PARE_MODEL_MASK_H
#define PARE_MODEL_MASK_H

#include "model/model.h"

typedef struct pare_mask_entry {
    uint32_t tensor;
    size_t at; /* in the list */
} pare_mask_entry;

typedef struct pare_mask_hold {
    PARE_VEC(pare_mask_entry) entries;
} pare_mask_hold;

/* Before an edit: notes which entries of the list mean which tensors, those whose value is called `name` (NULL: all).
 * May be called for several names. Costs nothing where nothing is masked. */
void pare_mask_note(pare_model *m, const char *name, pare_mask_hold *hold);
/* After it: the entries get their tensors' new keys, those of tensors that are gone go. Frees the hold. */
void pare_mask_settle(pare_model *m, pare_mask_hold *hold);
/* Frees what is kept of the list as it was last read. */
void pare_mask_forget(pare_model *m);

#endif
