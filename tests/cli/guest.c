/* guest.c - an operator of somebody else's, for the tests of operators in programs of one's own: it counts rows by house, in epoch order
 * or in total order, and it may be told to try what no operator may. Built as a shared object, and linked into a worker.
 *
 * In:   timestamp, house_id, value; with the key [house_id].
 * Out:  house_id, rows, kind: 1 put out by on_frame() (in total order alone), 2 by on_time(), 3 by on_end(). */
#include "operators/operator.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OUTPUT_FIELDS = 3, WORK_TURNS = 3 * 1000 * 1000 };
struct plan {
    bool total;
    const char *attempt;
};
struct guest {
    struct pst_table *counts;
};
/* Of a house. What is put out must not hang on which houses share a bucket: where rows are sealed each key shares them out anew. */
struct count {
    uint64_t rows, said;
};

/* Each as directly as can be. What comes of it does not matter: inside nothing comes back; but for "work", which takes some milliseconds of a
 * processor and is allowed. */
static void try_it(const char *attempt)
{
    if (strcmp(attempt, "open") == 0)
        (void)syscall(SYS_openat, AT_FDCWD, "/etc/hostname", O_RDONLY);
    if (strcmp(attempt, "socket") == 0)
        (void)syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    if (strcmp(attempt, "mmap") == 0)
        (void)syscall(SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strcmp(attempt, "fork") == 0 && syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0)
        (void)syscall(SYS_exit_group, 0);
    for (volatile uint32_t i = 0; strcmp(attempt, "work") == 0 && i < WORK_TURNS;)
        i = i + 1;
    if (strcmp(attempt, "ptrace") == 0)
        (void)syscall(SYS_ptrace, PTRACE_SEIZE, 1, 0, 0);
}

#ifdef GUEST_CONSTRUCTOR
static void got(const char *what) { (void)!write(STDERR_FILENO, what, strlen(what)); }

/* Before main(), so before anything is given up: a file, memory to write code into, another program. An absolute path is looked up whatever
 * descriptor stands before it. */
__attribute__((constructor)) static void early(void)
{
    static char *nothing[] = {NULL};
    int fd = open(GUEST_CONSTRUCTOR, O_CREAT | O_WRONLY, 0600);
    if (fd >= 0)
        (void)close(fd);
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        got("got code that it may write\n");
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED && mprotect(memory, 4096, PROT_READ | PROT_EXEC) == 0)
        got("got what it has written as code\n");
    for (int at = 3; at < 8; at++)
        (void)syscall(SYS_execveat, at, GUEST_CONSTRUCTOR ".program", nothing, nothing, 0);
}
#endif

static int plan_guest(struct pst_plan *plan)
{
    struct plan *shared = pst_plan_alloc(plan, sizeof *shared);
    if (shared == NULL)
        return PST_ENOMEM;
    int house = pst_plan_use(plan, 0, "house_id", NULL, 0);
    if (house < 0)
        return house;
    shared->total = pst_plan_int(plan, "total") != 0;
    shared->attempt = pst_plan_text(plan, "attempt");
    pst_plan_set_user(plan, shared);
    pst_plan_order(plan, shared->total ? PST_ORDER_TOTAL : PST_ORDER_EPOCH, pst_plan_int(plan, "epoch"));
    const struct pst_field fields[OUTPUT_FIELDS] = {
        {"house_id", PST_U32, 0}, {"rows", PST_U64, 0}, {"kind", PST_U32, 0}};
    return pst_plan_output(plan, 0, fields, OUTPUT_FIELDS, -1);
}

static int open_guest(struct pst_ctx *ctx)
{
    struct guest *guest = pst_alloc(ctx, sizeof *guest);
    if (guest == NULL)
        return PST_ENOMEM;
    guest->counts = pst_table_open(ctx, "counts", sizeof(uint32_t), sizeof(struct count));
    pst_set_user(ctx, guest);
    return guest->counts != NULL ? PST_OK : PST_ENOMEM;
}

static int put(struct pst_ctx *ctx, uint32_t bucket, uint32_t house, uint64_t rows, uint32_t kind)
{
    struct pst_out *out = pst_out_reserve(ctx, 0, 1);
    if (out == NULL)
        return PST_ENOMEM;
    uint32_t row = out->row_count;
    if (pst_wanted(ctx, 0, 0))
        ((uint32_t *)out->columns[0])[row] = house;
    if (pst_wanted(ctx, 0, 1))
        ((uint64_t *)out->columns[1])[row] = rows;
    if (pst_wanted(ctx, 0, 2))
        ((uint32_t *)out->columns[2])[row] = kind;
    const struct plan *shared = pst_planned(ctx);
    out->bucket[row] = strcmp(shared->attempt, "beside") == 0 ? UINT32_MAX : bucket;
    out->row_count++;
    return PST_OK;
}

static int on_frame(struct pst_ctx *ctx, const struct pst_rows *rows)
{
    const struct plan *shared = pst_planned(ctx);
    struct guest *guest = pst_user(ctx);
    int rc = PST_OK;
    try_it(shared->attempt);
    for (uint32_t i = 0; i < rows->row_count && rc == PST_OK; i++) {
        uint32_t house = ((const uint32_t *)rows->columns[0])[i];
        void *record;
        rc = pst_table_upsert(ctx, guest->counts, 1, &rows->bucket[i], &rows->hash[i], &house, NULL, &record);
        if (rc != PST_OK)
            return rc;
        uint64_t count = ++((struct count *)record)->rows;
        if ((shared->total && count % 3 == 0) || strcmp(shared->attempt, "early") == 0)
            rc = put(ctx, rows->bucket[i], house, count, 1);
    }
    return rc;
}

/* Houses of which something has come; all at the end, and where a timer alone has brought the bucket here. */
static int put_due(struct pst_ctx *ctx, uint32_t kind)
{
    struct guest *guest = pst_user(ctx);
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    int rc = PST_OK;
    for (uint32_t d = 0; d < due_count; d++) {
        uint32_t houses = pst_table_count(ctx, guest->counts, due[d]);
        bool news = false;
        for (uint32_t i = 0; i < houses; i++) {
            const struct count *count = pst_table_record(ctx, guest->counts, due[d], i);
            news |= count->rows != count->said;
        }
        for (uint32_t i = 0; i < houses && rc == PST_OK; i++) {
            uint32_t house = *(const uint32_t *)pst_table_key(ctx, guest->counts, due[d], i);
            struct count *count = pst_table_record(ctx, guest->counts, due[d], i);
            if (count->rows != count->said || !news || kind == 3)
                rc = put(ctx, due[d], house, count->rows, kind);
            count->said = count->rows;
        }
    }
    return rc;
}

static int on_time(struct pst_ctx *ctx, int64_t t)
{
    uint32_t due_count;
    const uint32_t *due = pst_due(ctx, &due_count);
    for (uint32_t d = 0; d < due_count; d++)
        if (due[d] % 2 == 0) /* some say something again when nothing has come */
            pst_timer_set(ctx, due[d], t + 20);
    return put_due(ctx, 2);
}

static int on_end(struct pst_ctx *ctx, int64_t t)
{
    (void)t;
    return put_due(ctx, 3);
}

static const struct pst_param params[] = {
    {.name = "total", .kind = PST_PARAM_INT, .value_max = 1, .help = "1: rows in total order"},
    {.name = "epoch", .kind = PST_PARAM_INT, .standard = "1", .value_min = 1, .value_max = 1000, .help = "its epoch"},
    {.name = "attempt", .kind = PST_PARAM_TEXT, .help = "what to try in on_frame()"},
};

static const struct pst_operator guest = {
    .abi = PST_OPERATOR_ABI,
    .struct_bytes = sizeof(struct pst_operator),
    .name = "guest",
    .summary = "Counts rows by house.",
    .input_count = 1,
    .output_count = 1,
    .param_count = sizeof params / sizeof params[0],
    .params = params,
    .plan = plan_guest,
    .open = open_guest,
    .on_frame = on_frame,
    .on_time = on_time,
    .on_end = on_end,
};

__attribute__((visibility("default"))) const struct pst_operator *const PST_OPERATOR_SYMBOL[] = {&guest, NULL};
