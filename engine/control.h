/* engine/control.h - control messages as bytes (engine/control.proto), packed and unpacked by protobuf-c, and checked.
 *
 * Holds:    the bounds of what a message may carry; that a message is what its readers may rely on.
 * Refuses:  connections; what messages mean; which of them may come now.
 * Thread:   any; nothing is kept between two calls.
 * Holds true of what pst_control_unpack() gives:
 *   N1  exactly one body, of a kind that is known; enums have known values, and not the one that says nothing
 *   N2  lists and texts are within the bounds below; indices are below what they count
 *   N3  texts are UTF-8 without control characters; settings' values and arguments may have tabs and ends of lines. Names are
 *       visible ASCII. Bytes are anything. Words for people alone (why something was refused, has ended, was given up) break nothing:
 *       who packs and who unpacks makes them such a text
 *   N4  fields that are not known are gone: nobody hands on what he has not read
 *   N5  it took no more memory than pst_control_memory_max() of its size
 */
#ifndef PST_CONTROL_H
#define PST_CONTROL_H

#include "base/base.h"

#include "engine/control.pb-c.h" /* made from control.proto by the build */

enum {
    PST_CONTROL_VERSION = 3, /* 1, which was not released, did not know who owns a bucket: so 2 is one that never was */
    PST_CONTROL_BYTES_MAX = 64 * 1024,
    PST_CONTROL_LONG_BYTES_MAX =
        2 * 1024 * 1024, /* Start, Admin, AdminReply, Piece: there is a graph's text in them, a report, rows */
    PST_CONTROL_PIECE_BYTES_MAX = 256 * 1024,
    PST_CONTROL_NAME_BYTES_MAX = 255,  /* of nodes, graphs, operators, settings; addresses, too */
    PST_CONTROL_TEXT_BYTES_MAX = 4096, /* sentences, values, arguments, files' names */
    PST_CONTROL_CLUSTER_BYTES_MAX = 64,
    PST_CONTROL_NODES_MAX = 1024,
    PST_CONTROL_GRAPHS_MAX = 1024,
    PST_CONTROL_SETTINGS_MAX = 1000,
    PST_CONTROL_ARGUMENTS_MAX = 1000,
    PST_CONTROL_PARTITIONS_MAX = 4096, /* loads in a Beat: where there are more, there are several */
    PST_CONTROL_PLACES_MAX = 65536,
    PST_CONTROL_WORDS_BYTES_MAX =
        24 * 1024, /* of a worker to another, two of them in a message of PST_CONTROL_BYTES_MAX */
};
#define PST_CONTROL_DEADLINE_NS_MAX (UINT64_C(24) * 60 * 60 * 1000 * 1000 * 1000) /* of a move: a day */

/* Of a message with this body (enum Pst__Control__BodyCase). */
size_t pst_control_bytes_max(uint32_t body);
/* The most memory that unpacking so many bytes may take: short lists of small things are larger as structs, by the tenfold. */
size_t pst_control_memory_max(size_t byte_count);

/* Adds the message's bytes to `bytes`. Its `version` is put in here.
 * Errors:  PST_EINVAL no reader would take it; PST_EFULL it is longer than pst_control_bytes_max(); PST_ENOMEM, in part added. */
int pst_control_pack(const Pst__Control *message, struct pst_text *bytes);
/* Makes of both a command's first message. */
void pst_control_greet(Pst__Control *message, Pst__Hello *hello);

/* All of it once more, in `arena`, which was initialised. Errors: as those of packing and unpacking. */
int pst_control_copy(const Pst__Control *message, struct pst_arena *arena, Pst__Control **ret_message);

/* limit: on top of pst_control_bytes_max(); smaller where little is known of who sends.
 * Owns:    the message lies in `arena`, which was initialised, and lives as long; what was begun lies there on errors, too.
 * Errors:  PST_EDATA not well-formed, or N1 to N3 do not hold; PST_EABI of a version more than one away, or a body or value of an
 *          enum that is not known; PST_EFULL longer than it may be, or N5; PST_ENOMEM. */
int pst_control_unpack(const void *bytes, size_t byte_count, size_t limit, struct pst_arena *arena,
                       Pst__Control **ret_message);

#endif
