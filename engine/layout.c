/* layout.c - see node.h: which partition owns a bucket and on which node it is, as the store's record of a graph has it. */
#include "engine/lane.h"
#include "engine/node.h"

#include <string.h>

static const Pst__Layout *layout_find(const Pst__Start *start, const char *operator_id)
{
    for (size_t i = 0; i < start->n_layouts; i++)
        if (strcmp(start->layouts[i]->operator_id, operator_id) == 0)
            return start->layouts[i];
    return NULL;
}

int pst_layout_read(const Pst__Start *start, const struct pst_graph_node *op, struct layout *ret_layout)
{
    const Pst__Layout *said = layout_find(start, op->id);
    *ret_layout = (struct layout){.partition_count = op->partition_count};
    memset(ret_layout->node_of, 0xff, sizeof ret_layout->node_of);
    memset(ret_layout->twin, 0xff, sizeof ret_layout->twin);
    if (said != NULL && (said->n_partitions != op->bucket_count || said->n_born > pst_partition_numbers(op)))
        return PST_EINVAL;
    for (uint32_t b = 0; b < op->bucket_count; b++) {
        uint32_t partition =
            said != NULL ? said->partitions[b] : (uint32_t)((uint64_t)b * op->partition_count / op->bucket_count);
        if (partition >= pst_partition_numbers(op))
            return PST_EINVAL;
        ret_layout->of[b] = (uint16_t)partition;
        ret_layout->epoch[b] = said != NULL ? said->epochs[b] : 1;
        if (partition >= ret_layout->partition_count)
            ret_layout->partition_count = partition + 1;
    }
    for (size_t i = 0; said != NULL && i < said->n_born; i++)
        ret_layout->born[i] = said->born[i];
    for (size_t i = 0; i < start->n_places; i++) {
        const Pst__Place *place = start->places[i];
        if (strcmp(place->operator_id, op->id) != 0)
            continue;
        if (place->partition >= pst_partition_numbers(op) || place->node >= start->n_nodes)
            return PST_EINVAL;
        ret_layout->node_of[place->partition] = (uint16_t)place->node;
        if (place->copy_of > pst_partition_numbers(op) || place->copy_of == place->partition + 1)
            return PST_EINVAL;
        if (place->copy_of != 0) {
            ret_layout->twin[place->partition] = (uint16_t)(place->copy_of - 1);
            ret_layout->twin[place->copy_of - 1] = (uint16_t)place->partition;
        }
        if (place->partition >= ret_layout->partition_count)
            ret_layout->partition_count = place->partition + 1;
    }
    return PST_OK;
}

uint32_t pst_layout_owned(const struct layout *layout, uint32_t bucket_count, uint32_t partition)
{
    uint32_t count = 0;
    for (uint32_t b = 0; b < bucket_count; b++)
        count += layout->of[b] == partition;
    return count;
}

bool pst_layout_is_copy(const struct layout *layout, uint32_t bucket_count, uint32_t partition)
{
    return layout->twin[partition] != UINT16_MAX && pst_layout_owned(layout, bucket_count, partition) == 0;
}

uint32_t pst_layout_serving(const struct layout *layout, uint32_t bucket_count)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < layout->partition_count; p++)
        count += pst_layout_owned(layout, bucket_count, p) != 0;
    return count;
}

void pst_layout_compact(struct layout *layout, uint32_t bucket_count)
{
    uint16_t number[PST_BUCKETS_MAX + 1], node_of[PST_BUCKETS_MAX + 1];
    uint32_t count = 0;
    memset(node_of, 0xff, sizeof node_of);
    for (uint32_t p = 0; p < layout->partition_count; p++) {
        if (pst_layout_owned(layout, bucket_count, p) == 0)
            continue;
        node_of[count] = layout->node_of[p];
        number[p] = (uint16_t)count++;
    }
    for (uint32_t b = 0; b < bucket_count; b++)
        layout->of[b] = number[layout->of[b]];
    memcpy(layout->node_of, node_of, sizeof node_of);
    memset(layout->born, 0, sizeof layout->born);
    memset(layout->twin, 0xff, sizeof layout->twin);
    layout->partition_count = count;
}

/* The partition with the most buckets, or the fewest of those that have any; of equal ones the first, or the last. */
static uint32_t extreme(const struct layout *layout, const uint32_t *owned, bool most, uint32_t except)
{
    uint32_t best = except;
    for (uint32_t p = 0; p < layout->partition_count; p++)
        if (p != except && owned[p] != 0 &&
            (best == except || (most ? owned[p] > owned[best] : owned[p] <= owned[best])))
            best = p;
    return best;
}

static void bucket_give(struct layout *layout, uint32_t *owned, uint32_t bucket, uint32_t to)
{
    owned[layout->of[bucket]]--;
    owned[to]++;
    layout->of[bucket] = (uint16_t)to;
}

/* `count` more: each gets buckets of whoever has the most at each time, until none has two less than that. */
static void partitions_add(struct layout *layout, uint32_t *owned, uint32_t bucket_count, uint32_t count)
{
    bool fresh[PST_BUCKETS_MAX + 1] = {false};
    for (uint32_t p = 0; count != 0; p++) {
        if (owned[p] != 0)
            continue;
        fresh[p] = true;
        layout->node_of[p] = UINT16_MAX;
        layout->partition_count = p < layout->partition_count ? layout->partition_count : p + 1;
        count--;
    }
    for (;;) {
        uint32_t to = NO_PARTITION, from = extreme(layout, owned, true, NO_PARTITION), b = bucket_count - 1;
        for (uint32_t p = 0; p < layout->partition_count; p++)
            if (fresh[p] && (to == NO_PARTITION || owned[p] < owned[to]))
                to = p;
        if (to == NO_PARTITION || owned[from] <= owned[to] + 1)
            return;
        while (layout->of[b] != from)
            b--;
        bucket_give(layout, owned, b, to);
    }
}

/* One less: its buckets go to whoever has the fewest at each time. */
static void partition_drop(struct layout *layout, uint32_t *owned, uint32_t bucket_count)
{
    uint32_t from = extreme(layout, owned, false, NO_PARTITION);
    for (uint32_t b = 0; b < bucket_count; b++)
        if (layout->of[b] == from)
            bucket_give(layout, owned, b, extreme(layout, owned, false, from));
}

void pst_layout_rescale(struct layout *layout, uint32_t bucket_count, uint32_t count)
{
    uint32_t owned[PST_BUCKETS_MAX + 1] = {0}, serving = 0;
    PST_ASSERT(count != 0 && count <= bucket_count);
    for (uint32_t b = 0; b < bucket_count; b++)
        serving += owned[layout->of[b]]++ == 0;
    if (serving < count)
        partitions_add(layout, owned, bucket_count, count - serving);
    for (; serving > count; serving--)
        partition_drop(layout, owned, bucket_count);
}

/* ---- writing ---- */

static int layout_write(const struct layout *layout, const struct pst_graph_node *op, struct pst_arena *arena,
                        Pst__Layout **ret_layout)
{
    uint32_t bucket_count = op->bucket_count;
    Pst__Layout *said = *ret_layout = pst_arena_alloc(arena, sizeof *said);
    if (said == NULL)
        return PST_ENOMEM;
    pst__layout__init(said);
    said->operator_id = (char *)(uintptr_t)op->id;
    said->partitions = pst_arena_alloc(arena, bucket_count * sizeof *said->partitions);
    said->epochs = pst_arena_alloc(arena, bucket_count * sizeof *said->epochs);
    said->born = pst_arena_alloc(arena, pst_partition_numbers(op) * sizeof *said->born);
    if (said->partitions == NULL || said->epochs == NULL || said->born == NULL)
        return PST_ENOMEM;
    said->n_partitions = said->n_epochs = bucket_count;
    for (uint32_t b = 0; b < bucket_count; b++) {
        said->partitions[b] = layout->of[b];
        said->epochs[b] = layout->epoch[b];
    }
    for (uint32_t p = 0; p < pst_partition_numbers(op); p++) {
        said->born[p] = layout->born[p];
        if (layout->born[p] != 0)
            said->n_born = p + 1;
    }
    return PST_OK;
}

static int places_write(const struct layout *layout, const struct pst_graph_node *op, struct pst_arena *arena,
                        Pst__Start *start)
{
    for (uint32_t p = 0; p < layout->partition_count; p++) {
        bool copy = pst_layout_is_copy(layout, op->bucket_count, p);
        if (layout->node_of[p] == UINT16_MAX || (!copy && pst_layout_owned(layout, op->bucket_count, p) == 0))
            continue;
        Pst__Place *place = pst_arena_alloc(arena, sizeof *place);
        if (place == NULL)
            return PST_ENOMEM;
        pst__place__init(place);
        place->operator_id = (char *)(uintptr_t)op->id;
        place->partition = p;
        place->node = layout->node_of[p];
        place->copy_of = copy ? 1 + layout->twin[p] : 0;
        start->places[start->n_places++] = place;
    }
    return PST_OK;
}

int pst_layout_put(const struct layout *layout, const struct pst_graph_node *op, struct pst_arena *arena,
                   Pst__Start *start)
{
    Pst__Layout **layouts = pst_arena_alloc(arena, (start->n_layouts + 1) * sizeof *layouts);
    size_t at = 0;
    if (layouts == NULL)
        return PST_ENOMEM;
    if (start->n_layouts != 0)
        memcpy(layouts, start->layouts, start->n_layouts * sizeof *layouts);
    while (at < start->n_layouts && strcmp(layouts[at]->operator_id, op->id) != 0)
        at++;
    int rc = layout_write(layout, op, arena, &layouts[at]);
    if (rc != PST_OK)
        return rc;
    start->layouts = layouts;
    start->n_layouts = at < start->n_layouts ? start->n_layouts : at + 1;
    return PST_OK;
}

int pst_layouts_write(struct layout *const *layouts, const struct pst_graph *graph, struct pst_arena *arena,
                      Pst__Start *start)
{
    Pst__Place **before = start->places;
    size_t before_count = start->n_places, total = before_count;
    int rc = PST_OK;
    for (uint32_t n = 0; n < graph->node_count; n++)
        total += layouts[n] != NULL ? layouts[n]->partition_count : 0;
    start->places = pst_arena_alloc(arena, (total + 1) * sizeof *start->places);
    start->layouts = pst_arena_alloc(arena, (graph->node_count + 1) * sizeof *start->layouts);
    start->n_places = start->n_layouts = 0;
    if (start->places == NULL || start->layouts == NULL)
        return PST_ENOMEM;
    for (uint32_t n = 0; n < graph->node_count && rc == PST_OK; n++) {
        const struct pst_graph_node *op = &graph->nodes[n];
        if (layouts[n] != NULL) {
            rc = places_write(layouts[n], op, arena, start);
            if (rc == PST_OK)
                rc = layout_write(layouts[n], op, arena, &start->layouts[start->n_layouts++]);
            continue;
        }
        for (size_t i = 0; i < before_count && rc == PST_OK; i++) {
            if (strcmp(before[i]->operator_id, op->id) != 0)
                continue;
            Pst__Place *place = pst_arena_alloc(arena, sizeof *place);
            if (place == NULL)
                return PST_ENOMEM;
            *place = *before[i];
            place->operator_id = (char *)(uintptr_t)op->id;
            start->places[start->n_places++] = place;
        }
    }
    return rc;
}
