/* scaler.c - see scaler.h. */
#include "engine/scaler.h"

#include <stdio.h>
#include <stdlib.h>

#define SMOOTH 0.2 /* of a new sample, once there were some */
#define HELPED 0.9 /* the hottest is to fall below so much of what it was */
#define SLIGHT 1e-9

static double lesser(double a, double b) { return a < b ? a : b; }
static double greater(double a, double b) { return a > b ? a : b; }

/* ---- how many ---- */

void pst_scaler_moved(struct scaler *scaler, uint64_t now_ns)
{
    scaler->moved = true;
    scaler->moved_ns = now_ns;
    scaler->looks = scaler->outside = 0;
}

static double sum_of(const struct scaler_partition *partitions, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += partitions[i].busy;
    return sum;
}

static uint32_t hottest_of(const struct scaler_partition *partitions, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        best = partitions[i].busy > partitions[best].busy ? i : best;
    return best;
}

static double target_of(const struct pst_autoscale *rule) { return rule->target / 100.0; }
static double high_of(const struct pst_autoscale *rule) { return (rule->target + rule->band) / 100.0; }
static double low_of(const struct pst_autoscale *rule) { return ((double)rule->target - rule->band) / 100.0; }

/* The least whole number at or above it, and within the limits. */
static uint32_t within(const struct pst_autoscale *rule, double wanted)
{
    if (wanted <= rule->min)
        return rule->min;
    if (wanted >= rule->max)
        return rule->max;
    return (uint32_t)wanted + ((double)(uint32_t)wanted < wanted);
}

/* In place: by their order, which stays the same until something moves. */
static void smooth(struct scaler *scaler, const struct scaler_view *view)
{
    scaler->looks++;
    double part = greater(1.0 / scaler->looks, SMOOTH);
    for (uint32_t i = 0; i < view->count && i < SCALER_PARTITIONS_MAX; i++) {
        scaler->busy[i] += (float)part * ((float)view->partitions[i].busy - scaler->busy[i]);
        view->partitions[i].busy = scaler->busy[i];
    }
}

/* What the smoothed figures ask for, were there neither grace nor doubt. */
static enum scaler_reason wish(const struct scaler *scaler, const struct pst_autoscale *rule,
                               const struct scaler_decision *seen, uint32_t hottest_buckets, uint32_t *ret_count)
{
    uint32_t count = seen->count;
    double needed = seen->mean * count / target_of(rule) - SLIGHT;
    if (count < rule->min || count > rule->max) {
        *ret_count = within(rule, count);
        return count < rule->min ? SCALER_OUT : SCALER_IN;
    }
    if (seen->mean > high_of(rule)) {
        *ret_count = within(rule, needed);
        return *ret_count > count ? SCALER_OUT : SCALER_AT_MAX;
    }
    if (seen->mean < low_of(rule) && within(rule, needed) < count) {
        *ret_count = within(rule, needed);
        return SCALER_IN;
    }
    if (seen->most <= high_of(rule) || seen->most <= seen->mean + rule->band / 100.0)
        return SCALER_STEADY;
    if (hottest_buckets < 2 || (scaler->tried > 0 && seen->most > HELPED * scaler->tried))
        return SCALER_HOT;
    if (count == rule->max)
        return SCALER_AT_MAX;
    *ret_count = count + 1;
    return SCALER_SPLIT;
}

static bool scales(enum scaler_reason reason)
{
    return reason == SCALER_OUT || reason == SCALER_SPLIT || reason == SCALER_IN;
}

/* Without news. */
static struct scaler_decision look(struct scaler *scaler, const struct pst_autoscale *rule,
                                   const struct scaler_view *view)
{
    struct scaler_decision decision = {.reason = SCALER_MOVING, .count = view->count, .hottest = SCALER_NONE};
    if (view->moving) {
        pst_scaler_moved(scaler, view->now_ns);
        return decision;
    }
    if (scaler->moved && view->now_ns - scaler->moved_ns < rule->grace_ns) {
        decision.reason = SCALER_GRACE;
        return decision;
    }
    decision.reason = SCALER_UNKNOWN;
    if (view->count == 0)
        return decision;
    smooth(scaler, view);
    uint32_t at = hottest_of(view->partitions, view->count);
    decision.hottest = view->partitions[at].number;
    decision.mean = sum_of(view->partitions, view->count) / view->count;
    decision.most = view->partitions[at].busy;
    if (decision.most < target_of(rule))
        scaler->tried = 0;
    enum scaler_reason reason = wish(scaler, rule, &decision, view->partitions[at].bucket_count, &decision.count);
    scaler->outside = reason == SCALER_STEADY ? 0 : scaler->outside + 1;
    if (reason == SCALER_STEADY || scaler->outside >= SCALER_LOOKS_MIN)
        decision.reason = reason;
    else
        decision.count = view->count;
    return decision;
}

struct scaler_decision pst_scaler_look(struct scaler *scaler, const struct pst_autoscale *rule,
                                       const struct scaler_view *view)
{
    struct scaler_decision decision = look(scaler, rule, view);
    bool says = scales(decision.reason) || decision.reason == SCALER_AT_MAX || decision.reason == SCALER_HOT;
    if (decision.reason == SCALER_STEADY && decision.most < target_of(rule))
        scaler->said = decision; /* that is over: when it comes again it is news */
    if (!says)
        return decision;
    decision.news = decision.reason != scaler->said.reason || decision.count != scaler->said.count;
    scaler->said = decision;
    if (!scales(decision.reason) || rule->mode == PST_AUTOSCALE_DRY_RUN)
        return decision;
    decision.news = true;
    if (decision.reason != SCALER_IN)
        scaler->tried = decision.most;
    pst_scaler_moved(scaler, view->now_ns);
    return decision;
}

void pst_scaler_sentence(const struct scaler_decision *decision, const struct pst_autoscale *rule, char *text,
                         size_t bytes)
{
    double mean = 100 * decision->mean, most = 100 * decision->most;
    switch (decision->reason) {
    case SCALER_OUT:
        (void)snprintf(text, bytes, "busy %.0f %% of the time, above %u %%, or fewer than %u partitions", mean,
                       rule->target + rule->band, rule->min);
        return;
    case SCALER_SPLIT:
        (void)snprintf(text, bytes, "partition %u is busy %.0f %% of the time, above %u %%; all together %.0f %%",
                       decision->hottest, most, rule->target + rule->band, mean);
        return;
    case SCALER_IN:
        (void)snprintf(text, bytes, "busy %.0f %% of the time, below %u %%, or more than %u partitions", mean,
                       rule->target - rule->band, rule->max);
        return;
    case SCALER_AT_MAX:
        (void)snprintf(text, bytes, "busy %.0f %% of the time, the busiest %.0f %%, and %u partitions are the most",
                       mean, most, rule->max);
        return;
    case SCALER_HOT:
        (void)snprintf(text, bytes,
                       "partition %u is busy %.0f %% of the time and all together %.0f %%: few keys have most of the "
                       "rows, more partitions do not help",
                       decision->hottest, most, mean);
        return;
    case SCALER_STEADY:
    case SCALER_MOVING:
    case SCALER_GRACE:
    case SCALER_UNKNOWN:
        break;
    }
    (void)snprintf(text, bytes, "nothing is to be done");
}

/* ---- which buckets ---- */

/* Where there is nothing to do one bucket is as good as another. */
static double load_of(const struct scaler_partition *partition)
{
    return partition->busy + 1e-6 * partition->bucket_count;
}

static double part_of(const struct scaler_partition *partitions, uint32_t count, uint32_t wanted)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += load_of(&partitions[i]);
    return sum / wanted;
}

/* So many of its buckets do so much, by what is known: each as much as any other. */
static uint32_t buckets_for(const struct scaler_partition *partition, double load)
{
    double count = load * partition->bucket_count / load_of(partition) + 1e-6;
    return count < 0 ? 0 : (uint32_t)lesser(count, partition->bucket_count);
}

/* It has the least state of all but `count` others; of like ones the first. */
static bool is_slight(const struct scaler_partition *partitions, uint32_t count, uint32_t slight_count, uint32_t at)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < count; i++)
        before += partitions[i].state_bytes < partitions[at].state_bytes ||
                  (partitions[i].state_bytes == partitions[at].state_bytes && i < at);
    return before < slight_count;
}

/* Of those that could give: the one with the most, of about like ones that with the least state. */
static uint32_t giver_of(const struct scaler_partition *partitions, uint32_t count, double part)
{
    uint32_t from = SCALER_NONE;
    for (uint32_t i = 0; i < count; i++) {
        const struct scaler_partition *p = &partitions[i], *best = from != SCALER_NONE ? &partitions[from] : NULL;
        if (p->bucket_count < 2)
            continue;
        double more = best != NULL ? load_of(p) - load_of(best) : 0;
        if (best == NULL || more > part / 20 || (more > -part / 20 && p->state_bytes < best->state_bytes))
            from = i;
    }
    return from;
}

static bool step_out(const struct scaler_partition *partitions, uint32_t count, double part, struct scaler_step *step)
{
    uint32_t from = giver_of(partitions, count, part);
    if (from == SCALER_NONE)
        return false;
    const struct scaler_partition *giver = &partitions[from];
    uint32_t half = giver->bucket_count / 2, gives = buckets_for(giver, lesser(load_of(giver) - part, part));
    if (gives == 0)
        gives = 1;
    *step = (struct scaler_step){from, SCALER_NONE, gives < giver->bucket_count ? gives : half};
    return true;
}

/* Those with the least state go: a piece to each of the others that has less than its part, the rest to whoever has least. */
static bool step_in(const struct scaler_partition *partitions, uint32_t count, uint32_t wanted, double part,
                    struct scaler_step *step)
{
    uint32_t from = SCALER_NONE, into = SCALER_NONE;
    for (uint32_t i = 0; i < count; i++) {
        if (is_slight(partitions, count, 1, i))
            from = i;
        if (!is_slight(partitions, count, count - wanted, i) &&
            (into == SCALER_NONE || load_of(&partitions[i]) < load_of(&partitions[into])))
            into = i;
    }
    uint32_t gives = buckets_for(&partitions[from], part - load_of(&partitions[into]));
    *step = (struct scaler_step){from, into, gives != 0 ? gives : 1};
    return true;
}

/* From the one with the most to the one with the least; what has taken is at its part at most, and gives none. */
static bool step_even(const struct scaler_partition *partitions, uint32_t count, double part, double target,
                      struct scaler_step *step)
{
    uint32_t from = giver_of(partitions, count, 0), into = 0;
    for (uint32_t i = 1; i < count; i++)
        into = load_of(&partitions[i]) < load_of(&partitions[into]) ? i : into;
    if (from == SCALER_NONE || from == into || load_of(&partitions[from]) <= target)
        return false;
    const struct scaler_partition *giver = &partitions[from];
    uint32_t gives = buckets_for(giver, lesser(load_of(giver) - part, part - load_of(&partitions[into])));
    *step = (struct scaler_step){from, into, gives};
    return gives != 0 && gives < giver->bucket_count;
}

bool pst_scaler_step(const struct scaler_partition *partitions, uint32_t count, uint32_t wanted, double target,
                     struct scaler_step *ret_step)
{
    if (count == 0 || wanted == 0)
        return false;
    double part = part_of(partitions, count, wanted);
    if (count < wanted)
        return step_out(partitions, count, part, ret_step);
    if (count > wanted)
        return step_in(partitions, count, wanted, part, ret_step);
    return step_even(partitions, count, part, target, ret_step);
}

/* ---- nodes ---- */

uint32_t pst_scaler_least(const struct scaler_share *shares, uint32_t count, uint32_t except)
{
    uint32_t best = SCALER_NONE;
    for (uint32_t i = 0; i < count; i++) {
        if (i == except)
            continue;
        const struct scaler_share *least = best != SCALER_NONE ? &shares[best] : NULL;
        bool less = least == NULL || shares[i].of_operator < least->of_operator ||
                    (shares[i].of_operator == least->of_operator && shares[i].buckets < least->buckets);
        best = less ? i : best;
    }
    return best;
}

/* Who is to have one more where they cannot all have the same: who has it, who has more, who has too little, and last who has one less. */
static bool goes_before(uint32_t a, uint32_t b, uint32_t high)
{
    uint32_t a_class = a == high ? 0 : a > high ? 1 : a + 1 < high ? 2 : 3;
    uint32_t b_class = b == high ? 0 : b > high ? 1 : b + 1 < high ? 2 : 3;
    return a_class != b_class ? a_class < b_class : a < b;
}

/* What each has beyond its part, or below 0: lacks; all together nothing. Who gives never takes. */
static void offs(const struct scaler_share *shares, uint32_t count, uint32_t bucket_count, int32_t *ret_off)
{
    uint32_t low = bucket_count / count, high_count = bucket_count % count, high = low + (high_count != 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t before = 0, mine = shares[i].of_operator;
        for (uint32_t k = 0; k < count; k++) {
            uint32_t other = shares[k].of_operator;
            before += goes_before(other, mine, high) || (other == mine && k < i);
        }
        ret_off[i] = (int32_t)mine - (int32_t)(before < high_count ? high : low);
    }
}

bool pst_scaler_even(const struct scaler_share *shares, uint32_t count, uint32_t bucket_count,
                     struct scaler_step *ret_step)
{
    int32_t off[SCALER_NODES_MAX], least = INT32_MAX;
    uint32_t from = 0, to = 0;
    PST_ASSERT(count <= SCALER_NODES_MAX);
    if (count < 2)
        return false;
    int32_t slack = (int32_t)(bucket_count / (10 * count));
    offs(shares, count, bucket_count, off);
    for (uint32_t i = 0; i < count; i++) {
        from = off[i] > off[from] ? i : from;
        bool empties = off[i] == off[to] && shares[i].buckets < shares[to].buckets;
        to = off[i] < off[to] || empties ? i : to;
    }
    if (off[from] <= slack && -off[to] <= slack)
        return false;
    for (uint32_t i = 0; i < count; i++) /* what settles two goes before what settles one */
        for (uint32_t k = 0; k < count; k++) {
            int32_t between = off[i] + off[k] < 0 ? -(off[i] + off[k]) : off[i] + off[k];
            if (off[i] <= slack || -off[k] <= slack || between > slack || between >= least)
                continue;
            least = between;
            from = i;
            to = k;
        }
    *ret_step = (struct scaler_step){from, to, (uint32_t)(off[from] < -off[to] ? off[from] : -off[to])};
    return true;
}

/* ---- nodes, by what they do ---- */

static double distance(double off) { return off < 0 ? -off : off; }

/* How many buckets of the piece go to a node that lacks `lack`, so that neither side is beyond its part by more than half of one; and how
 * much nearer to their parts that brings the two together. */
static double gain_of(const struct scaler_piece *piece, double over, double lack, uint32_t *ret_count)
{
    double each = piece->busy / piece->bucket_count, wanted = over < lack ? over : lack;
    if (each <= 0 || wanted <= 0)
        return 0;
    double count = wanted / each + 0.5;
    *ret_count = count >= piece->bucket_count ? piece->bucket_count : count >= 1 ? (uint32_t)count : 1;
    double moved = each * *ret_count;
    return over + lack - distance(over - moved) - distance(lack - moved);
}

bool pst_scaler_balance(const struct scaler_node *nodes, uint32_t node_count, const struct scaler_piece *pieces,
                        uint32_t piece_count, struct scaler_step *ret_step)
{
    double all = 0, best = 0, least_bytes = 0, off[SCALER_NODES_MAX], slack[SCALER_NODES_MAX];
    bool found = false;
    PST_ASSERT(node_count <= SCALER_NODES_MAX);
    for (uint32_t i = 0; i < node_count; i++)
        all += nodes[i].busy;
    for (uint32_t i = 0; i < node_count; i++) {
        off[i] = nodes[i].busy - all * nodes[i].part;
        slack[i] = all * nodes[i].part / 10;
    }
    for (int look = 0; look < 2; look++) /* the best, then what is about as good and has the least state */
        for (uint32_t p = 0; p < piece_count; p++)
            for (uint32_t to = 0; to < node_count; to++) {
                uint32_t from = pieces[p].node, count = 0;
                if (from == to || (off[from] <= slack[from] && -off[to] <= slack[to]))
                    continue;
                double gain = gain_of(&pieces[p], off[from], -off[to], &count);
                double bytes = count != 0 ? pieces[p].state_bytes / pieces[p].bucket_count * count : 0;
                if (look == 0) {
                    best = gain > best ? gain : best;
                } else if (best > all / node_count / 100 && gain >= best * 0.9 && (!found || bytes < least_bytes)) {
                    found = true;
                    least_bytes = bytes;
                    *ret_step = (struct scaler_step){p, to, count};
                }
            }
    return found;
}

/* ---- nodes, by where rows come from ---- */

struct placing {
    const struct scaler_node *nodes;
    uint32_t node_count, bucket_count;
    struct scaler_bucket *buckets;
    const float *rows;
    uint32_t *was;        /* by bucket: its node before */
    struct price *prices; /* room for all buckets */
    double all, off[SCALER_NODES_MAX];
};
struct price { /* what it costs to give a bucket away: rows that cross for it, for what it does */
    double price;
    uint32_t bucket;
};

static const float *rows_of(const struct placing *p, uint32_t bucket)
{
    return p->rows + (size_t)bucket * p->node_count;
}

static void place_by_rows(struct placing *p)
{
    for (uint32_t b = 0; b < p->bucket_count; b++) {
        const float *from = rows_of(p, b);
        uint32_t best = p->buckets[b].node;
        for (uint32_t n = 0; n < p->node_count && p->was[b] != SCALER_NONE; n++)
            best = from[n] > from[best] ? n : best;
        if (p->was[b] != SCALER_NONE && (double)from[best] > 1.1 * (double)from[p->was[b]])
            p->buckets[b].node = best;
    }
}

static void offs_look(struct placing *p)
{
    p->all = 0;
    for (uint32_t n = 0; n < p->node_count; n++)
        p->off[n] = p->nodes[n].busy;
    for (uint32_t b = 0; b < p->bucket_count; b++)
        if (p->buckets[b].node != SCALER_NONE)
            p->off[p->buckets[b].node] += p->buckets[b].busy;
    for (uint32_t n = 0; n < p->node_count; n++)
        p->all += p->off[n];
    for (uint32_t n = 0; n < p->node_count; n++)
        p->off[n] -= p->all * p->nodes[n].part;
}

static int price_compare(const void *left, const void *right)
{
    const struct price *a = left, *b = right;
    if (a->price != b->price)
        return a->price < b->price ? -1 : 1;
    return a->bucket < b->bucket ? -1 : a->bucket > b->bucket;
}

/* Of buckets that are on `from`. One that need not move to be on `into` is a fifth cheaper. */
static uint32_t prices_make(const struct placing *p, uint32_t from, uint32_t into)
{
    uint32_t count = 0;
    for (uint32_t b = 0; b < p->bucket_count; b++) {
        const struct scaler_bucket *bucket = &p->buckets[b];
        if (bucket->node != from || bucket->busy <= 0)
            continue;
        double price = ((double)rows_of(p, b)[from] - (double)rows_of(p, b)[into]) / bucket->busy;
        p->prices[count++] = (struct price){p->was[b] == into && price > 0 ? price * 0.8 : price, b};
    }
    qsort(p->prices, count, sizeof *p->prices, price_compare);
    return count;
}

static double part_off(const struct placing *p, uint32_t node, double share)
{
    return p->all * p->nodes[node].part * share;
}

#define PLACE_OFF 0.04 /* the slowest node is what all others wait for: half of that is lost */

/* False: nothing is to be given away any more, or nothing that could be brings the two nearer. */
static bool place_evener(struct placing *p)
{
    uint32_t from = 0, into = 0;
    bool any = false;
    offs_look(p);
    for (uint32_t n = 0; n < p->node_count; n++) {
        from = p->off[n] > p->off[from] ? n : from;
        into = p->off[n] < p->off[into] ? n : into;
    }
    double over = p->off[from], lack = -p->off[into];
    if (over <= part_off(p, from, PLACE_OFF) && lack <= part_off(p, into, PLACE_OFF))
        return false;
    uint32_t count = prices_make(p, from, into);
    for (uint32_t i = 0;
         i < count && (over > part_off(p, from, PLACE_OFF / 2) || lack > part_off(p, into, PLACE_OFF / 2)); i++) {
        struct scaler_bucket *bucket = &p->buckets[p->prices[i].bucket];
        double busy = bucket->busy, nearer = over + lack - distance(over - busy) - distance(lack - busy);
        if (nearer < busy)
            continue;
        bucket->node = into;
        over -= busy;
        lack -= busy;
        any = true;
    }
    return any;
}

int pst_scaler_place(const struct scaler_node *nodes, uint32_t node_count, struct scaler_bucket *buckets,
                     uint32_t bucket_count, const float *rows)
{
    struct placing placing = {nodes, node_count, bucket_count, buckets, rows, NULL, NULL, 0, {0}};
    PST_ASSERT(node_count <= SCALER_NODES_MAX);
    placing.was = pst_calloc(bucket_count + (size_t)1, sizeof *placing.was);
    placing.prices = pst_calloc(bucket_count + (size_t)1, sizeof *placing.prices);
    int rc = placing.was != NULL && placing.prices != NULL ? PST_OK : PST_ENOMEM;
    for (uint32_t b = 0; b < bucket_count && rc == PST_OK; b++)
        placing.was[b] = buckets[b].node;
    if (rc == PST_OK && node_count > 1) {
        place_by_rows(&placing);
        for (uint32_t turn = 0; turn < 2 * node_count && place_evener(&placing); turn++)
            continue;
    }
    pst_free(placing.was);
    pst_free(placing.prices);
    return rc;
}
