/* test_errors.c - what a user is told: each errors/NAME.yaml gives exactly the text of errors/NAME.txt.
 *
 * Lines "# set: NAME=VALUE" at the top of a graph stand for --set. PST_GOLDEN_WRITE=1 in the environment writes the
 * texts anew; read them before you keep them.
 */
#include "registry.h" /* before cmocka, whose macro fail() would change a member of struct pst_host */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 64 * 1024, SETTINGS_MAX = 8 };

static size_t file_read(const char *path, char *buffer)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return 0;
    size_t bytes = fread(buffer, 1, FILE_BYTES_MAX - 1, file);
    (void)fclose(file);
    buffer[bytes] = '\0';
    return bytes;
}

static uint32_t settings_read(char *copy, struct pst_setting *settings)
{
    uint32_t count = 0;
    char *rest = copy;
    for (char *line = strsep(&rest, "\n"); line != NULL && count < SETTINGS_MAX; line = strsep(&rest, "\n")) {
        if (strncmp(line, "# set: ", 7) != 0)
            break;
        char *value = strchr(line, '=');
        assert_non_null(value);
        *value = '\0';
        settings[count++] = (struct pst_setting){line + 7, value + 1};
    }
    return count;
}

/* The diagnostics as text. */
static void told(const char *name, const char *bytes, size_t byte_count, struct pst_text *ret_text)
{
    static char copy[FILE_BYTES_MAX];
    struct pst_setting settings[SETTINGS_MAX];
    memcpy(copy, bytes, byte_count + 1);
    uint32_t setting_count = settings_read(copy, settings);
    struct pst_diagnostics d;
    struct pst_graph *graph = NULL;
    pst_diagnostics_init(&d);
    assert_int_equal(pst_graph_parse(name, bytes, byte_count, settings, setting_count, &pst_test_registry, &d, &graph),
                     PST_EGRAPH);
    assert_null(graph);
    assert_true(d.item_count > 0);
    assert_int_equal(pst_diagnostics_print(&d, false, ret_text), PST_OK);
    pst_diagnostics_fini(&d);
}

static void compare_or_write(const char *path, const struct pst_text *text)
{
    static char expected[FILE_BYTES_MAX];
    if (getenv("PST_GOLDEN_WRITE") != NULL) {
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(text->bytes, 1, text->count, file), text->count);
        assert_int_equal(fclose(file), 0);
    }
    if (file_read(path, expected) == 0)
        fail_msg("%s is not there", path);
    if (strcmp(expected, text->bytes) != 0)
        fail_msg("%s:\n--- expected\n%s--- but it says\n%s", path, expected, text->bytes);
}

static int is_graph(const struct dirent *entry)
{
    size_t bytes = strlen(entry->d_name);
    return bytes > 5 && strcmp(entry->d_name + bytes - 5, ".yaml") == 0;
}

static void every_mistake_is_told_with_its_place_and_a_remedy(void **state)
{
    (void)state;
    static char bytes[FILE_BYTES_MAX];
    struct dirent **entries = NULL;
    int count = scandir(PST_TEST_ERRORS, &entries, is_graph, alphasort);
    assert_true(count >= 30);
    for (int i = 0; i < count; i++) {
        char path[4096];
        struct pst_text text = {0};
        assert_true(snprintf(path, sizeof path, "%s/%s", PST_TEST_ERRORS, entries[i]->d_name) < (int)sizeof path);
        size_t byte_count = file_read(path, bytes);
        told(entries[i]->d_name, bytes, byte_count, &text);
        memcpy(path + strlen(path) - 4, "txt", 4);
        compare_or_write(path, &text);
        pst_text_fini(&text);
        free(entries[i]);
    }
    free(entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_mistake_is_told_with_its_place_and_a_remedy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
