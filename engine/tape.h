/* engine/tape.h - a recorded stream: a range of a file of lines, plain or gzip, read from any place on, with the event time of its lines.
 * Inside the room: nobody else includes it.
 *
 * The stream is a range of the file's (uncompressed) bytes. It begins with the first line at or above `from`, and ends before the first
 * line behind it at or above `until`; lines without a time are part of what stands before them. Offsets are the stream's.
 *
 * A sealed stream, which `penstock seal` has made, is such a range too, the whole file: of it nothing is known but its bytes.
 *
 * Thread:  one. No call reads more than one buffer.
 */
#ifndef PST_ENGINE_TAPE_H
#define PST_ENGINE_TAPE_H

#include "base/base.h"

struct tape;

bool pst_tape_is_sealed(const struct tape *tape);
/* Errors: PST_ENOENT, PST_EIO, PST_EREFUSED (pst_system_error()); PST_ERANGE: a range of a sealed stream;
 * PST_EINVAL: not a regular file; PST_ENOMEM. */
int pst_tape_open(struct pst_world *world, const char *path, int64_t from, int64_t until, struct tape **ret_tape);
void pst_tape_close(struct tape *tape);
struct tape_lines {                /* which of them have an event time */
    uint32_t column, column_count; /* where it stands, from 0; how many there are, 0: any number */
    int64_t time_min, time_max;
};
/* Before anything is read. */
void pst_tape_lines(struct tape *tape, const struct tape_lines *lines);
uint64_t pst_tape_file_bytes(const struct tape *tape); /* 0: they say nothing of the stream's length */

/* From this byte on. Then reach() until it says PST_OK; PST_EAGAIN: again. PST_EDATA: damaged, or the stream is not so long; PST_EIO. */
void pst_tape_seek(struct tape *tape, uint64_t offset);
int pst_tape_reach(struct tape *tape);

struct piece { /* borrowed until the next call */
    const char *bytes;
    size_t byte_count;
    uint64_t rows;  /* lines that end in it */
    int64_t first;  /* of the first one, where a line begins with the piece; else as `newest` */
    int64_t newest; /* event time of the last line that begins in it and has one; INT64_MIN: none */
    int64_t next;   /* PST_EAGAIN: event time of the line that is not due yet; INT64_MIN: the file has nothing now */
};
/* The next bytes, up to bytes_max and before the first line above `due`; INT64_MAX: all are due. A line alone that is above it, the two
 * behind it being due, is no reason to wait: its clock was wrong. PST_OK; PST_EAGAIN; PST_ESTOPPED: the
 * stream ends here; PST_EDATA, PST_EIO. They are the next ones again until took() says otherwise. */
int pst_tape_next(struct tape *tape, size_t bytes_max, int64_t due, struct piece *ret_piece);
void pst_tape_took(struct tape *tape, const struct piece *piece);
uint64_t pst_tape_offset(const struct tape *tape);

/* The event time of a line, which may have its end behind it. False: it has none. Fuzzed. */
bool pst_tape_time(const char *line, size_t byte_count, const struct tape_lines *lines, int64_t *ret_time);

#endif
