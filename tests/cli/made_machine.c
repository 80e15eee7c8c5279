/* made_machine.c - writes what tsm_kernel.c answers with into a folder: report.bin, key.pem that signs it, certificates as a host gives them
 * along, and root.pem, a root that nobody else trusts. usage: made_machine FOLDER */
#include "tests/attestation/made.h"

#include <openssl/pem.h>
#include <stdio.h>

static struct made_snp snp;

static FILE *file_open(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        perror(path);
    return file;
}

static bool file_put(const char *folder, const char *name, const void *bytes, size_t count)
{
    FILE *file = file_open(folder, name);
    return file != NULL && fwrite(bytes, 1, count, file) == count && fclose(file) == 0;
}

static bool key_put(const char *folder, EVP_PKEY *key)
{
    FILE *file = file_open(folder, "key.pem");
    return file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    made_snp_init(&snp, "Milan", false);
    snp.ark_parts.until = snp.ask_parts.until = snp.parts.until = "20990101000000Z"; /* the keeper goes by the clock */
    made_snp_issue(&snp);
    bool good = file_put(argv[1], "report.bin", snp.report, sizeof snp.report) && key_put(argv[1], snp.key) &&
                file_put(argv[1], "certificates", snp.certificates.bytes, snp.certificates.count) &&
                file_put(argv[1], "root.pem", snp.roots.bytes, snp.roots.count);
    made_snp_fini(&snp);
    return good ? 0 : 1;
}
