/*
 * For programs under ThreadSanitizer: fcntl(F_DUPFD_CLOEXEC) by dup(), which it knows.
 *
 * tokio hands epoll a pointer to its record of a socket (epoll_ctl), and the thread that waits gets it back (epoll_wait).
 * That orders the two, and ThreadSanitizer knows it; but tokio does the first on a duplicate of the descriptor, made by
 * fcntl, which ThreadSanitizer would take for another one, and report a race at every socket.
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

int fcntl(int descriptor, int command, ...)
{
    va_list arguments;
    long argument;
    int copy;

    va_start(arguments, command);
    argument = va_arg(arguments, long);
    va_end(arguments);
    if (command != F_DUPFD_CLOEXEC) {
        return (int)syscall(SYS_fcntl, descriptor, command, argument);
    }
    copy = dup(descriptor);
    if (copy >= 0) {
        syscall(SYS_fcntl, copy, F_SETFD, FD_CLOEXEC);
    }
    return copy;
}
