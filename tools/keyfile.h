/* tools/keyfile.h - files of master keys: reading them with all suspicion, making them, adding a newer key.
 *
 * A key file is text, a line for each key, the newest first:
 *
 *     penstock-key 1 <64 hexadecimal digits>
 *
 * The newest key seals; the others are kept so that what was sealed before still opens. 1 is the version of the line.
 *
 * Thread:   the main thread.
 */
#ifndef PST_KEYFILE_H
#define PST_KEYFILE_H

#include "state/seal.h"
#include "tools/cli.h"

enum { PST_KEYS_MAX = 16, PST_KEYFILE_BYTES_MAX = 4096, PST_KEY_ID_TEXT_BYTES = 2 * PST_SECRET_ID_BYTES + 1 };

struct pst_keyring_keys {
    uint32_t count;
    struct pst_secret *secrets[PST_KEYS_MAX]; /* newest first; owned by this struct unless taken out and set to NULL */
    char ids[PST_KEYS_MAX][PST_KEY_ID_TEXT_BYTES]; /* pst_secret_id() in hexadecimal digits */
    bool locked;                                   /* all of them are in locked memory: pst_secret_locked() */
};
void pst_keyring_keys_fini(struct pst_keyring_keys *keys);

/* Reads the text of a key file. PST_EDATA: *ret_line (from 1) and *ret_why say what is wrong; PST_ENOMEM, PST_EINTERNAL.
 * On an error `ret_keys` is empty. */
int pst_keyfile_parse(const char *text, size_t byte_count, struct pst_keyring_keys *ret_keys, uint32_t *ret_line,
                      const char **ret_why);

/* Reads a key file. It has to be a regular file of this user that neither group nor others may read or write; what counts is
 * the file at the end of symbolic links. Returns a pst_exit; a complaint has been printed unless it is PST_EXIT_OK, and `ret_keys`
 * is empty then. PST_EXIT_REFUSED: the file must not be used; PST_EXIT_DATA: bad content; PST_EXIT_IO: it cannot be read. */
int pst_keyfile_read(const struct pst_call *call, const char *path, struct pst_keyring_keys *ret_keys);

/* The same of the key that a node signs software evidence with: a key file, of which the newest key counts, or `node.key` of
 * `penstock tls issue`, an Ed25519 key in PEM. */
int pst_node_key_read(const struct pst_call *call, const char *path, struct pst_keyring_keys *ret_keys);

/* Makes a file of one new key from world->random, or puts a new key in front of those of a file. The file appears whole or not
 * at all, with mode 0600. As pst_keyfile_read(); ret_keys: what the file holds now. */
int pst_keyfile_make(const struct pst_call *call, struct pst_world *world, const char *path,
                     struct pst_keyring_keys *ret_keys);
int pst_keyfile_rotate(const struct pst_call *call, struct pst_world *world, const char *path,
                       struct pst_keyring_keys *ret_keys);

/* tools/seal.c: `input` sealed for a graph into `spool`, by --key, --set and --enclave of the call, unless that is there; goes on with what
 * was cut. What is there has to be of that graph and key, and the graph has to be called `name`, unless that is "". It has complained. */
struct pst_call;
int pst_seal_spool(const struct pst_call *call, const char *graph, const char *name, const char *input,
                   const char *spool);

#endif
