/* checkpoint_wait.c - see checkpoint.h: cuts of a graph whose input several nodes read. Each of them stops for a moment, between two blocks,
 * says how far it is, and goes on when it knows the cut.
 *
 * No partition is further than the reader that is furthest behind: so a cut above that one is good, though others have sequenced rows
 * above it, as far as they still know where these begin. They know where blocks began: whoever goes on from there drops the rows below
 * the cut, which have been worked off.
 *
 * A turn has a lock here. Who takes it looks at `waits`; the keeper sets `waits`, then tries the lock: what the input has come to stays as
 * it is while he has seen both. */
#include "engine/build.h"
#include "engine/checkpoint.h"

static void workers_wake(struct run *run)
{
    for (uint32_t w = 0; w < run->worker_count; w++)
        pst_run_wake(run, w);
}

/* ---- the position ---- */

static uint64_t past_begin(const struct checkpoint *checkpoint)
{
    return checkpoint->past_end > checkpoint->past_kept ? checkpoint->past_end - checkpoint->past_kept : 0;
}

void pst_checkpoint_block(struct worker *worker, const struct pst_manifest_source *at)
{
    struct checkpoint *checkpoint = worker->run->checkpoint;
    if (pst_checkpoint_several(worker->run))
        checkpoint->past[checkpoint->past_end++ % PAST_BLOCKS] = *at;
}

/* The last block that began below the cut; false: it was too long ago. */
static bool past_find(const struct checkpoint *checkpoint, int64_t cut, struct pst_manifest_source *ret_at)
{
    uint64_t i = checkpoint->past_end, begin = past_begin(checkpoint);
    while (i > begin && checkpoint->past[(i - 1) % PAST_BLOCKS].newest >= cut)
        i--;
    if (i == begin)
        return false;
    *ret_at = checkpoint->past[(i - 1) % PAST_BLOCKS];
    return true;
}

/* Of an input that has reached the cut, or has ended below it. The turn's lock held. */
static void position_bring(struct worker *worker)
{
    struct run *run = worker->run;
    const struct input *input = &run->input;
    struct pst_manifest_source at;
    if (!pst_checkpoint_wants_position(run))
        return;
    bool reached = input->newest >= run->checkpoint->cut, known = true;
    if (reached)
        known = past_find(run->checkpoint, run->checkpoint->cut, &at);
    else if (atomic_load_explicit(&input->end, memory_order_relaxed) == END_INPUT)
        pst_input_end_position(input, &at);
    else
        return;
    if (known)
        pst_input_bad_lines(input, &at);
    pst_checkpoint_position(worker, known ? &at : NULL, 0);
}

/* ---- by workers ---- */

/* A fence, and the keeper has one: he finds the lock free, or this worker finds `waits`. */
static void turn_leave(struct worker *worker)
{
    struct run *run = worker->run;
    pst_lock_give(&run->checkpoint->turn_lock);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&run->checkpoint->waits) != 0)
        run->world->wake(run->world->self, 0); /* the keeper's: it may say now how far the input is */
}

bool pst_checkpoint_may_turn(struct worker *worker)
{
    if (!pst_checkpoint_several(worker->run))
        return true;
    pst_lock_take(&worker->run->checkpoint->turn_lock);
    if (atomic_load(&worker->run->checkpoint->waits) == 0)
        return true;
    turn_leave(worker);
    return false;
}

void pst_checkpoint_turned(struct worker *worker)
{
    if (!pst_checkpoint_several(worker->run))
        return;
    position_bring(worker);
    turn_leave(worker);
}

void pst_checkpoint_input_goes_on(struct worker *worker)
{
    struct run *run = worker->run;
    pst_lock_take(&run->checkpoint->turn_lock);
    position_bring(worker);
    pst_lock_give(&run->checkpoint->turn_lock);
    atomic_store(&run->checkpoint->waits, 0);
    workers_wake(run);
}

void pst_checkpoint_take_told(struct worker *worker)
{
    struct run *run = worker->run;
    struct checkpoint *checkpoint = run->checkpoint;
    if (!pst_checkpoint_several(run) || !atomic_load_explicit(&checkpoint->told, memory_order_acquire))
        return;
    pst_lock_take(&checkpoint->lock);
    struct cut cut = checkpoint->told_cut;
    pst_lock_give(&checkpoint->lock);
    /* One that cannot follow what is under way is none: whoever told it hears so when it asks again. */
    (void)pst_checkpoint_heard(run, &cut, worker->index);
    pst_lock_take(&checkpoint->lock);
    if (checkpoint->told_cut.id == cut.id) /* until now it was about to begin: pst_checkpoint_rest() */
        atomic_store_explicit(&checkpoint->told, false, memory_order_relaxed);
    pst_lock_give(&checkpoint->lock);
}

/* ---- by the keeper ---- */

bool pst_checkpoint_stays(const struct run *run) { return pst_checkpoint_several(run) && pst_only_reads(run); }

void pst_checkpoint_wait(struct run *run, uint64_t id, uint64_t until_ns)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (!pst_checkpoint_several(run) || !pst_reads(run) || pst_checkpoint_incarnation(id) != run->site->incarnation)
        return;
    checkpoint->asked_id = id;
    checkpoint->waits_until_ns = until_ns;
    atomic_store(&checkpoint->waits, id);
}

/* The lowest cut above a time that was sequenced, INT64_MIN: none was, and above the last one. */
static int64_t cut_above(const struct checkpoint *checkpoint, int64_t newest)
{
    int64_t epoch = checkpoint->epoch, above = INT64_MIN;
    if (newest != INT64_MIN && newest <= INT64_MAX - 2 * epoch)
        above = pst_floor_to(newest, epoch) + epoch;
    else if (newest != INT64_MIN)
        above = INT64_MAX; /* there is none */
    if (checkpoint->cut != CUT_NONE && above <= checkpoint->cut)
        above = checkpoint->cut > INT64_MAX - epoch ? INT64_MAX : checkpoint->cut + epoch;
    return above;
}

/* Both locks held. */
static struct waiting waiting_now(const struct checkpoint *checkpoint, uint64_t asked, bool idle)
{
    const struct input *input = &checkpoint->run->input;
    struct waiting waiting = {.id = asked, .last = checkpoint->id, .under_way = !idle, .low = INT64_MIN};
    waiting.ended = atomic_load(&input->end) != END_NOT;
    waiting.time = idle ? cut_above(checkpoint, input->newest) : checkpoint->cut;
    if (idle && checkpoint->past_end != 0)
        waiting.low = cut_above(checkpoint, checkpoint->past[past_begin(checkpoint) % PAST_BLOCKS].newest);
    return waiting;
}

bool pst_checkpoint_waits(struct run *run, uint64_t now_ns, struct waiting *ret_waiting)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (!pst_checkpoint_several(run))
        return false;
    uint64_t waits = atomic_load(&checkpoint->waits), asked = checkpoint->asked_id;
    if (waits != 0 && now_ns >= checkpoint->waits_until_ns) {
        pst_checkpoint_wait_no_more(run, waits);
        return false;
    }
    atomic_thread_fence(memory_order_seq_cst);
    if (asked == 0 || atomic_flag_test_and_set_explicit(&checkpoint->turn_lock, memory_order_acquire))
        return false; /* whoever has the turn wakes this one */
    checkpoint->asked_id = 0;
    pst_lock_take(&checkpoint->lock);
    bool idle = pst_checkpoint_is_idle(checkpoint),
         told = atomic_load_explicit(&checkpoint->told, memory_order_relaxed);
    bool known = !idle || (!told && waits == asked); /* else what it would say is over in the next moment */
    *ret_waiting = waiting_now(checkpoint, asked, idle);
    pst_lock_give(&checkpoint->lock);
    pst_lock_give(&checkpoint->turn_lock);
    if (!idle || !known)
        pst_checkpoint_wait_no_more(run, asked);
    return known;
}

void pst_checkpoint_wait_no_more(struct run *run, uint64_t id)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (!pst_checkpoint_several(run))
        return;
    checkpoint->asked_id = checkpoint->asked_id == id ? 0 : checkpoint->asked_id;
    if (atomic_compare_exchange_strong(&checkpoint->waits, &id, 0))
        workers_wake(run);
}

void pst_checkpoint_tell(struct run *run, const struct cut *cut)
{
    struct checkpoint *checkpoint = run->checkpoint;
    if (!pst_checkpoint_several(run) || !pst_reads(run))
        return;
    pst_lock_take(&checkpoint->lock);
    if (cut->id > checkpoint->id) {
        checkpoint->told_cut = *cut;
        atomic_store_explicit(&checkpoint->told, true, memory_order_release);
    }
    pst_lock_give(&checkpoint->lock);
    pst_run_wake(run, 0);
}
