/* secret.c - 32 bytes in pages of their own. In an enclave another file stands in its place: there all memory is such pages. */
#include "state/seal.h"

#include <openssl/crypto.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECRET_MARK 0x5EC2E7u

/* What lies in the pages of a secret. The mark is gone where the pages were wiped behind our back, in a child process. */
struct secret_page {
    uint8_t bytes[PST_SECRET_BYTES];
    uint32_t mark;
};

struct pst_secret {
    struct secret_page *page;
    size_t page_bytes;
    bool locked;
};

int pst_secret_new(struct pst_secret **ret_secret)
{
    struct pst_secret *secret = pst_calloc(1, sizeof *secret);
    if (secret == NULL)
        return PST_ENOMEM;
    secret->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, secret->page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        pst_free(secret);
        return PST_ENOMEM;
    }
    secret->page = page;
    secret->locked = mlock(page, secret->page_bytes) == 0;
    (void)madvise(page, secret->page_bytes, MADV_DONTDUMP);
    if (madvise(page, secret->page_bytes, MADV_WIPEONFORK) != 0)
        (void)madvise(page, secret->page_bytes, MADV_DONTFORK); /* a child that looks dies of it, which is right too */
    secret->page->mark = SECRET_MARK;
    *ret_secret = secret;
    return PST_OK;
}

void pst_secret_free(struct pst_secret *secret)
{
    if (secret == NULL)
        return;
    OPENSSL_cleanse(secret->page, sizeof *secret->page);
    PST_ASSERT(munmap(secret->page, secret->page_bytes) == 0); /* unlocks it, too */
    pst_free(secret);
}

uint8_t *pst_secret_bytes(const struct pst_secret *secret) { return secret->page->bytes; }
bool pst_secret_locked(const struct pst_secret *secret) { return secret->locked; }

bool pst_secret_is_ours(const struct pst_secret *secret) { return secret->page->mark == SECRET_MARK; }
