/* Maps a page with a lock, a counter and a flag, and has other programs use them: see c_program.rs. */
#include <fcntl.h>
#include <spawn.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct page {
    alignas(64) unsigned char counter[64]; /* mp_sync::Mutex<u64>; zeroed memory is an unlocked one that holds 0 */
    alignas(64) unsigned char done[64];    /* mp_sync::Event; zeroed memory is one that is not set */
};

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: c_program NAME RUST_PROGRAM\n");
        return 2;
    }
    char *name = arguments[1], *program = arguments[2];
    int file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file < 0 || ftruncate(file, sizeof(struct page)) != 0) {
        perror(name);
        return 1;
    }
    struct page *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) {
        perror("mmap");
        shm_unlink(name);
        return 1;
    }
    int failed = 0;
    pid_t children[2];
    char *role[] = {"count", "wait_and_check"};
    extern char **environ;
    for (int i = 0; i < 2; i++) {
        char *command[] = {program, role[i], name, NULL};
        failed |= posix_spawn(&children[i], program, NULL, NULL, command, environ);
    }
    for (int i = 0; i < 2 && !failed; i++) {
        int status;
        failed |= waitpid(children[i], &status, 0) < 0 || status != 0;
    }
    shm_unlink(name);
    return failed;
}
