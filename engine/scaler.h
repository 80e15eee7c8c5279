/* engine/scaler.h - when an operator gets more or fewer partitions by itself, and which buckets go where: choices alone, of figures that
 * are handed in. Inside the room: nobody else includes it.
 *
 * Refuses:  clocks, files, nodes, messages. The same figures in the same order give the same decisions.
 * Holds true:
 *   A1  nothing is decided while something moves, nor in the grace period behind it
 *   A2  out only above target + band; in only below target - band, and only to where the load would still be below the target
 *   A3  a hot bucket is said once: a scaling out for one partition's sake that did not help it is not done again
 *   A4  what has taken buckets in a plan gives none: no bucket is moved twice
 *
 * Thread:   any; one at a time for one struct scaler.
 */
#ifndef PST_SCALER_H
#define PST_SCALER_H

#include "engine/graph.h"

enum {
    SCALER_LOOKS_MIN = 15,
    SCALER_PARTITIONS_MAX = PST_AUTOSCALE_PARTITIONS_MAX,
    SCALER_NODES_MAX = 256,
    SCALER_NONE = UINT32_MAX
};

/* ---- how many ---- */
struct scaler_partition { /* of those that own buckets */
    uint32_t number, bucket_count;
    double busy; /* the share of its time in which it works: 0..1 */
    uint64_t state_bytes;
};
struct scaler_view {
    uint64_t now_ns; /* of one clock, never less than before */
    bool moving;     /* something of the graph moves, or is about to; then nothing below is looked at */
    struct scaler_partition *partitions; /* `busy` is smoothed in place, of the first SCALER_PARTITIONS_MAX */
    uint32_t count;                      /* 0: not all of them are known */
};
enum scaler_reason {
    SCALER_STEADY,  /* between the bounds, or nothing better is there */
    SCALER_MOVING,  /* A1 */
    SCALER_GRACE,   /* A1 */
    SCALER_UNKNOWN, /* figures are missing, or too few were seen yet */
    SCALER_OUT,     /* all of them together have too much to do */
    SCALER_SPLIT,   /* one has, and it has buckets to give */
    SCALER_IN,
    SCALER_AT_MAX, /* more were needed than there may be */
    SCALER_HOT,    /* one has too much to do, and more partitions do not help it */
};
struct scaler_decision {
    enum scaler_reason reason;
    bool news;         /* to be said: it is none that was said last */
    uint32_t count;    /* partitions that are wanted: as many as there are, but for OUT, SPLIT, IN */
    uint32_t hottest;  /* its number; SCALER_NONE: not known */
    double mean, most; /* smoothed: of all, of the hottest */
};
struct scaler { /* zeros: it knows nothing yet */
    uint64_t moved_ns;
    bool moved;                        /* moved_ns counts */
    uint32_t looks, outside;           /* outside: looks in a row at which there was something to be done */
    float busy[SCALER_PARTITIONS_MAX]; /* by the order of partitions */
    double tried;                      /* the hottest's share before the last scaling out for its sake; 0: none */
    struct scaler_decision said;
};
/* Once for each new sample. OUT, SPLIT and IN begin the grace period anew where the rule is no dry run, whatever becomes of them. */
struct scaler_decision pst_scaler_look(struct scaler *scaler, const struct pst_autoscale *rule,
                                       const struct scaler_view *view);
/* Something has moved, or the graph was started: grace begins, and what was seen before is forgotten. */
void pst_scaler_moved(struct scaler *scaler, uint64_t now_ns);
/* One sentence without its end: why. At most `bytes` with the 0. */
void pst_scaler_sentence(const struct scaler_decision *decision, const struct pst_autoscale *rule, char *text,
                         size_t bytes);

/* ---- which buckets ---- */
struct scaler_step { /* `count` buckets of partitions[from] go into partitions[into]; SCALER_NONE: into a new one */
    uint32_t from, into, count;
};
/* The next step towards `wanted` partitions, none above `target` as far as that can be (2: it may be): as little state as does it. A partition that has given all its
 * buckets is left out at the next call. False: there is nothing more to do. */
bool pst_scaler_step(const struct scaler_partition *partitions, uint32_t count, uint32_t wanted, double target,
                     struct scaler_step *ret_step);

/* Of nodes. */
struct scaler_share {
    uint32_t of_operator, buckets; /* buckets: of all operators, where those of the one are equal */
};
/* As many buckets of one node to another as bring the nearer of the two to the average, or both where that can be: each such move settles
 * one node, so there are fewer moves than nodes. Up to a tenth off the average is even. False: it is. */
bool pst_scaler_even(const struct scaler_share *shares, uint32_t count, uint32_t bucket_count,
                     struct scaler_step *ret_step);

/* The same by what they do, whatever operators it is of. */
struct scaler_node {
    double busy,
        part; /* busy: processors that it takes, for everything it does; part: of all that is done what it is to do; 1 together */
};
struct scaler_piece { /* a partition that may give buckets away; its figures are those of all of them */
    uint32_t node, bucket_count;
    double busy, state_bytes;
};
/* The next step towards nodes that are each within a tenth of their part: `count` buckets of pieces[from] go to nodes[into]. The step that
 * brings two nodes nearest to theirs; of about equal ones that with the least state. It always brings them nearer, by a hundredth of the average
 * part at least, so that there is an end. False: they are even, or no bucket makes it better. */
bool pst_scaler_balance(const struct scaler_node *nodes, uint32_t node_count, const struct scaler_piece *pieces,
                        uint32_t piece_count, struct scaler_step *ret_step);

/* By where their rows come from. */
struct scaler_bucket {
    double busy;
    uint32_t node; /* where it is, then where it is to be; SCALER_NONE: on one that is none of these, and it stays */
};
/* Each bucket to the node where most of its rows come from, a tenth more than come from where it is; then, where nodes are not within a tenth of
 * their part, from the busiest to the idlest those that are missed least there, by rows for what they do, until these two are within a
 * twentieth. nodes[].busy: without these buckets. rows: by bucket, and for each by node, how many come from there.
 * Errors:  PST_ENOMEM, nothing has changed. */
int pst_scaler_place(const struct scaler_node *nodes, uint32_t node_count, struct scaler_bucket *buckets,
                     uint32_t bucket_count, const float *rows);
/* The one that has the fewest; SCALER_NONE: there is none but `except`. */
uint32_t pst_scaler_least(const struct scaler_share *shares, uint32_t count, uint32_t except);

#endif
