/* streams.c - see node.h: which streams a graph takes that was submitted to listen, whose each is, and who reads it (docs/cluster.md, "Several
 * streams").
 *
 * Of one stream the record has the id, Start.stream, and its reader is the graph's. Of several it has a name and an id each, Start.streams,
 * by their place among the inputs: these stay, and who reads each, Start.source_nodes, is found anew with each incarnation. */
#include "engine/mover.h"

#include <string.h>

/* No id has an @ but before a range. What a coordinator that does not know `streams` finds, it takes for another stream than any. */
static const char stream_of_none[] = "@several";

bool pst_streams_any(const Pst__Start *start) { return start->fed && start->n_source_nodes > 1; }

/* ---- when a graph is submitted ---- */

int pst_streams_fill(struct pst_arena *arena, Pst__Start *start)
{
    size_t count = pst_streams_any(start) ? start->n_source_nodes : 0;
    Pst__Stream **streams = pst_arena_alloc(arena, (count + 1) * sizeof *streams);
    if (streams == NULL)
        return PST_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        streams[i] = pst_arena_alloc(arena, sizeof **streams);
        if (streams[i] == NULL)
            return PST_ENOMEM;
        pst__stream__init(streams[i]);
        streams[i]->name = start->source_nodes[i];
    }
    start->streams = streams;
    start->n_streams = count;
    if (count != 0)
        start->stream = (char *)(uintptr_t)stream_of_none;
    return PST_OK;
}

void pst_streams_take(Pst__Start *start, const Pst__Start *saved)
{
    for (size_t i = 0; i < start->n_streams && i < saved->n_streams; i++)
        start->streams[i]->id = saved->streams[i]->id;
    if (start->fed && start->n_streams == 0)
        start->stream = saved->stream;
}

void pst_streams_good(const struct coordinator *duty, struct pst_text *why)
{
    for (uint32_t i = 0; i < duty->member_count && why->count == 0; i++)
        if (duty->members[i].alive && !duty->members[i].streams)
            (void)pst_text_printf(why,
                                  "node `%s` is of an earlier version, which does not know graphs that take several "
                                  "streams: start it as this one's",
                                  duty->members[i].name);
}

/* ---- who reads ---- */

static bool reads_another(char *const *readers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (readers[i] != NULL && strcmp(readers[i], name) == 0)
            return true;
    return false;
}

/* Who could read instead: of those that read nothing the one with the least to do for this graph. takes: none that is to have nothing.
 * NULL: there is none. */
static char *another(struct coordinator *duty, const struct graph_record *record, char *const *readers, bool takes)
{
    const Pst__Start *start = record->start->start;
    size_t best_count = SIZE_MAX;
    char *best = NULL;
    for (uint32_t i = 0; i < duty->member_count; i++) {
        struct member *member = &duty->members[i];
        size_t count = pst_member_takes(member) ? 0 : start->n_places; /* if no other is left */
        if ((takes && count != 0) || record->unfit[i] || !pst_coordinator_may_read(duty, record, member->name) ||
            reads_another(readers, start->n_source_nodes, member->name))
            continue;
        for (size_t p = 0; p < start->n_places; p++)
            count += strcmp(start->nodes[start->places[p]->node], member->name) == 0;
        if (count >= best_count)
            continue;
        best = member->name;
        best_count = count;
    }
    return best;
}

const char *pst_streams_place(struct coordinator *duty, const struct graph_record *record, bool back,
                              char **ret_readers)
{
    const Pst__Start *start = record->start->start;
    const char *missing = NULL;
    for (size_t i = 0; i < start->n_source_nodes; i++) /* so that nobody else's is given away */
        ret_readers[i] = start->source_nodes[i];
    for (size_t i = 0; i < start->n_source_nodes; i++) {
        const struct member *member = pst_coordinator_member(duty, ret_readers[i]);
        bool may = pst_coordinator_may_read(duty, record, ret_readers[i]);
        char *other = may && (back || pst_member_takes(member)) ? NULL : another(duty, record, ret_readers, may);
        if (other != NULL)
            ret_readers[i] = other;
        else if (!may && missing == NULL)
            missing = ret_readers[i];
    }
    return missing;
}

/* ---- who may send ---- */

/* The one of this name; "": the only one that takes a stream, of those that go on where there is one. */
static struct graph_record *record_find(struct coordinator *duty, const char *name, char sentence[400])
{
    struct graph_record *record = NULL;
    uint32_t count = 0, ended_count = 0;
    if (name[0] != '\0') {
        record = pst_coordinator_graph(duty, name);
        if (record == NULL)
            (void)snprintf(sentence, 400, "there is no graph `%.200s`", name);
        return record;
    }
    for (uint32_t i = 0; i < duty->graph_count; i++) {
        struct graph_record *other = duty->graphs[i];
        bool goes_on = pst_coordinator_goes_on(other);
        if (!other->start->start->fed)
            continue;
        count += goes_on;
        ended_count += !goes_on;
        if (goes_on || count == 0)
            record = other;
    }
    if (record == NULL)
        (void)snprintf(sentence, 400, "no graph of this cluster takes a stream: submit one with --listen");
    else if (count > 1 || (count == 0 && ended_count > 1))
        (void)snprintf(sentence, 400,
                       "more than one graph of this cluster takes a stream: say which one, as GRAPH/SOURCE");
    return sentence[0] == '\0' ? record : NULL;
}

/* "n1, n2 and n3", as far as there is room. */
static void names_print(const Pst__Start *start, char text[160])
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < start->n_streams && at < 120; i++) {
        int count = snprintf(text + at, 160 - at, "%s%.30s",
                             i == 0                      ? ""
                             : i + 1 == start->n_streams ? " and "
                                                         : ", ",
                             start->streams[i]->name);
        at += count > 0 ? (size_t)count : 0;
    }
}

/* Of several, by its id, or else by whose it is said to be. NULL: none; `sentence` says why. */
static Pst__Stream *stream_find(const struct graph_record *record, const Pst__Replay *replay, char sentence[400])
{
    const Pst__Start *start = record->start->start;
    const char *graph = record->start->graph;
    Pst__Stream *known = NULL, *named = NULL;
    char names[160];
    names_print(start, names);
    for (size_t i = 0; i < start->n_streams; i++) {
        known = strcmp(start->streams[i]->id, replay->stream) == 0 ? start->streams[i] : known;
        named = strcmp(start->streams[i]->name, replay->reader) == 0 ? start->streams[i] : named;
    }
    if (start->n_streams != start->n_source_nodes)
        (void)snprintf(
            sentence, 400,
            "whose stream is whose of graph `%.100s` is not known any more, for a node of an earlier version "
            "has coordinated: submit it anew",
            graph);
    else if (replay->named && named == NULL)
        (void)snprintf(sentence, 400, "graph `%.80s` has no stream of `%.80s`: it takes those of %s", graph,
                       replay->reader, names);
    else if (known != NULL && replay->named && known != named)
        (void)snprintf(sentence, 400, "graph `%.80s` takes the stream %.130s as that of %.60s, and not of %.60s", graph,
                       known->id, known->name, named->name);
    else if (known == NULL && named == NULL)
        (void)snprintf(sentence, 400,
                       "graph `%.80s` takes several streams, those of %s: say with --reader whose this one is", graph,
                       names);
    else if (known == NULL && named->id[0] != '\0')
        (void)snprintf(sentence, 400,
                       "graph `%.50s` takes the stream %.120s as that of %.40s, and %.120s is another one", graph,
                       named->id, named->name, replay->stream);
    return sentence[0] != '\0' ? NULL : known != NULL ? known : named;
}

/* Where the id is that the graph has for this stream, "" as long as none was said; NULL: it takes it neither now nor later, and `sentence`
 * says why. */
static char **id_find(const struct graph_record *record, const Pst__Replay *replay, char sentence[400])
{
    Pst__Start *start = record->start->start;
    const char *graph = record->start->graph,
               *source = record->graph != NULL ? record->graph->nodes[record->graph->source].id : "";
    bool several = pst_streams_any(start);
    char **id = several ? NULL : &start->stream;
    if (!start->fed)
        (void)snprintf(sentence, 400, "graph `%.100s` reads a file: it was submitted without --listen", graph);
    else if (replay->source[0] != '\0' && strcmp(replay->source, source) != 0)
        (void)snprintf(sentence, 400, "graph `%.100s` has no source `%.100s`: its source is `%.100s`", graph,
                       replay->source, source);
    else if (!several && replay->named)
        (void)snprintf(sentence, 400, "graph `%.100s` takes one stream: --reader is for one that takes several", graph);
    else if (!several && start->stream[0] != '\0' && strcmp(start->stream, replay->stream) != 0)
        (void)snprintf(sentence, 400, "graph `%.80s` takes the stream %.130s, and %.130s is another one", graph,
                       start->stream, replay->stream);
    else if (several) {
        Pst__Stream *stream = stream_find(record, replay, sentence);
        id = stream != NULL ? &stream->id : NULL;
    }
    bool over = record->state == GRAPH_FAILED || record->state == GRAPH_CANCELLED || record->state == GRAPH_STOPPED ||
                (record->state == GRAPH_DONE && id != NULL && (*id)[0] == '\0');
    if (sentence[0] == '\0' && over)
        (void)snprintf(sentence, 400, "graph `%.100s` is %s%s%.200s", graph, pst_graph_state_names[record->state],
                       record->why[0] != '\0' ? ": " : "", record->why);
    return sentence[0] == '\0' ? id : NULL;
}

/* K3: the first stream that is said is the graph's; it is in the store before anybody is told to send it. */
static void claim(struct pst_node *node, struct graph_record *record, char **id, const char *stream)
{
    char *copy = pst_arena_strdup(&record->arena, stream);
    if (copy == NULL)
        return; /* asked again */
    *id = copy;
    record->claimed = true;
    pst_node_log(node, "graph %s takes the stream %s", record->start->graph, stream);
    pst_coordinator_commit(node, record);
}

/* Who reads the stream whose id stands there. */
static const char *reader_of(struct coordinator *duty, const struct graph_record *record, char *const *id)
{
    const Pst__Start *start = record->start->start;
    for (size_t i = 0; i < start->n_streams; i++)
        if (id == &start->streams[i]->id)
            return start->source_nodes[i];
    return pst_coordinator_source(duty, record);
}

const struct graph_record *pst_streams_replay(struct pst_node *node, const Pst__Control *message, Pst__ReplayGo *go,
                                              char sentence[400])
{
    const Pst__Replay *replay = message->replay;
    sentence[0] = '\0';
    go->sentence = sentence;
    go->client = replay->client;
    go->beats = replay->beats;
    struct graph_record *record = record_find(node->duty, message->graph, sentence);
    char **id = record != NULL ? id_find(record, replay, sentence) : NULL;
    if (id == NULL) {
        go->error = PST_EREFUSED;
        return record;
    }
    const Pst__Start *start = record->start->start;
    bool known = (*id)[0] != '\0';
    /* K3: what the store has not taken is not so. The next coordinator starts the graph again, which wants its stream then. */
    go->ended = record->state == GRAPH_DONE && !record->committing && record->commit.rc == PST_OK;
    if (go->ended)
        return record;
    if (!known && pst_coordinator_goes_on(record))
        claim(node, record, id, replay->stream);
    go->error = record->state == GRAPH_RUNNING && !record->claimed && known ? PST_OK : PST_EAGAIN;
    if (go->error != PST_OK && record->state == GRAPH_RUNNING) {
        (void)snprintf(sentence, 400, "that graph `%.100s` takes this stream is being written down",
                       record->start->graph);
        return record;
    }
    if (go->error != PST_OK) {
        (void)snprintf(sentence, 400, "graph `%.100s` is %s%s%.200s", record->start->graph,
                       pst_graph_state_names[record->state], record->why[0] != '\0' ? ": " : "", record->why);
        return record;
    }
    go->node = (char *)(uintptr_t)reader_of(node->duty, record, id);
    for (size_t i = 0; i < start->n_nodes; i++)
        if (strcmp(start->nodes[i], go->node) == 0)
            go->address = start->addresses[i];
    return record;
}

/* ---- what is shown ---- */

static const struct fed_told *told_of(const struct graph_record *record, size_t i)
{
    const Pst__Start *start = record->start->start;
    uint32_t index = pst_start_index(start, start->source_nodes[i]);
    const struct fed_told *told = index < start->n_nodes ? &record->loads.fed[index] : NULL;
    return told != NULL && told->told && record->loads.incarnation == record->start->incarnation ? told : NULL;
}

/* A run does not say it again when it ends, and it ends behind its stream. */
static bool has_ended(const struct graph_record *record, size_t i)
{
    const struct fed_told *told = told_of(record, i);
    const Pst__Start *start = record->start->start;
    uint32_t index = pst_start_index(start, start->source_nodes[i]);
    return record->state == GRAPH_DONE || (told != NULL && told->ended) ||
           (index < start->n_nodes && record->ended[index]);
}

static bool is_sent(const struct graph_record *record, size_t i)
{
    const struct fed_told *told = told_of(record, i);
    return told != NULL && told->here && !has_ended(record, i);
}

/* Event time goes no further than this stream: none was said for it, or it has not come as far as others. */
static bool is_waited_for(const struct graph_record *record, size_t i)
{
    const Pst__Start *start = record->start->start;
    const struct fed_told *own = told_of(record, i);
    bool others_ahead = own != NULL && own->time == INT64_MIN;
    if (record->state != GRAPH_RUNNING || start->streams[i]->id[0] == '\0' || own == NULL || has_ended(record, i))
        return record->state == GRAPH_RUNNING && start->streams[i]->id[0] == '\0';
    for (size_t k = 0; k < start->n_streams; k++) {
        const struct fed_told *other = told_of(record, k);
        if (other == NULL || (!has_ended(record, k) && other->time < own->time))
            return false;
        others_ahead |= other->time > own->time;
    }
    return others_ahead;
}

static void stream_json(const struct graph_record *record, size_t i, struct pst_text *out)
{
    const Pst__Start *start = record->start->start;
    const Pst__Stream *stream = start->streams[i];
    const struct fed_told *told = told_of(record, i);
    bool timed = told != NULL && told->time != INT64_MIN;
    (void)pst_text_printf(out, "%s{\"reader\":", i == 0 ? "" : ",");
    (void)pst_text_json(out, stream->name);
    (void)pst_text_printf(out, ",\"node\":");
    (void)pst_text_json(out, start->source_nodes[i]);
    (void)pst_text_printf(out, ",\"stream\":");
    (void)pst_text_json(out, stream->id[0] != '\0' ? stream->id : NULL);
    (void)pst_text_printf(
        out, ",\"sent\":%s,\"ended\":%s,\"waited_for\":%s,\"time\":", is_sent(record, i) ? "true" : "false",
        has_ended(record, i) ? "true" : "false", is_waited_for(record, i) ? "true" : "false");
    (void)pst_text_printf(out, timed ? "%lld" : "null", timed ? (long long)told->time : 0);
    (void)pst_text_printf(out, ",\"offset\":");
    (void)pst_text_printf(out, told != NULL ? "%llu}" : "null}", told != NULL ? (unsigned long long)told->offset : 0);
}

void pst_streams_print(const struct graph_record *record, bool json, struct pst_text *out)
{
    const Pst__Start *start = record->start->start;
    if (json)
        (void)pst_text_printf(out, ",\"streams\":[");
    for (size_t i = 0; i < start->n_streams && i < start->n_source_nodes; i++) {
        const Pst__Stream *stream = start->streams[i];
        const struct fed_told *told = told_of(record, i);
        if (json) {
            stream_json(record, i, out);
            continue;
        }
        if (!pst_coordinator_goes_on(record))
            continue;
        (void)pst_text_printf(out, "  stream of %s, read by %s: %s", stream->name, start->source_nodes[i],
                              stream->id[0] != '\0' ? stream->id : "none was said yet");
        if (has_ended(record, i))
            (void)pst_text_printf(out, ", has ended");
        else if (told != NULL && told->time != INT64_MIN)
            (void)pst_text_printf(out, ", is at event time %lld", (long long)told->time);
        if (told != NULL && !has_ended(record, i) && !told->here && stream->id[0] != '\0')
            (void)pst_text_printf(out, ", nobody sends it");
        (void)pst_text_printf(out, "%s\n", is_waited_for(record, i) ? ": event time waits for it" : "");
    }
    if (json)
        (void)pst_text_printf(out, "]");
}
