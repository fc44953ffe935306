//! Asks the processor for memory that will be needed soon. In a large swarm nothing of the next candidates is in the cache,
//! and one by one each would be waited for: 0.1 µs, of the 2 µs that an assignment may cost.
//!
//! Only a hint: where it is not known how to give it, things are as they would be without.

/// The first lines of the cache that a value lies in, no more than `most`.
pub(super) fn fetch<T: ?Sized>(value: &T, most: usize) {
    const LINE: usize = 64;
    let start = std::ptr::from_ref(value).cast::<u8>();
    let lines = (start.addr() % LINE + size_of_val(value)).div_ceil(LINE);
    for line in 0..lines.min(most) {
        fetch_line(start.wrapping_add(line * LINE));
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "measured with what is kept closer together: half of the time of an assignment among 100,000 peers"
)]
fn fetch_line(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing as far as the program can see, and does not fault, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn fetch_line(_at: *const u8) {}
