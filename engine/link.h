/* engine/link.h - channels between nodes (docs/cluster.md). Inside the room: nobody else includes it.
 *
 * A link stands where the instance on the other node would: of channels that lead there it is the consumer, of those that come
 * from there the producer. It has one connection, which may break and be made again: a frame is kept until the other side has taken
 * it, and what comes twice is dropped by its number. Frames of a channel are numbered from 1; a watermark or an end bears the number of
 * the frame that would follow it, and counts when all frames before it are here (E2).
 *
 * Thread:   a link belongs to one worker of its run; pst_link_give() is for one other thread.
 */
#ifndef PST_LINK_H
#define PST_LINK_H

#include "engine/runtime.h"

enum {
    LINK_FRAMES = 2 * CHANNEL_FRAMES,
    LINK_MESSAGES_A_STEP = 64,
    /* A millisecond's work, or two: what is for partitions of this worker does not wait for all of a move's. */
    LINK_BYTES_A_STEP = 1 << 20,
};

int pst_links_init(struct run *run);
void pst_links_fini(struct run *run);
int pst_links_deal(struct run *run, struct worker *worker); /* the links that are this worker's */
bool pst_links_cut(const struct run *run);                  /* some input elsewhere was cut; when all is done */

/* The worker that a channel to or from this node ends at. */
uint32_t pst_link_worker(const struct run *run, uint32_t far_node);
/* Gives the link one more channel; `number` and `epoch` name it on both nodes. */
typedef enum pst_link_end {
    PST_LINK_OUT = 1,
    PST_LINK_IN,
    PST_LINK_IN_SOURCE
} pst_link_end; /* its producer is a source */
int pst_link_add(struct run *run, uint32_t far_node, struct channel *channel, uint64_t number, uint32_t epoch,
                 pst_link_end end);
bool pst_link_is(const struct channel *channel, uint64_t number);
/* The channel is no more; what it kept goes. */
void pst_link_remove(struct run *run, struct channel *channel);

/* A connection that the other node has opened, its hello read. What becomes of it is the run's business from now on. False: there is
 * no such link, and it is still the caller's. */
bool pst_link_give(struct run *run, uint32_t far_node, struct pst_conn *conn);

/* The run over there has ended well, so it has had all that this one has sent, and this one all of its. */
void pst_link_peer_ended(struct run *run, uint32_t far_node);

/* All channels that lead to that node, or come from it: visit() may remove the one that it is given. While workers stand still. */
typedef void (*pst_link_channel)(void *argument, struct channel *channel);
void pst_link_visit(struct run *run, uint32_t far_node, pst_link_channel visit, void *argument);

/* Adds what the connections of all links have carried so far. The keeper. */
void pst_links_bytes(const struct run *run, uint64_t *sent, uint64_t *received);

/* Nothing has come from this node for some seconds, though it is dialed all the time; and what was said of it last, "": it does not
 * answer. The keeper. */
bool pst_link_silent(const struct run *run, uint32_t far_node, uint64_t now_ns, char ret_why[120]);

/* There is to be a connection to this node, be it for no channel. While workers stand still. */
int pst_link_need(struct run *run, uint32_t far_node);

/* Parcels (lane.h) of one move: from the giver's way to that node (PST_LINK_OUT), or from there into the lane's (PST_LINK_IN). The way is
 * borrowed until its end. While workers stand still. */
struct way;
void pst_link_way(struct run *run, uint32_t far_node, struct way *way, pst_link_end end);
void pst_link_way_end(struct run *run, uint64_t move);

/* A worker's step: true if something was done; *ret_copied: parcels went on, and that does not count. */
bool pst_link_receive(struct link *link, bool *ret_copied);
bool pst_link_send(struct link *link, bool *ret_copied);
bool pst_link_finished(const struct link *link); /* all ends are here, and all that was sent has been taken */
void pst_link_close(struct link *link);

#endif
