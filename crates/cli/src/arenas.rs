//! How glibc divides the memory that threads ask for.

/// Lets all threads share two arenas; to be called before the second thread starts. glibc makes eight per
/// core, and what one of them has free is of no use to threads that have another
/// (docs/decisions/0020-two-arenas.md).
pub(crate) fn share() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "there is no safe way to ask for this")]
        // SAFETY: `mallopt` takes two numbers and may be called at any time; one that it does not take
        // changes nothing.
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
        debug_assert_eq!(taken, 1, "glibc knows this");
    }
}

/// One is enough on two cores; two keep threads on many cores out of each other's way.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 2;
