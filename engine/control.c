/* control.c - see control.h. The envelope is walked by hand before protobuf-c sees a byte: version, size and the one body are
 * judged there. Then protobuf-c unpacks into bounded memory, and what it gives is checked body by body. */
#include "engine/control.h"

#include "engine/engine.h"
#include "migration/move.h"

#include <string.h>

enum { BODY_FIRST = 16, BODY_LAST = 63, FIELD_VERSION = 1 };

size_t pst_control_bytes_max(uint32_t body)
{
    bool is_long = body == PST__CONTROL__BODY_START || body == PST__CONTROL__BODY_ADMIN ||
                   body == PST__CONTROL__BODY_ADMIN_REPLY || body == PST__CONTROL__BODY_PIECE;
    return is_long ? PST_CONTROL_LONG_BYTES_MAX : PST_CONTROL_BYTES_MAX;
}

/* A struct of a load takes some 200 bytes with what protobuf-c needs beside it, and may come as a handful of bytes: the lists that
 * may be long have their room at once, the rest grows with the message. */
size_t pst_control_memory_max(size_t byte_count) { return (1 << 20) + 16 * byte_count; }

/* ---- the envelope by hand ---- */
struct envelope {
    uint64_t version;
    uint32_t body; /* the field's number; 0: none */
    uint32_t body_count;
};

static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* The value of a varint, the length of bytes, and 0 for what is fixed. False: not of a form that is known, or cut short. */
static bool take_field(const uint8_t **at, const uint8_t *end, uint64_t *ret_number, uint64_t *ret_value)
{
    enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
    uint64_t tag, skipped = 0;
    if (!take_varint(at, end, &tag))
        return false;
    *ret_number = tag >> 3;
    *ret_value = 0;
    if (*ret_number == 0)
        return false;
    switch (tag & 7) {
    case VARINT:
        return take_varint(at, end, ret_value);
    case FIXED64:
        skipped = 8;
        break;
    case FIXED32:
        skipped = 4;
        break;
    case BYTES:
        if (!take_varint(at, end, ret_value))
            return false;
        skipped = *ret_value;
        break;
    default:
        return false;
    }
    if (skipped > (uint64_t)(end - *at))
        return false;
    *at += skipped;
    return true;
}

static bool envelope_read(const uint8_t *at, const uint8_t *end, struct envelope *ret_envelope)
{
    struct envelope envelope = {0};
    while (at < end) {
        uint64_t number, value;
        if (!take_field(&at, end, &number, &value))
            return false;
        if (number == FIELD_VERSION)
            envelope.version = value;
        if (number >= BODY_FIRST && number <= BODY_LAST) {
            envelope.body = (uint32_t)number;
            envelope.body_count++;
        }
    }
    *ret_envelope = envelope;
    return true;
}

/* ---- texts ---- */
static bool is_name(const char *text)
{
    size_t count = 0;
    for (; text[count] != '\0'; count++)
        if (text[count] <= ' ' || text[count] > '~')
            return false;
    return count <= PST_CONTROL_NAME_BYTES_MAX;
}

/* lines: tabs and ends of lines may be in it. */
static bool is_text(const char *text, size_t bytes_max, bool lines)
{
    size_t at = 0;
    while (text[at] != '\0') {
        uint32_t character = 0;
        size_t count = pst_text_character(text + at, &character);
        bool control = character < 0x20 || (character >= 0x7f && character < 0xa0);
        bool layout = character == '\t' || character == '\n' || character == '\r';
        if (count == 0 || (control && !(lines && layout)))
            return false;
        at += count;
    }
    return at <= bytes_max;
}

static bool is_sentence(const char *text) { return is_text(text, PST_CONTROL_TEXT_BYTES_MAX, false); }
static bool is_value(const char *text) { return is_text(text, PST_CONTROL_TEXT_BYTES_MAX, true); }
static bool is_short(const char *text) { return is_text(text, PST_CONTROL_NAME_BYTES_MAX, false); }

/* ---- bodies ---- */
static int good_if(bool condition) { return condition ? PST_OK : PST_EDATA; }

/* Values of enums: 0 says nothing, one that is not known is of a newer version. */
static int enum_holds(const ProtobufCEnumDescriptor *values, int value)
{
    if (value == 0)
        return PST_EDATA;
    return protobuf_c_enum_descriptor_get_value(values, value) != NULL ? PST_OK : PST_EABI;
}

static bool running_hold(Pst__Running *const *running, size_t count)
{
    bool good = count <= PST_CONTROL_GRAPHS_MAX;
    for (size_t i = 0; good && i < count; i++)
        good = is_name(running[i]->graph);
    return good;
}

static int hello_holds(const Pst__Hello *hello)
{
    bool good = is_name(hello->node) && hello->cluster.len <= PST_CONTROL_CLUSTER_BYTES_MAX &&
                is_short(hello->product) && is_short(hello->address) &&
                running_hold(hello->running, hello->n_running) && running_hold(hello->ended, hello->n_ended) &&
                running_hold(hello->moves, hello->n_moves);
    return good ? enum_holds(&pst__role__descriptor, (int)hello->role) : PST_EDATA;
}

static int welcome_holds(const Pst__Welcome *welcome)
{
    return good_if(welcome->cluster.len <= PST_CONTROL_CLUSTER_BYTES_MAX && is_name(welcome->node) &&
                   is_name(welcome->coordinator) && is_short(welcome->coordinator_address));
}

static int beat_holds(const Pst__Beat *beat)
{
    bool good = beat->n_partitions <= PST_CONTROL_PARTITIONS_MAX;
    for (size_t i = 0; good && i < beat->n_partitions; i++)
        good = is_name(beat->partitions[i]->operator_id) && beat->partitions[i]->partition <= PST_BUCKETS_MAX;
    good = good && beat->n_edges <= PST_CONTROL_PARTITIONS_MAX;
    for (size_t i = 0; good && i < beat->n_edges; i++)
        good = is_name(beat->edges[i]->operator_id) && is_name(beat->edges[i]->from);
    good = good && beat->n_dealt <= PST_CONTROL_PARTITIONS_MAX;
    for (size_t i = 0; good && i < beat->n_dealt; i++)
        good = is_name(beat->dealt[i]->operator_id) && beat->dealt[i]->n_rows <= PST_BUCKETS_MAX;
    return good_if(good);
}

static bool layout_holds(const Pst__Layout *layout)
{
    bool good = is_name(layout->operator_id) && layout->n_partitions <= PST_BUCKETS_MAX &&
                layout->n_epochs == layout->n_partitions && layout->n_born <= PST_BUCKETS_MAX + 1;
    for (size_t i = 0; good && i < layout->n_partitions; i++)
        good = layout->partitions[i] <= PST_BUCKETS_MAX;
    return good;
}

static int start_holds(const Pst__Start *start)
{
    bool good = is_sentence(start->file) && is_sentence(start->input) && is_name(start->stream) &&
                is_short(start->savepoint) && is_short(start->saved) && is_short(start->stopping) &&
                (start->stopping_at == 0 || start->stopping[0] != '\0') &&
                start->n_settings <= PST_CONTROL_SETTINGS_MAX && start->n_places <= PST_CONTROL_PLACES_MAX &&
                start->n_nodes <= PST_CONTROL_NODES_MAX && start->n_addresses == start->n_nodes &&
                start->n_node_workers == start->n_nodes && start->this_node < start->n_nodes &&
                start->workers <= PST_WORKERS_MAX;
    for (size_t i = 0; good && i < start->n_settings; i++)
        good = is_name(start->settings[i]->name) && is_value(start->settings[i]->value);
    for (size_t i = 0; good && i < start->n_places; i++) {
        const Pst__Place *place = start->places[i];
        good = is_name(place->operator_id) && place->partition <= PST_BUCKETS_MAX && place->node < start->n_nodes;
    }
    for (size_t i = 0; good && i < start->n_nodes; i++)
        good = is_name(start->nodes[i]) && is_short(start->addresses[i]);
    good = good && start->n_source_nodes <= PST_CONTROL_NODES_MAX && start->n_source_inputs == start->n_source_nodes;
    for (size_t i = 0; good && i < start->n_source_nodes; i++)
        good = is_name(start->source_nodes[i]) && is_sentence(start->source_inputs[i]);
    good = good && start->n_saved_sources <= PST_CONTROL_NODES_MAX;
    for (size_t i = 0; good && i < start->n_saved_sources; i++)
        good = is_name(start->saved_sources[i]);
    good = good && (start->n_streams == 0 || start->n_streams == start->n_source_nodes);
    for (size_t i = 0; good && i < start->n_streams; i++)
        good = is_name(start->streams[i]->name) && is_name(start->streams[i]->id);
    good = good && start->n_layouts <= PST_CONTROL_PLACES_MAX;
    for (size_t i = 0; good && i < start->n_layouts; i++)
        good = layout_holds(start->layouts[i]);
    good = good && start->n_checkpoint_nodes <= PST_CONTROL_NODES_MAX &&
           (start->checkpoint != 0) == (start->n_checkpoint_nodes != 0);
    for (size_t i = 0; good && i < start->n_checkpoint_nodes; i++)
        good = is_name(start->checkpoint_nodes[i]);
    good = good && start->n_left_nodes <= start->n_nodes;
    for (size_t i = 0; good && i < start->n_left_nodes; i++)
        good = start->left_nodes[i] < start->n_nodes;
    good = good && start->n_replaced_nodes <= start->n_left_nodes;
    for (size_t i = 0; good && i < start->n_replaced_nodes; i++)
        good = start->replaced_nodes[i] < start->n_nodes;
    good = good && start->n_replaced_partitions <= PST_CONTROL_PLACES_MAX;
    for (size_t i = 0; good && i < start->n_replaced_partitions; i++) {
        const Pst__Replaced *replaced = start->replaced_partitions[i];
        good =
            is_name(replaced->operator_id) && replaced->partition <= PST_BUCKETS_MAX && replaced->node < start->n_nodes;
    }
    return good_if(good);
}

/* One that is to be chosen has no number yet. */
static int cut_holds(const Pst__Cut *cut)
{
    int rc = enum_holds(&pst__cut_kind__descriptor, (int)cut->kind);
    return rc == PST_OK && cut->kind != PST__CUT_KIND__ASK && cut->checkpoint == 0 ? PST_EDATA : rc;
}

static int image_holds(const Pst__Image *image)
{
    return good_if(is_name(image->operator_id) && image->partition < PST_BUCKETS_MAX &&
                   image->piece < image->piece_count);
}

static int move_step_holds(const Pst__MoveStep *step)
{
    bool good = is_name(step->operator_id) && is_name(step->from_node) && is_name(step->to_node) &&
                is_sentence(step->why) && step->n_buckets <= PST_BUCKETS_MAX && step->n_digests <= PST_BUCKETS_MAX &&
                step->from_partition <= PST_BUCKETS_MAX && step->to_partition <= PST_BUCKETS_MAX &&
                step->into_partition <= PST_BUCKETS_MAX && step->n_numbers <= PST_BUCKETS_MAX &&
                is_short(step->address) && step->workers <= PST_WORKERS_MAX &&
                step->giver_words.len <= PST_CONTROL_WORDS_BYTES_MAX &&
                step->taker_words.len <= PST_CONTROL_WORDS_BYTES_MAX;
    for (size_t i = 0; good && i < step->n_buckets; i++)
        good = step->buckets[i] < PST_BUCKETS_MAX;
    for (size_t i = 0; good && i < step->n_digests; i++)
        good = step->digests[i]->bucket < PST_BUCKETS_MAX;
    return good ? enum_holds(&pst__step__descriptor, (int)step->step) : PST_EDATA;
}

static int move_record_holds(const Pst__MoveRecord *record)
{
    bool good = record->step < PST_MOVE_STEP_COUNT && record->why < PST_MOVE_WHY_COUNT &&
                is_name(record->operator_id) && is_name(record->from_node) && is_name(record->to_node) &&
                is_sentence(record->sentence) && record->n_buckets <= PST_BUCKETS_MAX &&
                record->from_partition <= PST_BUCKETS_MAX && record->to_partition <= PST_BUCKETS_MAX &&
                record->into_partition <= PST_BUCKETS_MAX && record->n_places <= PST_CONTROL_PLACES_MAX &&
                record->partition_count <= PST_BUCKETS_MAX && record->n_partitions <= PST_BUCKETS_MAX;
    for (size_t i = 0; good && i < record->n_buckets; i++)
        good = record->buckets[i] < PST_BUCKETS_MAX;
    for (size_t i = 0; good && i < record->n_partitions; i++)
        good = record->partitions[i] <= PST_BUCKETS_MAX;
    for (size_t i = 0; good && i < record->n_places; i++) {
        const Pst__Relocated *place = record->places[i];
        good = is_name(place->operator_id) && is_name(place->from_node) && is_name(place->to_node) &&
               place->from_partition <= PST_BUCKETS_MAX && place->to_partition <= PST_BUCKETS_MAX &&
               place->buckets <= PST_BUCKETS_MAX;
    }
    return good_if(good);
}

static int order_record_holds(const Pst__OrderRecord *record)
{
    bool good = record->kind != 0 && is_name(record->operator_id) && is_name(record->to_node) &&
                record->count <= PST_BUCKETS_MAX && record->into <= PST_BUCKETS_MAX &&
                record->n_buckets <= PST_BUCKETS_MAX && record->deadline_ns <= PST_CONTROL_DEADLINE_NS_MAX;
    for (size_t i = 0; good && i < record->n_buckets; i++)
        good = record->buckets[i] < PST_BUCKETS_MAX && (i == 0 || record->buckets[i] > record->buckets[i - 1]);
    return good_if(good);
}

static int admin_holds(const Pst__Admin *admin)
{
    bool good = admin->n_arguments <= PST_CONTROL_ARGUMENTS_MAX;
    for (size_t i = 0; good && i < admin->n_arguments; i++)
        good = is_value(admin->arguments[i]);
    return good_if(good && admin->deadline_ns <= PST_CONTROL_DEADLINE_NS_MAX);
}

static int replay_holds(const Pst__Replay *replay)
{
    return good_if(is_name(replay->source) && is_name(replay->stream) && replay->stream[0] != '\0' &&
                   is_name(replay->reader) && replay->client != 0);
}

static int replay_go_holds(const Pst__ReplayGo *go)
{
    return good_if(is_sentence(go->sentence) && is_name(go->node) && is_short(go->address) && go->limit >= go->offset);
}

static int replay_bytes_holds(const Pst__ReplayBytes *bytes)
{
    return good_if(bytes->payload.len != 0 && bytes->offset <= UINT64_MAX - bytes->payload.len);
}

/* Where in a body stands what it says to people: that may have come from anywhere, as the system, a file's name, the worker of an
 * enclave. 0: it says nothing. */
static size_t words_at(Pst__Control__BodyCase body)
{
    switch (body) {
    case PST__CONTROL__BODY_REFUSED:
        return offsetof(Pst__Refused, sentence);
    case PST__CONTROL__BODY_ENDED:
        return offsetof(Pst__Ended, sentence);
    case PST__CONTROL__BODY_CHECKPOINTED:
        return offsetof(Pst__Checkpointed, sentence);
    case PST__CONTROL__BODY_MOVE_STEP:
        return offsetof(Pst__MoveStep, why);
    case PST__CONTROL__BODY_MOVE_RECORD:
        return offsetof(Pst__MoveRecord, sentence);
    case PST__CONTROL__BODY_PIECE:
        return offsetof(Pst__Piece, sentence);
    case PST__CONTROL__BODY_REPLAY_GO:
        return offsetof(Pst__ReplayGo, sentence);
    case PST__CONTROL__BODY_PROBE:
        return offsetof(Pst__Probe, sentence);
    default:
        return 0;
    }
}

/* `body`: any, for they are one pointer of a union. */
static char **words_of(void *body, size_t at) { return (char **)(void *)((char *)body + at); }

/* N1 to N3, but for what only the bytes tell. */
static int message_holds(const Pst__Control *message)
{
    if (!is_name(message->graph))
        return PST_EDATA;
    switch (message->body_case) {
    case PST__CONTROL__BODY_HELLO:
        return hello_holds(message->hello);
    case PST__CONTROL__BODY_WELCOME:
        return welcome_holds(message->welcome);
    case PST__CONTROL__BODY_REFUSED:
        return good_if(is_sentence(message->refused->sentence));
    case PST__CONTROL__BODY_BEAT:
        return beat_holds(message->beat);
    case PST__CONTROL__BODY_START:
        return start_holds(message->start);
    case PST__CONTROL__BODY_ENDED:
        return good_if(is_sentence(message->ended->sentence) && is_short(message->ended->node) &&
                       is_name(message->ended->operator_id) && message->ended->partition <= PST_BUCKETS_MAX);
    case PST__CONTROL__BODY_CUT:
        return cut_holds(message->cut);
    case PST__CONTROL__BODY_CUT_ANSWER:
        return good_if(message->cut_answer->checkpoint != 0);
    case PST__CONTROL__BODY_CHECKPOINTED:
        return good_if(message->checkpointed->checkpoint != 0 && is_sentence(message->checkpointed->sentence));
    case PST__CONTROL__BODY_TERM_OF:
        return good_if(message->term != 0 && message->term_of->node[0] != '\0' && is_name(message->term_of->node) &&
                       message->term_of->address[0] != '\0' && is_short(message->term_of->address) &&
                       message->term_of->session != 0);
    case PST__CONTROL__BODY_IMAGE:
        return image_holds(message->image);
    case PST__CONTROL__BODY_MOVE_STEP:
        return move_step_holds(message->move_step);
    case PST__CONTROL__BODY_MOVE_RECORD:
        return move_record_holds(message->move_record);
    case PST__CONTROL__BODY_NODE_RECORD:
        return good_if(message->node_record->node[0] != '\0' && is_name(message->node_record->node) &&
                       is_short(message->node_record->address) && message->node_record->workers <= PST_WORKERS_MAX);
    case PST__CONTROL__BODY_ORDER_RECORD:
        return order_record_holds(message->order_record);
    case PST__CONTROL__BODY_ADMIN:
        return admin_holds(message->admin);
    case PST__CONTROL__BODY_READ:
        return good_if(is_name(message->read->sink) && is_sentence(message->read->file) &&
                       is_short(message->read->saved) && message->read->bytes_max <= PST_CONTROL_PIECE_BYTES_MAX);
    case PST__CONTROL__BODY_PIECE:
        return good_if(is_sentence(message->piece->sentence) && is_short(message->piece->sink) &&
                       message->piece->bytes.len <= PST_CONTROL_PIECE_BYTES_MAX);
    case PST__CONTROL__BODY_PROBE:
        return good_if(is_short(message->probe->keys) && is_sentence(message->probe->sentence));
    case PST__CONTROL__BODY_REPLAY:
        return replay_holds(message->replay);
    case PST__CONTROL__BODY_REPLAY_GO:
        return replay_go_holds(message->replay_go);
    case PST__CONTROL__BODY_REPLAY_BYTES:
        return replay_bytes_holds(message->replay_bytes);
    case PST__CONTROL__BODY_REPLAY_GRANT:
    case PST__CONTROL__BODY_REPLAY_END:
    case PST__CONTROL__BODY_BEAT_ACK:
    case PST__CONTROL__BODY_STARTED:
    case PST__CONTROL__BODY_STOP:
    case PST__CONTROL__BODY_ADMIN_REPLY:
    case PST__CONTROL__BODY_LEAVE:
        return PST_OK;
    default:
        return PST_EDATA;
    }
}

/* ---- packing ---- */
struct packing {
    ProtobufCBuffer base; /* first: protobuf-c gives its address back */
    struct pst_text *bytes;
    int rc;
};

static void packing_append(ProtobufCBuffer *buffer, size_t byte_count, const uint8_t *bytes)
{
    struct packing *packing = (struct packing *)(void *)buffer;
    if (packing->rc == PST_OK)
        packing->rc = pst_text_add(packing->bytes, (const char *)bytes, byte_count);
}

static int packed(const Pst__Control *message, struct pst_text *bytes)
{
    Pst__Control versioned = *message;
    versioned.version = PST_CONTROL_VERSION;
    if (message_holds(message) != PST_OK)
        return PST_EINVAL;
    if (protobuf_c_message_get_packed_size(&versioned.base) > pst_control_bytes_max(message->body_case))
        return PST_EFULL;
    struct packing packing = {.base.append = packing_append, .bytes = bytes, .rc = PST_OK};
    (void)protobuf_c_message_pack_to_buffer(&versioned.base, &packing.base);
    return packing.rc;
}

/* With its words made plain: in a copy of the body, for it is the caller's. */
static int plain_packed(const Pst__Control *message, size_t at, struct pst_text *bytes)
{
    Pst__Control copy = *message;
    const char *words = *words_of(message->refused, at);
    size_t body_bytes = message->refused->base.descriptor->sizeof_message;
    void *body = pst_malloc(body_bytes);
    char *text = pst_malloc(strlen(words) + 1);
    int rc = PST_ENOMEM;
    if (body != NULL && text != NULL) {
        memcpy(body, message->refused, body_bytes);
        pst_text_plain(text, PST_CONTROL_TEXT_BYTES_MAX, words);
        *words_of(body, at) = text;
        copy.refused = body;
        rc = packed(&copy, bytes);
    }
    pst_free(body);
    pst_free(text);
    return rc;
}

int pst_control_pack(const Pst__Control *message, struct pst_text *bytes)
{
    size_t at = words_at(message->body_case);
    bool good = at == 0 || is_sentence(*words_of(message->refused, at));
    return good ? packed(message, bytes) : plain_packed(message, at, bytes);
}

void pst_control_greet(Pst__Control *message, Pst__Hello *hello)
{
    pst__hello__init(hello);
    pst__control__init(message);
    hello->role = PST__ROLE__ADMIN;
    hello->product = (char *)(uintptr_t) "penstock";
    message->request = 1;
    message->body_case = PST__CONTROL__BODY_HELLO;
    message->hello = hello;
}

/* ---- unpacking ---- */
/* All that protobuf-c asks for, up to a bound. Nothing is given back one by one: it dies with the arena. */
struct memory {
    struct pst_arena *arena;
    size_t bytes_left;
    int rc; /* why it gave nothing */
};

static void *memory_alloc(void *self, size_t bytes)
{
    struct memory *memory = self;
    if (bytes > memory->bytes_left) {
        memory->rc = PST_EFULL;
        return NULL;
    }
    size_t rounded = (bytes + 15) & ~(size_t)15; /* as the arena does */
    memory->bytes_left -= rounded < memory->bytes_left ? rounded : memory->bytes_left;
    void *allocated = pst_arena_alloc(memory->arena, bytes);
    if (allocated == NULL)
        memory->rc = PST_ENOMEM;
    return allocated;
}

static void memory_free(void *self, void *allocated)
{
    (void)self;
    (void)allocated;
}

/* protobuf-c keeps what it does not know and would pack it again, some of it so that it cannot be unpacked any more. */
static void unknown_drop(ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *of = message->descriptor;
    message->n_unknown_fields = 0;
    message->unknown_fields = NULL;
    for (unsigned f = 0; f < of->n_fields; f++) {
        const ProtobufCFieldDescriptor *field = &of->fields[f];
        void *member = (char *)message + field->offset, *quantifier = (char *)message + field->quantifier_offset;
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            ProtobufCMessage **list = *(ProtobufCMessage ***)member;
            for (size_t i = 0, count = *(size_t *)quantifier; i < count; i++)
                unknown_drop(list[i]);
        } else if (*(uint32_t *)quantifier == field->id) { /* the one of `body`; there are no others */
            unknown_drop(*(ProtobufCMessage **)member);
        }
    }
}

/* What can be said before anything is unpacked. */
static int envelope_check(const struct envelope *envelope, size_t byte_count, size_t limit)
{
    if (envelope->version == 0)
        return PST_EDATA;
    if (envelope->version > PST_CONTROL_VERSION + 1)
        return PST_EABI;
    if (envelope->body_count != 1)
        return PST_EDATA;
    if (protobuf_c_message_descriptor_get_field(&pst__control__descriptor, envelope->body) == NULL)
        return PST_EABI;
    size_t bytes_max = pst_control_bytes_max(envelope->body);
    return byte_count <= (limit < bytes_max ? limit : bytes_max) ? PST_OK : PST_EFULL;
}

int pst_control_unpack(const void *bytes, size_t byte_count, size_t limit, struct pst_arena *arena,
                       Pst__Control **ret_message)
{
    struct envelope envelope;
    if (byte_count > PST_CONTROL_LONG_BYTES_MAX || byte_count > limit)
        return PST_EFULL;
    if (byte_count == 0 || !envelope_read(bytes, (const uint8_t *)bytes + byte_count, &envelope))
        return PST_EDATA;
    int rc = envelope_check(&envelope, byte_count, limit);
    if (rc != PST_OK)
        return rc;
    struct memory memory = {arena, pst_control_memory_max(byte_count), PST_OK};
    ProtobufCAllocator allocator = {memory_alloc, memory_free, &memory};
    ProtobufCMessage *unpacked = protobuf_c_message_unpack(&pst__control__descriptor, &allocator, byte_count, bytes);
    if (unpacked == NULL)
        return memory.rc != PST_OK ? memory.rc : PST_EDATA;
    Pst__Control *message = (Pst__Control *)(void *)unpacked;
    /* Two have read one envelope: they have to agree. */
    size_t at = message->body_case == envelope.body ? words_at(message->body_case) : 0;
    char *words = at != 0 ? *words_of(message->refused, at) : NULL;
    if (words != NULL && !is_sentence(words)) /* it is not empty, so it lies in the arena */
        pst_text_plain(words, PST_CONTROL_TEXT_BYTES_MAX, words);
    rc = message->body_case == envelope.body ? message_holds(message) : PST_EDATA;
    if (rc != PST_OK)
        return rc;
    unknown_drop(unpacked);
    *ret_message = message;
    return PST_OK;
}

int pst_control_copy(const Pst__Control *message, struct pst_arena *arena, Pst__Control **ret_message)
{
    struct pst_text bytes = {0};
    int rc = pst_control_pack(message, &bytes);
    if (rc == PST_OK)
        rc = pst_control_unpack(bytes.bytes, bytes.count, PST_CONTROL_LONG_BYTES_MAX, arena, ret_message);
    pst_text_fini(&bytes);
    return rc;
}
