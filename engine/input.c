/* input.c - the one input of a run, read and parsed in blocks by all workers, in the order of the input where order matters.
 *
 *   IDLE --read a block, by lock--> PARSED --take the turn of that block--> SENDING --all frames are out--> IDLE
 *                                                                                  \--the input is closed--> DONE
 *
 * By lock: whichever worker is free takes the next block: whole lines; the piece of a line at its end is carried to the next.
 * Then it parses on its own. By turn: block i is sequenced after block i - 1, by the worker that parsed it: lateness is decided
 * (P1: in the order of the input), rows and lines are numbered, dead letters are written. A turn is short; the rows then go out
 * from all workers at once. `max` (M) is raised in the turn, after every channel of this worker has been marked busy with
 * the watermark that held before: the other half of pst_channel_read_watermark(). */
#include "engine/carry.h"
#include "engine/checkpoint.h"
#include "engine/feed.h"

#include <string.h>

static const char *reject_sentence(uint32_t reason)
{
    switch (reason) {
    case PST_REJECT_FIELDS:
        return "not the number of fields that the schema has";
    case PST_REJECT_FIELD:
        return "a field that is not of its type";
    case PST_REJECT_NUL:
        return "a NUL byte";
    case PST_REJECT_LONG:
        return "longer than 4096 bytes";
    case PST_REJECT_EMPTY:
        return "an empty line";
    case PST_REJECT_LATE:
        return "late: below the highest time seen before it";
    default:
        return "malformed";
    }
}

const char *pst_reject_sentence(uint32_t reason) { return reject_sentence(reason); }

/* ---- opening ---- */
static bool ends_in(const char *name, const char *end)
{
    size_t name_bytes = strlen(name), end_bytes = strlen(end);
    return name_bytes >= end_bytes && strcmp(name + name_bytes - end_bytes, end) == 0;
}

/* It is a file; or none is there, which is said when it is opened. */
static bool is_file(const struct pst_world *world, const char *path)
{
    uint64_t id[2];
    return strcmp(path, "-") != 0 && world->look(world->self, path, id) != 2;
}

int pst_input_again(struct run *run, const char *path)
{
    if (is_file(run->world, path))
        return PST_OK;
    pst_run_fail(
        run, PST_EREFUSED,
        "the input %s cannot be read again, and a run before this one has read of it: submit the graph anew, with a "
        "file, or with --listen",
        path);
    return PST_EREFUSED;
}

int pst_input_init(struct input *input, struct run *run, const char *path)
{
    const struct pst_world *world = run->world;
    *input =
        (struct input){.name = strcmp(path, "-") == 0 ? "standard input" : path, .path = path, .newest = INT64_MIN};
    input->done_below = INT64_MIN;
    input->block_bytes = run->options.block_bytes;
    input->number_base = run->site != NULL ? (uint64_t)run->site->input_index << INPUT_NUMBER_BITS : 0;
    atomic_flag_clear(&input->lock);
    atomic_init(&input->max, INT64_MIN);
    if (run->options.fed) {
        input->name = "the stream";
        input->rereads = true;
        input->feed = pst_feed_new(run, input->block_bytes);
        input->carry = pst_malloc(input->block_bytes);
        return input->feed != NULL && input->carry != NULL ? PST_OK : PST_ENOMEM;
    }
    input->rereads = is_file(world, path);
    /* On a node it is a job of a pool that opens it, for which others wait, and that nothing ends: it does not wait for a pipe's writer. */
    int rc = world->file_open(world->self, path, run->site != NULL ? PST_OPEN_AWAIT : PST_OPEN_READ, &input->file);
    if (rc != PST_OK && run->options.interrupts != NULL && atomic_load(run->options.interrupts) != 0) {
        pst_run_fail(run, PST_ESTOPPED, "stopped before the input %s could be opened", input->name);
        return PST_ESTOPPED; /* a pipe that nobody writes to: the signal ended the wait */
    }
    if (rc != PST_OK) {
        pst_run_fail(run, rc, "cannot open the input %s: %s", input->name, pst_system_error());
        return rc;
    }
    if (world->file_size(world->self, input->file, &input->bytes_total) != PST_OK)
        input->bytes_total = 0;
    if (ends_in(path, ".gz")) {
        input->bytes_total = 0;
        input->gunzip = pst_gunzip_new(run->world, input->file);
        if (input->gunzip == NULL)
            return PST_ENOMEM;
    }
    input->carry = pst_malloc(input->block_bytes);
    return input->carry != NULL ? PST_OK : PST_ENOMEM;
}

void pst_input_none(struct input *input)
{
    *input = (struct input){.name = "no input", .path = "", .newest = INT64_MIN, .closed = true, .at_end = true};
    atomic_flag_clear(&input->lock);
    atomic_init(&input->max, INT64_MIN);
    atomic_init(&input->end, END_INPUT);
}

void pst_input_fini(struct input *input, struct run *run)
{
    pst_gunzip_free(input->gunzip);
    pst_feed_free(input->feed);
    if (input->file != NULL)
        (void)run->world->file_close(run->world->self, input->file);
    pst_free(input->carry);
    input->file = NULL;
    input->feed = NULL;
    input->gunzip = NULL;
    input->carry = NULL;
}

static int64_t read_more(struct run *run, char *to, size_t room)
{
    struct input *input = &run->input;
    int64_t count = input->feed != NULL     ? pst_feed_take(input->feed, to, room)
                    : input->gunzip != NULL ? pst_gunzip_read(input->gunzip, to, room)
                                            : run->world->file_read(run->world->self, input->file, to, room);
    if (count >= 0)
        input->bytes_read += (uint64_t)count;
    return count;
}

bool pst_input_rereads(const struct run *run)
{
    const struct input *input = &run->input;
    uint64_t size;
    if (input->feed != NULL || input->file == NULL || strcmp(input->path, "-") == 0)
        return false;
    return input->gunzip != NULL || run->world->file_size(run->world->self, input->file, &size) == PST_OK;
}

/* Where a line begins, or there is none any more: of an input that has ended the last one may lack its newline. */
static bool is_at_end(struct run *run)
{
    int64_t count;
    do
        count = read_more(run, run->input.carry, 1);
    while (count == PST_EAGAIN);
    return count == 0;
}

int pst_input_skip(struct run *run, uint64_t offset)
{
    struct input *input = &run->input;
    const struct pst_world *world = run->world;
    uint64_t size, at = 0;
    char last = '\0';
    bool plain = input->gunzip == NULL;
    if (input->feed != NULL) { /* whoever feeds it goes back to there */
        pst_feed_begin_at(input->feed, offset);
        input->offset = input->bytes_read = offset;
        return PST_OK;
    }
    if (strcmp(input->path, "-") == 0 || (plain && world->file_size(world->self, input->file, &size) != PST_OK)) {
        pst_run_fail(run, PST_EREFUSED, "%s cannot be read again, so a run that reads it cannot be resumed",
                     input->name);
        return PST_EREFUSED;
    }
    if (plain && offset != 0) { /* the byte before is wanted, too */
        int rc = world->file_seek(world->self, input->file, offset - 1);
        if (rc != PST_OK) {
            pst_run_fail(run, rc, "cannot read %s: %s", input->name, pst_system_error());
            return rc;
        }
        at = offset - 1;
    }
    while (at < offset) {
        size_t room = offset - at < input->block_bytes ? (size_t)(offset - at) : input->block_bytes;
        int64_t count = read_more(run, input->carry, room);
        if (count == PST_EAGAIN)
            continue;
        if (count <= 0) {
            int rc = count == 0 ? PST_EDATA : (int)count;
            pst_run_fail(run, rc,
                         count == 0 ? "%s is shorter than it was when the checkpoint was made"
                                    : "cannot read %s on to where the checkpoint was made",
                         input->name);
            return rc;
        }
        last = input->carry[count - 1];
        at += (uint64_t)count;
    }
    if (offset != 0 && run->graph->carry == NULL && last != '\n' && !is_at_end(run)) {
        pst_run_fail(run, PST_EDATA, "%s is not what it was when the checkpoint was made: no line begins at byte %llu",
                     input->name, (unsigned long long)offset);
        return PST_EDATA;
    }
    input->offset = input->bytes_read = offset;
    return PST_OK;
}

int pst_source_init(struct source *source, struct pst_ctx *ctx, size_t block_bytes)
{
    *source = (struct source){.ctx = ctx};
    atomic_init(&source->sending, UINT64_MAX);
    source->memory = pst_calloc(1, block_bytes + 2 * BLOCK_PAD_BYTES);
    return source->memory != NULL ? PST_OK : PST_ENOMEM;
}

void pst_source_fini(struct source *source)
{
    for (uint32_t i = 0; i < source->batch_capacity; i++) {
        pst_batch_fini(&source->batches[i], &source->ctx->node->outputs[0].schema);
        pst_free(source->late[i]);
    }
    pst_free(source->batches);
    pst_free(source->late);
    pst_free(source->late_count);
    pst_free(source->done_count);
    pst_free(source->number_first);
    pst_free(source->rejects);
    pst_free(source->memory);
    *source = (struct source){0};
}

/* ---- by lock: the next block ---- */
/* An empty line at the end of the text is in order if it is the very last line of the input. */
static size_t empty_line_bytes(const char *text, size_t bytes, bool first)
{
    size_t mark = first && bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    size_t line = bytes >= 2 && text[bytes - 1] == '\n' && text[bytes - 2] == '\r' ? 2 : 1;
    if (bytes < mark + line || text[bytes - 1] != '\n')
        return 0;
    if (bytes == mark + line)
        return bytes; /* with the byte order mark, if there is one */
    return text[bytes - line - 1] == '\n' ? line : 0;
}

/* Cuts the block at its last newline and carries the rest; a line that fills the whole buffer goes out in overlong pieces. */
static void cut_block(struct input *input, struct pst_block *block, const char *text, size_t bytes)
{
    const char *newline = input->overlong ? memchr(text, '\n', bytes) : memrchr(text, '\n', bytes);
    bool full = bytes == input->block_bytes;
    size_t cut = newline != NULL ? (size_t)(newline - text) + 1 : input->at_end || full || input->overlong ? bytes : 0;
    block->overlong = input->overlong || (newline == NULL && full);
    block->overlong_begins = block->overlong && !input->overlong;
    input->overlong = block->overlong && newline == NULL;
    if (newline != NULL && input->at_end && !block->overlong)
        cut = bytes; /* the last line may lack its newline */
    else if (!block->overlong && cut == bytes)
        cut -=
            empty_line_bytes(text, cut, block->first); /* whether it is the last line of all shows when more is read */
    block->text = text;
    block->text_bytes = cut;
    input->carry_bytes = bytes - cut;
    memcpy(input->carry, text + cut, input->carry_bytes);
}

/* The same of a sealed stream: behind its last whole capsule. What is wrong with it is said when it is parsed. */
static void cut_capsules(struct input *input, struct pst_block *block, const char *text, size_t bytes)
{
    size_t whole;
    int rc = pst_carry_whole(text, bytes, &whole);
    block->text = text;
    block->text_bytes = rc == PST_OK && !input->at_end ? whole : bytes;
    input->carry_bytes = bytes - block->text_bytes;
    memcpy(input->carry, text + block->text_bytes, input->carry_bytes);
}

/* PST_EAGAIN: nothing to be had now. */
static int claim(struct source *source, struct run *run)
{
    struct input *input = &run->input;
    char *text = source->memory + BLOCK_PAD_BYTES;
    size_t bytes = input->carry_bytes;
    memcpy(text, input->carry, bytes);
    if (!input->at_end && bytes < input->block_bytes) {
        int64_t count = read_more(run, text + bytes, input->block_bytes - bytes);
        if (count < 0)
            return (int)count;
        input->at_end = count == 0;
        bytes += (size_t)count;
    }
    source->block = (struct pst_block){.first = !input->begun};
    (run->graph->carry != NULL ? cut_capsules : cut_block)(input, &source->block, text, bytes);
    if (source->block.text_bytes == 0 && !input->at_end)
        return PST_OK; /* no whole line yet: read on */
    source->block.last = input->at_end && input->carry_bytes == 0;
    input->closed = source->block.last;
    input->begun = true;
    source->index = input->claimed_count++;
    source->offset = input->offset;
    input->offset += source->block.text_bytes;
    atomic_store_explicit(&source->sending, source->index, memory_order_release);
    return PST_OK;
}

/* A worker that is slow to send its block holds time back for all; the others must not read on without end meanwhile. */
static bool too_far_ahead(const struct run *run)
{
    uint64_t lowest = run->input.claimed_count;
    for (uint32_t w = 0; w < run->worker_count; w++) {
        uint64_t index = atomic_load_explicit(&run->workers[w].source.sending, memory_order_acquire);
        lowest = index < lowest ? index : lowest;
    }
    return run->input.claimed_count - lowest >= run->worker_count + BLOCKS_AHEAD;
}

/* PST_EAGAIN: nothing to read now; PST_EFULL: another worker is reading; PST_ESTOPPED: nothing will follow. */
static int read_block(struct worker *worker)
{
    struct run *run = worker->run;
    struct input *input = &run->input;
    struct source *source = &worker->source;
    if (atomic_flag_test_and_set_explicit(&input->lock, memory_order_acquire))
        return PST_EFULL;
    int rc = PST_OK;
    bool closed = input->closed;
    source->block.text = NULL;
    source->block.text_bytes = 0;
    source->block.last = false;
    bool others = run->graph->carry != NULL && worker->index != 0; /* capsules stay in their order: one worker reads */
    if (!closed && (others || too_far_ahead(run))) {
        pst_lock_give(&input->lock);
        return PST_EAGAIN; /* whoever has sent his block wakes the others */
    }
    if (!closed) {
        do
            rc = claim(source, run);
        while (rc == PST_OK && source->block.text_bytes == 0 && !source->block.last);
        if (rc == PST_EAGAIN && input->feed != NULL) {
            if (!pst_feed_watch(input->feed, worker->index))
                pst_wake_later(run, worker->index, worker->index);
        } else if (rc == PST_EAGAIN)
            rc = run->world->file_watch(run->world->self, input->file, run->worker_base + worker->index) == PST_OK
                     ? PST_EAGAIN
                     : PST_EIO;
    }
    pst_lock_give(&input->lock);
    if (closed)
        return PST_ESTOPPED;
    if (rc == PST_EDATA)
        pst_run_fail(run, rc, "%s is damaged or cut short: it cannot be uncompressed", input->name);
    else if (rc != PST_OK && rc != PST_EAGAIN)
        pst_run_fail(run, rc, "cannot read %s: %s", input->name, pst_system_error());
    return rc;
}

/* After an interrupt: the block that was sequenced last says that it was. */
static void cut_if_closed(struct run *run)
{
    struct input *input = &run->input;
    pst_lock_take(&input->lock);
    bool closed = input->closed && atomic_load_explicit(&input->turn, memory_order_acquire) == input->claimed_count;
    pst_lock_give(&input->lock);
    int not_yet = END_NOT;
    if (closed)
        (void)atomic_compare_exchange_strong(&input->end, &not_yet, END_CUT);
}

void pst_input_close(struct run *run)
{
    struct input *input = &run->input;
    pst_lock_take(&input->lock);
    input->closed = true;
    pst_lock_give(&input->lock);
    cut_if_closed(
        run); /* blocks on their way are sequenced first: then their workers find the input closed and say so */
}

/* ---- parsing: what the source operator calls ---- */
static int batches_grow(struct source *source)
{
    uint32_t capacity = source->batch_capacity + 1;
    struct batch *batches = pst_realloc(source->batches, capacity * sizeof *batches);
    if (batches == NULL)
        return PST_ENOMEM;
    source->batches = batches;
    uint32_t **late = pst_realloc(source->late, capacity * sizeof *late);
    if (late == NULL)
        return PST_ENOMEM;
    source->late = late;
    uint32_t *late_count = pst_realloc(source->late_count, capacity * sizeof *late_count);
    if (late_count == NULL)
        return PST_ENOMEM;
    source->late_count = late_count;
    uint32_t *done_count = pst_realloc(source->done_count, capacity * sizeof *done_count);
    if (done_count == NULL)
        return PST_ENOMEM;
    source->done_count = done_count;
    uint64_t *number_first = pst_realloc(source->number_first, capacity * sizeof *number_first);
    if (number_first == NULL)
        return PST_ENOMEM;
    source->number_first = number_first;
    source->late[source->batch_capacity] = NULL;
    int rc =
        pst_batch_init(&source->batches[source->batch_capacity], &source->ctx->node->outputs[0].schema, SOURCE_ROWS);
    if (rc == PST_OK)
        source->batch_capacity = capacity;
    return rc;
}

struct pst_out *pst_source_reserve(struct pst_ctx *ctx, uint32_t row_count)
{
    struct source *source = &ctx->run->workers[ctx->worker].source;
    if (source->batch_count != 0) {
        struct pst_out *out = &source->batches[source->batch_count - 1].out;
        if (out->row_count + row_count <= out->row_capacity)
            return out;
    }
    if (source->batch_count == source->batch_capacity && batches_grow(source) != PST_OK)
        return NULL;
    struct pst_out *out = &source->batches[source->batch_count++].out;
    out->row_count = 0;
    return out;
}

int pst_source_reject(struct pst_ctx *ctx, pst_reject_reason reason, const char *line, size_t line_bytes,
                      uint32_t line_index)
{
    struct source *source = &ctx->run->workers[ctx->worker].source;
    if (source->reject_count == source->reject_capacity) {
        uint32_t capacity = source->reject_capacity == 0 ? 64 : source->reject_capacity * 2;
        struct reject *rejects = pst_realloc(source->rejects, capacity * sizeof *rejects);
        if (rejects == NULL)
            return PST_ENOMEM;
        source->rejects = rejects;
        source->reject_capacity = capacity;
    }
    source->rejects[source->reject_count++] = (struct reject){line, line_bytes, line_index, reason};
    return PST_OK;
}

int pst_source_lines(struct pst_ctx *ctx, uint32_t line_count)
{
    ctx->run->workers[ctx->worker].source.line_count = line_count;
    return PST_OK;
}

static void batch_times(struct batch *batch, const struct pst_schema *schema)
{
    uint32_t rows = batch->out.row_count;
    const void *column = batch->columns[schema->time_field];
    if (schema->fields[schema->time_field].type == PST_U32) {
        const uint32_t *times = column;
        for (uint32_t i = 0; i < rows; i++)
            batch->time[i] = times[i];
    } else {
        memcpy(batch->time, column, rows * sizeof *batch->time);
    }
}

static int parse(struct source *source)
{
    const struct pst_schema *schema = &source->ctx->node->outputs[0].schema;
    source->batch_count = source->sent_count = source->reject_count = source->line_count = 0;
    int rc = source->ctx->node->op->on_block(source->ctx, &source->block);
    if (rc != PST_OK)
        return pst_ctx_failed(source->ctx, rc, "on_block");
    for (uint32_t i = 0; i < source->batch_count; i++)
        batch_times(&source->batches[i], schema);
    return PST_OK;
}

/* What is promised of all that follows, behind the blocks sequenced so far. */
static int64_t promise_of(const struct run *run)
{
    return run->graph->carry != NULL ? pst_carry_watermark(run) : run->input.newest;
}

/* ---- by turn ---- */
/* Plain reduction that vectorises: are the times of a batch in order, none below `floor`? */
static bool in_order(const int64_t *time, uint32_t rows, int64_t floor)
{
    bool falling = rows != 0 && time[0] < floor;
    for (uint32_t i = 1; i < rows; i++)
        falling |= time[i] < time[i - 1];
    return !falling;
}

/* Lists the rows of a batch that are taken; the others are late, or were worked off before. */
static int find_late(struct source *source, uint32_t b, struct input *input)
{
    struct batch *batch = &source->batches[b];
    if (source->late[b] == NULL)
        source->late[b] = pst_malloc(SOURCE_ROWS * sizeof **source->late);
    if (source->late[b] == NULL)
        return PST_ENOMEM;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < batch->out.row_count; i++) {
        if (batch->time[i] < input->newest)
            continue;
        input->newest = batch->time[i];
        source->done_count[b] += input->newest < input->done_below;
        if (input->newest >= input->done_below)
            source->late[b][kept++] = i;
    }
    source->late_count[b] = batch->out.row_count - kept;
    return PST_OK;
}

static int decide_lateness(struct source *source, struct input *input)
{
    uint64_t rows = atomic_load_explicit(&input->rows, memory_order_relaxed), late = 0;
    for (uint32_t b = 0; b < source->batch_count; b++) {
        struct batch *batch = &source->batches[b];
        uint32_t count = batch->out.row_count;
        int64_t floor = input->newest > input->done_below ? input->newest : input->done_below;
        source->late_count[b] = source->done_count[b] = 0;
        source->number_first[b] = rows;
        rows += count;
        if (in_order(batch->time, count, floor)) {
            if (count != 0)
                input->newest = batch->time[count - 1];
            continue;
        }
        int rc = find_late(source, b, input);
        if (rc != PST_OK)
            return rc;
        late += source->late_count[b] - source->done_count[b];
    }
    atomic_store_explicit(&input->rows, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&input->rows_late, late, memory_order_relaxed);
    return PST_OK;
}

/* A sealed stream has no late rows; what was worked off before its cut is left out. */
static int decide_done(struct source *source, struct run *run)
{
    struct input *input = &run->input;
    for (uint32_t b = 0; b < source->batch_count; b++) {
        const struct batch *batch = &source->batches[b];
        uint32_t kept = 0;
        if (source->late[b] == NULL)
            source->late[b] = pst_malloc(SOURCE_ROWS * sizeof **source->late);
        if (source->late[b] == NULL)
            return PST_ENOMEM;
        for (uint32_t i = 0; i < batch->out.row_count; i++)
            if (batch->time[i] >= input->done_below)
                source->late[b][kept++] = i;
        source->late_count[b] = source->done_count[b] = batch->out.row_count - kept;
        source->number_first[b] = 0;
    }
    input->newest = pst_carry_newest(run);
    atomic_store_explicit(&input->rows, pst_carry_rows(run), memory_order_relaxed);
    return PST_OK;
}

/* Late rows and malformed lines go to the dead letters in the order of the input. A source writes the offset of a row's line
 * into the row's bucket, so that a late row's bytes can be found. */
struct letter {
    const char *line;
    size_t bytes;
};

static struct letter next_late(const struct source *source, uint32_t *b, uint32_t *row, uint32_t *kept)
{
    for (; *b < source->batch_count; (*b)++, *row = 0, *kept = 0) {
        const struct batch *batch = &source->batches[*b];
        uint32_t kept_count = batch->out.row_count - source->late_count[*b];
        if (source->late_count[*b] == 0)
            continue;
        for (; *row < batch->out.row_count; (*row)++) {
            if (*kept < kept_count && source->late[*b][*kept] == *row) {
                (*kept)++;
                continue;
            }
            const char *line = source->block.text + batch->out.bucket[(*row)++];
            size_t rest = (size_t)(source->block.text + source->block.text_bytes - line);
            const char *newline = memchr(line, '\n', rest);
            return (struct letter){line, newline != NULL ? (size_t)(newline - line) + 1 : rest};
        }
    }
    return (struct letter){NULL, 0};
}

struct letters { /* how far the dead letters of a block have been written */
    uint32_t b, row, kept, reject;
    struct letter late;
    bool begun;
};

/* Those of lines below `limit`. */
static int write_dead_letters(struct source *source, struct run *run, struct letters *at, const char *limit)
{
    int rc = PST_OK;
    if (!at->begun)
        at->late = next_late(source, &at->b, &at->row, &at->kept);
    at->begun = true;
    while (rc == PST_OK) {
        const char *late = at->late.line;
        const struct reject *reject = at->reject < source->reject_count ? &source->rejects[at->reject] : NULL;
        bool take_late = late != NULL && (reject == NULL || late < reject->line);
        const char *line = take_late ? late : reject != NULL ? reject->line : limit;
        if (line >= limit)
            break;
        if (take_late) {
            rc = pst_sink_write(run, run->input.dead_letter, late, at->late.bytes);
            at->late = next_late(source, &at->b, &at->row, &at->kept);
        } else {
            rc = pst_sink_write(run, run->input.dead_letter, reject->line, reject->line_bytes);
            at->reject++;
        }
    }
    return rc;
}

/* ---- the position of a cut ---- */

/* The first row in time that is at or above the cut: its batch and row, and how many late rows of the block stand before it. */
static bool cut_find(const struct source *source, int64_t cut, uint32_t *ret_b, uint32_t *ret_row, uint64_t *ret_late)
{
    *ret_late = 0;
    for (uint32_t b = 0; b < source->batch_count; b++) {
        const struct batch *batch = &source->batches[b];
        uint32_t kept_count = batch->out.row_count - source->late_count[b];
        for (uint32_t i = 0; i < kept_count; i++) {
            uint32_t row = source->late_count[b] != 0 ? source->late[b][i] : i;
            if (batch->time[row] < cut)
                continue;
            *ret_b = b;
            *ret_row = row;
            *ret_late += row - i - source->done_count[b];
            return true;
        }
        *ret_late += source->late_count[b] - source->done_count[b];
    }
    return false;
}

static int64_t newest_before(const struct source *source, uint32_t b, uint32_t row, int64_t newest)
{
    for (uint32_t i = 0; i <= b; i++) {
        const struct batch *batch = &source->batches[i];
        uint32_t end = i == b ? row : batch->out.row_count;
        for (uint32_t k = 0; k < end; k++)
            newest = batch->time[k] > newest ? batch->time[k] : newest; /* late ones are below it anyway */
    }
    return newest;
}

static uint64_t newlines(const char *from, const char *end)
{
    uint64_t count = 0;
    while (from != end && (from = memchr(from, '\n', (size_t)(end - from))) != NULL)
        count++, from++;
    return count;
}

/* What had been counted when the block's turn came, completed by what stands in it before its first row at or above the cut. */
static const char *cut_position(const struct source *source, int64_t cut, struct pst_manifest_source *at)
{
    uint32_t b, row;
    uint64_t late;
    const struct run *run = source->ctx->run;
    bool found = cut_find(source, cut, &b, &row, &late);
    if (run->graph->carry != NULL) { /* a mark may reach it, and the rows behind that stand in the next block */
        /* From the block on in which something has reached it, for in it or behind it are the marks that reach it. */
        at->offset = source->offset;
        at->newest = cut;
        at->rows = pst_carry_rows_before(run) + 1;
        return source->block.text;
    }
    if (!found)
        return NULL;
    uint32_t line_offset = source->batches[b].out.bucket[row]; /* a source says there where the row's line begins */
    const char *line = source->block.text + line_offset;
    at->offset = source->offset + line_offset;
    at->lines += newlines(source->block.text, line);
    at->newest = newest_before(source, b, row, at->newest);
    at->rows = source->number_first[b] + row;
    at->rows_late += late;
    bool continued = source->block.overlong && !source->block.overlong_begins;
    for (uint32_t i = 0; i < source->reject_count && !continued && source->rejects[i].line < line; i++) {
        if (at->lines_malformed++ < PST_BAD_LINES_KEPT)
            at->bad_line_count++;
    }
    return line;
}

static void count_rejects(struct source *source, struct run *run)
{
    struct input *input = &run->input;
    uint64_t malformed = atomic_load_explicit(&input->lines_malformed, memory_order_relaxed);
    bool continued = source->block.overlong && !source->block.overlong_begins; /* counted with its first piece */
    for (uint32_t i = 0; i < source->reject_count && !continued; i++, malformed++) {
        uint64_t line = input->lines + source->rejects[i].line_index + 1;
        if (malformed < PST_BAD_LINES_KEPT) {
            input->malformed_line[malformed] = line;
            input->malformed_reason[malformed] = source->rejects[i].reason;
        }
        if (run->options.strict)
            pst_run_fail(run, PST_EDATA, "%s:%llu: malformed line: %s (--strict stops at the first one)", input->name,
                         (unsigned long long)line, reject_sentence(source->rejects[i].reason));
    }
    atomic_store_explicit(&input->lines_malformed, malformed, memory_order_relaxed);
    input->lines += source->line_count;
}

static void wake_all(struct worker *worker)
{
    worker->wake_mask |= worker->run->worker_count == 64 ? UINT64_MAX : ((uint64_t)1 << worker->run->worker_count) - 1;
    worker->wake_mask &= ~((uint64_t)1 << worker->index);
}

static struct pst_manifest_source counts_now(const struct input *input)
{
    uint64_t malformed = atomic_load_explicit(&input->lines_malformed, memory_order_relaxed);
    struct pst_manifest_source at = {.lines = input->lines,
                                     .rows = atomic_load_explicit(&input->rows, memory_order_relaxed),
                                     .rows_late = atomic_load_explicit(&input->rows_late, memory_order_relaxed),
                                     .lines_malformed = malformed,
                                     .newest = input->newest,
                                     .bad_line_count =
                                         malformed < PST_BAD_LINES_KEPT ? (uint32_t)malformed : PST_BAD_LINES_KEPT};
    return at;
}

void pst_input_end_position(const struct input *input, struct pst_manifest_source *ret_at)
{
    *ret_at = counts_now(input);
    ret_at->offset = atomic_load_explicit(&input->bytes_sequenced, memory_order_relaxed);
}

void pst_input_bad_lines(const struct input *input, struct pst_manifest_source *at)
{
    for (uint32_t i = 0; i < at->bad_line_count; i++) {
        at->bad_line[i] = input->malformed_line[i];
        at->bad_reason[i] = input->malformed_reason[i];
    }
}

/* Of a cut that this block reaches: where its first row at or above it begins. NULL: it is not the block that does. `at`: what had been
 * counted when its turn came. */
static const char *cut_reached(const struct worker *worker, struct pst_manifest_source *at)
{
    const struct run *run = worker->run;
    bool reached = pst_checkpoint_wants_position(run) && at->newest < run->checkpoint->cut &&
                   run->input.newest >= run->checkpoint->cut;
    return reached ? cut_position(&worker->source, run->checkpoint->cut, at) : NULL;
}

/* The dead letters, and on the way the position of a cut that this block reaches. */
static int letters_and_cut(struct worker *worker, struct pst_manifest_source *at)
{
    struct run *run = worker->run;
    struct input *input = &run->input;
    struct source *source = &worker->source;
    struct letters letters = {0};
    const char *line = cut_reached(worker, at);
    int rc = PST_OK;
    if (line != NULL) {
        pst_input_bad_lines(input, at);
        if (input->dead_letter != NULL)
            rc = write_dead_letters(source, run, &letters, line);
        if (rc == PST_OK && input->dead_letter != NULL)
            rc = pst_sink_flush(run, input->dead_letter);
        if (rc == PST_OK)
            pst_checkpoint_position(worker, at, input->dead_letter != NULL ? input->dead_letter->bytes_total : 0);
    }
    if (rc == PST_OK && input->dead_letter != NULL)
        rc = write_dead_letters(source, run, &letters, source->block.text + source->block.text_bytes);
    return rc;
}

static int take_turn(struct worker *worker)
{
    struct run *run = worker->run;
    struct input *input = &run->input;
    struct source *source = &worker->source;
    int64_t before =
        run->graph->carry != NULL ? atomic_load_explicit(&input->max, memory_order_relaxed) : input->newest;
    struct pst_manifest_source at = counts_now(input);
    at.offset = source->offset;
    pst_checkpoint_turn(worker);
    if (!source->block.overlong || source->block.overlong_begins)
        pst_checkpoint_block(worker, &at);
    count_rejects(source, run);
    int rc = run->graph->carry != NULL ? decide_done(source, run) : decide_lateness(source, input);
    if (rc == PST_OK)
        rc = letters_and_cut(worker, &at);
    if (rc != PST_OK)
        return rc;
    for (uint32_t i = 0; i < source->ctx->channel_out_count; i++) {
        struct channel *channel = source->ctx->channels_out[i];
        if (!pst_channel_pending(channel)) /* a branch may still hold rows of the block before */
            atomic_store_explicit(&channel->watermark, before,
                                  memory_order_release);                   /* above rows that are in the ring */
        atomic_store_explicit(&channel->busy, true, memory_order_relaxed); /* published by the release of max below */
    }
    int64_t newest = promise_of(run);
    bool last = source->block.last && run->graph->carry == NULL; /* the end of a sealed stream is a mark, and says it */
    atomic_fetch_add_explicit(&input->bytes_sequenced, source->block.text_bytes, memory_order_relaxed);
    atomic_store_explicit(&input->max, last && newest != INT64_MIN ? newest + 1 : newest, memory_order_release);
    if (source->block.last)
        atomic_store_explicit(&input->end, END_INPUT, memory_order_release);
    atomic_store_explicit(&input->turn, source->index + 1, memory_order_release);
    wake_all(worker);
    return PST_OK;
}

/* ---- sending ---- */
static void channels_idle(struct worker *worker)
{
    struct pst_ctx *ctx = worker->source.ctx;
    for (uint32_t i = 0; i < ctx->channel_out_count; i++) {
        struct channel *channel = ctx->channels_out[i];
        if (!pst_channel_pending(channel) && atomic_load_explicit(&channel->busy, memory_order_relaxed)) {
            atomic_store_explicit(&channel->busy, false, memory_order_release);
            pst_wake_later(worker->run, worker->index, channel->consumer_worker);
        }
    }
}

static int send_batches(struct worker *worker)
{
    struct source *source = &worker->source;
    struct pst_ctx *ctx = source->ctx;
    if (!pst_flush_channels(ctx)) {
        if (source->sent_count == source->batch_count)
            channels_idle(worker); /* E4: those that are through need not wait for the others */
        return PST_EAGAIN;
    }
    while (source->sent_count < source->batch_count) {
        uint32_t b = source->sent_count++;
        struct batch *batch = &source->batches[b];
        struct view view = {.columns = (const void *const *)batch->columns,
                            .time = batch->time,
                            .selection = source->late_count[b] != 0 ? source->late[b] : NULL,
                            .row_count = batch->out.row_count - source->late_count[b],
                            .number_first = ctx->run->input.number_base + source->number_first[b],
                            .from_source = true};
        if (ctx->run->graph->carry == NULL)
            pst_count(&ctx->gauge.rows_in, batch->out.row_count);
        int rc = pst_deliver(ctx, 0, &view);
        if (rc != PST_OK)
            return rc;
        if (!pst_flush_channels(ctx) && source->sent_count < source->batch_count)
            return PST_EAGAIN;
    }
    bool sent = pst_flush_channels(ctx); /* looked at once: a channel that is through later is left busy until then */
    channels_idle(worker);
    return sent ? PST_OK : PST_EAGAIN;
}

static bool step_idle(struct worker *worker, bool may_read)
{
    struct source *source = &worker->source;
    if (!may_read)
        return false;
    int rc = read_block(worker);
    if (rc == PST_ESTOPPED) {
        source->state = SOURCE_DONE;
        cut_if_closed(worker->run);
        wake_all(worker);
        return true;
    }
    if (rc != PST_OK)
        return rc == PST_EFULL; /* the other reader will be through in a moment */
    rc = parse(source);
    if (rc != PST_OK) {
        pst_run_fail(worker->run, rc, "%s: %s", source->ctx->node->id, pst_error_sentence(rc));
        return false;
    }
    source->state = SOURCE_PARSED;
    return true;
}

static bool step_parsed(struct worker *worker)
{
    struct source *source = &worker->source;
    if (atomic_load_explicit(&worker->run->input.turn, memory_order_acquire) != source->index ||
        !pst_checkpoint_may_turn(worker))
        return false;
    int rc = take_turn(worker);
    pst_checkpoint_turned(worker);
    if (rc != PST_OK) {
        pst_run_fail(worker->run, rc, "%s: %s", source->ctx->node->id, pst_error_sentence(rc));
        return false;
    }
    source->state = SOURCE_SENDING;
    return true;
}

static bool step_sending(struct worker *worker)
{
    struct source *source = &worker->source;
    uint32_t sent_before = source->sent_count;
    int rc = send_batches(worker);
    source->ctx->held_up = rc == PST_EAGAIN;
    if (rc == PST_EAGAIN)
        return source->sent_count != sent_before;
    if (rc != PST_OK) {
        pst_run_fail(worker->run, rc, "%s: %s", source->ctx->node->id, pst_error_sentence(rc));
        return false;
    }
    source->state = SOURCE_IDLE;
    atomic_store_explicit(&source->sending, UINT64_MAX, memory_order_release);
    wake_all(worker);
    return true;
}

/* What waits for a lane, or did while it was one, goes when there is room, whatever the source does. */
static void branches_flush(struct worker *worker)
{
    const struct pst_ctx *ctx = worker->source.ctx;
    bool any = false;
    for (uint32_t i = 0; ctx != NULL && i < ctx->channel_out_count; i++) {
        struct channel *channel = ctx->channels_out[i];
        bool own = worker->source.state == SOURCE_SENDING && !channel->branch; /* send_batches() sees to it */
        if (own || !pst_channel_pending(channel))
            continue;
        pst_channel_flush(channel);
        any = true;
    }
    if (any && worker->source.state != SOURCE_SENDING)
        channels_idle(worker);
}

bool pst_source_step(struct worker *worker, bool may_read)
{
    branches_flush(worker);
    switch (worker->source.state) {
    case SOURCE_IDLE:
        return step_idle(worker, may_read);
    case SOURCE_PARSED:
        return step_parsed(worker);
    case SOURCE_SENDING:
        return step_sending(worker);
    case SOURCE_DONE:
    default:
        return false;
    }
}
