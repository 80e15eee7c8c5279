/* scene.c - see scene.h. */
#include "tests/attacks/scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

const char *scene_program;
uint32_t scene_patience_seconds = SCENE_PATIENCE_SECONDS;

static int draw(void *argument, void *bytes, size_t byte_count)
{
    (void)argument;
    return getrandom(bytes, byte_count, 0) == (ssize_t)byte_count ? PST_OK : PST_EIO;
}

static int take(void *taker, uint32_t output, uint32_t row_count, const uint32_t *bucket, const void *const *columns)
{
    struct scene *scene = taker;
    (void)output, (void)bucket;
    for (uint32_t i = 0; i < row_count; i++)
        scene->sum += ((const int64_t *)columns[1])[i];
    scene->rows += row_count;
    return PST_OK;
}

/* ---- what the host has ---- */

struct things {
    uintptr_t borders[16];
    bool outsides[256];
    int children[16];
};

static void borders_find(struct things *things)
{
    char line[512];
    uint32_t count = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file != NULL && count < 16 && fgets(line, sizeof line, file) != NULL)
        if (strstr(line, "memfd:penstock-border") != NULL)
            things->borders[count++] = strtoull(line, NULL, 16);
    if (file != NULL)
        (void)fclose(file);
}

static void things_find(struct things *things)
{
    char path[64], name[256];
    uint32_t count = 0;
    memset(things, 0, sizeof *things);
    borders_find(things);
    for (int i = 3; i < 256; i++) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", i);
        ssize_t n = readlink(path, name, sizeof name - 1);
        name[n > 0 ? n : 0] = '\0';
        things->outsides[i] = strstr(name, "penstock-outside") != NULL;
    }
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    while (file != NULL && count < 16 && fscanf(file, "%d", &things->children[count]) == 1)
        count++;
    if (file != NULL)
        (void)fclose(file);
}

/* What is there now and was not before. */
static void things_note(struct scene *scene, const struct things *before)
{
    struct things now;
    things_find(&now);
    for (uint32_t i = 0; i < 16; i++) {
        bool border_known = now.borders[i] == 0, child_known = now.children[i] == 0;
        for (uint32_t k = 0; k < 16; k++) {
            border_known |= before->borders[k] == now.borders[i];
            child_known |= before->children[k] == now.children[i];
        }
        if (!border_known)
            scene->border = (uint8_t *)now.borders[i]; // NOLINT(performance-no-int-to-ptr)
        if (!child_known)
            scene->worker = now.children[i];
    }
    for (int i = 3; i < 256; i++)
        if (now.outsides[i] && !before->outsides[i])
            scene->outside = i;
}

static int start(struct scene *scene, uint64_t epc_bytes, const uint8_t *image_key, char *ret_why)
{
    static const uint32_t buckets[TALLY_BUCKETS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const uint8_t graph[PST_IMAGE_GRAPH_BYTES];
    struct things before;
    struct pst_enclave_settings settings = {.operator= & scene->config,
                                            .buckets = buckets,
                                            .bucket_count = TALLY_BUCKETS,
                                            .epc_bytes = epc_bytes,
                                            .outside_bytes = SCENE_OUTSIDE_BYTES,
                                            .program = scene_program,
                                            .quiet_seconds_max = scene_patience_seconds,
                                            .random = draw,
                                            .take = take,
                                            .image_key = image_key,
                                            .graph = graph,
                                            .taker = scene};
    things_find(&before);
    int rc = pst_enclave_start(&pst_enclave_process, &settings, &scene->enclave, ret_why);
    if (rc == PST_OK)
        things_note(scene, &before);
    return rc;
}

int scene_start(struct scene *scene, const char *call, uint64_t epc_bytes, char *ret_why)
{
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, call);
    return start(scene, epc_bytes, NULL, ret_why);
}

int scene_start_sealed(struct scene *scene, const uint8_t *image_key, char *ret_why)
{
    static struct pst_enclave_sealed_output edge = {
        .name = "sums.0>file.0", .number = 1, .bucket_count = 1, .used_count = 1, .used = {1}};
    static struct pst_enclave_sealing sealing = {.inputs = {{"rows.0>sums.0", 0, 1}}, .edge_count = 1, .edges = &edge};
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, "");
    scene->config.sealing = &sealing;
    return start(scene, SCENE_EPC_BYTES, image_key, ret_why);
}

int scene_start_moving(struct scene *scene, char *ret_why)
{
    static const uint8_t authority[32] = {1};
    memset(scene, 0, sizeof *scene);
    tally_config(&scene->config, &scene->param, "");
    scene->config.authority = authority;
    return start(scene, SCENE_EPC_BYTES, NULL, ret_why);
}

int scene_frame(struct scene *scene, uint32_t first)
{
    static int64_t time[SCENE_ROWS], values[SCENE_ROWS];
    static uint64_t hash[SCENE_ROWS];
    static uint32_t keys[SCENE_ROWS];
    const void *columns[] = {keys, values};
    for (uint32_t i = 0; i < SCENE_ROWS; i++) {
        time[i] = 1;
        values[i] = 1;
        keys[i] = first + i;
        hash[i] = keys[i] * UINT64_C(0x9e3779b97f4a7c15);
    }
    return pst_enclave_frame(
        scene->enclave, &(struct pst_rows){.row_count = SCENE_ROWS, .columns = columns, .time = time, .hash = hash});
}

int scene_frames(struct scene *scene, uint32_t count)
{
    int rc = PST_OK;
    for (uint32_t i = 0; i < count && rc == PST_OK; i++)
        rc = scene_frame(scene, i * SCENE_ROWS);
    return rc;
}

int scene_time(struct scene *scene, int64_t t)
{
    scene->rows = 0;
    scene->sum = 0;
    return pst_enclave_time(scene->enclave, t, t);
}

int scene_status(int pid, const char *field)
{
    char path[64], line[256];
    int kib = -1;
    (void)snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && kib < 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            (void)sscanf(line + strlen(field) + 1, "%9d", &kib);
    if (file != NULL)
        (void)fclose(file);
    return kib;
}
