/* engine/feed.h - an input that a connection brings (docs/cluster.md, "Streams that come by a connection"). Inside the room: nobody else
 * includes it.
 *
 * A client sends a stream's bytes, each message with its place in the stream; the run's worker 0 takes them into a ring, from which
 * whoever reads a block takes them (input.c). The ring's room is what the client may send: the limit is told, grows as the ring is
 * emptied, and is never exceeded. Connections come and go; what has come stays, and the next one goes on behind it. A run that begins
 * behind a checkpoint asks for the bytes from there on.
 *
 * Threads:  the ring has one producer, the run's worker 0, and one consumer, whoever holds the input's lock. A connection is handed over
 *           by the keeper.
 * Holds true:
 *   I1  taken <= received <= taken + capacity, and received <= limit <= taken + capacity as the client knows it
 *   I2  the stream's end is what the client has said; a connection that breaks says nothing
 */
#ifndef PST_ENGINE_FEED_H
#define PST_ENGINE_FEED_H

#include "base/base.h"

struct feed;
struct run;

/* Of a run on several nodes. NULL: out of memory. */
struct feed *pst_feed_new(struct run *run, size_t block_bytes);
void pst_feed_free(struct feed *feed);
/* Before the run begins: what is wanted is the stream from this byte on. */
void pst_feed_begin_at(struct feed *feed, uint64_t offset);

/* Up to byte_count bytes in order, 0 at the end, PST_EAGAIN: none yet. By whoever holds the input's lock, as the next one. */
int64_t pst_feed_take(struct feed *feed, void *bytes, size_t byte_count);
/* The worker is woken when there is more. False: there is already. */
bool pst_feed_watch(struct feed *feed, uint32_t worker);

/* Worker 0's: takes in what has come, says what more may. True: it did something. */
bool pst_feed_step(struct feed *feed);
/* Worker 0's, when it is done: whoever feeds it finds the connection closed, and asks again. */
void pst_feed_close(struct feed *feed);

/* The keeper's: a client whose stream it is; beats: it says something now and then in any case. PST_OK: the connection is the feed's,
 * which answers it with `request`. PST_EFULL: another client has it. PST_ETIMEOUT: so it is, but that one has said nothing for some
 * seconds; PST_ESTOPPED: for so long that its connection is being closed, said once. PST_EAGAIN: not now. In all these cases the
 * connection is the caller's. */
int pst_feed_give(struct feed *feed, struct pst_conn *conn, uint64_t client, bool beats, uint64_t request);
bool pst_feed_is_here(const struct feed *feed);      /* a client has it */
uint64_t pst_feed_received(const struct feed *feed); /* bytes of the stream, so far */

#endif
