/* replay - feeds every file of a folder to a fuzz target, where libFuzzer is not: a corpus stays a test in every build.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *folder, const char *name)
{
    char path[4096];
    uint8_t *bytes = malloc(1 << 20);
    if (bytes == NULL || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return 1;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        free(bytes);
        return 1;
    }
    size_t count = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    /* Its own allocation of exactly that size, so that a sanitizer sees a read beyond it. */
    uint8_t *shrunk = realloc(bytes, count ? count : 1);
    LLVMFuzzerTestOneInput(shrunk ? shrunk : bytes, count);
    free(shrunk ? shrunk : bytes);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (folder == NULL) {
        perror(argv[1]);
        return 1;
    }
    int failed = 0, count = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        failed += replay(argv[1], entry->d_name);
        count++;
    }
    closedir(folder);
    printf("%d passed, %d failed\n", count - failed, failed);
    return failed != 0 || count == 0;
}
