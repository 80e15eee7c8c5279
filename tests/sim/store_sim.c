/* store_sim.c - see store_sim.h. */
#include "tests/sim/store_sim.h"

#include <stdlib.h>
#include <string.h>

static uint64_t draw(struct store_sim *sim, uint64_t below)
{
    uint64_t z = sim->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

void store_sim_init(struct store_sim *sim, uint64_t seed)
{
    *sim = (struct store_sim){.random = seed, .delay_us_max = 4000, .compares = true};
}

static void record_drop(struct store_sim_record *record)
{
    free(record->path);
    free(record->bytes);
    *record = (struct store_sim_record){0};
}

static void late_drop(struct store_sim_late *late)
{
    for (uint32_t i = 0; i < late->change_count; i++) {
        free((char *)late->changes[i].path);
        free((char *)late->changes[i].bytes);
    }
    *late = (struct store_sim_late){0};
}

void store_sim_fini(struct store_sim *sim)
{
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX; i++)
        record_drop(&sim->records[i]);
    for (uint32_t i = 0; i < STORE_SIM_LATE_MAX; i++)
        late_drop(&sim->late[i]);
}

static struct store_sim_record *find(const struct store_sim *sim, const char *path)
{
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX; i++)
        if (sim->records[i].version != 0 && strcmp(sim->records[i].path, path) == 0)
            return (struct store_sim_record *)&sim->records[i];
    return NULL;
}

const struct store_sim_record *store_sim_get(const struct store_sim *sim, const char *path) { return find(sim, path); }

static char *copy(const void *bytes, size_t byte_count)
{
    char *to = malloc(byte_count + 1);
    PST_ASSERT(to != NULL);
    memcpy(to, bytes, byte_count);
    to[byte_count] = '\0';
    return to;
}

/* ---- commits ---- */
static bool change_fits(const struct store_sim *sim, const struct pst_store_change *change)
{
    const struct store_sim_record *record = find(sim, change->path);
    if (!sim->compares)
        return change->bytes != NULL || record != NULL;
    return change->expected == (record != NULL ? record->version : 0);
}

static void change_do(struct store_sim *sim, const struct pst_store_change *change, uint64_t session)
{
    struct store_sim_record *record = find(sim, change->path);
    if (change->bytes == NULL) {
        sim->changed(sim->self, change->path, 0, NULL, 0);
        record_drop(record);
        return;
    }
    for (uint32_t i = 0; record == NULL; i++) {
        PST_ASSERT(i < STORE_SIM_RECORDS_MAX);
        if (sim->records[i].version != 0)
            continue;
        record = &sim->records[i];
        record->path = copy(change->path, strlen(change->path));
        record->session = change->bound ? session : 0;
    }
    free(record->bytes);
    record->bytes = copy(change->bytes, change->byte_count);
    record->byte_count = change->byte_count;
    record->version++;
    sim->changed(sim->self, change->path, record->version, record->bytes, record->byte_count);
}

/* News is a hint: it reaches most sessions. */
static void news(struct store_sim *sim)
{
    for (uint32_t i = 0; i < STORE_SIM_SESSIONS_MAX; i++)
        if (sim->sessions[i].open && draw(sim, 10) != 0)
            sim->sessions[i].news++;
}

static bool session_there(const struct store_sim *sim, uint64_t number)
{
    for (uint32_t i = 0; i < STORE_SIM_SESSIONS_MAX; i++)
        if (sim->sessions[i].open && !sim->sessions[i].expired && sim->sessions[i].number == number)
            return true;
    return false;
}

static int commit(struct store_sim *sim, const struct pst_store_change *changes, uint32_t count, uint64_t session)
{
    for (uint32_t i = 0; i < count; i++)
        if (!change_fits(sim, &changes[i]) || (changes[i].bound && !session_there(sim, session)))
            return PST_EINVAL;
    for (uint32_t i = 0; i < count; i++)
        change_do(sim, &changes[i], session);
    sim->commits++;
    news(sim);
    return PST_OK;
}

int store_sim_put(struct store_sim *sim, const char *path, const void *bytes, size_t byte_count)
{
    struct pst_store_change change = {.path = path, .bytes = bytes, .byte_count = (uint32_t)byte_count};
    return commit(sim, &change, 1, 0);
}

static void commit_later(struct store_sim *sim, const struct pst_store_request *request, uint64_t session)
{
    for (uint32_t i = 0; i < STORE_SIM_LATE_MAX; i++) {
        struct store_sim_late *late = &sim->late[i];
        if (late->due_us != 0)
            continue;
        late->due_us = sim->now_us + 1 + draw(sim, 50000);
        late->session = session;
        late->change_count = request->change_count;
        for (uint32_t n = 0; n < request->change_count; n++) {
            late->changes[n] = request->changes[n];
            late->changes[n].path = copy(request->changes[n].path, strlen(request->changes[n].path));
            if (request->changes[n].bytes != NULL)
                late->changes[n].bytes = copy(request->changes[n].bytes, request->changes[n].byte_count);
        }
        return;
    }
}

/* ---- requests ---- */
static int commit_answer(struct store_sim *sim, struct store_sim_session *session,
                         const struct pst_store_request *request)
{
    if (draw(sim, 1000) >= sim->unknown_per_1000)
        return commit(sim, request->changes, request->change_count, session->number);
    sim->unknown++;
    uint64_t fate = draw(sim, 3);
    if (fate == 0)
        (void)commit(sim, request->changes, request->change_count, session->number);
    else if (fate == 1)
        commit_later(sim, request, session->number);
    return PST_ETIMEOUT;
}

static int by_name(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

static int list(const struct store_sim *sim, const char *prefix, struct pst_text *text)
{
    const char *names[STORE_SIM_RECORDS_MAX];
    size_t count = 0;
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX; i++)
        if (sim->records[i].version != 0 && strncmp(sim->records[i].path, prefix, strlen(prefix)) == 0)
            names[count++] = sim->records[i].path;
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++)
        (void)pst_text_printf(text, "%s\n", names[i]);
    return text->failed ? PST_ENOMEM : PST_OK;
}

static int answer(struct store_sim *sim, struct store_sim_session *session, struct pst_store_request *request)
{
    const struct store_sim_record *record;
    if (session->expired)
        return PST_ESTOPPED;
    if (session->cut) /* a commit may have got through before */
        return request->kind == PST_STORE_COMMIT && draw(sim, 2) == 0 ? commit_answer(sim, session, request),
               PST_ETIMEOUT                                           : PST_EIO;
    switch (request->kind) {
    case PST_STORE_READ:
        record = find(sim, request->path);
        if (record == NULL)
            return PST_ENOENT;
        request->version = record->version;
        return pst_text_add(&request->text, record->bytes, record->byte_count);
    case PST_STORE_LIST:
        return list(sim, request->path, &request->text);
    case PST_STORE_COMMIT:
        return commit_answer(sim, session, request);
    }
    return PST_EINVAL;
}

static void session_begin(void *self, struct pst_store_request *request)
{
    struct store_sim_session *session = self;
    uint64_t due = session->sim->now_us + 200 + draw(session->sim, session->sim->delay_us_max);
    PST_ASSERT(session->queue_count < STORE_SIM_REQUESTS_MAX);
    if (session->queue_count != 0 && due < session->queue[session->queue_count - 1].due_us)
        due = session->queue[session->queue_count - 1].due_us;
    request->rc = PST_EAGAIN;
    session->queue[session->queue_count].request = request;
    session->queue[session->queue_count++].due_us = due;
}

static void session_step(void *self)
{
    struct store_sim_session *session = self;
    while (session->queue_count != 0 && session->queue[0].due_us <= session->sim->now_us) {
        struct pst_store_request *request = session->queue[0].request;
        session->queue_count--;
        memmove(&session->queue[0], &session->queue[1], session->queue_count * sizeof session->queue[0]);
        request->rc = answer(session->sim, session, request);
    }
}

static uint64_t session_news(void *self) { return ((struct store_sim_session *)self)->news; }

static uint64_t session_number(void *self)
{
    struct store_sim_session *session = self;
    return session->expired ? 0 : session->number;
}

static void session_end(struct store_sim_session *session)
{
    struct store_sim *sim = session->sim;
    for (uint32_t i = 0; i < STORE_SIM_RECORDS_MAX; i++)
        if (sim->records[i].version != 0 && sim->records[i].session == session->number) {
            sim->changed(sim->self, sim->records[i].path, 0, NULL, 0);
            record_drop(&sim->records[i]);
            news(sim);
        }
}

static void session_close(void *self)
{
    struct store_sim_session *session = self;
    if (!session->expired)
        session_end(session);
    session->open = false;
    session->queue_count = 0;
}

int store_sim_open(struct store_sim *sim, struct pst_store **ret_store)
{
    for (uint32_t i = 0; i < STORE_SIM_SESSIONS_MAX; i++) {
        struct store_sim_session *session = &sim->sessions[i];
        if (session->open)
            continue;
        *session = (struct store_sim_session){.sim = sim, .number = ++sim->session_count, .open = true};
        session->store = (struct pst_store){.self = session,
                                            .begin = session_begin,
                                            .step = session_step,
                                            .news = session_news,
                                            .session = session_number,
                                            .close = session_close};
        *ret_store = &session->store;
        return PST_OK;
    }
    return PST_EIO;
}

void store_sim_expire(struct store_sim *sim, struct pst_store *store)
{
    (void)sim;
    struct store_sim_session *session = store->self;
    if (!session->expired)
        session_end(session);
    session->expired = true;
}

/* What was on its way may still happen. */
void store_sim_lose(struct store_sim *sim, struct pst_store *store)
{
    struct store_sim_session *session = store->self;
    for (uint32_t i = 0; i < session->queue_count; i++)
        if (session->queue[i].request->kind == PST_STORE_COMMIT && draw(sim, 2) == 0)
            commit_later(sim, session->queue[i].request, session->number);
    session->queue_count = 0;
}

void store_sim_crash(struct store_sim *sim, struct pst_store *store)
{
    store_sim_lose(sim, store);
    session_close(store->self);
}

void store_sim_cut(struct store_sim *sim, struct pst_store *store, bool cut)
{
    (void)sim;
    ((struct store_sim_session *)store->self)->cut = cut;
}

uint64_t store_sim_next_us(const struct store_sim *sim)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < STORE_SIM_LATE_MAX; i++)
        if (sim->late[i].due_us != 0 && sim->late[i].due_us < next)
            next = sim->late[i].due_us;
    for (uint32_t i = 0; i < STORE_SIM_SESSIONS_MAX; i++)
        if (sim->sessions[i].open && sim->sessions[i].queue_count != 0 && sim->sessions[i].queue[0].due_us < next)
            next = sim->sessions[i].queue[0].due_us;
    return next;
}

void store_sim_run(struct store_sim *sim, uint64_t now_us)
{
    sim->now_us = now_us;
    for (uint32_t i = 0; i < STORE_SIM_LATE_MAX; i++)
        if (sim->late[i].due_us != 0 && sim->late[i].due_us <= now_us) {
            (void)commit(sim, sim->late[i].changes, sim->late[i].change_count, sim->late[i].session);
            late_drop(&sim->late[i]);
        }
}
