/* cli/infer_bind.h - --in of pare infer: tensors of files, bound to a session's inputs by order or by NAME=FILE. */
#ifndef PARE_CLI_INFER_BIND_H
#define PARE_CLI_INFER_BIND_H

#include "cli/cli.h"
#include "engine/session.h"

/* in: one array per input of the session, zeroed; the caller's to unref, after a failure too. Reported: an input that
 * nobody gave, one given twice, a name that the model doesn't take, a file that can't be read. */
pare_status pare_infer_bind(pare_cli *c, const pare_session *s, pare_array **in);

#endif
