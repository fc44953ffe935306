//! Pointers that C holds: every cast between them and Rust's values is here.
//!
//! A handle is a box with a small head: a tag that tells its type, so that a wrong or freed handle is noticed where
//! that is possible, and the process that made it, so that a child after `fork()` does not touch sockets and
//! threads that are its parent's.

use std::ptr;

use super::guard;
use crate::client::{Error, ErrorKind};

/// An opaque type of C, and what is really behind a pointer to it.
pub(super) trait Handle {
    /// What is behind it.
    type Data;
    /// Unlike that of any other type.
    const TAG: u32;
    /// As C calls it.
    const NAME: &'static str;
    /// Whether it has threads and sockets: of no use after `fork()`, and not to be called from everywhere.
    const LIVE: bool;
}

/// Declares an opaque type: `handle!(pdtp_config, ConfigData, b"PDcf", live: false)`.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $data:ty, $tag:literal, live: $live:literal) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug)]
        pub struct $name {
            _opaque: [u8; 0],
        }

        impl $crate::ffi::handle::Handle for $name {
            type Data = $data;
            const TAG: u32 = u32::from_be_bytes(*$tag);
            const NAME: &'static str = stringify!($name);
            const LIVE: bool = $live;
        }
    };
}
pub(super) use handle;

/// A value with the head by which it is recognised.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Slot<T> {
    tag: u32,
    pid: u32,
    pub(super) data: T,
}

impl<T> Slot<T> {
    /// A value that C may look at as an `H`, where it is.
    pub(super) fn new<H: Handle<Data = T>>(data: T) -> Self {
        Self { tag: H::TAG, pid: std::process::id(), data }
    }

    /// What C gets to see of it: valid as long as it is not moved.
    pub(super) fn lend<H: Handle<Data = T>>(&self) -> *const H {
        ptr::from_ref(self).cast()
    }
}

/// Tag of what was freed.
const DEAD: u32 = 0;

/// Gives a value to C.
pub(super) fn give<H: Handle>(data: H::Data) -> *mut H {
    Box::into_raw(Box::new(Slot::new::<H>(data))).cast()
}

/// # Safety
/// `handle` is NULL or came from [`give`] of any type and was not taken back; nobody changes it during `'a`.
pub(super) unsafe fn borrow<'a, H: Handle>(handle: *const H, name: &str) -> Result<&'a H::Data, Error> {
    // SAFETY: passed on.
    unsafe { check(handle, name) }?;
    // SAFETY: `check` saw the tag that only `give::<H>` writes.
    Ok(unsafe { &(*handle.cast::<Slot<H::Data>>()).data })
}

/// # Safety
/// As for [`borrow()`], and nobody else uses the handle during `'a`.
pub(super) unsafe fn borrow_mut<'a, H: Handle>(handle: *mut H, name: &str) -> Result<&'a mut H::Data, Error> {
    // SAFETY: passed on.
    unsafe { check(handle, name) }?;
    // SAFETY: as in `borrow`; exclusive by contract.
    Ok(unsafe { &mut (*handle.cast::<Slot<H::Data>>()).data })
}

/// Takes the value back. `None` for NULL, for what is no such handle, and in a process that did not make it: there
/// it is left as it is, because its locks may be held by threads that the child does not have.
///
/// # Safety
/// As for [`borrow()`], and nobody uses the handle afterwards.
pub(super) unsafe fn take<H: Handle>(handle: *mut H, name: &str) -> Option<H::Data> {
    // SAFETY: passed on.
    match unsafe { identify(handle, name) } {
        Ok(pid) if H::LIVE && pid != std::process::id() => None,
        Ok(_) => {
            // SAFETY: as in `borrow`; ours alone by contract. The tag is written in a way that is not optimised
            // out, for those who use the handle nevertheless.
            let mut slot = unsafe {
                ptr::write_volatile(handle.cast::<u32>(), DEAD);
                Box::from_raw(handle.cast::<Slot<H::Data>>())
            };
            slot.tag = DEAD;
            Some(slot.data)
        }
        Err(_) => None,
    }
}

/// # Safety
/// As for [`borrow()`].
unsafe fn check<H: Handle>(handle: *const H, name: &str) -> Result<(), Error> {
    // SAFETY: passed on.
    let pid = unsafe { identify(handle, name) }?;
    if H::LIVE {
        if pid != std::process::id() {
            return Err(Error::new(
                ErrorKind::Forked,
                format!("argument {name}: this {} was made before fork(), in the parent process", H::NAME),
            ));
        }
        guard::may_call()?;
    }
    Ok(())
}

/// The process that made the handle.
///
/// # Safety
/// As for [`borrow()`].
unsafe fn identify<H: Handle>(handle: *const H, name: &str) -> Result<u32, Error> {
    if handle.is_null() {
        return Err(guard::null(name));
    }
    let head = handle.cast::<[u32; 2]>();
    if !head.is_aligned() {
        return Err(guard::argument(name, format_args!("this is no {}", H::NAME)));
    }
    // SAFETY: not NULL and aligned; by contract it points to a `Slot` of some type, which starts with these two.
    let [tag, pid] = unsafe { head.read() };
    if tag != H::TAG {
        return Err(guard::argument(name, format_args!("this is no {}, or was freed", H::NAME)));
    }
    Ok(pid)
}
