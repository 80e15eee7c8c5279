/* cluster_net.c - between two nodes a link for frames, which keeps what is not acknowledged, and a connection for control messages, which
 * loses what was on its way when it is cut. They hold each other back by chance. See cluster.h. */
#include "tests/migration/cluster.h"

#include <stdlib.h>
#include <string.h>

static uint64_t delay(struct cluster *cluster, uint64_t *last_us, uint32_t us_max)
{
    uint64_t at = cluster->now_us + 50 + cluster_random(cluster, us_max);
    if (cluster_random(cluster, 200) == 0)
        at += cluster_random(cluster, 40000);
    *last_us = at > *last_us ? at : *last_us;
    return *last_us;
}

static void frame_send(struct cluster *cluster, uint32_t from, uint32_t to, const struct frame *frame)
{
    struct link *link = &cluster->links[from][to];
    if (link->cut)
        return;
    struct frame *copy = malloc(sizeof *copy);
    PST_ASSERT(copy != NULL);
    *copy = *frame;
    event_add(cluster, &(struct event){.at_us = delay(cluster, &link->data_at_us, cluster->data_us_max),
                                       .kind = EVENT_DATA,
                                       .a = from,
                                       .b = to,
                                       .conn = link->conn,
                                       .life = cluster->nodes[to].life,
                                       .bytes = copy});
}

static void kept_trim(struct cluster *cluster, struct link *link, uint64_t number)
{
    while (link->kept_count != 0 && link->kept[link->kept_first].number <= number) {
        if (link->kept[link->kept_first].number > link->got)
            broken(cluster, "a link forgets frame %llu, and %llu was the last to arrive",
                   (unsigned long long)link->kept[link->kept_first].number, (unsigned long long)link->got);
        link->kept_first++;
        link->kept_count--;
    }
    if (link->kept_count == 0)
        link->kept_first = 0;
}

/* A frame to a node that is down is lost with it. */
void net_frame(struct cluster *cluster, uint32_t from, uint32_t to, const struct frame *frame)
{
    struct link *link = &cluster->links[from][to];
    if (!cluster->nodes[to].up)
        return;
    if (link->kept_first + link->kept_count == link->kept_capacity) {
        if (link->kept_first != 0)
            memmove(link->kept, link->kept + link->kept_first, link->kept_count * sizeof *link->kept);
        link->kept_first = 0;
        if (link->kept_count == link->kept_capacity) {
            link->kept_capacity = link->kept_capacity * 2 + 16;
            link->kept = realloc(link->kept, link->kept_capacity * sizeof *link->kept);
            PST_ASSERT(link->kept != NULL);
        }
    }
    struct frame *kept = &link->kept[link->kept_first + link->kept_count++];
    *kept = *frame;
    kept->number = ++link->sent;
    kept->from_node = from;
    frame_send(cluster, from, to, kept);
    if (MISTAKE(LINK_TRIMS)) { /* found when it is missed, as in a real cluster */
        link->kept_count = 0;
        link->kept_first = 0;
    }
}

void net_data_arrived(struct cluster *cluster, const struct event *event)
{
    struct link *link = &cluster->links[event->a][event->b];
    struct frame *frame = event->bytes;
    struct node *to = &cluster->nodes[event->b];
    bool old = event->conn != link->conn;
    if (!to->up || event->life != to->life || (old && (!link->conn_keeps || link->cut)))
        return;
    if (frame->number > link->got + 1 && !old)
        broken(cluster, "link %u to %u: frame %llu came after %llu", event->a, event->b,
               (unsigned long long)frame->number, (unsigned long long)link->got);
    if (frame->number != link->got + 1)
        return;
    link->got++;
    if (!cluster->links[event->b][event->a].cut)
        event_add(cluster, &(struct event){.at_us = delay(cluster, &link->ack_at_us, cluster->data_us_max),
                                           .kind = EVENT_ACK,
                                           .a = event->a,
                                           .b = event->b,
                                           .conn = link->conn,
                                           .number = link->got});
    part_frame(to, frame);
}

void net_ack_arrived(struct cluster *cluster, const struct event *event)
{
    struct link *link = &cluster->links[event->a][event->b];
    if (event->conn == link->conn && !cluster->links[event->b][event->a].cut)
        kept_trim(cluster, link, event->number);
}

void net_control(struct cluster *cluster, uint32_t from, uint32_t to, const struct control *control)
{
    struct link *link = &cluster->links[from][to];
    if (link->cut || !cluster->nodes[to].up || !cluster->nodes[from].up)
        return;
    uint32_t copies = 1 + (cluster_random(cluster, 1000) < cluster->repeat_per_1000);
    for (uint32_t i = 0; i < copies; i++) {
        struct control *copy = malloc(sizeof *copy);
        PST_ASSERT(copy != NULL);
        *copy = *control;
        copy->from = from;
        /* A repeated message comes at any time: it is from an older connection. */
        uint64_t at = i == 0 ? delay(cluster, &link->control_at_us, cluster->control_us_max)
                             : cluster->now_us + cluster_random(cluster, 300000);
        event_add(cluster, &(struct event){.at_us = at,
                                           .kind = EVENT_CONTROL,
                                           .a = from,
                                           .b = to,
                                           .conn = link->conn,
                                           .life = cluster->nodes[to].life,
                                           .bytes = copy});
    }
}

void net_control_arrived(struct cluster *cluster, const struct event *event)
{
    const struct link *link = &cluster->links[event->a][event->b];
    struct node *to = &cluster->nodes[event->b];
    bool old = event->conn != link->conn;
    if (!to->up || event->life != to->life || link->cut || (old && !link->conn_keeps))
        return;
    keeper_control(to, event->bytes);
}

/* The link is made again: the receiver says how far it got, and the rest is sent again. */
static void link_again(struct cluster *cluster, uint32_t from, uint32_t to)
{
    struct link *link = &cluster->links[from][to];
    kept_trim(cluster, link, link->got);
    for (uint32_t i = 0; i < link->kept_count; i++)
        frame_send(cluster, from, to, &link->kept[link->kept_first + i]);
}

void net_cut(struct cluster *cluster, uint32_t from, uint32_t to, bool cut)
{
    struct link *link = &cluster->links[from][to];
    if (link->cut == cut)
        return;
    link->cut = cut;
    link->conn++;
    link->conn_keeps = cluster_random(cluster, 2) == 0;
    if (!cut && cluster->nodes[from].up && cluster->nodes[to].up)
        link_again(cluster, from, to);
    /* A connection goes both ways: the other direction's acknowledgements were lost with it. */
    struct link *back = &cluster->links[to][from];
    if (!cut && !back->cut && cluster->nodes[from].up && cluster->nodes[to].up) {
        back->conn++;
        link_again(cluster, to, from);
    }
}

static void link_empty(struct link *link)
{
    link->kept_first = link->kept_count = 0;
    link->sent = link->got = 0;
    link->conn++;
    link->conn_keeps = false;
}

/* What it had sent may still arrive, until it is back. */
void net_crashed(struct cluster *cluster, uint32_t node)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        link_empty(&cluster->links[i][node]);
        if (cluster_random(cluster, 2) == 0)
            link_empty(&cluster->links[node][i]);
        cluster->links[node][i].kept_first = cluster->links[node][i].kept_count = 0;
    }
}

void net_restarted(struct cluster *cluster, uint32_t node)
{
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        link_empty(&cluster->links[i][node]);
        link_empty(&cluster->links[node][i]);
    }
}
